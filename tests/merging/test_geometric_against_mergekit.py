"""Deterministic methods equal mergekit 0.1.5, and round once where it rounds at every step."""

from __future__ import annotations

import pytest
import torch
from mergekit.merge_methods.api import merge_tensors

from evomerge.errors import UserError
from evomerge.merging import METHODS, InMemoryParameter

SHAPES = ((7, 33), (64,), (1,), (5, 4, 9), (1, 40))
# ours, mergekit's, our parameters, mergekit's, number of experts, is there a base
CASES = {
    "linear": ("linear", "linear", {}, {}, 3, False),
    "linear sum": ("linear", "linear", {"average": "sum"}, {"normalize": False}, 3, False),
    "slerp": ("slerp", "slerp", {}, {}, 2, False),
    "nuslerp": ("nuslerp", "nuslerp", {}, {}, 2, False),
    "nuslerp base": ("nuslerp", "nuslerp", {}, {}, 2, True),
    "nuslerp last dimension": ("nuslerp", "nuslerp", {"flatten": False}, {"nuslerp_flatten": False}, 2, True),
    "nuslerp rows": (
        "nuslerp",
        "nuslerp",
        {"flatten": False, "row_wise": True},
        {"nuslerp_flatten": False, "nuslerp_row_wise": True},
        2,
        True,
    ),
    "nuslerp rows, no base": (
        "nuslerp",
        "nuslerp",
        {"flatten": False, "row_wise": True},
        {"nuslerp_flatten": False, "nuslerp_row_wise": True},
        2,
        False,
    ),
    "multislerp": ("multislerp", "multislerp", {}, {}, 3, False),
    "multislerp base": ("multislerp", "multislerp", {}, {}, 3, True),
    "multislerp plain weights": (
        "multislerp",
        "multislerp",
        {"normalize_weights": False},
        {"normalize_weights": False},
        4,
        True,
    ),
    "karcher": ("karcher", "karcher", {}, {}, 3, False),
    "karcher of many": ("karcher", "karcher", {"max_iter": 100, "tol": 1e-7}, {"max_iter": 100, "tol": 1e-7}, 6, False),
    "karcher, one step": ("karcher", "karcher", {"max_iter": 1}, {"max_iter": 1}, 4, False),
    "model_stock": ("model_stock", "model_stock", {}, {}, 3, True),
    "model_stock of two": ("model_stock", "model_stock", {}, {}, 2, True),
    "model_stock filters": ("model_stock", "model_stock", {"filter_wise": True}, {"filter_wise": True}, 3, True),
    "arcee_fusion": ("arcee_fusion", "arcee_fusion", {}, {}, 1, True),
    "nearswap": ("nearswap", "nearswap", {"t": 0.2}, {"t": 0.2}, 1, True),
    "nearswap tiny": ("nearswap", "nearswap", {"t": 3e-7}, {"t": 3e-7}, 1, True),
    "passthrough": ("passthrough", "passthrough", {"scale": -0.7}, {"scale": -0.7}, 1, False),
}
WEIGHTED = ("linear", "nuslerp", "multislerp")


