"""Race candidates: run a candidate's items in rungs, and stop one that is surely behind.

The order of a task's items is fixed when the anchors are finished. Items that anchors disagree on come more often at
its beginning, items that all solve or all miss less often (Neyman 1934); within such a stratum the order is random.
What a candidate would score on all items follows from the items it has run: per stratum, the mean outcome of the whole
trials that agree with it best, corrected by the mean difference on the items that both have run. Candidates agree on
most items, so that this is sharper than the candidate's own mean on the rung, and which items came first does not
matter.

A candidate is stopped once the probability that its whole scores would matter is below :data:`ERROR`. They matter if it
would have the largest smallest retention so far, or would raise the front's hypervolume by more than the share
:data:`GAIN`. Anchors are never stopped, and finalists are chosen among those that have run all items.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evomerge.search.noise import Outcomes
from evomerge.search.pareto import hypervolume, nondominated
from evomerge.types import Done, ItemScore

Array = NDArray[np.float64]

#: Probability that a stopped candidate would have mattered, spent by the root of the share of items that were run.
ERROR = 0.1
GAIN = 0.02
_PARTS = (1 / 12, 2 / 5)  # of a task's items that the rungs reach, before all
_HANDFUL = 6  # items of a task that the first rung has at least
_PEERS = 5  # whole trials that a candidate's other outcomes are predicted from
_DOUBT = 0.18  # variance of a difference on one item, as much as ...
_ITEMS = 3.0  # ... so many items say
_DRAWS = 256


@dataclass(frozen=True)
class Course:
    """The order of one task's n items, given as their columns, and the stratum of each column."""

    order: NDArray[np.int64]
    strata: NDArray[np.int64]

    def rung(self, run: int) -> int:
        """Number of items that the next rung reaches when ``run`` are done."""
        count = len(self.order)
        ends = [max(_HANDFUL, round(part * count)) for part in _PARTS]
        return next((end for end in ends if run < end <= count / 2), count)


