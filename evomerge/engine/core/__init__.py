"""Merge LoRA experts without forming their matrices.

- ``core_space``: experts as small matrices in one basis per parameter, and merges there.
- ``compress``: subspaces of a smaller rank that all experts fit into.
- ``combine_adapters``: adapters into one adapter, by PEFT's combination types.
- ``adapter_matrices``: the entrywise part of these types, a block of rows at a time.
"""
