"""PEFT LoRA adapters: read, applied to a base, written.

In reading order:

- ``adapter``: read a folder.
- ``orientation``: weights stored as (in, out).
- ``updates``: changes of the base's parameters.
- ``dense_delta``: changes that are more than LoRA factors, row by row.
- ``writer``: write a folder.
"""
