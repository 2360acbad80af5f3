from __future__ import annotations

import copy
import random
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from evomerge.inference import attention
from evomerge.inference.answer_text import TextCodec
from evomerge.inference.backend import GenerationRequest
from evomerge.inference.batch_rows import RowModel
from evomerge.inference.generation import GreedyDecoder
from evomerge.inference.kv_cache import RowCache
from evomerge.inference.memory_limits import Limits
from evomerge.inference.next_token import argmax
from evomerge.inference.plain_generation import generate_plainly
from evomerge.inference.probe_model import prepare

Loaded = tuple[PreTrainedModel, PreTrainedTokenizerBase]


@pytest.fixture(scope="module")
def pico(pico_model: Callable[..., Path]) -> Loaded:
    folder = pico_model(dtype="float32", initializer_range=0.3)
    return AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)


def mixed_requests(seed: int) -> list[GenerationRequest]:
    """Questions on four schemas, some of them the same, and unrelated prompts from 1 to 90 characters."""
    rng = random.Random(seed)
    found = []
    for _ in range(4):
        schema = "".join(rng.choices("abc de(,)\n;", k=60))
        for _ in range(5):
            question = "".join(rng.choices("how many x", k=rng.randint(1, 30)))
            prompt = f"{schema}\n\nQuestion: {question}\nSQL:"
            found.append(GenerationRequest(prompt, (";", "e "), rng.choice([1, 12, 40])))
    found += [GenerationRequest("".join(rng.choices("how many é", k=rng.randint(1, 90))), (), 20) for _ in range(4)]
    rng.shuffle(found)
    return [*found, found[0]]


def one_by_one(loaded: Loaded, requests: list[GenerationRequest]) -> list[str]:
    """transformers' own ``generate``, without a batch, without stopping early."""
    model, tokenizer = loaded
    answers = []
    for request in requests:
        inputs = tokenizer(request.prompt, return_tensors="pt")
        output = model.generate(**inputs, max_new_tokens=request.max_new_tokens, do_sample=False)
        text = tokenizer.decode(output[0, inputs.input_ids.shape[1] :], skip_special_tokens=True)
        for stop in request.until:
            text = text.split(stop)[0]
        answers.append(text)
    return answers


@pytest.mark.parametrize(("seed", "rows", "tokens"), [(0, 3, 64), (1, 8, 500), (2, 64, 2000)])
def test_answers_equal_generate(pico: Loaded, seed: int, rows: int, tokens: int) -> None:
    model = copy.deepcopy(pico[0])
    attention.install(model)
    assert model.config._attn_implementation == attention.NAME
    requests = mixed_requests(seed)
    answers = GreedyDecoder(model, TextCodec(pico[1]), Limits(rows, tokens)).generate(requests)
    assert answers == one_by_one(pico, requests)
    assert len(set(answers)) > len(answers) // 2, "the model must not say the same to everything"


@pytest.mark.parametrize("kind", ["mistral", "qwen2", "gemma2", "gpt_neox"])
def test_other_architectures(kind: str, pico: Loaded) -> None:
    from transformers import Gemma2Config, GPTNeoXConfig, MistralConfig, Qwen2Config

    sizes = {
        "vocab_size": len(pico[1]),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "initializer_range": 0.3,
        "eos_token_id": 0,
        "pad_token_id": 0,
        "bos_token_id": 0,
    }
    config = {
        "mistral": lambda: MistralConfig(**sizes, num_key_value_heads=2, sliding_window=16),
        "qwen2": lambda: Qwen2Config(**sizes, num_key_value_heads=1),
        "gemma2": lambda: Gemma2Config(**sizes, num_key_value_heads=2, head_dim=8, sliding_window=16),
        "gpt_neox": lambda: GPTNeoXConfig(**sizes),
    }[kind]()
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    requests = mixed_requests(3)
    expected = one_by_one((copy.deepcopy(model), pico[1]), requests)
    assert prepare(model).rows
    assert GreedyDecoder(model, TextCodec(pico[1]), Limits(8, 256)).generate(requests) == expected


def test_a_recurrent_model_takes_the_plain_way(pico: Loaded) -> None:
    from transformers import MambaConfig

    config = MambaConfig(
        vocab_size=len(pico[1]), hidden_size=32, num_hidden_layers=2, eos_token_id=0, pad_token_id=0, bos_token_id=0
    )
    assert not prepare(AutoModelForCausalLM.from_config(config).eval()).rows
    requests = mixed_requests(4)
    assert generate_plainly(pico[0], TextCodec(pico[1]), requests, 5) == one_by_one(pico, requests)


def test_long_and_short_requests_together(pico: Loaded) -> None:
    model = copy.deepcopy(pico[0])
    model.config.max_position_embeddings = 4096
    attention.install(model)
    requests = [GenerationRequest("ab c" * 300, (), 30), *mixed_requests(5)]
    decoder = GreedyDecoder(model, TextCodec(pico[1]), Limits(8, 256, cache_tokens=1 << 12))
    assert decoder.generate(requests) == one_by_one(pico, requests)


def test_stored_prefixes_are_bounded(pico: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 30 schemas no more are held at a time than the limit allows, and none when all is done."""
    model = copy.deepcopy(pico[0])
    attention.install(model)
    schemas = [f"table {n:02} " * 6 + "\nQuestion: " for n in range(30)]
    requests = [GenerationRequest(schema + end, (), 4) for schema in schemas for end in "ab"]
    stored: weakref.WeakSet[RowCache] = weakref.WeakSet()
    most = 0

    def store(self: RowModel, *given: Any) -> None:
        nonlocal most
        original(self, *given)
        stored.update(row.stored.cache for row in given[0] if row.stored is not None)
        most = max(most, sum(cache.columns * cache.layers[0].keys.shape[0] for cache in stored))

    original = RowModel.store
    monkeypatch.setattr(RowModel, "store", store)
    decoder = GreedyDecoder(model, TextCodec(pico[1]), Limits(8, 256, cache_tokens=700))
    assert decoder.generate(requests) == one_by_one(pico, requests)
    assert 300 < most <= 700, "the longest prefixes are some 50 tokens, together 1500"
    assert not stored


def test_argmax_takes_the_first_of_equals() -> None:
    logits = torch.randn(5, 2048, generator=torch.Generator().manual_seed(0)).bfloat16()
    logits[0, [700, 100, 2000]] = 9.0
    logits[1, [512, 511]] = 9.0
    assert argmax(logits).tolist() == logits.float().argmax(-1).tolist()
    assert argmax(logits)[:2].tolist() == [100, 511]


def test_grouped_attention_equals_sdpa(pico: Loaded) -> None:
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(3, 4, 5, 8, generator=generator)
    key, value = (torch.randn(3, 2, 9, 8, generator=generator) for _ in range(2))
    kept = torch.ones(5, 9, dtype=torch.bool).tril(4)[None, None].expand(3, 1, 5, 9).clone()
    kept[1, :, :, :3] = False
    mask = torch.zeros(kept.shape).masked_fill_(~kept, torch.finfo(torch.float32).min)
    found, _ = attention.grouped_attention(torch.nn.Module(), query, key, value, mask, scaling=0.3)
    expected = torch.nn.functional.scaled_dot_product_attention(
        query, key.repeat_interleave(2, 1), value.repeat_interleave(2, 1), attn_mask=kept, scale=0.3
    )
    torch.testing.assert_close(found, expected.transpose(1, 2))
