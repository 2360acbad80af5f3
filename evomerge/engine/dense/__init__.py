"""Merge parameters block by block, in memory that does not grow with the model.

- ``merge_tensor``: one output parameter as a stream of merged blocks.
- ``stream``: several parameters at once, on several threads.
- ``write_tensors``: the blocks into a model folder or a file.
"""
