"""Run mergekit files (0.1.5): read, check, plan and write; and write recipes as mergekit files.

In reading order:

- ``config``: values of a mergekit file.
- ``read``: read a file.
- ``references``: read the names of models.
- ``check``: check that a merge can work.
- ``methods``: mergekit's methods, and the evomerge method for each.
- ``scoped_values``: find a parameter's value for one tensor.
- ``slices``: find the sources of each output layer.
- ``tensors``: resolve one output tensor.
- ``inputs``: open the models.
- ``vocabulary``: build the output vocabulary and its embeddings.
- ``plan``: plan output tensors and files.
- ``write_model``: write the merged model.
- ``mergekit_parameters``: translate evomerge's parameters into mergekit's.
- ``write_file``: write a recipe as a mergekit file.
"""

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
