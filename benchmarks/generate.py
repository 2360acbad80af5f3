"""Compare greedy decoding by evomerge with transformers' ``generate``: same model, same prompts.

    python benchmarks/generate.py --model FOLDER [--items 64] [--batch 64] [--pairs 2]

Prompts are the shipped SQL and JSON validation items. Both sides stop at the same strings; ``generate`` gets its
prompts sorted by length and a stopping criterion per row. The benchmark uses one thread, measures processor time and
alternates runs, so that other load on the machine distorts little.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from evomerge.inference import attention
from evomerge.inference.answer_text import TextCodec
from evomerge.inference.backend import GenerationRequest
from evomerge.inference.generation import GreedyDecoder
from evomerge.inference.memory_limits import Limits
from evomerge.inference.plain_generation import generate_plainly

TASKS = Path(__file__).resolve().parent.parent / "tasks"


def requests_of(items: int) -> list[GenerationRequest]:
    """Half SQL, half JSON items, in the prompt formats of tasks/."""
    rows = {name: (TASKS / name / "validation.jsonl").read_text().splitlines() for name in ("sql", "json")}
    found = []
    for line in rows["sql"][: items // 2]:
        row = json.loads(line)
        prompt = f"{row['schema']}\n\nQuestion: {row['question']}\nSQL:"
        found.append(GenerationRequest(prompt, ("\n\n", ";", "\nQuestion:"), 64))
    for line in rows["json"][: items - items // 2]:
        found.append(GenerationRequest(f"{json.loads(line)['instruction']}\n\nJSON:", ("\n\n",), 96))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--items", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--profile", action="store_true", help="print where the decoder's time goes")
    given = parser.parse_args()
    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(given.model, dtype=getattr(torch, given.dtype)).eval()
    codec = TextCodec(AutoTokenizer.from_pretrained(given.model))
    requests = requests_of(given.items)

    def plain() -> list[str]:
        model.set_attn_implementation("sdpa")
        return generate_plainly(model, codec, requests, given.batch)

    def ours() -> list[str]:
        attention.install(model)
        return GreedyDecoder(model, codec, Limits(rows=given.batch)).generate(requests)

    if given.profile:
        with torch.profiler.profile() as profile:
            ours()
        print(profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=22, max_name_column_width=40))
    ratios = []
    for pair in range(given.pairs):
        seconds, answers = [], []
        for run in (plain, ours):
            start = time.process_time()
            answers.append(run())
            seconds.append(time.process_time() - start)
        same = sum(a == b for a, b in zip(*answers, strict=True))
        ratios.append(seconds[0] / seconds[1])
        print(
            f"pair {pair}: generate {seconds[0]:.1f} s, ours {seconds[1]:.1f} s, ratio {ratios[-1]:.2f}, "
            f"equal answers {same} of {len(requests)}",
            flush=True,
        )
    print(json.dumps({"speedup_vs_generate": round(statistics.median(ratios), 2)}))


if __name__ == "__main__":
    main()
