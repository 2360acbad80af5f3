"""Draw paired differences: which recipes are better or worse than the reference, and where the items cannot tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from evomerge.report import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_differences(frame: pd.DataFrame, reference: str) -> Figure:
    """A panel per task, a row per model: the difference in percentage points with its 95 % interval.

    A row is coloured if its interval excludes 0.

    Args:
        frame: see :func:`evomerge.report.paired.differences`.
        reference: name of the reference, for the title.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels, models = list(frame["task"].unique()), list(frame["model"].unique())
    with style.figure_style():
        figure = Figure(figsize=(2.2 + 2.2 * len(panels), 1.5 + 0.34 * len(models)), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False).ravel()
        for ax, panel in zip(axes, panels, strict=True):
            ax.axvline(0, color=style.INK, linewidth=1)
            for row in frame[frame["task"] == panel].to_dict("records"):
                place = len(models) - 1 - models.index(row["model"])
                colour = style.WINNER if row["high"] < 0 else style.FRONT if row["low"] > 0 else style.MUTED
                ax.plot([100 * row["low"], 100 * row["high"]], [place, place], color=colour, linewidth=2)
                ax.plot([100 * row["difference"]], [place], "o", color=colour, markersize=6)
            ax.set_title(panel, fontsize=12)
            ax.margins(x=0.08)
        axes[0].set_yticks(range(len(models)), models[::-1])
        axes[0].set_ylim(-0.6, len(models) - 0.4)
        figure.supxlabel("difference in percentage points, 95 % interval", fontsize=11)
        figure.suptitle(f"Against {reference}", x=0.01, ha="left", fontsize=13, fontweight="bold")
    return figure
