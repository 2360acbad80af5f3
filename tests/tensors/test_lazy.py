"""Lazy matrices equal the same arithmetic on whole tensors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from evomerge.tensors import lazy
from evomerge.tensors.lazy import (
    Difference,
    InMemory,
    LastBlock,
    LazyMatrix,
    LowRank,
    Sum,
    Zeros,
    dense,
    difference,
    rebased,
    row_ranges,
)
from evomerge.weights.checkpoint import Checkpoint, Stored

CPU = torch.device("cpu")


def random(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def stored(folder: Path, name: str, tensor: torch.Tensor) -> Stored:
    save_file({"w": tensor, "v": tensor.clone()}, folder / f"{name}.safetensors")
    return Stored(Checkpoint(folder / f"{name}.safetensors"), "w")


def every_kind(dtype: torch.dtype) -> dict[str, tuple[LazyMatrix, torch.Tensor]]:
    """Each kind with what it stands for."""
    one, two = random(9, 7, dtype=dtype), random(9, 7, dtype=dtype, seed=1)
    longer = random(12, 7, dtype=dtype, seed=2)
    factors = LowRank(random(9, 3, seed=3), random(3, 7, seed=4))
    a, b = InMemory(one), InMemory(two)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    return {
        "in memory": (a, one),
        "low rank": (factors, factors.left @ factors.right),
        "zeros": (Zeros(a), torch.zeros(9, 7)),
        "sum with factors": (Sum(a, factors), one.to(wide) + factors.left.to(wide) @ factors.right.to(wide)),
        "sum": (Sum(a, Difference(b, a)), one.to(wide) + (two.to(wide) - one.to(wide))),
        "difference": (Difference(b, a), two.to(wide) - one.to(wide)),
        "difference to a shorter matrix": (Difference(InMemory(longer), a), longer[:9].to(wide) - one.to(wide)),
        "last block": (LastBlock(a, wide, CPU), one.to(wide)),
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64, torch.float8_e4m3fn])
@pytest.mark.parametrize("kind", list(every_kind(torch.float32)))
def test_rows_and_fill_give_the_same_arithmetic(kind, dtype, monkeypatch):
    matrix, expected = every_kind(dtype)[kind]
    assert matrix.shape == (9, 7) and matrix.dtype == expected.dtype
    tolerance = {} if "factors" in kind else {"rtol": 0, "atol": 0}
    plain = expected.float() if expected.dtype.itemsize == 1 else expected
    for start, stop in ((0, 9), (2, 5), (8, 9), (3, 3)):
        found = matrix.rows(start, stop)
        torch.testing.assert_close(found.to(plain.dtype), plain[start:stop], **tolerance)
        out = torch.full((stop - start, 7), torch.nan, dtype=torch.promote_types(plain.dtype, torch.float32))
        matrix.fill(out, start, stop)
        torch.testing.assert_close(out, plain[start:stop].to(out.dtype), **tolerance)
    positions = torch.tensor([0, 6, 7, 62, 31, 31])
    entries = matrix.entries(positions)
    assert (entries is None) == (kind in ("low rank", "zeros", "sum with factors", "sum"))
    if entries is not None:
        assert torch.equal(entries.to(plain.dtype), plain.reshape(-1)[positions])
    monkeypatch.setitem(lazy.BLOCK, "cpu", 16)  # two rows
    torch.testing.assert_close(dense(matrix).to(plain.dtype), plain, **tolerance)
    into = torch.empty(9, 7, dtype=torch.float64)
    assert dense(matrix, into) is into
    torch.testing.assert_close(into, plain.double(), **({"rtol": 1e-6, "atol": 1e-6} if tolerance else {}))


def test_entries_of_a_difference_do_not_mix_devices(tmp_path):
    """The base's blocks lie on an accelerator, here the meta device, the expert's parameter in its file."""
    one, two = random(5, 3), random(5, 3, seed=1)
    base = LastBlock(InMemory(two), torch.float32, torch.device("meta"))
    found = Difference(stored(tmp_path, "a", one), base).entries(torch.tensor([4, 2]))
    assert torch.equal(found, (one - two).reshape(-1)[[4, 2]])


def test_entries_of_a_stored_parameter(tmp_path):
    tensor = random(5, 3, dtype=torch.bfloat16)
    matrix = stored(tmp_path, "a", tensor)
    assert torch.equal(matrix.entries(torch.tensor([14, 0])), tensor.reshape(-1)[[14, 0]])


def test_scalars_and_vectors_are_one_block():
    one, two = torch.tensor(3.0, dtype=torch.bfloat16), torch.tensor(1.5, dtype=torch.bfloat16)
    scalar = Difference(InMemory(one), InMemory(two))
    assert scalar.shape == () and dense(scalar) == 1.5 and scalar.rows(0, 1) == 1.5
    vector = Sum(InMemory(torch.ones(5)), InMemory(torch.arange(5.0)))
    assert dense(vector).tolist() == [1, 2, 3, 4, 5] and vector.rows(1, 3).tolist() == [2, 3]
    assert list(row_ranges((1 << 20,), CPU)) == [(0, 1 << 20)] and list(row_ranges((), CPU)) == [(0, 1)]
    assert list(row_ranges((5, 1 << 16), CPU)) == [(0, 2), (2, 4), (4, 5)]


def test_a_sum_minus_its_base_is_its_delta(tmp_path):
    """No detour over the base's values, which are so large here that they would swallow the delta."""
    base = stored(tmp_path, "base", torch.full((4, 4), 1e8))
    factors = LowRank(random(4, 1), random(1, 4, seed=1))
    again = Stored(Checkpoint(tmp_path / "base.safetensors"), "w")  # another object, the same parameter
    assert difference(Sum(base, factors), again) is factors
    assert isinstance(difference(again, base), Zeros)
    other = stored(tmp_path, "other", torch.full((4, 4), 1e8))
    for left, right in ((Sum(base, factors), other), (other, base), (Stored(base.checkpoint, "v"), base)):
        assert isinstance(difference(left, right), Difference)
    assert not torch.equal(dense(difference(Sum(base, factors), other)), factors.dense())


