"""Compare LoRA extraction by evomerge with mergekit-extract-lora on the same models.

    python benchmarks/extract.py [--model 160m] [--ranks 16 64] [--pairs 2] [--keep]

The script makes a Llama with random weights and a fine-tune of it in a temporary folder. The fine-tune adds a low-rank
change and noise; all weights are rounded to bfloat16. Both command lines then run on them in turn, with default
settings except the rank: on the processor, with torch's number of threads, singular values in float32, factors stored
in bfloat16.

Times are those of whole commands, from start to exit, as medians over the pairs; the ratio at the end compares them.
The output also gives each side's time on a tiny model, the ratio after subtracting it, and the time of mergekit without
embeddings, output head and norms, which it stores whole by default. Errors are those of the stored adapters over all
linear layers, relative to the best possible ones (full singular value decomposition). ``--keep`` writes
benchmarks/results/extract.json.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import torch
from kept_results import keep
from safetensors.torch import save_file
from transformers import LlamaConfig

from evomerge.weights.adapters.adapter import Adapter
from evomerge.weights.checkpoint import Checkpoint

# vocabulary, width, inner width, layers
MODELS = {"160m": (32000, 1024, 2816, 8), "30m": (8000, 512, 1408, 6), "tiny": (500, 128, 352, 2)}
CHANGE_RANK = 32
CHANGE, NOISE, WEIGHT = 4e-4, 1e-4, 0.02  # standard deviations


def make_models(size: str, folder: Path) -> tuple[Path, Path]:
    """Base and fine-tune, bfloat16."""
    vocabulary, width, inner, layers = MODELS[size]
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        num_key_value_heads=width // 64,
        tie_word_embeddings=False,
        architectures=["LlamaForCausalLM"],
        dtype="bfloat16",
    )
    shapes = {"model.embed_tokens.weight": (vocabulary, width), "lm_head.weight": (vocabulary, width)}
    shapes["model.norm.weight"] = (width,)  # type: ignore[assignment]
    for layer in range(layers):
        at = f"model.layers.{layer}"
        shapes |= {f"{at}.self_attn.{name}_proj.weight": (width, width) for name in "qkvo"}
        shapes |= {f"{at}.mlp.{name}_proj.weight": (inner, width) for name in ("gate", "up")}
        shapes[f"{at}.mlp.down_proj.weight"] = (width, inner)
        norms = {f"{at}.{name}_layernorm.weight": (width,) for name in ("input", "post_attention")}
        shapes |= norms  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(0)
    base, tuned = {}, {}
    for name, shape in shapes.items():
        weight = torch.ones(shape) if len(shape) == 1 else WEIGHT * torch.randn(shape, generator=generator)
        change = NOISE * torch.randn(shape, generator=generator)
        if len(shape) == 2 and "proj" in name:
            left = torch.randn(shape[0], CHANGE_RANK, generator=generator)
            # directions fade, as those of trained changes do
            left *= torch.arange(1, CHANGE_RANK + 1).float().rsqrt()
            low_rank = left @ torch.randn(CHANGE_RANK, shape[1], generator=generator)
            change += CHANGE * low_rank / low_rank.std()
        base[name], tuned[name] = weight.bfloat16(), (weight.bfloat16().float() + change).bfloat16()
    folders = folder / "base", folder / "tuned"
    for place, tensors in zip(folders, (base, tuned), strict=True):
        place.mkdir()
        config.save_pretrained(place)
        save_file(tensors, place / "model.safetensors", metadata={"format": "pt"})
    return folders


def timed(command: list[str], folder: Path) -> tuple[float, float]:
    """Seconds by the clock, and of processor time."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    # Where this is set, a checkout's modules are compiled at every start, those that pip compiled are not.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr[-3000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def commands_for(base: Path, tuned: Path, out: dict[str, Path], rank: int) -> dict[str, list[str]]:
    theirs = f"-m mergekit.scripts.extract_lora --model {tuned} --base-model {base} --out-path {out['theirs']}"
    ours = f"-m evomerge job=extract_lora base={base} model={tuned} out={out['ours']} rank={rank}"
    return {
        "theirs": [sys.executable, *theirs.split(), "--max-rank", str(rank)],
        "ours": [sys.executable, *ours.split()],
    }


