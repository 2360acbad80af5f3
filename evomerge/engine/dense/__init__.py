"""Parameters merged in blocks of rows, with bounded memory.

In reading order:

- ``merge_tensor``: one output parameter, block by block.
- ``stream``: several parameters at once, on threads.
- ``write_tensors``: into a folder or a file.
"""
