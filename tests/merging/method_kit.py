"""Conformance checks for merge methods, as functions of a method.

``test_laws`` applies them to all registered methods, ``test_method_kit`` to methods with planted faults.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import Any

import torch

from evomerge.merging import InMemoryParameter, MergeMethod, Randomness, Range
from evomerge.merging.parameters import Choice, Domain
from evomerge.recipes.space import SearchSpace
from evomerge.search.distributions import distributions, on_grid
from evomerge.types import Expert

NAMES = ("sql", "code", "json")
SHAPES = ((24, 40), (64,), (5, 7, 3))
WEIGHTS = (0.7, 0.2, 0.4)
SMALL = (6, 11)
Values = dict[str, Any]


def count(method: MergeMethod) -> int:
    return min(3, method.max_experts or 3)


def settings(method: MergeMethod, density: float | None = None) -> Values:
    """Defaults, or a density for every expert parameter of that name."""
    values: Values = {name: (default,) * count(method) for name, (_, default) in method.expert_parameters.items()}
    if density is not None and "density" in values:
        values["density"] = tuple(density + 0.1 * t for t in range(count(method)))
    return values | {name: default for name, (_, default) in method.parameters.items()}


def probes(domain: Domain) -> list[Any]:
    """Values that are worth a try: the ends and the middle of a range, every choice."""
    if isinstance(domain, Range):
        middle = (domain.low * domain.high) ** 0.5 if domain.log else (domain.low + domain.high) / 2
        return [domain.low, round(middle) if domain.whole else middle, domain.high]
    return list(domain.values) if isinstance(domain, Choice) else [False, True]


def single_changes(method: MergeMethod) -> Iterator[Values]:
    """Every parameter at every probe, the others at their defaults (but for a density that drops entries)."""
    for name, (domain, _) in {**method.expert_parameters, **method.parameters}.items():
        for value in probes(domain):
            each = (value,) * count(method)
            yield settings(method, 0.4) | {name: each if name in method.expert_parameters else value}


def drawn_values(method: MergeMethod, seed: int) -> Values:
    """A probe for each parameter; experts differ."""
    rng = random.Random(f"{method.name} {seed}")
    values: Values = {
        name: tuple(rng.choice(probes(domain)) for _ in range(count(method)))
        for name, (domain, _) in method.expert_parameters.items()
    }
    return values | {name: rng.choice(probes(domain)) for name, (domain, _) in method.parameters.items()}


def cases(method: MergeMethod) -> list[Values]:
    """Parameter values that the laws are checked at: each probe by itself, and some draws of all at once."""
    return [*single_changes(method), *(drawn_values(method, seed) for seed in range(4))]


def shapes_and_values(method: MergeMethod) -> list[tuple[tuple[int, ...], Values]]:
    """Every shape with the defaults and with densities that drop entries; a small one with all other values."""
    usual = [settings(method), settings(method, 0.4)]
    return [*itertools.product(SHAPES, usual), *((SMALL, values) for values in cases(method))]


def tensors(method: MergeMethod, shape: tuple[int, ...], seed: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """A base and the experts' deltas (T, ...)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator), 0.3 * torch.randn(count(method), *shape, generator=generator)


def merge(method: MergeMethod, base, deltas, weights, names=NAMES, seed=0, **values: Any) -> torch.Tensor:
    randomness = Randomness(seed, tuple(names), "model.layers.0.weight")
    experts = deltas if method.inputs == "deltas" else base + deltas
    return method(base, experts, torch.tensor(weights), randomness=randomness, **values)


def cores(experts: int = 3, batch: tuple[int, ...] = (4,), rank: int = 5) -> torch.Tensor:
    """Core matrices (*batch, T, R, R) of LoRA experts of this rank."""
    generator = torch.Generator().manual_seed(5)
    size = experts * rank
    left = torch.randn(*batch, experts, size, rank, generator=generator)
    return left @ torch.randn(*batch, experts, rank, size, generator=generator)


