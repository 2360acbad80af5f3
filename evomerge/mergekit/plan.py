"""Plan the output tensors and files of a mergekit merge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from evomerge.engine.dense.merge_tensor import CopiedTensor, MergedTensor, OutputTensor
from evomerge.errors import UserError
from evomerge.mergekit import (
    MergeConfig,
    ModelRef,
    Module,
    OutputSlice,
    output_layers,
    output_slices,
    tensor_settings,
)
from evomerge.mergekit.inputs import InputWeights, open_inputs, same_values
from evomerge.merging.registry import METHODS
from evomerge.tensors.lazy import LazyMatrix
from evomerge.weights.parameter_names import HEAD, is_embedding, layer_index, layer_template
from evomerge.weights.stream_writer import with_dtype

if TYPE_CHECKING:
    from evomerge.mergekit.vocabulary import VocabularyPlan

# Keys that configurations use for the number of layers.
_DEPTH = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")


@dataclass(frozen=True)
class MergePlan:
    """The planned output of a mergekit merge.

    Attributes:
        tensors: parameters, not yet computed.
        donor: model whose configuration and tokenizer files the output copies.
        config: content of ``config.json``; None for raw files of weights.
        vocabulary: output tokenizer, if the merge makes one.
        chat_template: mergekit's setting; None: the donor's template. An output tokenizer has a template of its own.
        folders: folders of all models; ``chat_template: auto`` chooses among their templates.
    """

    tensors: tuple[OutputTensor, ...]
    donor: InputWeights
    config: Mapping[str, Any] | None
    vocabulary: VocabularyPlan | None = None
    chat_template: str | None = None
    folders: tuple[Path, ...] = ()


@dataclass(frozen=True)
class _Place:
    """Origin of an output tensor: its slice, its names in the sources, and its position in the gradient."""

    output: str
    inputs: tuple[str, ...]
    module: Module
    piece: OutputSlice
    t: float


def plan_merge(config: MergeConfig, steps: Mapping[str, Path], seed: int = 0) -> MergePlan:
    """Plan one document's merge.

    Args:
        config: document to plan.
        steps: folders with the results of the documents that it needs.
        seed: seed of random masks.

    Raises:
        UserError: a model is missing or does not fit the others; the error names the tensor, the model and the cure.
    """
    inputs = open_inputs(config.models, steps)
    donor = inputs[config.base_model] if config.base_model in inputs else next(iter(inputs.values()))
    vocabulary = None
    if config.tokenizer is not None:
        # imported late: transformers takes a second to load, and few merges need it
        from evomerge.mergekit.vocabulary import VocabularyPlan

        vocabulary = VocabularyPlan.build(config, inputs)
    slices = {module.name: output_slices(config, module, lambda ref: inputs[ref].layers) for module in config.modules}
    untied = not donor.checkpoint.raw and not all(inputs[ref].tied for ref in config.models)
    planned = [
        _tensor(config, place, inputs, vocabulary, seed) for place in _places(config, slices, inputs, donor, untied)
    ]
    content = None
    if not donor.checkpoint.raw:
        content = _config(config, donor, [piece for pieces in slices.values() for piece in pieces], planned, untied)
        if vocabulary is not None:
            content = vocabulary.tokenizer.configured(content, vocabulary.origin.checkpoint.config)
    template = config.chat_template if vocabulary is None else None
    folders = tuple(model.checkpoint.folder for model in inputs.values())
    return MergePlan(tuple(planned), donor, content, vocabulary, template, folders)


def _places(
    config: MergeConfig,
    slices: Mapping[str | None, Sequence[OutputSlice]],
    inputs: Mapping[ModelRef, InputWeights],
    donor: InputWeights,
    untied: bool,
) -> Iterator[_Place]:
    """Origins of all output tensors, in the donor's order of names; layers are numbered across slices."""
    for module in config.modules:
        pieces = slices[module.name]
        names = [name for name in donor.checkpoint.names if _within(name, module, config)]
        if untied and module.name in (None, "default") and HEAD not in names and donor.stored(HEAD):
            names.append(HEAD)  # the donor's head is tied, another model's is not
        in_layers = [name for name in names if layer_index(name) is not None and donor.layers]
        for name in names:
            if name not in in_layers:
                piece = pieces[0] if donor.checkpoint.raw or is_embedding(name) else pieces[-1]
                yield _Place(name, (name,) * len(piece.sources), module, piece, 0.0)
        templates = {layer_template(name): None for name in in_layers}
        for layer in output_layers(pieces) if in_layers else ():
            for template in templates:
                first = inputs[layer.slice.sources[0].model]
                own = [template.replace("{}", str(number), 1) for number in layer.sources]
                if first.stored(own[0]) is not None:  # in hybrid architectures, layers have different tensors
                    yield _Place(template.replace("{}", str(layer.index), 1), tuple(own), module, layer.slice, layer.t)