def test_rebased_sums_read_the_base_elsewhere(tmp_path):
    base, factors = stored(tmp_path, "base", random(4, 4)), LowRank(random(4, 1), random(1, 4))
    shared = LastBlock(base, torch.float32, CPU)
    assert rebased(base, base, shared) is shared
    moved = rebased(Sum(base, factors), base, shared)
    assert isinstance(moved, Sum) and moved.base is shared and moved.delta is factors
    other = InMemory(random(4, 4))
    assert rebased(other, base, shared) is other
    assert difference(moved, shared) is factors and isinstance(difference(shared, shared), Zeros)


def test_several_differences_share_one_read_of_their_base():
    reads = []

    class Counting(InMemory):
        def rows(self, start, stop):
            reads.append((start, stop))
            return super().rows(start, stop)

    base = LastBlock(Counting(random(6, 4, dtype=torch.bfloat16)), torch.float32, CPU)
    experts = [difference(InMemory(random(6, 4, seed=seed)), base) for seed in (1, 2, 3)]
    for start, stop in ((0, 3), (3, 6)):
        for expert in experts:
            expert.rows(start, stop)
    assert reads == [(0, 3), (3, 6)]


def test_origin_and_release_reach_the_stored_matrices(tmp_path, monkeypatch):
    released = []
    monkeypatch.setattr(Checkpoint, "release", lambda self, name: released.append((self.path.stem, name)))
    base, expert = (stored(tmp_path, name, random(4, 4)) for name in ("base", "expert"))
    matrix = Difference(Sum(expert, LowRank(random(4, 1), random(1, 4))), base)
    assert matrix.origin == str(tmp_path / "expert.safetensors")
    assert InMemory(random(2, 2)).origin == "a model"
    matrix.release()
    assert released == [("expert", "w"), ("base", "w")]
