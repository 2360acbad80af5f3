"""Lazy matrices: matrices that are computed when they are read.

- ``lazy``: the interface, and its kinds: in memory, low rank, sum, difference, zeros.
"""
