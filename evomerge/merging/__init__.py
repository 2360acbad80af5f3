"""Merge methods: pure tensor maths, one method a file. Tensors in, tensor out."""

from evomerge.merging.base import METHODS, MergeMethod, merge_method
from evomerge.merging.parameters import PerExpert, Range
from evomerge.merging.randomness import Randomness
from evomerge.merging.view import Block, InMemoryView, Magnitudes, View

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
