"""Search loop: keep every worker busy, make outcomes durable before the sampler sees them, score no recipe twice."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import optuna

from evomerge.errors import RunFailed, UserError
from evomerge.search.base import Listener, Silence, Space
from evomerge.search.begin import begin_run
from evomerge.search.choose import references, score_matrix, unsolved_task, with_references
from evomerge.search.distributions import distributions, irrelevant, on_grid
from evomerge.search.known_answers import AnswerIndex
from evomerge.search.noise import Outcomes
from evomerge.search.pareto import retentions, tchebycheff
from evomerge.search.racing import Racing
from evomerge.search.runaway import allowances, cut_off
from evomerge.search.samplers import SAMPLERS, SamplerSetup
from evomerge.search.store import Proposal, Store, quiet
from evomerge.types import Candidate, Done, Objective, Pool, Trial, Work

# After so many duplicates in a row proposals are drawn at random; after so many the space counts as exhausted.
_RANDOM_AFTER = 4
_EXHAUSTED_AFTER = 120
# The search fails if none of the first candidates can be scored.
_FIRST = 5


def run_search(
    pool: Pool,
    space: Space,
    store: Store,
    objectives: Sequence[Objective],
    budget: int,
    sampler: str = "gp",
    seed: int = 0,
    listener: Listener | None = None,
    *,
    options: Any = None,
    runaway: float | None = None,
    racing: bool = False,
    ahead: int = 1,
    identity: Mapping[str, Any] | None = None,
) -> list[Trial]:
    """Search until ``budget`` trials are finished (scored or failed, anchors and earlier runs included).

    The loop keeps ``pool.size + ahead`` evaluations in flight, so that a worker has its next recipe while the sampler
    still computes; ``ahead`` is 0 for a pool in this process, which cannot work meanwhile. An interrupt loses nothing
    that is finished.

    With one worker the seed alone decides the sequence of trials, also over killed and resumed runs: the sampler knows
    the same trials at each proposal. Several workers finish in an order that depends on timing.

    Args:
        options: an object of the sampler's ``options`` class; None: its defaults.
        runaway: see :mod:`evomerge.search.runaway`.
        racing: stop candidates that are surely behind, see :mod:`evomerge.search.racing`.

    Returns:
        All finished trials of the store.

    Raises:
        UserError: unknown sampler, or the folder holds another search.
        RunFailed: every one of the first candidates failed.
    """
    if budget < 1:
        raise UserError(f"search.budget must be at least 1, got {budget}: choose a number, for example 40")
    begin_run(store, space, objectives, sampler, identity)
    kind = SAMPLERS[sampler]
    chosen = kind.options() if options is None else options

    def build(setup: SamplerSetup) -> optuna.samplers.BaseSampler:
        return kind.build(setup, chosen)

    search = _Search(
        pool, space, store, tuple(objectives), kind.scalar, build, seed, ahead, runaway, racing, listener or Silence()
    )
    return search.run(budget)


class _Search:
    """State of one run of the loop."""

    def __init__(
        self,
        pool: Pool,
        space: Space,
        store: Store,
        objectives: tuple[Objective, ...],
        scalar: bool,
        build: Callable[[SamplerSetup], optuna.samplers.BaseSampler],
        seed: int,
        ahead: int,
        runaway: float | None,
        racing: bool,
        listener: Listener,
    ) -> None:
        self._pool, self._space, self._store, self._listener = pool, space, store, listener
        self._objectives = objectives
        self._depth = pool.size + ahead
        self._runaway = runaway
        self._tasks = tuple(objective.task for objective in objectives)
        self._distributions = distributions(space.parameters)
        self._irrelevant = irrelevant(space)
        self._outcomes = Outcomes(self._tasks)
        self._outcomes.add(store.trials())
        self._racing, self._races = Racing(self._tasks, self._outcomes), racing
        self._in_flight: dict[str, Candidate] = {}
        # In flight and not in the pool: with one worker, what was begun is finished before the next begins.
        self._held: deque[str] = deque()
        self._most = 1 if pool.size == 1 else self._depth
        self._arrived: deque[Done] = deque()
        self._parked: dict[str, list[int]] = {}  # duplicates of a candidate in flight, by its fingerprint
        self._known = AnswerIndex()
        self._indexed: set[int] = set()  # numbers of the trials whose answers it holds

        anchors = space.anchors()
        self._anchors = len(anchors)
        self._scalar, self._build, self._seed = scalar, build, seed
        # When the last anchor is asked for, up to depth - 1 of them are still running.
        self._startup = max(2, len(anchors) - self._depth)
        self._left_over = deque(self._whole(store.unfinished()))
        known = store.labels()
        for label, recipe in anchors:
            if label not in known:
                store.enqueue(space.encode(recipe), label)

    def run(self, budget: int) -> list[Trial]:
        for trial in self._store.untold():
            self._store.tell(trial.number, self._losses(trial))
        trials = self._store.trials()
        self._listener.started(self._objectives, budget, self._pool.size, trials)
        if budget <= self._anchors:
            told = f"search.budget={budget} is used up by the {self._anchors} merges that every search starts from"
            self._listener.note(f"{told}: nothing else will be tried, choose {self._anchors + 1} or more")
        exhausted = False
        try:
            while len(self._store.trials()) < budget:
                room = min(self._depth, budget - len(self._store.trials())) - len(self._in_flight)
                if room > 0 and not exhausted:
                    exhausted = not self._propose()
                    if exhausted:
                        self._listener.note("no recipe is left that was not scored: the space is exhausted")
                elif not self._in_flight:
                    break
                self._collect(filling=room > 1 and not exhausted)
        except KeyboardInterrupt:
            self._arrived.extend(self._pool.wait(0.0))
            while self._arrived:
                self._finish(self._arrived.popleft())
            raise
        finally:
            self._listener.stopped()
        trials = self._store.trials()
        _refuse_only_failures(trials)
        return trials

    def _collect(self, filling: bool) -> None:
        """Record finished evaluations; unless the pool is still being filled, wait for at least one.

        With one worker, take exactly one result per step, so that what the sampler has seen does not depend on timing.
        """
        alone = self._pool.size == 1
        if not self._in_flight or (alone and filling):
            return
        if not self._arrived:
            self._arrived.extend(self._pool.wait(0.0 if filling else None))
        while self._arrived:
            self._finish(self._arrived.popleft())
            self._send()
            if alone:
                return

    def _propose(self) -> bool:
        """Submit one candidate, left over or proposed now; False once the sampler proposes known recipes only."""
        proposal = self._left_over.popleft() if self._left_over else self._ask()
        params = on_grid(self._space.parameters, proposal.params)
        candidate = Candidate(proposal.number, self._space.decode(params), params, proposal.label)
        fingerprint = candidate.recipe.fingerprint
        original = self._store.find(fingerprint)
        if original is not None:
            self._store.tell_duplicate(proposal.number, original.number, self._losses(original))
        elif any(running.recipe.fingerprint == fingerprint for running in self._in_flight.values()):
            self._parked.setdefault(fingerprint, []).append(proposal.number)
        else:
            self._submit(candidate)
            return True
        return self._store.repeats() < _EXHAUSTED_AFTER

    def _ask(self) -> Proposal:
        turn = self._store.proposals()
        # The turn is mixed in: a sampler built anew from the seed alone would draw the same numbers each time.
        mixed = int.from_bytes(hashlib.sha256(f"{self._seed} {turn}".encode()).digest()[:4], "big")
        if self._store.repeats() >= _RANDOM_AFTER:
            return self._store.ask(optuna.samplers.RandomSampler(seed=mixed), self._distributions)
        trials = self._store.trials()
        setup = SamplerSetup(
            self._seed,
            mixed,
            turn,
            self._anchors,
            self._startup,
            self._distributions,
            self._irrelevant,
            tuple(references(with_references(self._objectives, trials)).tolist()),
            self._outcomes.noise(),
        )
        with quiet():
            sampler = self._build(setup)
        return self._store.ask(sampler, self._distributions)

    def _whole(self, proposals: Sequence[Proposal]) -> Iterator[Proposal]:
        """Proposals with all their parameters. An anchor that a killed process had begun is completed, so that the
        anchors keep their order; another proposal is abandoned, and the sampler makes it again."""
        for proposal in proposals:
            if proposal.params.keys() == self._distributions.keys():
                yield proposal
            elif proposal.label is not None:
                yield self._store.complete(proposal.number, self._distributions)
            else:
                self._store.abandon(proposal.number)

    def _submit(self, candidate: Candidate) -> None:
        self._store.accept(candidate)
        self._listener.submitted(candidate)
        paid = self._store.evaluated(candidate.recipe.fingerprint, "search", self._tasks)
        if paid is not None:
            self._record(candidate, paid)
            return
        key = str(candidate.number)
        self._in_flight[key] = candidate
        self._held.append(key)
        self._send()

    def _send(self) -> None:
        """Give the pool what it has room for."""
        while self._held and len(self._in_flight) - len(self._held) < self._most:
            candidate = self._in_flight[key := self._held.popleft()]
            run = [item for rung in self._store.rungs(candidate.number) for item in rung.items]
            begins = self._races and candidate.label is None and not self._store.anchors_pending()
            items = self._racing.next_items(run) if run or begins else {}
            tasks = tuple(items) or self._tasks
            allowance = allowances(self._store.trials(), self._runaway)
            known = self._known_answers(candidate.number).known(tasks, items)
            self._pool.submit(Work(key, candidate.recipe, "search", tasks, allowance, items, known))

    def _known_answers(self, number: int) -> AnswerIndex:
        """Answers of the candidates before this one: all of them are finished if there is one worker, so that a killed
        and resumed search gives the same."""
        for trial in self._store.trials():
            if trial.number < number and trial.number not in self._indexed:
                self._indexed.add(trial.number)
                self._known.add(trial.number, trial.items, (trial.label or "").startswith("expert:"))
        return self._known

    def _finish(self, done: Done) -> None:
        candidate = self._in_flight[done.key]
        whole = self._racing.joined([*self._store.rungs(candidate.number), done])
        left = self._racing.next_items(whole.items) if done.error is None and candidate.label is None else {}
        known = references(with_references(self._objectives, self._store.trials()))
        if not left or (self._races and self._racing.is_behind(whole.items, known)):
            del self._in_flight[done.key]
            self._record(candidate, whole, stopped=bool(left))
        else:
            self._store.record_rung(candidate.number, done)
            self._held.appendleft(done.key)

    def _record(self, candidate: Candidate, done: Done, stopped: bool = False) -> None:
        """Write the outcome to disk, then tell the sampler, then the listener."""
        trial = self._store.record(candidate, done, stopped)
        self._outcomes.add([trial])
        losses = self._losses(trial)
        self._store.tell(trial.number, losses)
        for number in self._parked.pop(trial.recipe.fingerprint, []):
            self._store.tell_duplicate(number, trial.number, losses)
        self._listener.finished(trial)
        if cut := cut_off(trial):
            told = f"#{trial.number}: {cut} of {len(trial.items)} answers were cut off"
            self._listener.note(f"{told}: many times the tokens of the median candidate (search.runaway)")
        if task := unsolved_task(trial, self._objectives):
            told = f"{trial.label} solves none of the search items of {task}, its own task"
            self._listener.note(f"{told}: merges cannot keep a skill that is not there, check the adapter")
        trials = self._store.trials()
        if len(trials) >= max(_FIRST, self._depth):
            _refuse_only_failures(trials)

    def _losses(self, trial: Trial) -> list[float] | None:
        """The losses that the sampler minimises: 1 - score for each task, or one number; None for a failed trial. Of a
        stopped trial they are those that it is expected to have on all items."""
        if trial.error is not None:
            return None
        if trial.stopped:
            scores = self._racing.expected(trial.items)[0][None]
        else:
            scores = score_matrix([trial.scores], self._objectives)
        if not self._scalar:
            return [float(loss) for loss in 1.0 - scores[0]]
        known = with_references(self._objectives, self._store.trials())
        return [float(tchebycheff(retentions(scores, references(known)))[0])]


def _refuse_only_failures(trials: Sequence[Trial]) -> None:
    if trials and all(trial.error is not None for trial in trials):
        raise RunFailed(
            f"the first {len(trials)} candidates all failed, the last with '{trials[-1].error}': mend the cause, then "
            "choose another name=, or delete the folder"
        )