def merge_cores(method: MergeMethod, stack: torch.Tensor, weights: torch.Tensor, order=(0, 1, 2), **values: Any):
    """A core-space merge; random numbers follow their experts through ``order``."""
    if method.draws:
        uniform = torch.rand(stack.shape, generator=torch.Generator().manual_seed(9))
        values["uniform"] = uniform[..., list(order), :, :]
    return method(method.prepare(stack), weights, **values)


def obeys(method: MergeMethod, law: str, values: Values | None = None) -> bool:
    """Whether the method has declared no exception from a law at these values."""
    shared = {name: default for name, (_, default) in method.parameters.items()}
    changed = [name for name, default in shared.items() if (values or {}).get(name, default) != default]
    return not {law, *(f"{law} with {name}" for name in changed)} & method.exceptions.keys()


def check_zero_weights(method: MergeMethod, shape: tuple[int, ...], values: Values) -> None:
    if not obeys(method, "zero", values):
        return
    base, deltas = tensors(method, shape)
    merged = merge(method, base, deltas, [0.0] * count(method), **values)
    assert torch.equal(merged, base)
    assert merged.data_ptr() != base.data_ptr()


def check_one_expert(method: MergeMethod, shape: tuple[int, ...]) -> None:
    """One expert at weight 1, with default parameters, is that expert."""
    if not obeys(method, "identity"):
        return
    base, deltas = tensors(method, shape)
    for chosen in range(count(method)):
        weights = [float(t == chosen) for t in range(count(method))]
        merged = merge(method, base, deltas, weights, **settings(method))
        torch.testing.assert_close(merged, base + deltas[chosen], rtol=1e-5, atol=1e-6)


def check_order(method: MergeMethod, shape: tuple[int, ...], values: Values) -> None:
    if not obeys(method, "order", values):
        return
    base, deltas = tensors(method, shape)
    weights, n = list(WEIGHTS[: count(method)]), count(method)
    expected = merge(method, base, deltas, weights, **values)
    for order in itertools.permutations(range(n)):
        moved = {k: tuple(v[t] for t in order) if k in method.expert_parameters else v for k, v in values.items()}
        names = [NAMES[t] for t in order]
        merged = merge(method, base, deltas[list(order)], [weights[t] for t in order], names, **moved)
        torch.testing.assert_close(merged, expected, rtol=1e-5, atol=1e-6)


def check_output(method: MergeMethod, shape: tuple[int, ...], values: Values) -> None:
    """Shape and dtype are the inputs', which are not written to; a repetition gives the same."""
    base, deltas = tensors(method, shape)
    before = base.clone(), deltas.clone()
    weights = list(WEIGHTS[: count(method)])
    merged = merge(method, base, deltas, weights, **values)
    assert merged.shape == base.shape and merged.dtype == torch.float32 and merged.isfinite().all()
    assert torch.equal(base, before[0]) and torch.equal(deltas, before[1]), "inputs are not to be written to"
    assert torch.equal(merged, merge(method, base, deltas, weights, **values))


def check_untouched(method: MergeMethod, values: Values) -> None:
    """Where no expert differs from the base, neither does the merge."""
    if not obeys(method, "untouched", values):
        return
    base, deltas = tensors(method, (24, 40))
    deltas[:, :12] = 0.0
    merged = merge(method, base, deltas, [0.5] * count(method), **values)
    if method.inputs == "deltas":
        assert torch.equal(merged[:12], base[:12])
    else:  # a sum of fractions of one value rounds
        torch.testing.assert_close(merged[:12], base[:12], rtol=1e-6, atol=1e-7)


