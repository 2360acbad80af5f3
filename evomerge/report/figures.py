"""Draw a run's figures with matplotlib, without a window system."""

from __future__ import annotations

import io
import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evomerge.report import style
from evomerge.report.importance import Importance, importances
from evomerge.report.run_data import RunData
from evomerge.report.run_frames import hypervolume_frame
from evomerge.report.shown_data import Point, points, weights
from evomerge.types import Recipe

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = 6  # largest number of pairs of objectives drawn
_MANY_GROUPS = 12  # layer groups above which their rows are drawn small


def draw_front(run: RunData) -> Figure:
    """Scores on the search items, one panel for each pair of objectives."""
    tasks = run.tasks
    every = list(itertools.combinations(tasks, 2)) or [(tasks[0], tasks[0])]
    pairs = every[:PANELS]
    part = f"; {PANELS} of {len(every)} pairs of objectives" if len(every) > PANELS else ""
    with style.figure_style():
        figure, axes = _axes(len(pairs))
        found = points(run)
        for ax, (x, y) in zip(axes, pairs, strict=True):
            _panel(ax, found, x, y, steps=len(tasks) == 2)
        figure.suptitle(
            f"{run.name}: {len(run.front_trials)} of {len(run.scored)} candidates on the front{part}",
            x=0.01,
            ha="left",
            fontsize=13,
            fontweight="bold",
        )
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=11)
    return figure


