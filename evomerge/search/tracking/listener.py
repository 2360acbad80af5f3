"""Send a search's metrics to a tracker: each finished trial once, over all runs of a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from evomerge.search.base import Listener
from evomerge.search.progress import progress, trial_retention
from evomerge.search.tracking.base import TRIAL, Sink, TrackingSetup, open_sink
from evomerge.search.tracking.settings import TrackingSettings
from evomerge.types import Candidate, Objective, Trial


def with_tracking(listener: Listener, settings: TrackingSettings, folder: Path, name: str) -> Listener:
    """``listener`` together with a tracker of the run ``name`` in ``folder``; the kind ``none`` adds no tracker.

    Raises:
        UserError: unknown kind, or its package or login is missing.
    """
    if settings.kind == "none":
        return listener
    return Both(listener, Tracked(open_sink(settings.kind, TrackingSetup(folder, name, settings.project))))


class Tracked:
    """Writes one step per finished trial; trials of earlier runs that the tracker lacks come first."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._objectives: Sequence[Objective] = ()
        self._trials: list[Trial] = []
        self._step = 0

    def started(self, objectives: Sequence[Objective], budget: int, workers: int, trials: Sequence[Trial]) -> None:
        self._objectives = objectives
        written = self._sink.numbers()
        self._step = len(written)
        self._trials = [trial for trial in trials if trial.number in written]
        for trial in trials:
            if trial.number not in written:
                self.finished(trial)

    def submitted(self, candidate: Candidate) -> None:
        pass

    def finished(self, trial: Trial) -> None:
        self._trials.append(trial)
        self._step += 1
        self._sink.write(self._step, metrics(trial, self._trials, self._objectives))

    def note(self, text: str) -> None:
        pass

    def stopped(self) -> None:
        self._sink.close()


def metrics(trial: Trial, trials: Sequence[Trial], objectives: Sequence[Objective]) -> dict[str, float]:
    """A trial's scores and the search's progress after it; ``trials`` are the finished ones, with this one.

    A failed trial has no scores, and a stopped one none that could be compared. Retentions use the references known so
    far.
    """
    state = progress(trials, objectives)
    values: dict[str, float] = {TRIAL: trial.number, "search/seconds": trial.seconds}
    values |= {"search/hypervolume": state.hypervolume, "search/failed": state.failed}
    values["search/stopped"] = state.stopped
    values |= {f"best/{best.name}": best.value for best in state.bests}
    if trial.error is None and not trial.stopped:
        values |= {f"score/{objective.task}": trial.scores[objective.task].mean for objective in objectives}
        values["score/min-retention"] = trial_retention(trial, trials, objectives)
    return values


class Both:
    """Tells two listeners, the first one first."""

    def __init__(self, first: Listener, second: Listener) -> None:
        self._listeners = (first, second)

    def started(self, objectives: Sequence[Objective], budget: int, workers: int, trials: Sequence[Trial]) -> None:
        for listener in self._listeners:
            listener.started(objectives, budget, workers, trials)

    def submitted(self, candidate: Candidate) -> None:
        for listener in self._listeners:
            listener.submitted(candidate)

    def finished(self, trial: Trial) -> None:
        for listener in self._listeners:
            listener.finished(trial)

    def note(self, text: str) -> None:
        for listener in self._listeners:
            listener.note(text)

    def stopped(self) -> None:
        for listener in self._listeners:
            listener.stopped()
