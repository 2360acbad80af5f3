"""A worker without a model: outcomes are a pure function of the recipe's weights, and some recipes misbehave."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from evomerge.errors import UserError
from evomerge.types import Done, ItemScore, Learned, Lesson, Recipe, Work


@dataclass(frozen=True)
class ToySpec:
    """``log``: a file that gets one line per evaluation started; ``refuse``: building the worker fails; ``places``: the
    process dies while building one, unless it finds one of these files and takes it away."""

    seconds: float = 0.0
    items: int = 20
    log: str | None = None
    refuse: bool = False
    places: tuple[str, ...] | None = None


@dataclass
class ToyWorker:
    """Task t is solved best where weight t is 1 and the others are 0: the tasks conflict."""

    spec: ToySpec

    def evaluate(self, work: Work) -> Done:
        start = time.perf_counter()
        recipe = work.subject
        assert isinstance(recipe, Recipe)
        if self.spec.log is not None:
            with open(self.spec.log, "a") as file:
                file.write(f"{recipe.fingerprint} {os.getpid()}\n")
        time.sleep(self.spec.seconds)
        self.misbehave(recipe)
        isolation = "toy"
        if recipe.method == "environment":
            names = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "EVOMERGE_X")
            isolation = " ".join(os.environ[name] for name in names)
        weights = recipe.weights[0]
        items = []
        names = [expert.name for expert in recipe.experts]
        for place, task in enumerate(work.tasks):
            t = names.index(task) if task in names else place
            others = sum(w for i, w in enumerate(weights) if i != t)
            quality = max(0.0, 1.0 - (1.0 - weights[t]) ** 2 - 0.3 * others**2)
            wanted = work.items.get(task)
            for i in range(self.spec.items):
                if wanted is not None and f"{task}-{i}" not in wanted:
                    continue
                outcome = float((i + 0.5) / self.spec.items < quality)
                items.append(ItemScore(task, f"{task}-{i}", outcome, f"answer {i}", {"valid": 1.0}))
        return Done(work.key, tuple(items), time.perf_counter() - start, isolation)

    def learn(self, lesson: Lesson) -> Done:
        """Learn the seed as the one weight."""
        time.sleep(self.spec.seconds)
        self.misbehave(lesson.recipe)
        return Done(lesson.key, (), self.spec.seconds, learned=Learned(((float(lesson.seed),),), 1.0, 1, 2.0, 1.0))

    def misbehave(self, recipe: Recipe) -> None:
        if recipe.method == "raises":
            raise ValueError("this recipe is poison\nsecond line")
        if recipe.method == "dies":
            os._exit(7)
        if recipe.method == "waits":
            time.sleep(2)
        if recipe.method == "hangs":
            time.sleep(600)
        if recipe.method.startswith("dies once:"):
            marker = Path(recipe.method.removeprefix("dies once:"))
            if not marker.exists():
                marker.touch()
                os._exit(7)


def build_toy(spec: ToySpec) -> ToyWorker:
    if spec.refuse:
        raise UserError("adapter folder 'x' does not exist: check models.experts")
    if spec.places is not None and not any(_taken(Path(place)) for place in spec.places):
        os._exit(9)
    return ToyWorker(spec)


def _taken(place: Path) -> bool:
    try:
        place.unlink()
    except FileNotFoundError:
        return False
    return True


@dataclass
class Counting:
    """A toy worker that remembers what it was asked to score."""

    seen: list[str] = field(default_factory=list)

    def evaluate(self, work: Work) -> Done:
        self.seen.append(work.subject.fingerprint)
        return ToyWorker(ToySpec(items=200)).evaluate(work)
