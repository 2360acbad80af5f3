"""Latency: order of the models, answers and measured quantities; no test asserts a time."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from evomerge.errors import UserError
from evomerge.inference.serving.latency import measure, median_interval
from evomerge.inference.serving.latency_settings import LatencySettings
from evomerge.inference.serving.model_size import peak_memory, served_size
from evomerge.inference.serving.served_model import ADAPTER, ALONE, MIXED, SWITCHING, ServedModel, Serving

PROMPTS = torch.randint(300, (5, 12), generator=torch.Generator().manual_seed(7))
QUICK = LatencySettings(batch_sizes=[1, 3], prompt_tokens=6, new_tokens=3, rounds=2)


@pytest.fixture
def merged(pico_model) -> Serving:
    return Serving("merged", str(pico_model(seed=3)))


@pytest.fixture
def switched(pico_model, pico_adapter) -> Serving:
    return Serving("base + two", str(pico_model()), (str(pico_adapter(seed=1)), str(pico_adapter(seed=2))))


def test_models_answer_in_turns_and_every_way_has_its_row(merged, switched):
    turns = []
    found = measure([merged, switched], QUICK, lambda *turn: turns.append(turn))
    contenders = [("merged", ALONE), ("base + two", SWITCHING), ("base + two", MIXED)]
    assert turns == [(*who, batch, round_) for batch in (1, 3) for round_ in (0, 1) for who in contenders]
    assert [(row.name, row.way, row.batch) for row in found.rows] == [
        (*who, batch) for batch in (1, 3) for who in contenders
    ]
    assert found.left_out == {}
    for row in found.rows:
        for value in (row.first_token_ms, row.ms_per_token, row.tokens_per_second, row.ratio):
            assert 0 < value.low <= value.median <= value.high < math.inf
        if row.name == "merged":
            assert row.ratio.low == row.ratio.high == 1


def test_every_request_gets_its_own_adapters_answer(switched):
    alone = [
        ServedModel(Serving("one", switched.model, (folder,)), "float32").answer(PROMPTS, 8, ADAPTER).tokens
        for folder in switched.adapters
    ]
    assert not torch.equal(*alone)
    model = ServedModel(switched, "float32")
    for way in (SWITCHING, MIXED):
        for arrived in (0, 1):  # requests take the adapters in turn, over batches too
            tokens = model.answer(PROMPTS, 8, way, arrived).tokens
            assert tokens.tolist() == [alone[(arrived + row) % 2][row].tolist() for row in range(len(PROMPTS))], way


def test_groups_wait_for_those_before_them(switched):
    answered = ServedModel(switched).answer(PROMPTS, 4, SWITCHING)
    assert max(answered.first[0::2]) < min(answered.first[1::2])
    assert max(answered.first) < answered.total
    together = ServedModel(switched).answer(PROMPTS, 4, MIXED)
    assert len(set(together.first)) == 1


def test_the_end_token_ends_nothing(pico_model, tmp_path):
    """A model that by its own settings stops, and samples, at once."""
    plain = ServedModel(Serving("plain", str(pico_model()))).answer(PROMPTS, 6, ALONE).tokens
    shutil.copytree(pico_model(), tmp_path / "model")
    for name in ("config.json", "generation_config.json"):
        path = tmp_path / "model" / name
        settings = json.loads(path.read_text()) | {"eos_token_id": plain.unique().tolist()}
        path.write_text(json.dumps(settings | ({"do_sample": True} if name.startswith("generation") else {})))
    ended = ServedModel(Serving("ended", str(tmp_path / "model"))).answer(PROMPTS, 6, ALONE).tokens
    assert torch.equal(ended, plain) and plain.shape == (5, 6)


def test_sizes_are_those_on_disk(merged, switched):
    base, both = served_size(Serving("base", switched.model)), served_size(switched)
    model = AutoModelForCausalLM.from_pretrained(switched.model)
    assert base.parameters == model.num_parameters() == served_size(merged).parameters
    assert base.disk_bytes == (Path(switched.model) / "model.safetensors").stat().st_size
    files = [Path(folder) / "adapter_model.safetensors" for folder in switched.adapters]
    assert both.disk_bytes == base.disk_bytes + sum(file.stat().st_size for file in files)
    tensors = [tensor for file in files for tensor in load_file(file).values()]
    assert both.parameters == base.parameters + sum(tensor.numel() for tensor in tensors)


def test_what_peft_cannot_mix_is_left_out_and_said(pico_model, pico_adapter):
    dora = tuple(str(pico_adapter(seed=seed, use_dora=True)) for seed in (1, 2))
    found = measure([Serving("dora", str(pico_model()), dora)], QUICK)
    assert [(row.way, row.batch) for row in found.rows] == [(SWITCHING, 1), (SWITCHING, 3)]
    assert list(found.left_out) == ["dora: mixed batch"] and "DoRA" in found.left_out["dora: mixed batch"]


def test_memory_is_that_of_the_model(pico_model):
    small = Serving("small", str(pico_model()))
    large = Serving("large", str(pico_model(hidden_size=1024, intermediate_size=4096, num_hidden_layers=4)))
    taken = [peak_memory(serving, QUICK) for serving in (small, large)]
    more = served_size(large).disk_bytes - served_size(small).disk_bytes
    assert more > 100e6
    assert 0.9 * more < taken[1] - taken[0] < 4 * more


def test_an_adapter_of_another_base_is_refused(pico_model, pico_adapter):
    other = Serving("other", str(pico_model(hidden_size=64)), (str(pico_adapter()),))
    with pytest.raises(UserError, match="lora1"):
        measure([other], QUICK)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"batch_sizes": (4, 0)}, "latency.batch_sizes must be at least 1, got 0"),
        ({"batch_sizes": ()}, "latency.batch_sizes is empty"),
        ({"new_tokens": 1}, "latency.new_tokens must be at least 2, got 1"),
        ({"rounds": 0}, "latency.rounds must be at least 1, got 0"),
    ],
)
def test_settings_that_measure_nothing(settings, said):
    with pytest.raises(UserError, match=said):
        LatencySettings(**settings)


def test_a_context_that_is_too_short(merged):
    with pytest.raises(UserError, match="make 1025 tokens, and merged has a context of 1024"):
        measure([merged], LatencySettings(prompt_tokens=1000, new_tokens=25))


@pytest.mark.parametrize("n", range(1, 30))
def test_the_interval_holds_the_median_with_its_95_percent_and_is_the_narrowest(n):
    found = median_interval([float(value) for value in range(n)])
    skipped = int(found.low)
    assert found.high == n - 1 - skipped

    def missed(skip: int) -> float:
        """Twice the probability of at most ``skip`` heads."""
        return 2 * sum(math.comb(n, k) for k in range(skip + 1)) / 2**n

    assert missed(skipped) <= 0.05 or (n < 6 and skipped == 0)
    assert missed(skipped + 1) > 0.05
