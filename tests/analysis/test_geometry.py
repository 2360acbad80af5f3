"""Norms and overlaps of task vectors against their dense matrices."""

from __future__ import annotations

import pytest
import torch

from evomerge.analysis.geometry import layer_norms, layer_overlaps
from evomerge.engine.load_merger import merger_for
from evomerge.engine.merger import Merger
from evomerge.tensors.lazy import dense
from evomerge.types import Expert
from evomerge.weights.checkpoint import Checkpoint
from evomerge.weights.parameter_names import layer_index
from evomerge.weights.task_vector import checkpoint_vector


@pytest.fixture(scope="module")
def merger(pico_model, pico_adapter) -> Merger:
    return merger_for(str(pico_model()), tuple(Expert(f"e{n}", str(pico_adapter(n))) for n in (1, 2)))


def flat(merger: Merger, expert: str, layer: int) -> torch.Tensor:
    vector = merger.experts[expert]
    return torch.cat([dense(vector.delta(name)).flatten() for name in vector.names if layer_index(name) == layer])


def test_norms_and_cosines_are_those_of_the_dense_deltas(merger: Merger) -> None:
    norms, overlaps = layer_norms(merger), layer_overlaps(merger)
    assert list(norms.index) == list(overlaps["layer"]) == [0, 1]
    for layer in (0, 1):
        first, second = flat(merger, "e1", layer), flat(merger, "e2", layer)
        assert norms.loc[layer, "e1"] == pytest.approx(float(first.norm()), rel=1e-5)
        cosine = float(torch.nn.functional.cosine_similarity(first, second, dim=0))
        assert overlaps["cosine"][layer] == pytest.approx(cosine, abs=1e-5)


def test_random_adapters_overlap_by_chance_and_an_adapter_wholly_with_itself(merger: Merger) -> None:
    overlaps = layer_overlaps(merger)
    assert overlaps["chance"].between(4 / 64, 4 / 32).all()
    assert (overlaps["reads"] - overlaps["chance"]).abs().max() < 0.1
    one = merger.experts["e1"]
    twice = layer_overlaps(Merger(merger.base, {"a": one, "b": one}))
    for column in ("cosine", "reads", "writes"):
        assert twice[column].to_numpy() == pytest.approx(1, abs=1e-4)


def test_full_checkpoints_have_cosines_only(pico_model) -> None:
    base = Checkpoint(pico_model())
    full = {f"e{seed}": checkpoint_vector(base, Checkpoint(pico_model(seed=seed))) for seed in (1, 2)}
    overlaps = layer_overlaps(Merger(base, full))
    assert overlaps["cosine"].between(0.3, 0.7).all()  # both leave the same base, so half of each is common
    assert overlaps[["reads", "writes", "chance"]].isna().all(axis=None)
