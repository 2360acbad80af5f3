"""Find the sources of each output layer: models and their layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from evomerge.errors import UserError
from evomerge.mergekit.config import InputSlice, MergeConfig, ModelRef, Module, OutputSlice


@dataclass(frozen=True)
class OutputLayer:
    """A layer of the merged model.

    Attributes:
        index: number of the layer in the result.
        t: position in the slice, 0 for the first layer, 1 for the last; 1 in a slice of one layer. Tensors before the
            first layer (embeddings) belong to the first slice, those after the last layer (final norm, output head) to
            the last slice, both with t = 0.
        slice: slice of the layer.
        sources: number of the layer in each source.
    """

    index: int
    t: float
    slice: OutputSlice
    sources: tuple[int, ...]


def output_slices(config: MergeConfig, module: Module, layers_of: Callable[[ModelRef], int]) -> tuple[OutputSlice, ...]:
    """The slices of a module; ``models`` make one slice of all layers, with the base as its last source if not listed.

    Args:
        config: document of the merge.
        module: one of the document's modules.
        layers_of: function that gives the number of a model's layers in this module; 0 for raw weight files.

    Raises:
        UserError: models differ in depth, or a slice reaches beyond its model's last layer.
    """
    if not module.models:
        for number, piece in enumerate(module.slices):
            for source in piece.sources:
                has = layers_of(source.model)
                if source.layer_range[1] > has:
                    raise UserError(
                        f"layer_range must end at {has} or before, for {source.model} has {has} layers,"
                        f" got {list(source.layer_range)} ({place(config, module, number)})"
                    )
        return module.slices
    sources = [InputSlice(m.model, (0, layers_of(m.model)), m.parameters) for m in module.models]
    base = config.base_model
    if base is not None and all(source.model != base for source in sources):
        sources.append(InputSlice(base, (0, layers_of(base))))
    depths = {source.layers for source in sources}
    if len(depths) > 1:
        found = ", ".join(f"{source.model} has {source.layers}" for source in sources)
        raise UserError(f"models to merge need equally many layers, but {found}: merge slices ({config.where}: models)")
    return (OutputSlice(tuple(sources)),)


def output_layers(slices: Sequence[OutputSlice]) -> Iterator[OutputLayer]:
    """The layers of the result, numbered across all slices."""
    index = 0
    for piece in slices:
        for offset in range(piece.layers):
            t = offset / (piece.layers - 1) if piece.layers > 1 else 1.0
            yield OutputLayer(index, t, piece, tuple(source.layer_range[0] + offset for source in piece.sources))
            index += 1


def place(config: MergeConfig, module: Module, slice_number: int | None = None) -> str:
    """Key in the file of a module's models, or of one of its slices."""
    prefix = f"{config.where}: " + (f"modules.{module.name}." if module.name is not None else "")
    return f"{prefix}models" if slice_number is None else f"{prefix}slices[{slice_number}]"
