"""PEFT LoRA adapters: read, applied to a base, written.

In reading order:

- ``adapter``: read a folder.
- ``orientation``: weights stored as (in, out).
- ``updates``: changes of the base's parameters.
- ``writer``: write a folder.
"""
