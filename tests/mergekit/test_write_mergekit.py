"""Recipes written as mergekit YAML: mergekit's mathematics gives the same tensors, inside and outside the layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from mergekit.config import ConfigReader, InputSliceDefinition, MergeConfiguration, OutputSliceDefinition
from mergekit.merge_methods import get, merge_tensors
from mergekit.parameter_resolver import resolve_parameters
from torch import Tensor

from evomerge.engine.layer_groups import layer_group
from evomerge.errors import UserError
from evomerge.mergekit import ModelRef, dump, parse
from evomerge.merging.randomness import Randomness
from evomerge.merging.registry import METHODS
from evomerge.types import Expert, Recipe

LAYERS = 5
NAMES = (
    "model.embed_tokens.weight",
    *(f"model.layers.{i}.mlp.up_proj.weight" for i in range(LAYERS)),
    "model.norm.weight",
    "lm_head.weight",
)


def recipe(method: str, *weights: tuple[float, ...], each: dict[str, Any] | None = None, **shared: Any) -> Recipe:
    """A recipe with the method's defaults but for ``each`` and ``shared``; one row of weights a layer group."""
    experts = tuple(Expert(f"e{t}", f"e{t}") for t in range(len(weights[0])))
    return Recipe("base", experts, method, weights, expert_parameters=each or {}, parameters=shared)


SAME = [
    recipe("linear", (0.2, 0.5)),
    recipe("linear", (0.2, 0.5), (0.0, 0.0), (1.0, -0.3)),
    recipe("linear", (0.0, 0.0)),
    recipe("linear", (0.2, 0.5), average="sum"),
    recipe("slerp", (0.3, 0.9)),
    recipe("slerp", (0.3, 0.9), (1.0, 0.0), (0.5, 0.2), (0.1, 0.7)),
    recipe("task_arithmetic", (0.3, -0.9, 0.4), scale=0.5),
    recipe("task_arithmetic", (0.3, 0.9), (0.0, 0.0), (1.0, 0.0), average="weight", scale=0.5),
    recipe("task_arithmetic", *(((0.1 * i, 1.0 - 0.1 * i)) for i in range(8))),  # more groups than layers
    recipe("ties", (0.8, 0.8, 0.8), each={"density": (0.5, 0.3, 1.0)}),
    recipe("ties", (0.8, 0.0, 0.8), (0.0, 0.0, 0.0), (-0.5, -0.5, 0.0), each={"density": (0.5, 0.3, 0.9)}, scale=0.7),
    recipe("ties", (0.3, 0.8), each={"density": (0.5, 0.3)}, average="weight", scale=0.7),
    recipe("ties", (0.3, 0.8), (0.9, -0.1), each={"density": (0.5, 0.3)}, average="sum", rescale="l1"),
    recipe("ties", (0.3, 0.8), each={"density": (0.5, 0.3)}, average="sum", rescale="density"),
    recipe("ties", (0.3, 0.8), each={"density": (0.4, 0.4)}, average="weight", rescale="density"),
    recipe("ties", (0.25, 0.15), each={"density": (0.5, 0.3)}, rescale="density"),
    recipe("breadcrumbs", (0.3, 0.8), each={"density": (0.5, 0.3), "gamma": (0.1, 0.2)}, average="sum"),
    recipe("breadcrumbs_ties", (0.3, 0.8), each={"density": (0.5, 0.3)}, average="weight", rescale="none"),
    # densities that are multiples of 1/65536, which a mask has exactly
    recipe("dare_linear", (0.3, 0.8), each={"density": (0.5, 0.25)}),
    recipe("dare_linear", (0.3, 0.8), each={"density": (0.5, 0.25)}, average="weight", scale=1.5),
    recipe("dare_linear", (0.3, 0.8), each={"density": (0.5, 0.3)}, rescale="l1"),
    recipe("dare_ties", (0.5, 0.25), each={"density": (0.5, 0.25)}),
    recipe("dare_ties", (0.3, 0.8), each={"density": (0.5, 0.25)}, average="sum"),
    recipe("dare_ties", (0.3, 0.8), each={"density": (0.5, 0.5)}, average="weight"),
    recipe("nuslerp", (0.3, 0.8)),
    recipe("nuslerp", (0.3, 0.8), (0.6, 0.1), flatten=False, row_wise=True),
    recipe("multislerp", (0.3, 0.8, 0.5)),
    recipe("karcher", (1.0, 1.0, 1.0)),
    recipe("model_stock", (1.0, 1.0, 1.0), filter_wise=True),
    recipe("sce", (1.0, 1.0, 1.0), select_topk=0.4, energy_floor=1e-6),
    recipe("arcee_fusion", (1.0,)),
    recipe("nearswap", (1.0,), t=0.05),
    recipe("ram", (1.0, 1.0, 1.0), epsilon=0.05),
    recipe("ramplus_tl", (1.0, 1.0), r=0.3, alpha=0.5, epsilon=0.05),
    recipe("passthrough", (1.0,), scale=0.7),
]


