"""Laws that hold for every registered merge method; a new one is tested by being registered."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import settings as run
from hypothesis import strategies as st

from evomerge.merging import METHODS, InMemoryParameter, MergeMethod, Randomness, Range

NAMES = ("sql", "code", "json")
SHAPES = ((24, 40), (64,), (5, 7, 3))
FULL = [name for name in METHODS if METHODS[name].space == "full"]
CORE = [name for name in METHODS if METHODS[name].space == "core"]


def obeying(law: str) -> list[str]:
    """Full-space methods that do not declare an exception from this law."""
    return [name for name in FULL if law not in METHODS[name].exceptions]


def count(method: MergeMethod) -> int:
    return min(3, method.max_experts or 3)


def settings(method: MergeMethod, density: float | None = None) -> dict:
    """Defaults, or a density for every expert parameter of that name."""
    values = {name: (default,) * count(method) for name, (_, default) in method.expert_parameters.items()}
    if density is not None and "density" in values:
        values["density"] = tuple(density + 0.1 * t for t in range(count(method)))
    return values | {name: default for name, (_, default) in method.parameters.items()}


def tensors(method: MergeMethod, shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(shape, generator=generator), 0.3 * torch.randn(count(method), *shape, generator=generator)


def merge(method: MergeMethod, base, deltas, weights, names=NAMES, seed=0, **values) -> torch.Tensor:
    randomness = Randomness(seed, tuple(names), "model.layers.0.weight")
    experts = deltas if method.inputs == "deltas" else base + deltas
    return method(base, experts, torch.tensor(weights), randomness=randomness, **values)


@pytest.mark.parametrize(("name", "shape"), itertools.product(obeying("zero"), SHAPES))
def test_zero_weights_give_the_base(name, shape):
    method = METHODS[name]
    base, deltas = tensors(method, shape)
    merged = merge(method, base, deltas, [0.0] * count(method), **settings(method, 0.4))
    assert torch.equal(merged, base)
    assert merged.data_ptr() != base.data_ptr()


@pytest.mark.parametrize(
    ("name", "shape", "chosen"),
    [(n, shape, t) for n in obeying("identity") for shape in SHAPES for t in range(count(METHODS[n]))],
)
def test_one_expert_at_weight_one_is_that_expert(name, shape, chosen):
    method = METHODS[name]
    base, deltas = tensors(method, shape)
    weights = [float(t == chosen) for t in range(count(method))]
    merged = merge(method, base, deltas, weights, **settings(method))
    torch.testing.assert_close(merged, base + deltas[chosen], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "shape"), itertools.product(obeying("order"), SHAPES))
def test_the_order_of_experts_changes_nothing(name, shape):
    method = METHODS[name]
    base, deltas = tensors(method, shape)
    weights, values, n = [0.7, 0.2, 0.4][: count(method)], settings(method, 0.4), count(method)
    expected = merge(method, base, deltas, weights, **values)
    for order in itertools.permutations(range(n)):
        moved = {k: tuple(v[t] for t in order) if k in method.expert_parameters else v for k, v in values.items()}
        names = [NAMES[t] for t in order]
        merged = merge(method, base, deltas[list(order)], [weights[t] for t in order], names, **moved)
        torch.testing.assert_close(merged, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "shape"), itertools.product(FULL, SHAPES))
def test_shape_dtype_inputs_and_repetition(name, shape):
    method = METHODS[name]
    base, deltas = tensors(method, shape)
    before = base.clone(), deltas.clone()
    weights = [0.7, 0.2, 0.4][: count(method)]
    merged = merge(method, base, deltas, weights, **settings(method, 0.4))
    assert merged.shape == base.shape and merged.dtype == torch.float32 and merged.isfinite().all()
    assert torch.equal(base, before[0]) and torch.equal(deltas, before[1]), "inputs are not to be written to"
    assert torch.equal(merged, merge(method, base, deltas, weights, **settings(method, 0.4)))
    assert not torch.equal(merged, base)


@run(max_examples=120, deadline=None, derandomize=True)
@given(
    name=st.sampled_from(FULL),
    shape=st.sampled_from(((1,), (17,), (1, 9), (9, 1), (6, 11), (3, 4, 5))),
    dtype=st.sampled_from((torch.float32, torch.float64)),
    seed=st.integers(0, 99),
    data=st.data(),
)
def test_laws_for_any_shape_weights_and_densities(name, shape, dtype, seed, data):
    method = METHODS[name]
    n = count(method)
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(shape, generator=generator, dtype=dtype)
    # multiples of 1/8: no entry is so small that it counts as unchanged, and adding them to a base rounds little
    deltas = torch.randint(-9, 10, (n, *shape), generator=generator).to(dtype) / 8
    values = settings(method)
    if "density" in values:
        values["density"] = tuple(data.draw(st.sampled_from((0.05, 0.4, 0.9, 1.0))) for _ in range(n))
    weights = [data.draw(st.sampled_from((0.1, 0.5, 1.0))) for _ in range(n)]
    merged = merge(method, base, deltas, weights, seed=seed, **values)
    assert merged.shape == base.shape and merged.dtype == dtype and merged.isfinite().all()
    if "zero" not in method.exceptions:
        assert torch.equal(merge(method, base, deltas, [0.0] * n, **values), base)
    if "identity" not in method.exceptions:
        chosen = data.draw(st.integers(0, n - 1))
        alone = merge(method, base, deltas, [float(t == chosen) for t in range(n)], **settings(method))
        torch.testing.assert_close(alone, base + deltas[chosen], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", FULL)
def test_a_scalar_is_merged_as_a_vector_of_one_entry(name):
    method = METHODS[name]
    base, deltas = tensors(method, (1,))
    for density, weight in itertools.product((1.0, 0.4), (0.7, 0.0)):
        values, weights = settings(method, density), [weight, 0.2, 0.4][: count(method)]
        merged = merge(method, base[0], deltas[:, 0], weights, **values)
        assert merged.shape == () and torch.equal(merged, merge(method, base, deltas, weights, **values)[0])


@pytest.mark.parametrize(("name", "shape"), itertools.product(FULL, ((0,), (0, 5), (5, 0), (3, 0, 2))))
def test_an_empty_parameter_stays_empty(name, shape):
    method = METHODS[name]
    base, deltas = tensors(method, shape)
    weights, values = [0.7, 0.2, 0.4][: count(method)], settings(method, 0.4)
    assert merge(method, base, deltas, weights, **values).shape == shape
    blocks = method.over(InMemoryParameter(base, deltas, Randomness(0, NAMES, "w"), 2), torch.tensor(weights), **values)
    assert sum(len(block) for block in blocks) == shape[0]


@pytest.mark.parametrize("name", FULL)
def test_the_strides_of_the_inputs_change_nothing(name):
    method = METHODS[name]
    base, deltas = tensors(method, (24, 40))
    turned = base.T.contiguous().T, deltas.transpose(1, 2).contiguous().transpose(1, 2)
    weights, values = [0.7, 0.2, 0.4][: count(method)], settings(method, 0.4)
    found = merge(method, *turned, weights, **values)
    torch.testing.assert_close(found, merge(method, base, deltas, weights, **values), rtol=1e-6, atol=1e-7)


REDUCTIONS = {
    "dare_linear": "task_arithmetic",
    "della_linear": "task_arithmetic",
    "breadcrumbs": "task_arithmetic",
    "dare_ties": "ties",
    "della": "ties",
    "breadcrumbs_ties": "ties",
}


@pytest.mark.parametrize(
    ("name", "average"),
    [(name, average) for name in REDUCTIONS for average in METHODS[name].parameters["average"][0].values],
)
def test_density_one_leaves_the_sum_or_the_election(name, average):
    base, deltas = tensors(METHODS[name], (9, 11))
    for rescale in ("none", "density", "l1"):
        found = merge(METHODS[name], base, deltas, [0.7, 0.2, -0.4], average=average, rescale=rescale, scale=0.8)
        expected = merge(METHODS[REDUCTIONS[name]], base, deltas, [0.7, 0.2, -0.4], average=average, scale=0.8)
        assert torch.equal(found, expected)


@pytest.mark.parametrize("name", obeying("untouched"))
def test_what_nobody_trained_stays(name):
    """Where no expert differs from the base, neither does the merge."""
    method = METHODS[name]
    base, deltas = tensors(method, (24, 40))
    deltas[:, :12] = 0.0
    merged = merge(method, base, deltas, [0.5] * count(method), **settings(method, 0.4))
    if method.inputs == "deltas":
        assert torch.equal(merged[:12], base[:12])
    else:  # a sum of shares of one value rounds
        torch.testing.assert_close(merged[:12], base[:12], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", FULL)
def test_relative_weights_are_declared_where_they_are(name):
    """``relative_weights`` is what lets the search space treat scaled weights as one model, so it has to be true."""
    method = METHODS[name]
    base, deltas = tensors(method, (24, 40))
    small, large = ([factor * w for w in (0.7, 0.2, 0.4)][: count(method)] for factor in (0.5, 1.0))
    same = torch.allclose(
        merge(method, base, deltas, small, **settings(method, 0.4)),
        merge(method, base, deltas, large, **settings(method, 0.4)),
        atol=1e-6,
    )
    assert same == method.relative_weights


@pytest.mark.parametrize("name", FULL)
def test_needs_base_is_declared_where_it_does(name):
    method = METHODS[name]
    base, deltas = tensors(method, (24, 40))
    weights, values = [0.6, 0.1, 0.2][: count(method)], settings(method)
    first = merge(method, base, deltas, weights, **values)
    second = merge(method, base + 1.0, deltas - 1.0, weights, **values)
    assert torch.allclose(first, second, atol=1e-5) != method.needs_base


@pytest.mark.parametrize(("name", "rows"), itertools.product(FULL, (1, 5)))
def test_blocks_give_what_the_whole_gives(name, rows):
    method = METHODS[name]
    base, deltas = tensors(method, (24, 40))
    experts = deltas if method.inputs == "deltas" else base + deltas
    weights, randomness = torch.tensor([0.7, 0.2, 0.4][: count(method)]), Randomness(0, NAMES, "w")
    values = settings(method, 0.3)
    whole = method(base, experts, weights, randomness=randomness, **values)
    blocks = list(method.over(InMemoryParameter(base, experts, randomness, rows), weights, **values))
    assert len(blocks) == -(-24 // rows)
    torch.testing.assert_close(torch.cat(blocks), whole, rtol=1e-6, atol=1e-7)


def cores(experts: int = 3, batch: tuple[int, ...] = (4,), rank: int = 5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    size = experts * rank
    left = torch.randn(*batch, experts, size, rank, generator=generator)
    return left @ torch.randn(*batch, experts, rank, size, generator=generator)


@pytest.mark.parametrize(("name", "batch"), itertools.product(CORE, ((), (4,), (2, 3))))
def test_core_zero_weights_give_the_base_and_one_expert_itself(name, batch):
    method, stack = METHODS[name], cores(batch=batch)
    state, values = method.prepare(stack), settings(method)
    zero = method(state, torch.zeros(3), **values)
    assert zero.shape == (*batch, 15, 15) and torch.count_nonzero(zero) == 0
    for t in range(3):
        merged = method(state, torch.eye(3)[t], **values)
        torch.testing.assert_close(merged, stack[..., t, :, :], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", CORE)
def test_core_order_of_experts_changes_nothing(name):
    method, stack, weights = METHODS[name], cores(), torch.tensor([0.7, 0.2, 0.4])
    values = settings(method)
    expected = method(method.prepare(stack), weights, **values)
    for order in itertools.permutations(range(3)):
        merged = method(method.prepare(stack[:, list(order)]), weights[list(order)], **values)
        torch.testing.assert_close(merged, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", CORE)
def test_core_stacks_are_the_same_as_one_by_one(name):
    method, stack = METHODS[name], cores()
    weights = torch.tensor([[0.7, 0.2, 0.4], [0.0, 0.5, 0.5], [0.0, 0.0, 0.9], [0.0, 0.0, 0.0]])
    merged = method(method.prepare(stack), weights, **settings(method))
    for n in range(4):
        alone = method(method.prepare(stack[n]), weights[n], **settings(method))
        torch.testing.assert_close(merged[n], alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", list(METHODS))
def test_every_method_says_what_it_is(name):
    method = METHODS[name]
    assert method.name == name and method.summary.endswith(".") and ":" in method.paper
    for domain, default in (*method.expert_parameters.values(), *method.parameters.values()):
        assert domain.check("x", default) == default
        if isinstance(domain, Range):
            assert domain.low < domain.high and domain.low <= default <= domain.high
            assert domain.check("x", domain.low) == domain.low and domain.check("x", domain.high) == domain.high
