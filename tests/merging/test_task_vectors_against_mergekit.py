"""Deterministic methods on task vectors equal mergekit 0.1.5."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mergekit.merge_methods.api import merge_tensors

from evomerge.merging import METHODS, InMemoryParameter, Randomness

SHAPES = ((1,), (64,), (7, 33), (1, 40), (5, 4, 9))
# Every sum of some of these is 0 or far from it, in any order of adding: no result hangs on the last bit of a divisor.
WEIGHTS = (0.0, 0.125, 0.25, 0.5, 1.0, -0.25)
CONSENSUS = ("ties", "dare_ties", "breadcrumbs_ties", "della")
SUMS = ("task_arithmetic", "dare_linear", "breadcrumbs", "della_linear")
TRIMMED = ("ties", "breadcrumbs", "breadcrumbs_ties")


@dataclass
class Case:
    """One merge in both vocabularies."""

    name: str
    weights: list[float]
    ours: dict[str, Any] = field(default_factory=dict)
    theirs: dict[str, Any] = field(default_factory=dict)


@st.composite
def cases(draw, names: tuple[str, ...], weights: tuple[float, ...] = WEIGHTS, rescale: bool = True) -> Case:
    name = draw(st.sampled_from(names))
    chosen = draw(st.lists(st.sampled_from(weights), min_size=1, max_size=4))
    normalize, factor = draw(st.booleans()), draw(st.sampled_from((1.0, 0.5, 1.7)))
    l1 = draw(st.booleans()) if rescale else False
    case = Case(
        name,
        chosen,
        {"average": "weight" if normalize else "sum", "scale": factor},
        {"weight": chosen, "normalize": normalize, "lambda": factor, "rescale": l1},
    )
    if name != "task_arithmetic":
        case.ours["rescale"] = "l1" if l1 else "none"
    if name in TRIMMED:
        each = st.sampled_from((0.01, 0.1, 0.5, 0.77, 0.995, 1.0))
        densities = draw(st.lists(each, min_size=len(chosen), max_size=len(chosen)))
        case.ours["density"], case.theirs["density"] = densities, densities
    if name in ("breadcrumbs", "breadcrumbs_ties"):
        gamma = draw(st.sampled_from((0.0, 0.01, 0.2, 0.6)))
        case.ours["gamma"] = case.theirs["gamma"] = [gamma] * len(chosen)
    return case


@st.composite
def chosen(draw) -> Case:
    """Methods without weights."""
    name = draw(st.sampled_from(("sce", "ram", "ramplus_tl")))
    weights = [1.0] * draw(st.integers(1, 4))
    if name == "sce":
        same = {"select_topk": draw(st.sampled_from((0.01, 0.3, 0.9, 1.0)))}
        return Case(name, weights, same | {"energy_floor": 1e-6}, same)
    same = {"epsilon": draw(st.sampled_from((1e-5, 0.05, 0.3, 9.0)))}
    if name == "ramplus_tl":
        same |= {"r": draw(st.sampled_from((0.0, 0.1, 0.8))), "alpha": draw(st.sampled_from((0.0, 0.2, 3.0)))}
    return Case(name, weights, same, same)


def tensors(shape: tuple[int, ...], experts: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Base and models, some entries of which nobody changed."""
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(shape, generator=generator)
    deltas = 0.3 * torch.randn(experts, *shape, generator=generator)
    return base, base + deltas * (torch.rand(shape, generator=generator) < 0.9)


