"""Laws of all registered merge methods; registering a new method tests it."""

from __future__ import annotations

import itertools

import method_kit as kit
import pytest
import torch
from hypothesis import given
from hypothesis import settings as run
from hypothesis import strategies as st
from method_kit import NAMES, SHAPES, cores, count, merge, obeys, settings, tensors

from evomerge.merging import METHODS, InMemoryParameter, Randomness, Range

FULL = [name for name in METHODS if METHODS[name].space == "full"]
CORE = [name for name in METHODS if METHODS[name].space == "core"]


@pytest.mark.parametrize("name", FULL)
def test_zero_weights_give_the_base(name):
    for shape, values in kit.shapes_and_values(METHODS[name]):
        kit.check_zero_weights(METHODS[name], shape, values)


@pytest.mark.parametrize(("name", "shape"), itertools.product(FULL, SHAPES))
def test_one_expert_at_weight_one_is_that_expert(name, shape):
    kit.check_one_expert(METHODS[name], shape)


@pytest.mark.parametrize("name", FULL)
def test_the_order_of_experts_changes_nothing(name):
    for shape, values in kit.shapes_and_values(METHODS[name]):
        kit.check_order(METHODS[name], shape, values)


@pytest.mark.parametrize("name", FULL)
def test_shape_dtype_inputs_and_repetition(name):
    for shape, values in kit.shapes_and_values(METHODS[name]):
        kit.check_output(METHODS[name], shape, values)


@pytest.mark.parametrize(("name", "shape"), itertools.product(FULL, SHAPES))
def test_a_merge_differs_from_the_base(name, shape):
    method = METHODS[name]
    base, deltas = tensors(method, shape)
    assert not torch.equal(merge(method, base, deltas, [0.7, 0.2, 0.4][: count(method)], **settings(method, 0.4)), base)


@pytest.mark.parametrize("name", list(METHODS))
def test_every_parameter_changes_something(name):
    kit.check_every_parameter_changes_something(METHODS[name])


@pytest.mark.parametrize("name", list(METHODS))
def test_proposals_are_accepted(name):
    kit.check_proposals(METHODS[name])


@run(max_examples=120, deadline=None, derandomize=True)
@given(
    name=st.sampled_from(FULL),
    shape=st.sampled_from(((1,), (17,), (1, 9), (9, 1), (6, 11), (3, 4, 5))),
    dtype=st.sampled_from((torch.float32, torch.float64)),
    seed=st.integers(0, 99),
    data=st.data(),
)
def test_laws_for_any_shape_weights_and_parameters(name, shape, dtype, seed, data):
    method = METHODS[name]
    n = count(method)
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(shape, generator=generator, dtype=dtype)
    # multiples of 1/8: no entry is so small that it counts as unchanged, and adding them to a base rounds little
    deltas = torch.randint(-9, 10, (n, *shape), generator=generator).to(dtype) / 8
    values = {name: data.draw(st.sampled_from(kit.probes(domain))) for name, (domain, _) in method.parameters.items()}
    for name, (domain, _) in method.expert_parameters.items():
        likely = (0.05, 0.4, 0.9, 1.0) if name == "density" else kit.probes(domain)
        values[name] = tuple(data.draw(st.sampled_from(likely)) for _ in range(n))
    weights = [data.draw(st.sampled_from((0.1, 0.5, 1.0))) for _ in range(n)]
    merged = merge(method, base, deltas, weights, seed=seed, **values)
    assert merged.shape == base.shape and merged.dtype == dtype and merged.isfinite().all()
    if obeys(method, "zero", values):
        assert torch.equal(merge(method, base, deltas, [0.0] * n, **values), base)
    if obeys(method, "identity"):
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


@pytest.mark.parametrize("name", FULL)
def test_what_nobody_trained_stays(name):
    for values in (settings(METHODS[name]), *kit.cases(METHODS[name])):
        kit.check_untouched(METHODS[name], values)


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


@pytest.mark.parametrize("name", FULL)
def test_blocks_give_what_the_whole_gives(name):
    kit.check_blocks(METHODS[name], 1, settings(METHODS[name], 0.3))
    for values in (settings(METHODS[name], 0.3), *kit.cases(METHODS[name])):
        kit.check_blocks(METHODS[name], 5, values)


@pytest.mark.parametrize("name", CORE)
def test_core_laws_at_all_parameters(name):
    for values in (settings(METHODS[name]), *kit.cases(METHODS[name])):
        kit.check_cores(METHODS[name], values)


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


@pytest.mark.parametrize("name", CORE)
def test_weighted_parts_add_up_to_the_merge(name):
    kit.check_parts(METHODS[name])


@pytest.mark.parametrize("name", list(METHODS))
def test_every_method_says_what_it_is(name):
    method = METHODS[name]
    assert method.name == name and method.summary.endswith(".") and ":" in method.paper
    for domain, default in (*method.expert_parameters.values(), *method.parameters.values()):
        assert domain.check("x", default) == default
        if isinstance(domain, Range):
            assert domain.low < domain.high and domain.low <= default <= domain.high
            assert domain.check("x", domain.low) == domain.low and domain.check("x", domain.high) == domain.high
