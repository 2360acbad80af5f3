"""Show a search's progress: a live table in a terminal, one line per trial elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from evomerge.search.base import Listener
from evomerge.search.progress import Progress, clock, progress, trial_retention
from evomerge.types import Candidate, Objective, Trial


def listener(console: Console | None = None) -> Listener:
    """Live table if the console is a terminal, else one line per finished trial."""
    console = console or Console(highlight=False)
    return LiveView(console) if console.is_terminal else LogLines(console)


class _Record:
    """State that both views need."""

    def __init__(self) -> None:
        self.objectives: Sequence[Objective] = ()
        self.budget = 0
        self.workers = 1
        self.trials: list[Trial] = []
        self.earlier = 0  # trials of earlier runs, which took none of this run's time
        self.began = time.monotonic()
        self.in_flight: dict[int, tuple[Candidate, float]] = {}
        self.note = ""

    def start(self, objectives: Sequence[Objective], budget: int, workers: int, trials: Sequence[Trial]) -> None:
        self.objectives, self.budget, self.workers = objectives, budget, workers
        self.trials = list(trials)
        self.earlier = len(trials)
        self.began = time.monotonic()

    def submit(self, candidate: Candidate) -> None:
        self.in_flight[candidate.number] = (candidate, time.monotonic())

    def finish(self, trial: Trial) -> None:
        self.in_flight.pop(trial.number, None)
        self.trials.append(trial)

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.began

    @property
    def left(self) -> float | None:
        """Seconds to the end at this run's pace; None before its first trial."""
        own = len(self.trials) - self.earlier
        return self.elapsed / own * max(0, self.budget - len(self.trials)) if own else None

    def state(self) -> Progress:
        return progress(self.trials, self.objectives)


class LogLines:
    """One line per finished trial."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._record = _Record()

    def started(self, objectives: Sequence[Objective], budget: int, workers: int, trials: Sequence[Trial]) -> None:
        self._record.start(objectives, budget, workers, trials)
        going_on = f", {len(trials)} finished before" if trials else ""
        plural = "s" if workers != 1 else ""
        self._print(f"searching: {budget} candidates{going_on}, {workers} worker{plural}")

    def submitted(self, candidate: Candidate) -> None:
        self._record.submit(candidate)

    def finished(self, trial: Trial) -> None:
        self._record.finish(trial)
        self._print(log_line(self._record, trial))

    def note(self, text: str) -> None:
        self._print(text)

    def stopped(self) -> None:
        pass

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def log_line(record: _Record, trial: Trial) -> str:
    """``[12/40] #11 core_tsv  sql 0.61  code 0.33  min-retention 0.71  hv 0.31  14 s  left 6 min``."""
    width = len(str(record.budget))
    head = f"[{len(record.trials):>{width}}/{record.budget}] #{trial.number} {name_of(trial)}"
    if trial.error is not None:
        parts = [head, f"failed: {trial.error}"]
    elif trial.stopped:
        parts = [head, f"stopped after {len(trial.items)} items: surely behind"]
    else:
        scores = trial.scores
        parts = [head, *(f"{o.task} {scores[o.task].mean:.2f}" for o in record.objectives)]
        parts.append(f"min-retention {trial_retention(trial, record.trials, record.objectives):.2f}")
    parts += [f"hv {record.state().hypervolume:.3f}", clock(trial.seconds)]
    if record.left is not None:
        parts.append(f"left {clock(record.left)}")
    return "  ".join(parts)


def name_of(candidate: Trial | Candidate) -> str:
    """An anchor's label, else the method."""
    return candidate.label or candidate.recipe.method


class LiveView:
    """A table that is redrawn in place, instead of lines."""

    def __init__(self, console: Console) -> None:
        self._record = _Record()
        self._state: Progress | None = None
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=2)

    def started(self, objectives: Sequence[Objective], budget: int, workers: int, trials: Sequence[Trial]) -> None:
        self._record.start(objectives, budget, workers, trials)
        self._state = self._record.state()
        self._live.start()

    def submitted(self, candidate: Candidate) -> None:
        self._record.submit(candidate)

    def finished(self, trial: Trial) -> None:
        self._record.finish(trial)
        self._state = self._record.state()

    def note(self, text: str) -> None:
        self._record.note = text

    def stopped(self) -> None:
        self._record.in_flight.clear()
        self._live.stop()

    def _render(self) -> RenderableType:
        record, state = self._record, self._state
        if state is None:
            return Text("")
        head = Table.grid(padding=(0, 2))
        left = "" if record.left is None else f"left {clock(record.left)}"
        head.add_row(
            ProgressBar(total=max(record.budget, 1), completed=state.finished, width=30),
            f"{state.finished} of {record.budget} trials",
            f"hypervolume {state.hypervolume:.3f}",
            Text(f"{state.failed} failed", style="red" if state.failed else "dim"),
            f"elapsed {clock(record.elapsed)}",
            left,
        )
        parts: list[RenderableType] = [head, self._bests(state), self._workers()]
        last = next((t for t in reversed(record.trials) if t.error is not None), None)
        if last is not None:
            parts.append(Text(f"last failure: #{last.number} {last.error}", style="red"))
        if record.note:
            parts.append(Text(record.note, style="yellow"))
        return Group(*parts)

    def _bests(self, state: Progress) -> Table:
        table = Table(box=None, pad_edge=False)
        for column in ("best", "score", "by", *(o.task for o in self._record.objectives)):
            table.add_column(column, justify="left" if column in ("best", "by") else "right")
        for best in state.bests:
            scores = best.trial.scores
            others = [f"{scores[o.task].mean:.2f}" for o in self._record.objectives]
            table.add_row(best.name, f"{best.value:.3f}", f"#{best.trial.number} {name_of(best.trial)}", *others)
        return table

    def _workers(self) -> Table:
        table = Table.grid(padding=(0, 2))
        # a copy: the refreshing thread reads while the search writes
        for place, (candidate, since) in enumerate(sorted(list(self._record.in_flight.values()), key=lambda x: x[1])):
            doing = f"{time.monotonic() - since:.0f} s" if place < self._record.workers else "next"
            table.add_row(Text(f"#{candidate.number} {name_of(candidate)}", style="cyan"), doing)
        return table