def course(anchors: Array, names: Sequence[str]) -> Course:
    """
    Args:
        anchors: outcomes of the anchors (A, n).
        names: of the n items; the order within a stratum depends on them alone.
    """
    means = anchors.mean(axis=0)
    contested = means * (1.0 - means)
    middle = float(np.median(means[contested > 0])) if (contested > 0).any() else 0.5
    strata = np.where(means <= 0, 0, np.where(means >= 1, 3, np.where(means <= middle, 1, 2)))
    drawn = np.array([int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big") for name in names])
    place = np.empty(len(names))
    for stratum in np.unique(strata):
        own = np.flatnonzero(strata == stratum)
        rate = float(np.sqrt(contested[own].mean() + 0.02))
        place[own[np.argsort(drawn[own], kind="stable")]] = (np.arange(len(own)) + 0.5) / (len(own) * rate)
    return Course(np.argsort(place, kind="stable"), strata)


def whole_score(outcomes: Array, whole: Array, strata: NDArray[np.int64]) -> tuple[float, float]:
    """The mean outcome that a candidate would have on all items, and the variance of this estimate.

    Args:
        outcomes: of the candidate (n,), NaN where an item was not run.
        whole: of trials that have run all items (K, n).
        strata: of the items (n,).
    """
    run = ~np.isnan(outcomes)
    apart = ((whole[:, run] - outcomes[run]) ** 2).mean(axis=1)
    peers = whole[np.argsort(apart, kind="stable")[:_PEERS]].mean(axis=0)
    differences = outcomes - peers
    overall = float(differences[run].sum() / (run.sum() + _ITEMS))
    mean, variance = 0.0, 0.0
    for stratum in np.unique(strata):
        own = strata == stratum
        seen = differences[own & run]
        size, known = int(own.sum()), len(seen)
        # where little was run, the difference is taken to be that of the other strata
        shift = (float(seen.sum()) + _ITEMS * overall) / (known + _ITEMS)
        spread = (float(((seen - shift) ** 2).sum()) + _ITEMS * _DOUBT) / (known + _ITEMS)
        left = size - known
        mean += float(outcomes[own & run].sum() + peers[own & ~run].sum()) + left * shift
        variance += left**2 * spread / (known + _ITEMS) + left * spread
    count = len(outcomes)
    return min(max(mean / count, 0.0), 1.0), variance / count**2


def matters(means: Array, variances: Array, whole: Array, references: Array) -> float:
    """Probability that a candidate's whole scores matter, see the module; a lower bound of it above :data:`ERROR`.

    Args:
        means, variances: of its scores (M,).
        whole: scores of the whole trials (K, M).
        references: score of each task that counts as 1 (M,).
    """
    deviations = np.sqrt(np.maximum(variances, 1e-12))
    best = float((whole / references).min(axis=1).max())
    draws = means + deviations * np.random.default_rng(0).standard_normal((_DRAWS, len(means)))
    balances = (draws / references).min(axis=1) >= best
    if balances.mean() > ERROR:
        return float(balances.mean())
    front, worst = 1.0 - whole[nondominated(1.0 - whole)], np.ones(len(means))
    volume = hypervolume(front, worst)
    extends = [hypervolume([*front, 1.0 - draw], worst) > (1.0 + GAIN) * volume for draw in draws]
    return float((balances | np.array(extends)).mean())


@dataclass(frozen=True)
class Racing:
    """What the loop asks once the anchors are finished; every answer is a function of the finished trials.

    Attributes:
        tasks: names of the M tasks.
        outcomes: of the finished trials' items.
    """

    tasks: tuple[str, ...]
    outcomes: Outcomes

    def next_items(self, run: Sequence[ItemScore]) -> dict[str, tuple[str, ...]]:
        """Items of the next rung by task, for a candidate that has run some; empty when it has run all."""
        courses = self._courses()
        wanted = {}
        for task, own in courses.items():
            names = self.outcomes.names(task)
            done = {item.item for item in run if item.task == task}
            left = [names[place] for place in own.order if names[place] not in done]
            wanted[task] = tuple(left[: own.rung(len(done)) - len(done)])
        return {task: names for task, names in wanted.items() if names}

    def joined(self, rungs: Sequence[Done]) -> Done:
        """A candidate's rungs as one evaluation, its items in the order of other trials'; an error of the last rung is
        the error of all."""
        last = rungs[-1]
        known = {(item.task, item.item): item for rung in rungs for item in rung.items}
        order = [(task, name) for task in self.tasks for name in self.outcomes.names(task)]
        items = [known.pop(key) for key in order if key in known] + list(known.values())
        kept = tuple(items) if last.error is None else ()
        return Done(last.key, kept, sum(rung.seconds for rung in rungs), last.isolation, last.error)

    def is_behind(self, run: Sequence[ItemScore], references: Array) -> bool:
        """Whether the candidate is surely behind, by the items that it has run.

        Args:
            references: score of each task that counts as 1 (M,); NaN counts as 1.
        """
        means, variances = self.expected(run)
        whole = self.outcomes.whole()
        scores = np.stack([self.outcomes.matrix(task, whole).mean(axis=1) for task in self.tasks], axis=1)
        bounds = np.where(references > 0, references, 1.0)
        share = len(run) / sum(len(self.outcomes.names(task)) for task in self.tasks)
        return matters(means, variances, scores, bounds) < ERROR * math.sqrt(share)

    def expected(self, run: Sequence[ItemScore]) -> tuple[Array, Array]:
        """Each task's score on all items, as far as those that were run tell it: means and variances (M,)."""
        whole = self.outcomes.whole()
        found = []
        for task, own in self._courses().items():
            outcomes = self.outcomes.row(task, run)
            found.append(whole_score(outcomes, self.outcomes.matrix(task, whole), own.strata))
        means, variances = np.array(found).T
        return means, variances

    def _courses(self) -> dict[str, Course]:
        """The courses of all tasks; none if no anchor was scored."""
        anchors = [number for number in self.outcomes.whole() if number in self.outcomes.anchors()]
        if not anchors:
            return {}
        return {task: course(self.outcomes.matrix(task, anchors), self.outcomes.names(task)) for task in self.tasks}
