"""Show what an adapter's rank buys: scores against parameters, as table, CSV and figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from rich import box
from rich.table import Table

from evomerge.files.small_files import write_text
from evomerge.report import style
from evomerge.report.figures import save
from evomerge.types import Score

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_KINDS = {  # label, colour and line by how
    "truncated": ("adapter, 95 % interval", style.FRONT, "-"),
    "compressed": ("experts compressed, then merged", style.WINNER, "--"),
}
_COLUMNS = 3
_LABELLED = 6  # number of ranks whose parameters fit the axis


@dataclass(frozen=True)
class CurvePoint:
    """One adapter with its scores.

    Attributes:
        rank: 0 for the base itself, None for the model that the adapters come from.
        how: ``truncated``; ``compressed`` (experts compressed, then merged); empty for base and model.
        parameters: stored numbers.
        megabytes: size of the adapter's weights (10^6 bytes).
        relative_error: error of the delta, relative, in Frobenius norm.
        scores: task -> score.
    """

    rank: int | None
    how: str
    parameters: int
    megabytes: float
    relative_error: float
    scores: Mapping[str, Score]

    @property
    def name(self) -> str:
        if self.rank is None:
            return "model"
        return f"rank {self.rank}{' compressed' if self.how == 'compressed' else ''}" if self.rank else "base"


def curve_frame(points: Sequence[CurvePoint]) -> pd.DataFrame:
    """A row for each adapter and task. ``kept`` is the score over the model's; ``low`` and ``high`` are 95 % bounds."""
    model = next(point for point in points if point.rank is None)
    rows = []
    for point in points:
        for task, score in point.scores.items():
            whole = model.scores[task].mean
            row = {
                "name": point.name,
                "rank": point.rank,
                "how": point.how,
                "parameters": point.parameters,
                "megabytes": round(point.megabytes, 3),
                "relative_error": round(point.relative_error, 6),
                "task": task,
                "score": round(score.mean, 6),
                "low": round(score.low, 6),
                "high": round(score.high, 6),
                "items": score.items,
                "kept": round(score.mean / whole, 6) if whole else None,
            }
            rows.append(row)
    return pd.DataFrame(rows)


def curve_table(points: Sequence[CurvePoint]) -> Table:
    """Table for the terminal: scores and 95 % intervals in percent, relative error; 80 columns with three tasks."""
    tasks = list(points[0].scores)
    table = Table(box=box.SIMPLE_HEAD, title="Score against rank, % with 95 % interval", title_justify="left")
    for column in ("", "params", "MB", "error", *tasks):
        table.add_column(column, justify="right" if column else "left", no_wrap=not column)
    for point in points:
        cells = [f"{100 * s.mean:.1f} ({100 * s.low:.0f}-{100 * s.high:.0f})" for s in point.scores.values()]
        size = (f"{point.parameters / 1e6:.3g} M", f"{point.megabytes:.1f}") if point.rank else ("", "")
        error = f"{point.relative_error:.3f}" if point.rank else ""
        table.add_row(point.name, *size, error, *cells, style="bold" if point.rank is None else None)
    return table


def draw_curve(points: Sequence[CurvePoint]) -> Figure:
    """Score over the model's, against stored parameters: a panel for each task; dashed where compressed first.

    A task that the model itself fails has no such ratio, and its panel says so.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    tasks = list(points[0].scores)
    columns = min(len(tasks), _COLUMNS)
    rows = -(-len(tasks) // columns)
    with style.figure_style():
        figure = Figure(figsize=(2.2 + 3.2 * columns, 1.3 + 3.3 * rows), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
        for ax, task in zip(panels, tasks, strict=False):
            _panel(ax, points, task)
        for ax in panels[len(tasks) :]:
            ax.set_visible(False)
        figure.suptitle("What a rank keeps of the model's score", x=0.01, ha="left", fontsize=13, fontweight="bold")
        for ax in panels[max(0, len(tasks) - columns) : len(tasks)]:
            ax.set_xlabel("rank, parameters" if _sized(points) else "rank")
        for ax in panels[::columns]:
            ax.set_ylabel("score / the model's own")
        drawn = [ax for ax, task in zip(panels, tasks, strict=False) if _whole(points, task)]
        if drawn:
            handles = drawn[0].get_legend_handles_labels()[0]
            figure.legend(handles=handles, loc="outside lower center", ncols=len(handles) if columns > 1 else 2)
    return figure


def _panel(ax: Axes, points: Sequence[CurvePoint], task: str) -> None:
    base = next(point for point in points if point.rank == 0).scores[task].mean
    whole = _whole(points, task)
    adapters = sorted({(p.parameters, p.rank) for p in points if p.rank and p.how == "truncated"})
    ax.set_title(task, fontsize=12)
    ax.set_xscale("log", base=2)
    labels = [f"{rank}\n{size / 1e6:.2g} M" if _sized(points) else str(rank) for size, rank in adapters]
    ax.set_xticks([size for size, _ in adapters], labels)
    ax.minorticks_off()
    ax.margins(x=0.12)
    if not whole:
        ax.text(0.5, 0.5, "the model itself scores 0", color=style.MUTED, ha="center", transform=ax.transAxes)
        return
    ax.axhline(1.0, color=style.INK, linewidth=1.2, zorder=1, label="the model")
    ax.axhline(base / whole, color=style.MUTED, linewidth=1.2, linestyle=":", zorder=1, label="the base")
    for how, (label, colour, line) in _KINDS.items():
        own = sorted((p for p in points if p.rank and p.how == how), key=lambda p: p.parameters)
        scores = [point.scores[task] for point in own]
        if not own:
            continue
        bars = [[(s.mean - s.low) / whole for s in scores], [(s.high - s.mean) / whole for s in scores]]
        ax.errorbar(
            # side by side, so that they do not cover each other
            [point.parameters * (1.0 if how == "truncated" else 1.07) for point in own],
            [score.mean / whole for score in scores],
            yerr=bars, color=colour, linestyle=line, label=label,
            marker="o", markersize=6, linewidth=1.8, elinewidth=1, capsize=3,
        )  # fmt: skip


def _whole(points: Sequence[CurvePoint], task: str) -> float:
    """The score of the model that the adapters come from."""
    return next(point for point in points if point.rank is None).scores[task].mean


def _sized(points: Sequence[CurvePoint]) -> bool:
    return len({point.rank for point in points if point.rank}) <= _LABELLED


def write_curve(points: Sequence[CurvePoint], folder: Path) -> None:
    """``rank_curve.csv``, ``rank_curve.png`` and ``.svg``, each in one step."""
    write_text(folder / "rank_curve.csv", curve_frame(points).to_csv(index=False))
    save(draw_curve(points), folder / "rank_curve")
