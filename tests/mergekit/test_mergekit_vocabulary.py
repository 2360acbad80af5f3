"""The configuration of a merged model describes its tokenizer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from evomerge.jobs import merge


@pytest.fixture(scope="module")
def chatty(pico_model, tmp_path_factory) -> Path:
    """A fine-tune whose turns end with a token of its own, after a token that stands before it."""
    folder = tmp_path_factory.mktemp("chatty") / "model"
    tokenizer = AutoTokenizer.from_pretrained(pico_model(1))
    tokenizer.add_tokens(["<tool>"])
    tokenizer.add_special_tokens({"eos_token": "<|end|>"})
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}<|end|>{% endfor %}"
    model = AutoModelForCausalLM.from_pretrained(pico_model(1))
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model.config.eos_token_id = model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.max_new_tokens = 7
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def merged(folder: Path, base: Path, other: Path, **settings) -> Path:
    content = {
        "merge_method": "task_arithmetic",
        "base_model": str(base),
        "models": [{"model": str(other), "parameters": {"weight": 0.5}}],
        "dtype": "float32",
        **settings,
    }
    (folder / "merge.yaml").write_text(yaml.safe_dump(content))
    merge.run(merge.Settings(recipe=str(folder / "merge.yaml"), out=str(folder / "out")))
    return folder / "out"


def stated(folder: Path) -> list[int]:
    files = ("config.json", "generation_config.json")
    return [json.loads((folder / file).read_text())["eos_token_id"] for file in files]


def test_a_text_ends_where_the_chosen_tokenizer_ends_it(pico_model, chatty, tmp_path):
    out = merged(tmp_path, pico_model(), chatty, tokenizer_source=str(chatty))
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert tokenizer.eos_token == "<|end|>" and stated(out) == [tokenizer.eos_token_id] * 2
    assert json.loads((out / "generation_config.json").read_text())["max_new_tokens"] == 7
    assert AutoModelForCausalLM.from_pretrained(out)(torch.tensor([[tokenizer.eos_token_id]])).logits.shape[-1] == 302


@pytest.mark.parametrize("source", ["base", "union"])
def test_with_the_bases_tokenizer_it_ends_as_the_bases(pico_model, chatty, tmp_path, source):
    out = merged(tmp_path, pico_model(), chatty, tokenizer_source=source)
    assert stated(out) == [AutoTokenizer.from_pretrained(out).eos_token_id] * 2 == [0, 0]


def test_special_tokens_keep_their_meaning_at_other_numbers(pico_model, chatty, tmp_path):
    """The union starts with the base's tokens, whatever numbers they have there."""
    out = merged(tmp_path, chatty, pico_model(), tokenizer_source="union")
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert tokenizer.eos_token == "<|end|>" and stated(out) == [tokenizer.eos_token_id] * 2


def test_without_a_generation_config_of_its_own_it_ends_there_all_the_same(pico_model, chatty, tmp_path):
    (tmp_path / "bare").mkdir()
    for file in chatty.iterdir():
        if file.name != "generation_config.json":
            (tmp_path / "bare" / file.name).write_bytes(file.read_bytes())
    out = merged(tmp_path, pico_model(), tmp_path / "bare", tokenizer_source=str(tmp_path / "bare"))
    assert stated(out) == [AutoTokenizer.from_pretrained(out).eos_token_id] * 2
