"""Merge parameters block by block, in memory that does not grow with the model.

- ``merge_tensor``: merge one output parameter as a stream of blocks.
- ``stream``: merge several parameters at once, on several threads.
- ``write_tensors``: write the blocks to a model folder or a file.
"""