def _within(name: str, module: Module, config: MergeConfig) -> bool:
    """Whether a parameter belongs to a module: ``default`` holds all, another module those under its name."""
    if module.name in (None, "default"):
        return True
    return name.startswith((f"{module.name}.", f"model.{module.name}."))


def _tensor(
    config: MergeConfig,
    place: _Place,
    inputs: Mapping[ModelRef, InputWeights],
    vocabulary: VocabularyPlan | None,
    seed: int,
) -> OutputTensor:
    models = [inputs[source.model] for source in place.piece.sources]
    rows = {
        number: model.rows(name, f"{config.where}: {place.output}")
        for number, (model, name) in enumerate(zip(models, place.inputs, strict=True))
    }
    if not rows[0].dtype.is_floating_point:
        return CopiedTensor(place.output, same_values(list(rows.values()), place.output), rows[0].dtype)
    moved = vocabulary is not None and vocabulary.moves(place.output)
    if vocabulary is not None and moved:
        rows = dict(enumerate(vocabulary.permuted(models, list(rows.values()))))
    _check_shapes(config, place, models, rows)
    call = tensor_settings(config, place.module, place.piece, place.output, place.inputs, place.t)
    work = _promoted(rows[number].dtype for number in (*call.experts, *([call.base] if call.base is not None else [])))
    dtype = getattr(torch, config.out_dtype or config.dtype or "") if config.out_dtype or config.dtype else work
    in_double = work == torch.float64 or config.dtype == "float64"
    if call.method == "passthrough" and call.parameters.get("scale") == 1.0:
        return CopiedTensor(place.output, rows[call.experts[0]], dtype)
    return MergedTensor(
        name=place.output,
        shape=rows[0].shape,
        base=None if call.base is None else rows[call.base],
        experts=tuple(rows[number] for number in call.experts),
        expert_names=tuple(f"{number}:{models[number].ref}" for number in call.experts),
        method=METHODS[call.method],
        weights=call.weights,
        parameters={**call.expert_parameters, **call.parameters},
        seed=seed,
        dtype=dtype,
        work=torch.float64 if in_double else torch.float32,
        sources=tuple(str(models[number].ref) for number in call.experts),
    )


def _check_shapes(
    config: MergeConfig, place: _Place, models: Sequence[InputWeights], rows: Mapping[int, LazyMatrix]
) -> None:
    for number, other in rows.items():
        if other.shape != rows[0].shape:
            cure = "merge models of one size"
            if len(other.shape) == 2 and other.shape[1] == rows[0].shape[1]:
                cure = "set tokenizer_source: union (or base) if their vocabularies differ"
            raise UserError(
                f"'{place.inputs[number]}' has shape {list(other.shape)} in {models[number].ref} and "
                f"{list(rows[0].shape)} in {models[0].ref}: {cure} ({config.where})"
            )


def _promoted(dtypes: Iterator[torch.dtype]) -> torch.dtype:
    found = next(dtypes)
    for dtype in dtypes:
        if 1 in (found.itemsize, dtype.itemsize) and dtype != found:  # torch cannot promote fp8
            found = max(found, dtype, torch.float16, key=lambda each: each.itemsize)
        else:
            found = torch.promote_types(found, dtype)
    return found


def _config(
    config: MergeConfig,
    donor: InputWeights,
    pieces: Sequence[OutputSlice],
    planned: Sequence[OutputTensor],
    untied: bool,
) -> dict[str, Any]:
    """The donor's configuration with the new depth and dtype."""
    content = dict(donor.checkpoint.config)
    kept = [layer.sources[0] for layer in output_layers(pieces)]
    # in models of several modules, the decoder's configuration is nested one level down
    inner = dict(content["text_config"]) if isinstance(content.get("text_config"), dict) else content
    for key in _DEPTH:
        if key in inner:
            for other, value in inner.items():
                if isinstance(value, list) and len(value) == inner[key] and len(value) == donor.layers:
                    # lists with one entry per layer, such as layer_types
                    inner[other] = [value[number] for number in kept]
            inner[key] = len(kept)
    if inner is not content:
        content["text_config"] = inner
    if "tie_word_embeddings" in content:
        content["tie_word_embeddings"] = content["tie_word_embeddings"] and not untied
    dtypes = {str(tensor.dtype).removeprefix("torch.") for tensor in planned if tensor.dtype.is_floating_point}
    if len(dtypes) == 1:
        content = with_dtype(content, dtypes.pop())
    ref = donor.ref
    if ref.override_architecture:
        content["architectures"] = [ref.override_architecture]
    return content