def inputs(shape, experts: int, spread: float = 0.5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(sum(shape) + experts)
    base = torch.randn(shape, generator=generator)
    # a part in common: fine-tuned models lie in one direction from their base
    models = base + 0.4 * spread * torch.randn(shape, generator=generator)
    return base, models + spread * torch.randn(experts, *shape, generator=generator)


def weights_for(name: str, experts: int) -> torch.Tensor:
    if name == "slerp":
        return torch.tensor([0.7, 0.3])
    return torch.tensor([0.7, 0.2, 0.4, 0.1][:experts]) if name in WEIGHTED else torch.ones(experts)


def ours(name, values, base, models, weights) -> torch.Tensor:
    method = METHODS[name]
    return method(base, models - base if method.inputs == "deltas" else models, weights, **values)


def theirs(name, values, base, models, weights, **dtypes) -> torch.Tensor:
    tensors, base_index = list(models), None
    values = dict(values)
    if name == "slerp":
        values["t"], base_index = float(weights[1]), 0
    elif base is not None:
        tensors, base_index = [base, *tensors], 0
    if name in WEIGHTED:
        values["weight"] = weights.tolist()
    if name == "passthrough":
        values["scale"] = [values["scale"]]
    return merge_tensors(tensors, name, parameters=values, base_index=base_index, **dtypes)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("case", CASES)
def test_float32(case, shape):
    name, their_name, values, their_values, experts, has_base = CASES[case]
    base, models = inputs(shape, experts)
    weights, base = weights_for(name, experts), base if has_base else None
    found = ours(name, values, base, models, weights)
    expected = theirs(their_name, their_values, base, models, weights)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_float64(case):
    name, their_name, values, their_values, experts, has_base = CASES[case]
    base, models = inputs((9, 17), experts)
    base, models, weights = base.double(), models.double(), weights_for(name, experts).double()
    found = ours(name, values, base if has_base else None, models, weights)
    expected = theirs(their_name, their_values, base if has_base else None, models, weights)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("case", CASES)
def test_bfloat16_is_rounded_once(case):
    """mergekit's own float32 result, rounded; and at least as near to the exact result as its bfloat16 one."""
    name, their_name, values, their_values, experts, has_base = CASES[case]
    base, models = (tensor.bfloat16() for tensor in inputs((24, 50), experts, spread=0.05))
    weights = weights_for(name, experts)
    wide = base.float() if has_base else None
    found = ours(name, values, wide, models.float(), weights).bfloat16()
    given = (base if has_base else None, models, weights)
    rounded = theirs(their_name, their_values, *given, dtype=torch.float32, out_dtype=torch.bfloat16)
    differs = found != rounded
    assert differs.float().mean() < 0.01  # results that lie between two bfloat16 numbers may go either way
    torch.testing.assert_close(found, rounded, rtol=2**-7, atol=1e-6)
    exact = ours(name, values, base.double() if has_base else None, models.double(), weights.double())
    own = theirs(their_name, their_values, *given)
    assert (found - exact).norm() <= (own - exact).norm() * (1 + 1e-6)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("rows", [1, 3])
def test_blocks_of_rows_give_the_whole(case, rows):
    name, _, values, _, experts, has_base = CASES[case]
    method = METHODS[name]
    for shape in ((7, 33), (5, 4, 9)):
        base, models = inputs(shape, experts)
        stack = models - base if method.inputs == "deltas" else models
        weights, base = weights_for(name, experts), base if has_base else None
        blocks = torch.cat(list(method.over(InMemoryParameter(base, stack, rows=rows), weights, **values)))
        torch.testing.assert_close(blocks, method(base, stack, weights, **values), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["linear", "slerp", "nuslerp", "multislerp", "karcher", "model_stock"])
def test_weights_that_cancel_are_refused_and_zeros_need_a_base(name):
    models = torch.eye(2, 4)
    with pytest.raises(UserError, match=f"{name} divides by the sum of the weights"):
        METHODS[name](torch.ones(4), models, torch.tensor([0.5, -0.5]))
    if METHODS[name].inputs == "models":
        with pytest.raises(UserError, match="give an expert a weight"):
            METHODS[name](None, models, torch.zeros(2))


def test_multislerp_where_nobody_moved_gives_the_base():
    """mergekit refuses three equal models: their deltas have no direction."""
    base = torch.randn(5)
    merged = METHODS["multislerp"](base, torch.stack([base] * 3), torch.ones(3))
    assert torch.equal(merged, base)
    with pytest.raises(ValueError, match="zero"):
        theirs("multislerp", {}, base, torch.stack([base] * 3), torch.ones(3))


def test_multislerp_of_opposites():
    a = torch.tensor([3.0, 4.0])
    assert METHODS["multislerp"](None, torch.stack([a, -a]), torch.tensor([1.0, 1.0])).tolist() == [0.0, 0.0]
    with pytest.raises(UserError, match="no direction"):
        METHODS["multislerp"](None, torch.stack([a, -a, a, -a]), torch.ones(4))


def test_antiparallel_models_are_interpolated_along_the_line():
    a = torch.randn(100, generator=torch.Generator().manual_seed(0))
    pair = torch.stack([a, -2 * a])
    for values in ({}, {"flatten": False}, {"flatten": False, "row_wise": True}):
        merged = METHODS["nuslerp"](None, pair, torch.tensor([3.0, 1.0]), **values)
        torch.testing.assert_close(merged, 0.25 * a, rtol=1e-5, atol=1e-6)


def test_karcher_worked_example():
    """Of x (length 1) and y (length 3): half way and the mean length. With weights 2:1 a third of the way."""
    pair = torch.tensor([[1.0, 0.0], [0.0, 3.0]])
    torch.testing.assert_close(METHODS["karcher"](None, pair, torch.ones(2)), torch.full((2,), 2**0.5))
    third = METHODS["karcher"](None, pair, torch.tensor([2.0, 1.0]), max_iter=100, tol=1e-9)
    torch.testing.assert_close(third, 5 / 3 * torch.tensor([3**0.5 / 2, 0.5]))


def test_karcher_without_tolerance_ends_where_it_stands_still():
    pair = torch.eye(2)
    assert METHODS["karcher"](None, pair, torch.ones(2), tol=0.0).isfinite().all()
    assert METHODS["karcher"](None, torch.stack([pair[0], pair[0]]), torch.ones(2), tol=0.0).tolist() == [1.0, 0.0]


def test_karcher_of_opposites_is_finite():
    pair = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert METHODS["karcher"](None, pair, torch.ones(2)).isfinite().all()
    assert torch.equal(METHODS["karcher"](None, torch.zeros(3, 4), torch.ones(3)), torch.zeros(4))


def test_model_stock_worked_example():
    """Deltas of 60 degrees: t = 2 cos / (1 + cos) = 2/3 of their mean; at right angles the base."""
    base, deltas = torch.ones(2), torch.tensor([[1.0, 0.0], [0.5, 3**0.5 / 2]])
    merged = METHODS["model_stock"](base, deltas, torch.ones(2))
    torch.testing.assert_close(merged, base + 2 / 3 * deltas.mean(0))
    assert torch.equal(METHODS["model_stock"](base, torch.eye(2), torch.ones(2)), base)
    # tiny updates have an angle too, whichever option
    tiny = METHODS["model_stock"](torch.zeros(2), 1e-6 * deltas, torch.ones(2))
    torch.testing.assert_close(tiny, 2e-6 / 3 * deltas.mean(0), rtol=1e-5, atol=0)


def test_nearswap_worked_example():
    base = torch.tensor([1.0, 1.0, 1.0])
    merged = METHODS["nearswap"](base, torch.tensor([[0.05, -0.4, 0.0]]), torch.ones(1), t=0.1)
    torch.testing.assert_close(merged, torch.tensor([1.05, 0.9, 1.0]))


def test_arcee_fusion_worked_example():
    """One row changes far more than the others: only its entries are taken over."""
    base = torch.zeros(8, 4)
    delta = 0.01 * torch.randn(8, 4, generator=torch.Generator().manual_seed(1))
    delta[3] = torch.tensor([2.0, -2.0, 2.0, -2.0])
    merged = METHODS["arcee_fusion"](base, delta[None], torch.ones(1))
    assert torch.equal(merged[3], delta[3]) and int((merged != 0).any(1).sum()) < 8


def test_arcee_fusion_takes_exact_quartiles_of_large_parameters():
    """mergekit draws a sample above a million entries; ours are those that a sort gives."""
    generator = torch.Generator().manual_seed(0)
    base, delta = torch.randn(1100, 1000, generator=generator), 0.3 * torch.randn(1100, 1000, generator=generator)
    wide = base.double()
    p, q = (wide + delta).softmax(-1) + 1e-8, wide.softmax(-1) + 1e-8
    importance = delta.abs() * (p * (p / q).log()).sum(-1, keepdim=True).float()
    low, middle, high = importance.flatten().sort().values[[int(f * (delta.numel() - 1)) for f in (0.25, 0.5, 0.75)]]
    expected = base + delta * (importance >= middle + 1.5 * (high - low))
    merged = METHODS["arcee_fusion"](base, delta[None], torch.ones(1))
    assert int((merged != expected).sum()) <= 1