def exact_tensors(shape: tuple[int, ...], experts: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Bfloat16 base and models whose differences are bfloat16 numbers too, all of different magnitude."""
    generator = torch.Generator().manual_seed(seed)
    size = torch.Size(shape).numel()
    magnitudes = torch.stack([torch.randperm(size, generator=generator) + 1 for _ in range(experts)])
    signs = torch.randint(0, 2, (experts, size), generator=generator) * 2 - 1
    base = torch.randint(-100, 101, (size,), generator=generator)
    models = (base + magnitudes * signs).view(experts, *shape)
    assert size <= 128 and models.abs().max() <= 256
    return base.view(shape).bfloat16() / 256, models.bfloat16() / 256


def merged(case: Case, base: torch.Tensor, models: torch.Tensor, rows: int | None = None) -> torch.Tensor:
    parameter = InMemoryParameter(base, models - base, Randomness(0, tuple("abcd"), "w"), rows)
    weights = torch.tensor(case.weights, dtype=base.dtype)
    return torch.cat(list(METHODS[case.name].over(parameter, weights, **case.ours)))


def mergekit(case: Case, base: torch.Tensor, models: torch.Tensor, **dtypes) -> torch.Tensor:
    return merge_tensors([base, *models], case.name, parameters=case.theirs, base_index=0, **dtypes)


ANY = st.one_of(cases(("task_arithmetic", *TRIMMED)), cases(("task_arithmetic", *TRIMMED)), chosen())


@settings(max_examples=300, deadline=None, derandomize=True)
@given(case=ANY, shape=st.sampled_from(SHAPES), rows=st.sampled_from((None, 1, 3)), seed=st.integers(0, 99))
def test_float32(case, shape, rows, seed):
    base, models = tensors(shape, len(case.weights), seed)
    torch.testing.assert_close(merged(case, base, models, rows), mergekit(case, base, models), rtol=1e-6, atol=1e-6)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(case=ANY, shape=st.sampled_from(SHAPES), seed=st.integers(0, 99))
def test_float64(case, shape, seed):
    base, models = (tensor.double() for tensor in tensors(shape, len(case.weights), seed))
    found = merged(case, base, models)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, mergekit(case, base, models), rtol=1e-9, atol=1e-9)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(case=ANY, shape=st.sampled_from(((8, 16), (120,), (1,), (5, 4, 6))), seed=st.integers(0, 99))
def test_bfloat16_is_mergekits_float32_result_rounded_once(case, shape, seed):
    base, models = exact_tensors(shape, len(case.weights), seed)
    found = merged(case, base.float(), models.float()).bfloat16()
    expected = mergekit(case, base, models, dtype=torch.float32, out_dtype=torch.bfloat16)
    assert (found != expected).sum() <= 1 + 0.01 * found.numel()  # sums between two numbers may go either way
    torch.testing.assert_close(found, expected, rtol=2**-7, atol=1e-6)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    case=st.one_of(cases(TRIMMED, rescale=False), cases(("task_arithmetic", "breadcrumbs"))),
    shape=st.sampled_from(((8, 16), (120,), (5, 4, 6))),
    seed=st.integers(0, 99),
)
def test_bfloat16_is_mergekits_bfloat16_result_but_for_its_roundings(case, shape, seed):
    base, models = exact_tensors(shape, len(case.weights), seed)
    wide, theirs = merged(case, base.float(), models.float()), mergekit(case, base, models)
    assert theirs.dtype == torch.bfloat16
    # it rounds the experts' parts, their sum, its quotient, its product with lambda and the result: half of 2^-7 each
    reach = base.float().abs() + (wide - base.float()).abs() * 2 + sum((m - base).float().abs() for m in models) * 4
    assert ((wide - theirs.float()).abs() <= 2**-7 * reach).all()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(case=cases((*CONSENSUS, *SUMS)), shape=st.sampled_from(SHAPES), seed=st.integers(0, 99))
def test_all_averages_at_density_one(case, shape, seed):
    """Nothing random is left then."""
    case.ours.pop("density", None), case.theirs.pop("density", None)
    base, models = tensors(shape, len(case.weights), seed)
    torch.testing.assert_close(merged(case, base, models), mergekit(case, base, models), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["dare_linear", "della_linear"])
def test_l1_rescale_of_random_masks_is_mergekits_in_the_mean(name):
    """Both keep the L1 norm of the whole delta, so a merge of one expert has that norm, whatever the mask."""
    base, models = tensors((40, 50), 1, 0)
    torch.manual_seed(0)
    case = Case(name, [1.0], theirs={"weight": [1.0], "density": [0.4]})
    ours = METHODS[name](
        base, models - base, torch.ones(1), randomness=Randomness(0, ("a",), "w"), density=[0.4], rescale="l1"
    )
    norm = (models[0] - base).abs().sum()
    for result in (ours, mergekit(case, base, models)):
        torch.testing.assert_close((result - base).abs().sum(), norm, rtol=1e-4, atol=0.0)
