"""Matrices that are computed when they are read.

- ``lazy``: the one interface and its kinds: in memory, low rank, sum, difference, zeros.
"""
