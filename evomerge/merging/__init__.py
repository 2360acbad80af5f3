"""Merge methods: pure tensor maths, one method a file. Tensors in, tensor out."""

from evomerge.merging.block import Block, InMemoryView, Magnitudes, View
from evomerge.merging.parameters import PerExpert, Range
from evomerge.merging.randomness import Randomness
from evomerge.merging.registry import METHODS, MergeMethod, merge_method

__all__ = [
    "METHODS",
    "Block",
    "InMemoryView",
    "Magnitudes",
    "MergeMethod",
    "PerExpert",
    "Randomness",
    "Range",
    "View",
    "merge_method",
]
