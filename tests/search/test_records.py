from __future__ import annotations

from evomerge.search.records import dump_outcome, load_outcome
from evomerge.types import Candidate, Done, Expert, ItemScore, Recipe

PLAIN = Recipe("base", (Expert("sql", "a"), Expert("code", "b")), "ties", ((1.0, 0.25), (0.5, 1 / 3)))
FULL = Recipe(
    "base", PLAIN.experts, "core_iso_cts", PLAIN.weights, {"density": (0.5, 1.0)}, {"scale": 1.2, "rescale": "l1"},
    {"lines": {"alpha": 0.7, "beta": 0.3}}, seed=3, dtype="float32",
)  # fmt: skip


def test_a_trial_comes_back_as_it_was() -> None:
    """Were anything of the recipe lost, the winner would be delivered without it."""
    for recipe in (PLAIN, FULL):
        done = Done("4", (ItemScore("sql", "i", 1.0, "SELECT 1", {"sql_valid": 1.0}),), 2.5, "namespaces")
        trial = load_outcome(4, dump_outcome(Candidate(4, recipe, {"scale": 1.2}, "uniform"), done))
        assert trial.recipe.fingerprint == recipe.fingerprint
        assert (trial.number, trial.label, trial.items, trial.params) == (4, "uniform", done.items, {"scale": 1.2})
