"""PEFT LoRA adapters: read, applied to a base, written.

In reading order:

- ``adapter``: read a folder.
- ``orientation``: weights stored as (in, out).
- ``updates``: changes of the base's parameters.
- ``dense_delta``: the rows of a change that is more than a LoRA.
- ``writer``: write a folder.
"""
