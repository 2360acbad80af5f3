"""Kinds of models: answers equal transformers' generate, log-likelihoods equal those of one text at a time."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)
from transformers import PreTrainedTokenizerBase as Tokenizer
from transformers.cache_utils import DynamicCache

from evomerge.errors import UserError
from evomerge.inference.backend import GenerationRequest
from evomerge.inference.backends.hf import HFBackend
from evomerge.inference.probe_model import prepare
from evomerge.types import Artifact

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "initializer_range": 0.3,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "num_local_experts": 4}
LATENT = {"q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 4, "qk_nope_head_dim": 8, "v_head_dim": 8}
LINEAR = {"linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8}
DECODER = {"d_model": 32, "decoder_layers": 2, "decoder_attention_heads": 4, "decoder_ffn_dim": 64, "init_std": 0.3}
MIXED = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 12}

# Whether the fast decoder takes it, and its configuration.
KINDS: dict[str, tuple[bool, dict[str, Any]]] = {
    "llama": (True, SIZES | {"tie_word_embeddings": False}),
    "gpt2": (True, {"n_embd": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.3}),
    "gemma3_text": (True, SIZES | MIXED),
    "qwen2_moe": (True, SIZES | EXPERTS),
    "gpt_oss": (True, SIZES | EXPERTS | MIXED),
    "deepseek_v3": (True, SIZES | LATENT | {"num_key_value_heads": 4, "head_dim": 4, "first_k_dense_replace": 2}),
    # layers that share keys and values
    "gemma4_text": (
        False,
        SIZES
        | {"num_hidden_layers": 4, "num_kv_shared_layers": 2, "layer_types": 2 * MIXED["layer_types"]}
        | {"sliding_window": 12, "hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 300},
    ),
    "qwen3_next": (False, SIZES | EXPERTS | LINEAR | {"layer_types": ["linear_attention", "full_attention"]}),
    "mamba": (False, {"hidden_size": 32, "num_hidden_layers": 2, "initializer_range": 0.3}),
    # no attention mask at all
    "rwkv": (False, {"hidden_size": 32, "num_hidden_layers": 2, "attention_hidden_size": 32}),
    # positions are counted with the padding
    "bart": (False, DECODER),
    "opt": (True, {"hidden_size": 32, "ffn_dim": 64, "word_embed_proj_dim": 32, "init_std": 0.3} | SIZES),
}


@pytest.fixture(scope="module")
def tokenizer(pico_model: Callable[..., Path]) -> Tokenizer:
    return AutoTokenizer.from_pretrained(pico_model())


def random_model(kind: str, tokenizer: Tokenizer, **settings: Any) -> PreTrainedModel:
    special = {f"{name}_token_id": tokenizer.eos_token_id for name in ("bos", "eos", "pad")}
    config = AutoConfig.for_model(kind, vocab_size=len(tokenizer), **special, **settings)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).float().eval()
    model.generation_config = GenerationConfig(**special)
    return model


def backend_of(model: PreTrainedModel, tokenizer: Tokenizer, folder: Path) -> HFBackend:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    backend = HFBackend(folder, dtype="float32", batch_size=4)
    backend.load(Artifact(str(folder)))
    return backend


def prompts() -> list[str]:
    """On one schema and on none, from one token to more than the sliding windows hold."""
    rng = random.Random(0)
    found = ["x", "".join(rng.choices("how many é", k=7)), "".join(rng.choices("how many é", k=40))]
    for size in (3, 11, 11):
        found.append("CREATE TABLE people (id, age);\n\nQuestion:" + "".join(rng.choices("how many x", k=size)))
    return found


def generated(model: PreTrainedModel, tokenizer: Tokenizer, prompt: str, length: int) -> str:
    """transformers' own answer to one prompt."""
    inputs = tokenizer(prompt, return_tensors="pt")
    given = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    answer = model.generate(**given, max_new_tokens=length, do_sample=False)[0, inputs.input_ids.shape[1] :].tolist()
    ends = model.generation_config.eos_token_id
    return str(tokenizer.decode([t for t in answer if t not in (ends if isinstance(ends, list) else [ends])]))


