"""Merge LoRA experts without forming their matrices.

- ``core_space``: merge experts as small matrices in one basis per parameter.
- ``compress``: find subspaces of a smaller rank that hold most of all experts.
- ``combine_adapters``: combine adapters into one, by PEFT's combination types.
- ``adapter_matrices``: the entrywise part of these types, one block of rows at a time.
"""
