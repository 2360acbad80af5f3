"""Backends, scanned by :data:`evomerge.inference.backend.BACKENDS`: adding one is adding a file.

In reading order:

- ``hf``: transformers, on a CPU or a GPU.
"""
