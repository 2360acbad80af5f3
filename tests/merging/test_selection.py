"""SCE, RAM and RAM+ on examples computed by hand."""

from __future__ import annotations

import torch

from evomerge.merging import METHODS, InMemoryParameter

BASE = torch.full((4,), 10.0)
TWO = torch.tensor([[4.0, 1.0, 0.0, -1.0], [2.0, 1.0, 3.0, 2.0]])


def merged(name: str, deltas: torch.Tensor = TWO, weights: tuple[float, ...] = (1.0, 1.0), **values) -> list[float]:
    return METHODS[name](BASE, deltas, torch.tensor(weights), **values).tolist()


def close(found: list[float], expected: list[float]) -> bool:
    return torch.allclose(torch.tensor(found), torch.tensor(expected))


def test_sce():
    """Energies 18 and 18: equal. Signs of the sums +, +, +, +."""
    assert merged("sce") == [13.0, 11.0, 13.0, 12.0]
    # variances 1, 0, 2.25, 2.25: of the three that differ two are selected, with energies 1 and 13
    assert close(merged("sce", select_topk=0.7), [10.0, 10.0, 13.0, 12.0])
    agreeing = TWO.abs()
    assert close(merged("sce", agreeing, select_topk=0.7), [12 + 2 * 16 / 29, 10.0, 10 + 3.0, 10.0])
    assert merged("sce", select_topk=0.3) == [10.0] * 4, "int(0.3 * 3) entries"


def test_sce_weights_scale_the_deltas():
    scaled = merged("sce", TWO * torch.tensor([[0.5], [2.0]]), select_topk=0.7)
    assert close(merged("sce", weights=(0.5, 2.0), select_topk=0.7), scaled)


def test_sce_energy_floor_is_mergekits_guard():
    """Energies 16 and 4 a million times smaller: the paper weighs 4 to 1, mergekit sees too little to weigh."""
    deltas = torch.tensor([[4.0, 0.0, 0.0, 0.0], [2.0, 0.0, 0.0, 0.0]]) * 1e-4
    base = torch.zeros(4)
    for floor, expected in ((0.0, 3.6e-4), (1e-6, 3e-4)):
        found = METHODS["sce"](base, deltas, torch.ones(2), energy_floor=floor)
        torch.testing.assert_close(found[0], torch.tensor(expected))


def test_sce_where_nothing_differs():
    same = TWO[:1].expand(2, 4)
    assert close(merged("sce", same), (BASE + TWO[0]).tolist())
    assert merged("sce", same, select_topk=0.5) == BASE.tolist()


def test_ram():
    """Lone changes as they are, common ones averaged; 0.4 is none at epsilon 0.5."""
    deltas = torch.tensor([[4.0, 0.4, 0.0, -1.0], [2.0, 0.0, 3.0, 0.4]])
    assert merged("ram", deltas, epsilon=0.5) == [13.0, 10.0, 13.0, 9.0]
    assert close(merged("ram", deltas), [13.0, 10.4, 13.0, 9.7])
    assert close(merged("ram", deltas, (0.5, 1.0), epsilon=0.5), [12.0, 10.0, 13.0, 9.5])
    assert close(merged("ram", deltas, (0.0, 1.0), epsilon=0.5), [12.0, 10.0, 13.0, 10.0])


def test_ramplus():
    """Expert 1 changed one entry with the other and one alone, expert 2 one and two."""
    deltas = torch.tensor([[4.0, 0.0, 0.0, -1.0], [2.0, 5.0, 3.0, 0.0]])
    # 1 + 0.2 min(1 / 1, 0.7) and 1 + 0.2 min(1 / 2, 0.7)
    assert close(merged("ramplus_tl", deltas, r=0.2, alpha=0.7), [13.0, 15.5, 13.3, 8.86])
    assert merged("ramplus_tl", deltas, r=0.0) == merged("ram", deltas)


def test_statistics_are_those_of_the_whole_parameter():
    deltas = torch.randn(3, 12, 5, generator=torch.Generator().manual_seed(0))
    base, weights = torch.randn(12, 5, generator=torch.Generator().manual_seed(1)), torch.tensor([0.5, 1.0, -0.3])
    for name, values in (("sce", {"select_topk": 0.37}), ("ramplus_tl", {"epsilon": 0.4, "r": 0.7, "alpha": 9.0})):
        method = METHODS[name]
        whole = method(base, deltas, weights, **values)
        blocks = torch.cat(list(method.over(InMemoryParameter(base, deltas, rows=5), weights, **values)))
        torch.testing.assert_close(blocks, whole)