def loglikelihood(model: PreTrainedModel, tokenizer: Tokenizer, context: str, continuation: str) -> float:
    whole = tokenizer(context + continuation)["input_ids"]
    start = len(tokenizer(context)["input_ids"])
    with torch.inference_mode():
        found = model(input_ids=torch.tensor([whole[:-1]])).logits[0, start - 1 :].log_softmax(-1)
    return float(found.gather(-1, torch.tensor(whole[start:])[:, None]).sum())


@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_those_of_transformers(kind: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    fast, settings = KINDS[kind]
    model = random_model(kind, tokenizer, **settings)
    backend = backend_of(model, tokenizer, tmp_path)
    assert prepare(copy.deepcopy(model)).rows == fast
    wanted = [generated(model, tokenizer, prompt, 8) for prompt in prompts()]
    assert backend.generate([GenerationRequest(prompt, (), 8) for prompt in prompts()]) == wanted
    assert len(set(wanted)) > 3, "the model must not say the same to everything"
    pairs = [(prompt.rstrip(), " SELECT x") for prompt in prompts()]
    scores = [loglikelihood(model, tokenizer, *pair) for pair in pairs]
    assert [value for value, _ in backend.loglikelihood(pairs)] == pytest.approx(scores, abs=1e-3)


class Particular(LlamaForCausalLM):
    """As models with code of their own on the hub do, it takes no cache but transformers' default one."""

    def forward(self, input_ids=None, attention_mask=None, position_ids=None, logits_to_keep=0, cache=None, **rest):
        past = cache if cache is not None else rest.get("past_key_values")
        if past is not None and not isinstance(past, DynamicCache):
            raise TypeError(f"{type(past).__name__} is no DynamicCache")
        if cache is not None:
            rest["cache"] = cache
        return super().forward(input_ids, attention_mask, position_ids, logits_to_keep=logits_to_keep, **rest)


def test_a_model_that_takes_no_other_cache_keeps_its_own(tokenizer: Tokenizer) -> None:
    model = Particular(random_model("llama", tokenizer, **SIZES).config).eval()
    kernel = model.config._attn_implementation
    abilities = prepare(model)
    assert (abilities.rows, abilities.padding) == (False, True)
    assert model.config._attn_implementation == kernel


def test_an_encoder_is_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = random_model("bert", tokenizer, **SIZES)
    with pytest.raises(UserError, match=r"BertLMHeadModel is not causal.*is_decoder=true in config.json"):
        backend_of(model, tokenizer, tmp_path / "encoder")
    model = random_model("bert", tokenizer, is_decoder=True, **SIZES)
    backend = backend_of(model, tokenizer, tmp_path / "decoder")
    assert backend.generate([GenerationRequest("how many", (), 8)]) == [generated(model, tokenizer, "how many", 8)]


# A penalty is applied row by row; what else there is takes transformers' generate.
@pytest.mark.parametrize(
    ("settings", "fast"),
    [
        ({"repetition_penalty": 1.3}, True),
        ({"repetition_penalty": 1.0, "do_sample": True, "temperature": 0.7, "top_p": 0.8}, True),
        ({"eos_token_id": [0, *range(100, 130)]}, True),
        ({"no_repeat_ngram_size": 2}, False),
        ({"suppress_tokens": [*range(100, 130)]}, False),
        ({"repetition_penalty": 1.2, "min_new_tokens": 4}, False),
    ],
)
def test_the_folders_generation_config_holds(
    settings: dict[str, Any], fast: bool, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    model = random_model("llama", tokenizer, **SIZES)
    plain = [generated(model, tokenizer, prompt, 20) for prompt in prompts()]
    model.generation_config = GenerationConfig(**(model.generation_config.to_dict() | settings))
    backend = backend_of(model, tokenizer, tmp_path)
    assert prepare(copy.deepcopy(model)).rows == fast
    wanted = [generated(model, tokenizer, prompt, 20) for prompt in prompts()]
    assert backend.generate([GenerationRequest(prompt, (), 20) for prompt in prompts()]) == wanted
    assert (wanted == plain) == ("do_sample" in settings), "the setting must make a difference"


def test_a_broken_merge_answers_too(tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = random_model("llama", tokenizer, **SIZES)
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight.fill_(float("nan"))
    backend = backend_of(model, tokenizer, tmp_path)
    assert prepare(model).rows
    assert len(backend.generate([GenerationRequest(prompt, (), 3) for prompt in prompts()])) == len(prompts())
