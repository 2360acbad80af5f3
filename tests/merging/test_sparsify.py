"""Exact selection by magnitude against its definition, and the statistics of random masks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from evomerge.errors import UserError
from evomerge.merging.block import Magnitudes, Memory
from evomerge.merging.magnitude_index import Cut, MagnitudeIndex
from evomerge.merging.randomness import Randomness, rounded_density
from evomerge.merging.sparsify import keep_largest as keep_block
from evomerge.merging.sparsify import keep_random, kept_count


def by_sorting(delta: torch.Tensor, density: float) -> torch.Tensor:
    """The definition: a stable sort by falling magnitude, the first max(1, int(density n)) stay."""
    flat = delta.reshape(-1)
    order = torch.argsort(flat.abs(), descending=True, stable=True)[: max(1, int(density * flat.numel()))]
    kept = torch.zeros_like(flat)
    kept[order] = flat[order]
    return kept.view(delta.shape)


def pieces(delta: torch.Tensor, size: int) -> list[torch.Tensor]:
    return list(delta.reshape(-1).split(size))


def keep_largest(delta: torch.Tensor, density: float, index: MagnitudeIndex, size: int = 10**9) -> torch.Tensor:
    """The whole delta trimmed, read and written in blocks of this size."""
    k = kept_count(density, delta.numel())
    cut: Cut | None = index.cut(pieces(delta, size), k) if k < delta.numel() else None
    starts = range(0, delta.numel(), size)
    kept = [keep_block(block, cut, start) for block, start in zip(pieces(delta, size), starts, strict=True)]
    return torch.cat(kept).view(delta.shape)


def deltas() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(48, 64, generator=generator)
    low_rank = 1e-3 * torch.randn(96, 4, generator=generator) @ torch.randn(4, 32, generator=generator)
    wide = normal * 10.0 ** torch.randint(-30, 30, normal.shape, generator=generator)
    return {
        "normal": normal,
        "low rank": low_rank,
        "bf16 (many ties)": normal.bfloat16().float(),
        "five values": torch.round(normal).clamp(-2, 2),
        "all equal": torch.full((7, 11), -0.25),
        "all zero": torch.zeros(30),
        "mostly zero": normal * (normal > 1.5),
        "denormals": normal * 1e-40,
        "many magnitudes": wide,
        "vector": normal[0],
        "one entry": torch.tensor([3.0]),
        "transposed": normal.T,
        "powers of two": 2.0 ** torch.randint(-4, 4, (40, 40), generator=generator),
    }


@pytest.mark.parametrize("kind", list(deltas()))
@pytest.mark.parametrize("density", [1e-9, 0.001, 0.05, 0.1, 0.33, 0.5, 0.9, 0.999, 1.0])
def test_keeps_what_a_stable_sort_keeps(kind, density):
    delta = deltas()[kind]
    before = delta.clone()
    expected = by_sorting(delta, density)
    for size in (10**9, 7):
        index = MagnitudeIndex.build(pieces(delta, size))
        assert torch.equal(keep_largest(delta, density, index, size), expected)
    assert torch.equal(delta, before)
    double = delta.double() * (1 + 2**-40)  # bits that float32 does not have
    index = MagnitudeIndex.build([double])
    assert torch.equal(keep_largest(double, density, index), by_sorting(double, density))


@pytest.mark.parametrize("kind", list(deltas()))
@pytest.mark.parametrize("precise", [False, True])
def test_kept_classes_give_the_same_cut_from_a_few_entries(kind, precise):
    delta = deltas()[kind]
    delta = delta.double() * (1 + 2**-40) if precise else delta
    flat, size = delta.reshape(-1), delta.numel()
    reads: list[int] = []  # entries of each read by position

    def entries(positions: torch.Tensor) -> torch.Tensor:
        reads.append(len(positions))
        return flat[positions]

    kept = Magnitudes(Memory(size))
    wanted = {1, 2, size // 7, size // 3, size // 2, size - 1}
    for k in sorted({k for k in wanted if 0 < k <= size}, key=lambda k: (k * 7) % 5):
        assert kept.cut(lambda: pieces(delta, 7), k, entries) == MagnitudeIndex.build([delta]).cut([delta], k), k
    if size > 1000 and kind in ("normal", "low rank", "many magnitudes"):
        assert max(reads) < size / 50


def test_classes_are_kept_only_where_memory_is_left():
    delta, memory = torch.randn(300, generator=torch.Generator().manual_seed(0)), Memory(500)
    whole: list[str] = []

    def blocks(name: str) -> list[torch.Tensor]:
        whole.append(name)
        return [delta]

    first, second = Magnitudes(memory), Magnitudes(memory)
    for k in (10, 20, 30, 40):
        for name, kept in (("first", first), ("second", second)):
            kept.cut(lambda name=name: blocks(name), k, lambda positions: delta[positions])
    # index, cut, classes; then only what has no classes is read whole for each further k
    assert whole.count("first") == 3 and whole.count("second") == 5
    unread = Magnitudes(Memory(10**6))
    for k in (10, 20, 30):
        unread.cut(lambda: blocks("no entries"), k)
    assert whole.count("no entries") == 4


def test_memory_gives_no_more_than_it_has():
    memory = Memory(10)
    assert memory.take(6) and not memory.take(5) and memory.take(4) and not memory.take(1)


def test_every_k_of_a_tensor_full_of_ties():
    delta = torch.tensor([0.5, -1.0, 0.5, 0.0, 1.0, -0.5, 2.0, 0.5, 0.0, -2.0])
    index = MagnitudeIndex.build([delta])
    for k in range(1, 11):
        density = (k + 0.5) / 10 if k < 10 else 1.0
        assert torch.equal(keep_largest(delta, density, index), by_sorting(delta, density)), k


def test_larger_density_keeps_all_that_a_smaller_one_keeps():
    delta = deltas()["bf16 (many ties)"]
    index = MagnitudeIndex.build([delta])
    kept = [keep_largest(delta, d, index) != 0 for d in (0.05, 0.1, 0.3, 0.7, 1.0)]
    assert all(bool((small <= large).all()) for small, large in itertools.pairwise(kept))


def test_index_is_small_and_counts_everything():
    delta = torch.randn(300, 400, generator=torch.Generator().manual_seed(0))
    index = MagnitudeIndex.build([delta])
    assert index.counts[-1] == delta.numel()
    assert (np.diff(index.bins) < 0).all()
    assert index.bins.nbytes + index.counts.nbytes < delta.numel() * 4 / 4


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_damaged_delta_is_refused(bad):
    with pytest.raises(UserError, match="must be finite"):
        MagnitudeIndex.build([torch.tensor([1.0, bad, 2.0])])


def test_dare_keeps_the_mean_and_the_density():
    delta = torch.ones(400, 500)
    for density in (0.05, 0.3, 0.5, 0.95):
        dropped = keep_random(delta, density, Randomness(0, ("sql",), "w"), 0) / rounded_density(density)
        n, noise = delta.numel(), (density * (1 - density) / delta.numel()) ** 0.5
        assert abs(torch.count_nonzero(dropped).item() / n - density) < 4 * noise
        assert abs(dropped.mean().item() - 1.0) < 4 * noise / density
        assert torch.allclose(dropped[dropped != 0], torch.tensor(1 / rounded_density(density)))


def test_dare_mean_over_seeds_is_the_delta():
    delta = torch.randn(64, generator=torch.Generator().manual_seed(0))
    total = sum(keep_random(delta, 0.5, Randomness(seed, ("sql",), "w"), 0) for seed in range(2000))
    torch.testing.assert_close(total / 1000, delta, rtol=0.12, atol=0.0)  # 5 standard errors of 1 / sqrt(2000)


def test_masks_are_nested_and_depend_on_names_only():
    shape = (31, 7)
    randomness = Randomness(3, ("sql", "code"), "layer.0")
    masks = [randomness.mask(0, shape, density) for density in (0.05, 0.3, 0.5, 0.99, 1.0)]
    assert all(bool((small <= large).all()) for small, large in itertools.pairwise(masks))
    assert masks[-1].all()
    assert torch.equal(masks[2], Randomness(3, ("code", "sql", "json"), "layer.0").mask(1, shape, 0.5))
    for other in (
        randomness.mask(1, shape, 0.5),
        Randomness(4, ("sql", "code"), "layer.0").mask(0, shape, 0.5),
        Randomness(3, ("sql", "code"), "layer.1").mask(0, shape, 0.5),
    ):
        agreement = (other == masks[2]).float().mean().item()
        assert 0.3 < agreement < 0.7


def test_masks_of_blocks_are_parts_of_the_whole_mask():
    randomness = Randomness(3, ("sql",), "layer.0")
    whole = randomness.mask(0, (1000,), 0.4)
    for start in (1, 15, 16, 17, 400, 999):
        assert torch.equal(randomness.at(start).mask(0, (1000 - start,), 0.4), whole[start:])
    assert torch.equal(randomness.uniform(0, (1000,)) < 0.4, whole)


def test_masks_are_the_same_on_every_machine():
    """Golden: a changed stream would silently change every DARE recipe ever published."""
    mask = Randomness(0, ("sql",), "w").mask(0, (24,), 0.5)
    assert "".join(str(int(bit)) for bit in mask) == "001011111110101100111111"


def test_a_mask_never_drops_everything():
    assert rounded_density(1e-12) == 1 / 65536 and rounded_density(0.5) == 0.5 and rounded_density(1.0) == 1.0
