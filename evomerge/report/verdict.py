"""Put the result into words: is the winner better, by how much, how sure."""

from __future__ import annotations

from dataclasses import dataclass

from evomerge.report.results import Results, display_name
from evomerge.report.run_data import RunData
from evomerge.search.choose import TUNED
from evomerge.search.pareto import retentions


@dataclass(frozen=True)
class Verdict:
    """``headline`` answers in one sentence, ``detail`` says by how much and how sure.

    ``better`` is "yes" (the interval lies above 0), "maybe" (only the measured value does), "no" or "none" (no winner).
    """

    better: str
    headline: str
    detail: str


def percent(value: float) -> str:
    """
    >>> percent(0.8461)
    '84.6 %'
    """
    return f"{100 * value:.1f} %"


def verdict(run: RunData, table: Results) -> Verdict:
    """What the test items, in ``table``, say about the winner; what is missing while there is none."""
    winner, comparison = table.winner, table.comparison
    if winner is None or winner.retention is None:
        done, failed = len(run.records), len(run.failures)
        asked = f" of {run.budget}" if run.budget else ""
        lost = f", {failed} of them failed" if failed else ""
        return Verdict(
            "none",
            "No winner yet",
            f"{done}{asked} candidates are scored{lost}. The same command goes on with the search.",
        )
    kept = winner.retention
    task, measured = _weakest(run, table)
    several = len(run.tasks) > 1
    skill = "its weakest skill" if several else "the skill"
    where = f"its weakest task, {task}" if several else task
    held = (
        f"On the test items it {measured.format(percent(kept.mean))} {where}"
        f" (95 % interval {100 * kept.low:.1f} to {100 * kept.high:.1f})."
    )
    label = next((row.label for row in table.rows if row.number == winner.number and row is not winner), None)
    if label is not None and label not in TUNED:
        return Verdict("no", f"The search found nothing better than {display_name(label)}, from which it started", held)
    if comparison is None:
        return Verdict("maybe", f"The winner keeps {percent(kept.mean)} of {skill}", held)
    gap = comparison.difference
    points = f"{100 * gap.mean:+.1f} points (95 % interval {100 * gap.low:+.1f} to {100 * gap.high:+.1f})"
    sure = f"{points}; ahead in {100 * comparison.probability:.1f} % of the resamples of the items"
    detail = f"{held} Against the best without tuning, {comparison.other}: {sure}."
    if gap.low > 0:
        return Verdict("yes", f"The winner keeps more of {skill} than {comparison.other}", detail)
    if gap.mean > 0:
        return Verdict("maybe", f"The winner is probably better than {comparison.other}, not surely", detail)
    return Verdict("no", f"The winner is no better than {comparison.other} on the test items", detail)


def _weakest(run: RunData, table: Results) -> tuple[str, str]:
    """The task with the winner's smallest retention, and a phrase for the number."""
    winner = table.winner
    assert winner is not None
    means, bounds = [], []
    for task in run.tasks:
        expert = next((r for r in table.rows if r.label == f"expert:{run.expert_of(task)}"), None)
        means.append(winner.scores[task].mean)
        bounds.append(float("nan") if expert is None else expert.scores[task].mean)
    place = int(retentions(means, bounds).argmin())
    # without an expert's score, the score itself is named
    return run.tasks[place], "keeps {} of the expert's score on" if bounds[place] > 0 else "scores {} on"
