"""A fine-tuned or merged model, or a recipe, and its base in; a LoRA adapter out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from evomerge.config import Config
from evomerge.engine.extract.deltas import Deltas, deltas_of_expert
from evomerge.engine.extract.extract import extract
from evomerge.engine.extract.plan import ExtractOptions
from evomerge.engine.extract.rank_selection import Progress as Step
from evomerge.engine.extract.result import Extraction
from evomerge.errors import UserError
from evomerge.files.overwrite_guard import output_path
from evomerge.jobs.steps.arguments import model_source, required
from evomerge.report.extraction import extraction_table, left_out_lines
from evomerge.types import Recipe
from evomerge.weights.adapters.adapter import Adapter
from evomerge.weights.checkpoint import Checkpoint
from evomerge.weights.quantized import plain_checkpoint
from evomerge.weights.sources import loadable, resolve
from evomerge.weights.task_vector import lora_vector

if TYPE_CHECKING:
    from evomerge.engine.merger import Merger


@dataclass(frozen=True)
class Origin:
    """What an adapter is extracted from: ``model`` is a folder (a checkpoint or an adapter) or a recipe."""

    deltas: Deltas
    base: Checkpoint
    base_name: str
    model: Path | Recipe
    merger: Merger | None = None

    @property
    def inputs(self) -> list[str]:
        """Names of all models that are read."""
        if isinstance(self.model, Path):
            return [str(self.base.path), str(self.model)]
        return [self.model.base, *(expert.source for expert in self.model.experts)]


def run(config: Config) -> None:
    """One adapter, or with ``ranks=[...]`` one for each rank, scored."""
    (out_name,) = required(config, "out")
    options = options_of(config)
    if config.extract.compress and config.recipe is None:
        raise UserError("extract.compress=true compresses the experts of a merge: give recipe=FILE instead of model=")
    origin = origin_of(config)
    if config.ranks:
        out = Path(out_name).expanduser()
        for rank in config.ranks:
            output_path(str(out / rank_name(rank)), origin.inputs)
        # Late: workers and tasks take seconds to load, and extraction alone needs none of them.
        from evomerge.jobs.steps.rank_curve import rank_curve

        rank_curve(config, origin, options, out)
        return
    out = output_path(out_name, origin.inputs)
    console = Console(highlight=False)
    if config.extract.compress:
        assert origin.merger is not None and isinstance(origin.model, Recipe)
        print(write_compressed(origin.merger, origin.model, out, options.rank))
        return
    done = extract_with_bar(origin, out, options, console)
    console.print(extraction_table(done))
    print(summary(done))
    for line in left_out_lines(done):
        print(line)


def rank_name(rank: int) -> str:
    """The folder of one rank's adapter among others."""
    return f"rank-{rank:03d}"


def write_compressed(merger: Merger, recipe: Recipe, out: Path, rank: int) -> str:
    """Compress the experts, then merge; says what came out."""
    from evomerge.engine.export import export_lora

    if not merger.is_low_rank(recipe):
        raise UserError(
            f"extract.compress=true needs a merge of adapters in their factors, {recipe.method} of these experts is "
            "not: use a core_ method, or leave it out"
        )
    export = export_lora(merger, recipe, out, rank, compressed=True)
    return f"rank {export.rank} adapter ({export.how}) written to {out}; relative error {export.relative_error:.4f}"


def origin_of(config: Config) -> Origin:
    """Opens base and model; wrong folders and bases are found here."""
    if config.recipe is not None:
        if config.model is not None or config.base is not None:
            raise UserError("recipe= names its own base and experts: leave out base= and model=")
        return _origin_of_recipe(config.recipe)
    base_name, model = required(config, "base", "model")
    source = model_source(base_name)
    base, folder = plain_checkpoint(resolve(source)), resolve(model_source(model))
    expert = (
        lora_vector(Adapter(folder), base)
        if (folder / "adapter_config.json").is_file()
        else plain_checkpoint(folder)
    )
    return Origin(deltas_of_expert(base, expert), base, loadable(source, base.folder), folder)


def _origin_of_recipe(file: str) -> Origin:
    # Late: merge methods and what goes with them, which a checkpoint needs none of.
    from evomerge.engine.extract.merge_into_deltas import deltas_of_merge
    from evomerge.engine.load_merger import recipe_merger
    from evomerge.recipes.recipe_yaml import load

    recipe = load(file)
    merger = recipe_merger(recipe)
    base_name = loadable(recipe.base, merger.base.folder)
    return Origin(deltas_of_merge(merger, recipe), merger.base, base_name, recipe, merger)


def options_of(config: Config) -> ExtractOptions:
    own = config.extract
    return ExtractOptions(
        rank=ExtractOptions.rank if config.rank is None else config.rank,
        energy=config.energy,
        parameters=None if config.parameters is None else int(config.parameters),
        max_rank=own.max_rank,
        svd=config.svd,
        embeddings=own.embeddings,
        norms=own.norms,
        biases=own.biases,
        added_tokens=own.added_tokens,
        include=tuple(own.include),
        exclude=tuple(own.exclude),
        distribute_scale=own.distribute_scale,
        sv_epsilon=own.sv_epsilon,
        correct_mean=own.correct_mean,
        device=config.backend.device or "cpu",
    )


def extract_with_bar(origin: Origin, out: Path, options: ExtractOptions, console: Console) -> Extraction:
    with _bar(f"rank {options.rank}" if options.energy is options.parameters is None else "extract", console) as step:
        return extract(origin.deltas, out, origin.base_name, options, step)


def summary(done: Extraction) -> str:
    """One line: rank, size, error.

    The adapter's numbers take two bytes each.
    """
    size = (done.folder / "adapter_model.safetensors").stat().st_size / 1e6
    return (
        f"rank {done.rank} adapter written to {done.folder}: {done.parameters:,} parameters, {size:.1f} MB; "
        f"relative error {done.relative_error:.4f}, {100 * done.kept:.1f} % of the change's energy kept"
    )


@contextmanager
def _bar(what: str, console: Console) -> Iterator[Step]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(bar, completed=done, total=total)
