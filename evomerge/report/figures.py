"""Figures with matplotlib, drawn from the values in ``info``. No window system is needed."""

from __future__ import annotations

import io
import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evomerge.report import style
from evomerge.report.info import Point, points, weights
from evomerge.report.run import Run
from evomerge.types import Recipe

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = 6  # at most so many pairs of objectives


def draw_front(run: Run) -> Figure:
    """Scores on the search items, one panel for each pair of objectives."""
    tasks = run.tasks
    pairs = list(itertools.combinations(tasks, 2))[:PANELS] or [(tasks[0], tasks[0])]
    with style.figure_style():
        figure, axes = _axes(len(pairs))
        found = points(run)
        for ax, (x, y) in zip(axes, pairs, strict=True):
            _panel(ax, found, x, y, steps=len(tasks) == 2)
        figure.suptitle(
            f"{run.name}: {len(run.front_trials)} of {len(run.scored)} candidates on the front",
            x=0.01, ha="left", fontsize=13, fontweight="bold",
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
    """A ring and a name each; names step aside where they would cover one another or the winner."""
    from matplotlib.patheffects import withStroke

    anchors = [p for p in found if p.name is not None]
    if anchors:
        rings = _columns(anchors, at)
        ax.scatter(*rings, s=84, facecolor="none", edgecolor=style.ANCHOR, linewidth=1.1, label="anchor", zorder=5)
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()

    def place(point: Point) -> tuple[float, float]:
        """In points, for a panel of about 310 x 280 of them; the layout engine sets the exact size later."""
        x, y = at(point)
        return 310 * (x - left) / (right - left), 280 * (y - bottom) / (top - bottom)

    # Left, baseline and width in points.
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
            name, at(point), xytext=shift, textcoords="offset points", fontsize=9, color=style.INK, zorder=7,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )


def _covered(left: float, base: float, width: float, taken: list[tuple[float, float, float]]) -> bool:
    return any(abs(base - b) < 11 and left < x + w and x < left + width for x, b, w in taken)


def draw_hypervolume(run: Run) -> Figure:
    """Hypervolume of the scores after each trial; a mark where the anchors end."""
    with style.figure_style():
        figure, (ax,) = _axes(1)
        history = run.hypervolume()
        ax.step(history["trials"], history["hypervolume"], where="post", color=style.FRONT, linewidth=2)
        anchors = sum(trial.label is not None for trial in run.records)
        if 0 < anchors < len(run.records):
            ax.axvline(anchors, color=style.MUTED, linestyle=":", linewidth=1.4)
            ax.annotate(
                "search starts", (anchors, 0.02), xycoords=("data", "axes fraction"), xytext=(5, 0),
                textcoords="offset points", color=style.MUTED, fontsize=10,
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
        figure.set_size_inches(1.8 + 1.3 * len(values.experts), 1.6 + 0.62 * len(values.groups))
        top = max(1.0, max(abs(w) for row in values.values for w in row))
        negative = any(w < 0 for row in values.values for w in row)
        image = ax.imshow(
            values.values, cmap="RdBu" if negative else style.WEIGHTS, vmin=-top if negative else 0.0, vmax=top,
            aspect="auto",
        )
        ax.set_xticks(range(len(values.experts)), values.experts)
        ax.set_yticks(range(len(values.groups)), values.groups)
        ax.grid(False)
        for row, own in enumerate(values.values):
            for column, weight in enumerate(own):
                dark = abs(weight) > 0.6 * top
                ax.text(column, row, f"{weight:.2f}", ha="center", va="center", color="white" if dark else style.INK)
        figure.colorbar(image, ax=ax, label="weight", shrink=0.9)
        ax.set_title(title)
    return figure


def write_figures(run: Run) -> None:
    """``figures/front.png``, ``hypervolume.png`` and, of the winner, ``weights.png``; each in one step."""
    if not run.scored:
        return
    drawn = {"front": draw_front(run), "hypervolume": draw_hypervolume(run)}
    if run.winner is not None:
        drawn["weights"] = draw_weights(run.winner.recipe, f"Winner: {run.winner.recipe.method}")
    folder = run.folder / "figures"
    folder.mkdir(exist_ok=True)
    for name, figure in drawn.items():
        save(figure, folder / f"{name}.png")


def save(figure: Figure, path: Path) -> None:
    """Replace the PNG ``path`` by the figure in one step."""
    memory = io.BytesIO()
    with style.figure_style():
        figure.savefig(memory, format="png", metadata={"Software": None})  # the same run gives the same bytes
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(memory.getvalue())
    temporary.replace(path)
