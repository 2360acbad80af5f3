"""A fine-tuned or merged model, and its base, in; a LoRA adapter out."""

from __future__ import annotations

from pathlib import Path

from evomerge.config import Config
from evomerge.engine.export import extract_lora, loadable
from evomerge.errors import UserError
from evomerge.jobs.setup import model_source, required
from evomerge.weights.checkpoint import Checkpoint
from evomerge.weights.sources import resolve
from evomerge.weights.task_vector import open_task_vector


def run(config: Config) -> None:
    base_name, model, out = required(config, "base", "model", "out")
    if config.rank < 1:
        raise UserError(f"rank must be at least 1, got {config.rank}")
    source = model_source(base_name)
    base = Checkpoint(resolve(source))
    expert = open_task_vector(base, model_source(model))
    export = extract_lora(base, expert, Path(out), config.rank, loadable(source, base))
    print(f"rank {export.rank} adapter written to {out}; relative error {export.relative_error:.4f}")
    if export.left_out:
        print(f"not in it, because a LoRA on linear layers cannot hold them: {', '.join(export.left_out)}")
