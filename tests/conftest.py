"""Fixtures: tiny models and adapters with two layers, hidden size 32, random weights and a byte-level tokenizer."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Ray's workers import the tests' toy worker by name; they inherit the environment, not pytest's module path.
os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from evomerge.evaluation.judging.judge import Judge

TOKENIZER_LINES = (
    "CREATE TABLE employees (id INTEGER, name TEXT, salary REAL);",
    "Question: How many employees earn more than 100?",
    "SQL: SELECT COUNT(*) FROM employees WHERE salary > 100",
    "def add(a, b):\n    return a + b",
    '{"name": "Ada", "age": 36, "tags": ["x", "y"]}',
)
LINEAR_LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE of 300 tokens: any text round-trips; eos and pad are ``<|im_end|>`` (id 0)."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TOKENIZER_LINES, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|im_end|>", padding_side="left"
    )


@pytest.fixture(scope="session")
def pico_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Factory ``pico_model(seed=0, dtype="bfloat16", tied=True, **config) -> Path``: a Llama folder with a tokenizer.

    Calls with equal arguments share one folder, so a test must not write into it.
    """
    tokenizer = build_tokenizer()
    made: dict[str, Path] = {}

    def make(seed: int = 0, dtype: str = "bfloat16", tied: bool = True, **config: Any) -> Path:
        key = repr((seed, dtype, tied, sorted(config.items())))
        if key not in made:
            folder = tmp_path_factory.mktemp("pico") / "model"
            settings: dict[str, Any] = {
                "vocab_size": len(tokenizer),
                "hidden_size": 32,
                "intermediate_size": 64,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "num_key_value_heads": 2,
                "max_position_embeddings": 1024,
                "tie_word_embeddings": tied,
                "initializer_range": 0.1,
                "bos_token_id": tokenizer.eos_token_id,
                "eos_token_id": tokenizer.eos_token_id,
                "pad_token_id": tokenizer.pad_token_id,
            }
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                model = LlamaForCausalLM(LlamaConfig(**(settings | config))).to(getattr(torch, dtype))
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            made[key] = folder
        return made[key]

    return make


@pytest.fixture(scope="session")
def pico_adapter(tmp_path_factory: pytest.TempPathFactory, pico_model: Callable[..., Path]) -> Callable[..., Path]:
    """Factory ``pico_adapter(seed=1, base=None, r=4, size=0.3, **lora) -> Path``: a LoRA made and saved by peft.

    Both factors are random with standard deviation ``size`` (peft's own start is the zero update);
    ``base`` defaults to ``pico_model()``; ``lora`` goes to ``peft.LoraConfig``, for example ``use_rslora=True``.
    """
    made: dict[str, Path] = {}

    def make(seed: int = 1, base: Path | None = None, r: int = 4, size: float = 0.3, **lora: Any) -> Path:
        base = base or pico_model()
        key = repr((seed, base, r, size, sorted(lora.items())))
        if key not in made:
            folder = tmp_path_factory.mktemp("adapter") / f"lora{seed}"
            settings: dict[str, Any] = {"r": r, "lora_alpha": 2 * r, "target_modules": list(LINEAR_LAYERS)}
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                model = get_peft_model(
                    AutoModelForCausalLM.from_pretrained(base), LoraConfig(task_type="CAUSAL_LM", **(settings | lora))
                )
                for name, parameter in model.named_parameters():
                    if "lora_" in name:
                        torch.nn.init.normal_(parameter, std=size)
            model.save_pretrained(folder)
            made[key] = folder
        return made[key]

    return make


@pytest.fixture(scope="session")
def judge() -> Iterator[Judge]:
    """One warm judge for all tests."""
    with Judge() as judge:
        yield judge


@pytest.fixture(scope="session")
def fabricate() -> ModuleType:
    """Makes run folders without a model."""
    return importlib.import_module("fabricate")


@pytest.fixture(scope="session")
def finished(fabricate: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished search. Tests may write the report into it, nothing else."""
    return Path(fabricate.fabricate(tmp_path_factory.mktemp("runs") / "finished", budget=20))


@pytest.fixture(scope="session")
def interrupted(fabricate: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a search that has scored 5 candidates and chosen no winner."""
    return Path(fabricate.fabricate(tmp_path_factory.mktemp("runs") / "interrupted", budget=5, finished=False))
