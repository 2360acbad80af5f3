"""LoRA experts merged through their factors.

In reading order:

- ``core_space``: experts as small matrices in one shared basis.
- ``compress``: compress the experts, then merge.
- ``combine_adapters``: PEFT's combination types.
- ``adapter_matrices``: their matrices, merged entry by entry.
"""
