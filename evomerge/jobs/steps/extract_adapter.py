"""Write the adapter of one extraction, and print what it holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from evomerge.engine.extract.extract import extract
from evomerge.engine.extract.plan import ExtractOptions
from evomerge.engine.extract.rank_selection import Progress as Step
from evomerge.engine.extract.result import Extraction
from evomerge.errors import UserError
from evomerge.jobs.steps.extraction_origin import Origin
from evomerge.report.extraction import extraction_table, left_out_lines
from evomerge.types import Recipe


def write_adapter(origin: Origin, out: Path, options: ExtractOptions) -> None:
    """Extract, then print a table of the layers, rank, size and error."""
    console = Console(highlight=False)
    with _bar(f"rank {options.rank}" if options.energy is options.parameters is None else "extract", console) as step:
        done = extract(origin.deltas, out, origin.base_name, options, step)
    console.print(extraction_table(done))
    print(summary(done))
    for line in left_out_lines(done):
        print(line)


def write_compressed(origin: Origin, out: Path, rank: int) -> None:
    """Compress the experts of a recipe, then merge; print rank and error.

    Raises:
        UserError: the merge does not stay in the adapters' factors.
    """
    from evomerge.engine.export import export_lora  # late: merge methods

    merger, recipe = origin.merger, origin.model
    assert merger is not None and isinstance(recipe, Recipe)
    if not merger.is_low_rank(recipe):
        raise UserError(
            f"extract.compress=true needs a merge of adapters in their factors, {recipe.method} of these experts is "
            "not: use a core_ method, or leave it out"
        )
    export = export_lora(merger, recipe, out, rank, compressed=True)
    print(f"rank {export.rank} adapter ({export.how}) written to {out}; relative error {export.relative_error:.4f}")


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
