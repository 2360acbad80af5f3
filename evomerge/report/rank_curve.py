"""What an adapter's rank buys: score kept against parameters, as table, CSV and figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from rich import box
from rich.table import Table

from evomerge.report import style
from evomerge.report.figures import save
from evomerge.types import Score
from evomerge.weights.files import write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito 2008


@dataclass(frozen=True)
class CurvePoint:
    """One adapter, scored.

    Attributes:
        rank: 0 for the base itself, None for the model that the adapters come from.
        how: ``truncated``; ``compressed`` (experts compressed, then merged); empty for base and model.
        parameters: stored numbers.
        megabytes: of the adapter's weights (10^6 bytes).
        relative_error: of the change, in Frobenius norm.
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
    """For the terminal: scores and 95 % intervals in percent."""
    tasks = list(points[0].scores)
    table = Table(box=box.SIMPLE_HEAD, title="Score against rank, % with 95 % interval", title_justify="left")
    for column in ("", "parameters", "MB", "relative error", *tasks):
        table.add_column(column, justify="right" if column else "left", no_wrap=not column)
    for point in points:
        cells = [f"{100 * s.mean:.1f} ({100 * s.low:.0f}-{100 * s.high:.0f})" for s in point.scores.values()]
        size = (f"{point.parameters:,}", f"{point.megabytes:.1f}") if point.rank else ("", "")
        error = f"{point.relative_error:.4f}" if point.rank else ""
        table.add_row(point.name, *size, error, *cells, style="bold" if point.rank is None else None)
    return table


def draw_curve(points: Sequence[CurvePoint]) -> Figure:
    """Score over the model's, against stored parameters; a line for each task, dashed where compressed first."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    model = next(point for point in points if point.rank is None)
    tasks = [task for task, score in model.scores.items() if score.mean]
    with style.figure_style():
        figure = Figure(figsize=(7.4, 4.8), layout="constrained")
        FigureCanvasAgg(figure)
        ax = figure.subplots()
        ax.axhline(1.0, color=style.MUTED, linewidth=1.2, zorder=1)
        for place, task in enumerate(tasks):
            for how in ("truncated", "compressed"):
                own = sorted((p for p in points if p.rank and p.how == how), key=lambda p: p.parameters)
                if own:
                    _line(ax, own, task, model.scores[task].mean, _COLOURS[place % len(_COLOURS)], how, place)
        ax.set_xscale("log", base=2)
        adapters = sorted({(p.parameters, p.rank) for p in points if p.rank and p.how == "truncated"})
        ax.set_xticks([size for size, _ in adapters], [f"{size / 1e6:.3g} M\nrank {rank}" for size, rank in adapters])
        ax.minorticks_off()
        ax.set_xlabel("parameters of the adapter")
        ax.set_ylabel("score / the model's own")
        ax.set_title("What a rank keeps")
        ax.legend(loc="lower right")
    return figure


def _line(
    ax: object, own: Sequence[CurvePoint], task: str, whole: float, colour: str, how: str, place: int
) -> None:
    scores = [point.scores[task] for point in own]
    kept = [score.mean / whole for score in scores]
    # Wilson intervals; several tasks at one size stand beside each other
    bars = [
        [(score.mean - score.low) / whole for score in scores],
        [(score.high - score.mean) / whole for score in scores],
    ]
    shift = 1.0 + 0.03 * place + (0.015 if how == "compressed" else 0.0)
    ax.errorbar(  # type: ignore[attr-defined]
        [point.parameters * shift for point in own], kept, yerr=bars, color=colour, marker="o", markersize=6,
        linewidth=1.8, elinewidth=1, capsize=3, linestyle="--" if how == "compressed" else "-",
        label=f"{task}{', compressed first' if how == 'compressed' else ''}",
    )


def write_curve(points: Sequence[CurvePoint], folder: Path) -> None:
    """``rank_curve.csv``, ``rank_curve.png`` and ``.svg``, each in one step."""
    write_text(folder / "rank_curve.csv", curve_frame(points).to_csv(index=False))
    save(draw_curve(points), folder / "rank_curve")