def startup(folder: Path, pairs: int) -> dict[str, float]:
    """Seconds that either command takes on next to nothing."""
    folder.mkdir()
    out = {"theirs": folder / "theirs", "ours": folder / "ours"}
    commands = commands_for(*make_models("tiny", folder), out, 4)
    taken = [{who: timed(command, folder)[0] for who, command in commands.items()} for _ in range(pairs + 1)]
    del taken[0]  # modules are compiled in it
    return {who: statistics.median(seconds[who] for seconds in taken) for who in commands}


def same_modules(command: list[str]) -> list[str]:
    """The peer's command, extracting the linear layers alone."""
    return [*command, *(word for name in ("embed_tokens", "lm_head", "norm") for word in ("--exclude-regex", name))]


def weight_bytes(adapter: Path) -> int:
    return sum(file.stat().st_size for file in adapter.glob("*.safetensors"))


def linear_errors(base: Path, tuned: Path, adapter: Path, spectra: dict[str, torch.Tensor], rank: int) -> float:
    """Frobenius error of the stored adapter over that of the best one."""
    before, after = Checkpoint(base), Checkpoint(tuned)
    factors = Adapter(adapter).factors
    lost = best = 0.0
    for module, values in spectra.items():
        delta = after[f"{module}.weight"].float() - before[f"{module}.weight"].float()
        lost += float((delta - factors[module].dense()).double().square().sum())
        best += float(values[rank:].double().square().sum())
    return (lost / best) ** 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=MODELS, default="160m")
    parser.add_argument("--ranks", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/extract.json")
    given = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        base, tuned = make_models(given.model, folder)
        spectra = {}
        first, second = Checkpoint(base), Checkpoint(tuned)
        for name in first.names:
            if "proj" in name:
                delta = second[name].float() - first[name].float()
                spectra[name.removesuffix(".weight")] = torch.linalg.svdvals(delta)
        idle = startup(folder / "tiny", given.pairs)
        for rank in given.ranks:
            theirs, ours = folder / f"theirs-{rank}", folder / f"ours-{rank}"
            commands = commands_for(base, tuned, {"theirs": theirs, "ours": ours}, rank)
            seconds: dict[str, list[tuple[float, float]]] = {"theirs": [], "ours": []}
            for _ in range(given.pairs):
                for who, command in commands.items():
                    seconds[who].append(timed(command, folder))
            wall = {who: statistics.median(s for s, _ in own) for who, own in seconds.items()}
            cpu = {who: statistics.median(s for _, s in own) for who, own in seconds.items()}
            alone = {who: seconds - idle[who] for who, seconds in wall.items()}
            bytes_of = {"theirs": weight_bytes(theirs), "ours": weight_bytes(ours)}
            linear_seconds = timed(same_modules(commands["theirs"]), folder)[0]
            linear_bytes = weight_bytes(theirs)
            row = {
                "rank": rank,
                "seconds": {who: round(value, 2) for who, value in wall.items()},
                "processor_seconds": {who: round(value, 2) for who, value in cpu.items()},
                "megabytes": {who: round(value / 1e6, 2) for who, value in bytes_of.items()},
                "startup_seconds": {who: round(value, 2) for who, value in idle.items()},
                "speedup": round(wall["theirs"] / wall["ours"], 2),
                "speedup_without_startup": round(alone["theirs"] / alone["ours"], 1) if alone["ours"] > 0 else None,
                "linear_layers_alone": {
                    "seconds_theirs": round(linear_seconds, 2),
                    "megabytes_theirs": round(linear_bytes / 1e6, 2),
                    "speedup": round(linear_seconds / wall["ours"], 2),
                },
                "size_ratio": round(bytes_of["theirs"] / bytes_of["ours"], 2),
                "error_vs_optimum": round(linear_errors(base, tuned, ours, spectra, rank), 5),
            }
            rows.append(row)
            print(json.dumps(row), flush=True)
    worst = {
        "speedup": min(row["speedup"] for row in rows),
        "size_ratio": min(row["size_ratio"] for row in rows),
        "error_vs_optimum": max(row["error_vs_optimum"] for row in rows),
    }
    if given.keep:
        about = {
            "versions": {name: version(name) for name in ("evomerge", "mergekit", "torch")},
            "model": given.model,
            "pairs": given.pairs,
            "threads": torch.get_num_threads(),
        }
        keep("extract", {**about, "ranks": rows, "worst": worst})
    print(json.dumps(worst))


if __name__ == "__main__":
    main()
