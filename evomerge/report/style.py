"""Colours and figure style (Okabe and Ito 2008, safe for colour-blind readers)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

INK = "#1f2933"
MUTED = "#7b8794"
DOMINATED = "#b8c0c8"
FRONT = "#0072b2"
ANCHOR = "#1f2933"
WINNER = "#d55e00"
GRID = "#e4e7eb"
WEIGHTS = "Blues"


@contextmanager
def figure_style() -> Iterator[None]:
    """Figure style with readable fonts, no box around the plot and a light grid."""
    import matplotlib

    with matplotlib.rc_context(
        {
            "font.size": 12,
            "font.family": "DejaVu Sans",
            "axes.edgecolor": MUTED,
            "axes.labelcolor": INK,
            "axes.titlesize": 13,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.titlecolor": INK,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": GRID,
            "xtick.color": INK,
            "ytick.color": INK,
            "text.color": INK,
            "legend.frameon": False,
            "figure.dpi": 110,
            "savefig.dpi": 160,
            "savefig.bbox": "tight",
            "svg.hashsalt": "evomerge",  # without it every SVG has other ids
        }
    ):
        yield
