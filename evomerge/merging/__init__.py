"""Merge methods: pure tensor maths, one method a file. Tensors in, tensor out."""

from evomerge.merging.base import METHODS, MergeMethod, PerExpert, Range, merge_method
from evomerge.merging.randomness import Randomness
from evomerge.merging.sparsify import MagnitudeIndex

__all__ = ["METHODS", "MagnitudeIndex", "MergeMethod", "PerExpert", "Randomness", "Range", "merge_method"]