def _axes(count: int) -> tuple[Figure, list[Axes]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(3, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(5.4 * columns, 4.9 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for unused in grid[count:]:
        unused.remove()
    return figure, grid[:count]


def _panel(ax: Axes, found: list[Point], x: str, y: str, steps: bool) -> None:
    def at(point: Point) -> tuple[float, float]:
        return 100 * point.scores[x].mean, 100 * point.scores[y].mean

    dominated = [p for p in found if not p.on_front and not p.winner]
    front = sorted((p for p in found if p.on_front), key=at)
    if dominated:
        ax.scatter(*_columns(dominated, at), s=26, color=style.DOMINATED, label="dominated", zorder=2)
    if front:
        if steps:
            ax.step(*_columns(front, at), where="pre", color=style.FRONT, alpha=0.5, linewidth=1.4, zorder=3)
        ax.scatter(*_columns(front, at), s=52, color=style.FRONT, edgecolor="white", label="front", zorder=4)
    ax.margins(0.14)
    _name_anchors(ax, found, at)
    for point in found:
        if point.winner:
            ax.scatter(*at(point), s=260, marker="*", color=style.WINNER, edgecolor="white", label="winner", zorder=8)
    ax.set_xlabel(f"{x} (%)  better \N{RIGHTWARDS ARROW}")
    ax.set_ylabel(f"{y} (%)  better \N{RIGHTWARDS ARROW}")


def _columns(found: list[Point], at: Any) -> tuple[list[float], list[float]]:
    xs, ys = zip(*(at(p) for p in found), strict=True)
    return list(xs), list(ys)


def _name_anchors(ax: Axes, found: list[Point], at: Any) -> None:
    """Draw a ring and a name for each anchor; move names that would cover each other or the winner."""
    from matplotlib.patheffects import withStroke

    anchors = [p for p in found if p.name is not None]
    if anchors:
        rings = _columns(anchors, at)
        ax.scatter(*rings, s=84, facecolor="none", edgecolor=style.ANCHOR, linewidth=1.1, label="anchor", zorder=5)
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()

    def place(point: Point) -> tuple[float, float]:
        """The position in points, in a panel of about 310 x 280; the layout engine sets the exact size later."""
        x, y = at(point)
        return 310 * (x - left) / (right - left), 280 * (y - bottom) / (top - bottom)

    # left, baseline and width of drawn names, in points
    taken = [(place(p)[0] - 8, place(p)[1] - 4, 16.0) for p in found if p.winner]
    for point in sorted(anchors, key=at):
        name = str(point.name)
        width = 5.2 * len(name)
        here = place(point)
        aside = 7 if here[0] + width < 300 else -7 - width
        shifts = [(aside, dy) for dy in (4, -11, 15, -22, 26)]
        free = [s for s in shifts if not _covered(here[0] + s[0], here[1] + s[1], width, taken)]
        shift = (free or shifts)[0]
        taken.append((here[0] + shift[0], here[1] + shift[1], width))
        ax.annotate(
            name,
            at(point),
            xytext=shift,
            textcoords="offset points",
            fontsize=9,
            color=style.INK,
            zorder=7,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )


def _covered(left: float, base: float, width: float, taken: list[tuple[float, float, float]]) -> bool:
    return any(abs(base - b) < 11 and left < x + w and x < left + width for x, b, w in taken)


def draw_parallel(run: RunData) -> Figure:
    """Parallel coordinates: an axis for each objective and for the smallest retention, a line for each candidate that
    lies on the front or keeps at least 70 % of the best smallest retention."""
    names = [*run.tasks, "smallest retention"]
    top = max(p.min_retention for p in points(run))
    found = [p for p in points(run) if p.winner or (p.on_front and p.name is None) or p.min_retention >= 0.7 * top]
    rows = np.array([[*(p.scores[task].mean for task in run.tasks), p.min_retention] for p in found])
    low, high = rows.min(axis=0), rows.max(axis=0)
    span = np.where(high > low, high - low, 1.0)
    with style.figure_style():
        figure, (ax,) = _axes(1)
        figure.set_size_inches(2.2 + 1.9 * len(names), 4.2)
        looks: dict[str, dict[str, Any]] = {
            "dominated": {"color": style.DOMINATED, "linewidth": 1.0, "zorder": 2},
            "front": {"color": style.FRONT, "linewidth": 1.8, "zorder": 3},
            "winner": {"color": style.WINNER, "linewidth": 3.0, "marker": "*", "markersize": 13, "zorder": 4},
        }
        for point, row in zip(found, (rows - low) / span, strict=True):
            kind = "winner" if point.winner else "front" if point.on_front else "dominated"
            ax.plot(range(len(names)), row, label=kind, **looks[kind])
        for place in range(len(names)):
            ax.plot([place, place], [0, 1], color=style.MUTED, linewidth=1.0, zorder=1)
            for at, value in ((-0.09, low[place]), (1.05, high[place])):
                ax.text(place, at, f"{100 * value:.1f} %", ha="center", color=style.MUTED, fontsize=10)
        ax.set_xticks(range(len(names)), names)
        ax.tick_params(axis="x", length=0, pad=16)
        ax.set_yticks([])
        ax.grid(False)
        ax.spines[:].set_visible(False)
        ax.set_title("Near the front, axis by axis", pad=24)
        handles = dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3, fontsize=11)
    return figure


def draw_importances(candidates: int, found: Sequence[Importance]) -> Figure:
    """A bar for each setting, with the value that chance exceeds once in twenty; bars below it are hollow."""
    with style.figure_style():
        figure, (ax,) = _axes(1)
        figure.set_size_inches(7.4, 1.6 + 0.32 * len(found))
        for place, entry in enumerate(reversed(found)):
            sure = entry.share > entry.chance
            fill = style.FRONT if sure else "white"
            edge = style.FRONT if sure else style.DOMINATED
            ax.barh(place, 100 * entry.share, color=fill, edgecolor=edge, height=0.6)
            ax.plot([100 * entry.chance] * 2, [place - 0.42, place + 0.42], color=style.INK, linewidth=1.5)
        ax.set_yticks(range(len(found)), [entry.name for entry in reversed(found)])
        ax.grid(axis="y", visible=False)
        ax.set_xlabel("share of the differences in smallest retention (%); line: once in twenty by chance", fontsize=10)
        ax.set_title(f"What seems to matter, roughly, over {candidates} candidates")
    return figure


def draw_hypervolume(run: RunData) -> Figure:
    """Hypervolume of the scores after each trial; a mark where the anchors end."""
    with style.figure_style():
        figure, (ax,) = _axes(1)
        history = hypervolume_frame(run)
        ax.step(history["trials"], history["hypervolume"], where="post", color=style.FRONT, linewidth=2)
        anchors = sum(trial.label is not None for trial in run.records)
        if 0 < anchors < len(run.records):
            ax.axvline(anchors, color=style.MUTED, linestyle=":", linewidth=1.4)
            ax.annotate(
                "search starts",
                (anchors, 0.02),
                xycoords=("data", "axes fraction"),
                xytext=(5, 0),
                textcoords="offset points",
                color=style.MUTED,
                fontsize=10,
            )
        ax.set_xlabel("finished candidates")
        ax.set_ylabel("hypervolume of the scores")
        ax.set_title("What the search has gained")
    return figure


def draw_weights(recipe: Recipe, title: str = "Weights") -> Figure:
    """Heat map of a recipe's weights: a row per layer group, a column per expert."""
    values = weights(recipe)
    with style.figure_style():
        figure, (ax,) = _axes(1)
        height, size = (0.26, 8) if len(values.groups) > _MANY_GROUPS else (0.62, None)
        figure.set_size_inches(1.8 + 1.3 * len(values.experts), 1.6 + height * len(values.groups))
        top = max(1.0, max(abs(w) for row in values.values for w in row))
        negative = any(w < 0 for row in values.values for w in row)
        image = ax.imshow(
            values.values,
            cmap="RdBu" if negative else style.WEIGHTS,
            vmin=-top if negative else 0.0,
            vmax=top,
            aspect="auto",
        )
        ax.set_xticks(range(len(values.experts)), values.experts)
        ax.set_yticks(range(len(values.groups)), values.groups, fontsize=size)
        ax.grid(False)
        for row, own in enumerate(values.values):
            for column, weight in enumerate(own):
                dark = abs(weight) > 0.6 * top
                colour = "white" if dark else style.INK
                ax.text(column, row, f"{weight:.2f}", ha="center", va="center", color=colour, fontsize=size)
        figure.colorbar(image, ax=ax, label="weight", shrink=0.9)
        ax.set_title(title)
    return figure


def write_figures(run: RunData) -> None:
    """``figures/``: front, hypervolume, from three objectives on parallel coordinates, importances, and the winner's
    weights; each as PNG and SVG, in one step."""
    if not run.scored:
        return
    drawn = {"front": draw_front(run), "hypervolume": draw_hypervolume(run)}
    if len(run.tasks) > 2:
        drawn["parallel"] = draw_parallel(run)
    candidates, found = importances(run)
    if found:
        drawn["importances"] = draw_importances(candidates, found)
    if run.winner is not None:
        drawn["weights"] = draw_weights(run.winner.recipe, f"Winner: {run.winner.recipe.method}")
    folder = run.folder / "figures"
    folder.mkdir(exist_ok=True)
    for name, figure in drawn.items():
        save(figure, folder / name)


def save(figure: Figure, path: Path) -> None:
    """Replace ``path``.png and ``path``.svg by the figure, each in one step; the same figure gives the same bytes."""
    for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
        memory = io.BytesIO()
        with style.figure_style():
            figure.savefig(memory, format=kind, metadata=metadata)
        file = path.with_name(f"{path.name}.{kind}")
        temporary = file.with_name(f".{file.name}.{os.getpid()}")
        temporary.write_bytes(memory.getvalue())
        temporary.replace(file)
