"""Score the experts alone whose weights the search space does not hold.

The others are anchors, which the search scores. Retention is measured against all of them, so that without these scores
it would be the raw score.
"""

from __future__ import annotations

from dataclasses import replace

from evomerge.jobs.steps.scored_once import Measurement, recipe_request
from evomerge.recipes.space import SearchSpace
from evomerge.types import Objective


def with_references_outside(measurement: Measurement, space: SearchSpace) -> Measurement:
    """The measurement with the scores on the search items of experts that are no anchors as references.

    Raises:
        RunFailed: such an expert could not be scored.
    """
    anchors = dict(space.anchors())
    outside = {
        objective.task: recipe_request(label, measurement.anchors[label], (objective.task,))
        for objective in measurement.objectives
        if (label := f"expert:{objective.expert}") in measurement.anchors and label not in anchors
    }
    measurement.score(list(outside.values()), "search")

    def referenced(objective: Objective) -> Objective:
        if objective.task not in outside:
            return objective
        score = measurement.scores(outside[objective.task], "search")[objective.task]
        return replace(objective, reference=score.mean)

    return replace(measurement, objectives=tuple(referenced(objective) for objective in measurement.objectives))