def check_blocks(method: MergeMethod, rows: int, values: Values) -> None:
    """Blocks of rows give what the whole gives."""
    base, deltas = tensors(method, (24, 40))
    experts = deltas if method.inputs == "deltas" else base + deltas
    weights, randomness = torch.tensor(WEIGHTS[: count(method)]), Randomness(0, NAMES, "w")
    whole = method(base, experts, weights, randomness=randomness, **values)
    blocks = list(method.over(InMemoryParameter(base, experts, randomness, rows), weights, **values))
    assert len(blocks) == -(-24 // rows)
    torch.testing.assert_close(torch.cat(blocks), whole, rtol=1e-6, atol=1e-7)


def check_cores(method: MergeMethod, values: Values) -> None:
    """Core space: the laws of zero weights and of order, finite output, and stacks that give what each core gives."""
    stack, weights = cores(), torch.tensor(WEIGHTS)
    merged = merge_cores(method, stack, weights, **values)
    assert merged.shape == (4, 15, 15) and merged.dtype == stack.dtype and merged.isfinite().all()
    if obeys(method, "zero", values):
        assert torch.count_nonzero(merge_cores(method, stack, torch.zeros(3), **values)) == 0
    for order in itertools.permutations(range(3)) if obeys(method, "order", values) else ():
        moved = {k: tuple(v[t] for t in order) if k in method.expert_parameters else v for k, v in values.items()}
        found = merge_cores(method, stack[:, list(order)], weights[list(order)], order, **moved)
        torch.testing.assert_close(found, merged, rtol=1e-4, atol=1e-4)


def check_parts(method: MergeMethod) -> None:
    """Core space: the merge is the sum of weight x part, at any weights above 0, for methods that give parts."""
    if method.parts is None:
        return
    for number, batch in itertools.product((1, 2, 3), ((), (4,), (2, 3))):
        stack = cores(number, batch).double()
        generator = torch.Generator().manual_seed(7)
        parts = method.parts(method.prepare(stack))
        assert parts.shape == stack.shape
        for scale in (1e-3, 1.0):
            weights = scale * (0.1 + torch.rand(*batch, number, generator=generator, dtype=torch.float64))
            merged = method(method.prepare(stack), weights)
            torch.testing.assert_close((weights[..., None, None] * parts).sum(-3), merged, rtol=1e-6, atol=1e-9)


def check_every_parameter_changes_something(method: MergeMethod) -> None:
    """Each parameter has two values at which the merge differs, unless the method's exceptions name it."""
    for name, (domain, _) in {**method.expert_parameters, **method.parameters}.items():
        if name in method.exceptions:
            continue
        changes = any(
            not torch.equal(*(_double(method, scale, values | _one(method, name, value)) for value in pair))
            for values in (settings(method), settings(method, 0.4), *(drawn_values(method, seed) for seed in range(6)))
            for scale in (0.3, 1e-5)
            for pair in itertools.combinations(probes(domain), 2)
        )
        assert changes, f"{method.name}: no value of {name} changes the merge; drop it, or name it in exceptions"


def check_proposals(method: MergeMethod, number: int = 200) -> None:
    """What a sampler draws from the space of this method is a valid recipe; whole ranges give whole numbers."""
    experts = tuple(Expert(name, f"adapters/{name}") for name in NAMES[: count(method)])
    space = SearchSpace("base", experts, (method.name,), layer_groups=2)
    rng, schema = random.Random(method.name), {**method.expert_parameters, **method.parameters}
    for _ in range(number):
        drawn = {}
        for name, bounds in distributions(space.parameters).items():
            low, high, at = bounds.low, bounds.high, rng.random()
            drawn[name] = low * (high / low) ** at if bounds.log else low + (high - low) * at
        recipe = space.decode(on_grid(space.parameters, drawn))
        for name, value in (*recipe.expert_parameters.items(), *recipe.parameters.items()):
            if getattr(schema[name][0], "whole", False):
                assert all(float(one).is_integer() for one in (value if isinstance(value, tuple) else (value,)))


def _one(method: MergeMethod, name: str, value: Any) -> Values:
    return {name: (value,) * count(method) if name in method.expert_parameters else value}


def _double(method: MergeMethod, scale: float, values: Values) -> torch.Tensor:
    """A merge in float64, of deltas of this size, some of which are close to 0."""
    if method.space == "core":
        return merge_cores(method, cores().double(), torch.tensor(WEIGHTS, dtype=torch.float64), **values)
    base, deltas = tensors(method, SMALL)
    deltas = deltas.double() / 0.3 * scale
    deltas[:, ::2] **= 3
    weights = torch.tensor(WEIGHTS[: count(method)], dtype=torch.float64)
    randomness = Randomness(0, NAMES, "w")
    experts = deltas if method.inputs == "deltas" else base.double() + deltas
    return method(base.double(), experts, weights, randomness=randomness, **values)
