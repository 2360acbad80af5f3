"""mergekit's YAML (0.1.5): read as frozen values, resolved per tensor, and written."""

from evomerge.mergekit.check import unused_parameters
from evomerge.mergekit.config import (
    InputModel,
    InputSlice,
    MergeConfig,
    ModelRef,
    Module,
    OutputSlice,
    Tokenizer,
    TokenRow,
    TokenSource,
)
from evomerge.mergekit.methods import MethodCall
from evomerge.mergekit.read import is_mergekit, load, parse
from evomerge.mergekit.slices import OutputLayer, output_layers, output_slices
from evomerge.mergekit.tensors import tensor_settings
from evomerge.mergekit.write_file import dump

__all__ = [
    "InputModel",
    "InputSlice",
    "MergeConfig",
    "MethodCall",
    "ModelRef",
    "Module",
    "OutputLayer",
    "OutputSlice",
    "TokenRow",
    "TokenSource",
    "Tokenizer",
    "dump",
    "is_mergekit",
    "load",
    "output_layers",
    "output_slices",
    "parse",
    "tensor_settings",
    "unused_parameters",
]