@pytest.mark.parametrize("asked", SAME, ids=lambda r: r.method)
def test_mergekit_computes_the_same(asked: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    text = dump(asked, LAYERS)
    config = MergeConfiguration.model_validate(yaml.safe_load(text))
    assert (config.dtype, config.out_dtype) == ("float32", "bfloat16")
    for index, name in enumerate(NAMES):
        tensors = dict(
            zip(("base", *(e.source for e in asked.experts)), values(index, len(asked.experts)), strict=True)
        )
        randomness = Randomness(asked.seed, tuple(e.name for e in asked.experts), name)
        ours = by_evomerge(asked, name, list(tensors.values()), randomness)
        with monkeypatch.context() as patch:
            drawn = iter(range(len(asked.experts)))
            patch.setattr(torch, "bernoulli", lambda p: randomness.mask(next(drawn), p.shape, float(p.flatten()[0])))  # noqa: B023
            theirs = by_mergekit(config, name, tensors)
        torch.testing.assert_close(theirs, ours, rtol=1e-5, atol=1e-6, msg=lambda m: f"{name}: {m}\n{text}")  # noqa: B023


def values(index: int, experts: int) -> tuple[Tensor, ...]:
    """Base and experts of one parameter."""
    generator = torch.Generator().manual_seed(index)
    base = torch.randn(6, 8, generator=generator)
    return base, *(base + 0.3 * torch.randn(6, 8, generator=generator) for _ in range(experts))


def by_evomerge(asked: Recipe, name: str, tensors: list[Tensor], randomness: Randomness) -> Tensor:
    method = METHODS[asked.method]
    weights = torch.tensor(asked.weights[layer_group(name, len(asked.weights), LAYERS)])
    base, experts = tensors[0], torch.stack(tensors[1:])
    inputs = experts if method.inputs == "models" else experts - base
    return method(base, inputs, weights, randomness=randomness, **asked.expert_parameters, **asked.parameters)


def by_mergekit(config: MergeConfiguration, name: str, tensors: dict[str, Tensor]) -> Tensor:
    """One tensor as mergekit plans it: which slice, which t, which inputs in which order."""
    piece, t = place(config, name)
    models = [source.model for source in piece.sources]
    base = piece.base_model or config.base_model
    spec = get(config.merge_method).spec
    shared, each = resolve_parameters(
        spec,
        tensor_name=name,
        inputs=dict.fromkeys(models, name),
        sources=ConfigReader(config=config, t=t, slice_out=piece).parameter_sources,
        base_model=base,
        t=t,
    )
    per_model = {
        p.name: {str(model): given[p.name] for model, given in each.items() if p.name in given}
        for p in spec.input_parameters
    }
    return merge_tensors(
        [tensors[str(model)] for model in models],
        config.merge_method,
        parameters={**shared, **per_model},
        ids=[str(model) for model in models],
        base_index=models.index(base) if base in models else None,
    )


def place(config: MergeConfiguration, name: str) -> tuple[OutputSliceDefinition, float]:
    if config.models:
        sources = [
            InputSliceDefinition(model=m.model, layer_range=(0, LAYERS), parameters=m.parameters) for m in config.models
        ]
        assert config.base_model is None or config.base_model in [source.model for source in sources]
        layer = NAMES.index(name) - 1
        return OutputSliceDefinition(sources=sources), layer / (LAYERS - 1) if 0 <= layer < LAYERS else 0.0
    assert config.slices
    ranges = [piece.sources[0].layer_range for piece in config.slices]
    assert [layer for first, end in ranges for layer in range(first, end)] == list(range(LAYERS))
    layer = min(max(NAMES.index(name) - 1, 0), LAYERS - 1)
    return next(piece for piece in config.slices if layer < piece.sources[0].layer_range[1]), 0.0


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        (recipe("core_tsv", (0.5, 0.5)), "no method core_tsv"),
        (recipe("ties", (0.3, 0.8)), "average: count"),
        (recipe("ties", (0.3, 0.8), each={"density": (0.5, 0.3)}, average="weight", rescale="density"), "densities"),
        (recipe("slerp", (0.0, 0.0)), "needs a weight other than 0"),
        (recipe("model_stock", (1.0, 0.5)), "has no weights"),
        (recipe("sce", (1.0, 1.0)), "has energy_floor 1e-06, the recipe 0"),
        (recipe("della", (1.0, 0.5), each={"density": (0.5, 0.5)}, rescale="density", average="sum"), "probability"),
    ],
    ids=lambda value: value.method if isinstance(value, Recipe) else "",
)
def test_what_mergekit_cannot_say_is_refused(asked: Recipe, part: str) -> None:
    with pytest.raises(UserError, match=part) as caught:
        dump(asked, LAYERS)
    assert "\n" not in str(caught.value)


def test_models_are_named_so_that_mergekit_finds_them(tmp_path: Path) -> None:
    for folder in ("base", "full", "adapter", "a+b@c"):
        (tmp_path / folder).mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    experts = tuple(Expert(name, name) for name in ("full", "adapter", "a+b@c"))
    asked = Recipe("base", experts, "linear", ((0.1, 0.2, 0.3),))
    config = MergeConfiguration.model_validate(yaml.safe_load(dump(asked, 2, lambda name: str(tmp_path / name))))
    assert config.models
    found = [(m.model.model.path, m.model.lora.path if m.model.lora else None) for m in config.models]
    folder = str(tmp_path)
    assert found == [(f"{folder}/full", None), (f"{folder}/base", f"{folder}/adapter"), (f"{folder}/a+b@c", None)]
    with pytest.raises(UserError, match="cannot read 'pypi:x'"):
        dump(asked, 2, lambda name: "pypi:x")


def test_what_is_written_is_read_again() -> None:
    (config,) = parse(dump(recipe("ties", (0.8, 0.8), (0.0, 0.5)), LAYERS))
    (module,) = config.modules
    assert config.base_model == ModelRef("base")
    assert [piece.sources[0].layer_range for piece in module.slices] == [(0, 3), (3, 5)]
