"""Merge methods: pure tensor maths, tensors in and tensors out.

In reading order:

- ``methods/``: the merge methods; a new one is a new file there.
- ``registry``: what a method is, and the decorators that make one of a function.
- ``block``: the parameter that a method reads, in blocks of rows.
- ``parameters``: ranges, choices and switches of a method's parameters.
- ``sparsify``: keep some entries of a delta (TIES, DARE, DELLA, Breadcrumbs).
- ``sign_election``: elect a sign per entry and average the experts that carry it.
- ``combination``: linear combinations of models, from their dot products.
- ``changed``: which experts changed an entry (RAM).
- ``core_matrices``: what methods on LoRA core matrices have in common.
- ``magnitude_index``: find the k largest entries without sorting.
- ``randomness``: random masks that depend on names only.
- ``modifiers``: changes to the result of any method (LiNeS, SVC).
- ``describe``: the registered methods as a table.
"""

from evomerge.merging.block import Block, InMemoryParameter, Magnitudes, Parameter
from evomerge.merging.parameters import PerExpert, Range
from evomerge.merging.randomness import Randomness
from evomerge.merging.registry import METHODS, MergeMethod, blockwise, core_method, merge_method

__all__ = [
    "METHODS",
    "Block",
    "InMemoryParameter",
    "Magnitudes",
    "MergeMethod",
    "Parameter",
    "PerExpert",
    "Randomness",
    "Range",
    "blockwise",
    "core_method",
    "merge_method",
]
