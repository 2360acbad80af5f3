"""Store of a run: every proposed and finished candidate, on disk before anything relies on it.

It is Optuna's journal at ``study.journal`` (``optuna-dashboard study.journal`` works on it), with item outcomes and
answers as trial attributes, and ``evaluations.jsonl`` for what was scored on the selection and test splits.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from evomerge.errors import UserError
from evomerge.search.evaluations import Evaluations
from evomerge.search.records import dump_outcome, dump_rung, load_outcome, load_rung
from evomerge.search.same_search import refuse_another
from evomerge.types import Candidate, Done, ItemScore, Trial

STUDY = "evomerge"


@contextmanager
def quiet() -> Iterator[None]:
    """Hide Optuna's warnings about experimental features and stepped ranges, which tell evomerge's users nothing."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="optuna")
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        warnings.simplefilter("ignore", FutureWarning)
        yield


@dataclass(frozen=True)
class Proposal:
    """Parameters as a sampler gave them; ``label`` names anchors."""

    number: int
    params: Mapping[str, Any]
    label: str | None


class Store:
    """Proposals and trials of a run folder. Opening changes nothing; :meth:`begin` makes this process the only
    writer."""

    def __init__(self, run_dir: Path | str) -> None:
        self.folder = Path(run_dir)
        self._journal = self.folder / "study.journal"
        self._evaluations = Evaluations(self.folder / "evaluations.jsonl")
        self._study: optuna.Study | None = None
        self._lock: int | None = None
        self._trials: dict[int, Trial] = {}
        self._by_fingerprint: dict[str, Trial] = {}
        if self._journal.exists() and self._journal.stat().st_size > 0:
            self._open()

    # --- opening -----------------------------------------------------------------------------------------------

    def _open(self, directions: int | None = None) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        storage = JournalStorage(JournalFileBackend(str(self._journal)))
        if directions is not None:
            self._study = optuna.create_study(
                storage=storage, study_name=STUDY, directions=["minimize"] * directions, load_if_exists=True
            )
        elif any(summary.study_name == STUDY for summary in optuna.get_all_study_summaries(storage)):
            self._study = optuna.load_study(storage=storage, study_name=STUDY)

    @property
    def study(self) -> optuna.Study:
        """Optuna's study, for reading (parameter importance, plots)."""
        assert self._study is not None, "Store.begin was not called"
        return self._study

    @property
    def identity(self) -> Mapping[str, Any]:
        """The identity that :meth:`begin` stored, in this process or another; empty if there is no search yet."""
        return {} if self._study is None else self._study.user_attrs

    def begin(self, identity: Mapping[str, Any], directions: int, earlier: Mapping[str, Any] | None = None) -> None:
        """Become the folder's only writer, and create or resume its study.

        Args:
            identity: plain JSON values that make scores comparable (tasks, base, experts, parameters ...). Keys that
                the folder does not have yet are added, also inside a mapping.
            directions: number of losses.
            earlier: what folders did that were begun before a key existed; for other keys that a folder lacks, the
                value of today is taken for what it did.

        Proposals and trials that a killed process left are kept: see :meth:`untold` and :meth:`unfinished`.

        Raises:
            UserError: another process is writing here, or the folder holds a search with another identity.
        """
        if self._lock is None:
            self._acquire()
            try:
                self._open(directions)
                self._compare(identity, earlier or {})
            except BaseException:
                self.close()
                raise
        else:
            self._compare(identity, earlier or {})

    def _acquire(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(self._journal, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise UserError(
                f"{self.folder} is in use by another running evomerge: wait for it, stop it, or choose another name="
            ) from None
        self._lock = lock
        # This process is the only writer, so it may clean up: the lock file of a killed process would make Optuna
        # wait for 30 s, and its half line would end in the middle of the next record.
        self._journal.with_name(self._journal.name + ".lock").unlink(missing_ok=True)
        content = self._journal.read_bytes()
        if not content.endswith(b"\n"):
            os.truncate(self._journal, content.rfind(b"\n") + 1)

    def _compare(self, identity: Mapping[str, Any], earlier: Mapping[str, Any]) -> None:
        wanted = json.loads(json.dumps(identity))
        stored = self.identity
        if stored:
            stored = {**earlier, **stored}
        refuse_another(self.folder, stored, wanted)
        for key, value in wanted.items():
            if stored.get(key) != value:
                self.study.set_user_attr(key, value)

    def close(self) -> None:
        """Let another process write here."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # --- the search --------------------------------------------------------------------------------------------

    def enqueue(self, params: Mapping[str, Any], label: str | None = None) -> None:
        """Have :meth:`ask` propose ``params`` before it asks the sampler."""
        with quiet():
            self.study.enqueue_trial(dict(params), user_attrs={} if label is None else {"label": label})

    def labels(self) -> set[str]:
        """Labels of trials that are waiting, running or finished."""
        return {
            trial.user_attrs["label"]
            for trial in self.study.get_trials(deepcopy=False)
            if "label" in trial.user_attrs
            and (
                trial.state in (TrialState.WAITING, TrialState.RUNNING)
                or not trial.user_attrs.keys().isdisjoint({"outcome", "duplicate_of"})
            )
        }

    def anchors_pending(self) -> bool:
        """Whether a labelled proposal is waiting or running."""
        pending = self.study.get_trials(deepcopy=False, states=(TrialState.WAITING, TrialState.RUNNING))
        return any("label" in trial.user_attrs and "outcome" not in trial.user_attrs for trial in pending)

    def ask(self, sampler: optuna.samplers.BaseSampler, space: Mapping[str, BaseDistribution]) -> Proposal:
        """The next proposal: an enqueued one, else the sampler's."""
        with quiet():
            self.study.sampler = sampler
            trial = self.study.ask(fixed_distributions=dict(space))
        return Proposal(trial.number, trial.params, trial.user_attrs.get("label"))

    def accept(self, candidate: Candidate) -> None:
        """Note that the candidate is going to be scored."""
        self._set(candidate.number, "fingerprint", candidate.recipe.fingerprint)

    def record_rung(self, number: int, done: Done) -> None:
        """Write the outcomes of a rung to disk, after which the candidate goes on."""
        self._set(number, f"rung {len(self.rungs(number))}", dump_rung(done))

    def rungs(self, number: int) -> list[Done]:
        """Recorded rungs of a candidate, in order."""
        known = self.study.get_trials(deepcopy=False)[number].user_attrs
        texts = itertools.takewhile(lambda text: text is not None, (known.get(f"rung {n}") for n in itertools.count()))
        return [load_rung(str(number), text) for text in texts if text is not None]

    def record(self, candidate: Candidate, done: Done, stopped: bool = False) -> Trial:
        """Write an outcome to disk. Call :meth:`tell` only after it.

        Args:
            stopped: by racing, before all items were run."""
        text = dump_outcome(candidate, done, stopped)
        self._set(candidate.number, "outcome", text)
        return self._enter(load_outcome(candidate.number, text))

    def tell(self, number: int, losses: Sequence[float] | None) -> None:
        """Tell the sampler; None for a failed candidate."""
        with quiet():
            if losses is None:
                self.study.tell(number, state=TrialState.FAIL)
            else:
                self.study.tell(number, list(losses))

    def tell_duplicate(self, number: int, original: int, losses: Sequence[float] | None) -> None:
        """Tell the sampler that the proposal equals a finished trial; it becomes no trial of its own."""
        self._set(number, "duplicate_of", original)
        self.tell(number, losses)

    def unfinished(self) -> list[Proposal]:
        """Proposals without an outcome, as a killed process leaves them, in order of number."""
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return [
            Proposal(trial.number, trial.params, trial.user_attrs.get("label"))
            for trial in running
            if "outcome" not in trial.user_attrs
        ]

    def complete(self, number: int, space: Mapping[str, BaseDistribution]) -> Proposal:
        """Finish :meth:`ask` for an enqueued proposal whose process was killed in it."""
        trial_id = self.study._storage.get_trial_id_from_study_id_trial_number(self.study._study_id, number)
        with quiet():
            trial = optuna.Trial(self.study, trial_id)
            for name, distribution in space.items():
                trial._suggest(name, distribution)  # as Study.ask does; gives what was enqueued
        return Proposal(number, trial.params, trial.user_attrs.get("label"))

    def abandon(self, number: int) -> None:
        """Drop a proposal whose process was killed in the middle of it: it counts as never made."""
        self.study.tell(number, state=TrialState.FAIL)

    def untold(self) -> list[Trial]:
        """Trials that were recorded when their process died before it told the sampler."""
        running = {t.number for t in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))}
        return [trial for trial in self.trials() if trial.number in running]

    def _set(self, number: int, key: str, value: Any) -> None:
        storage = self.study._storage  # Study offers attributes of a trial only while its Trial object lives
        trial_id = storage.get_trial_id_from_study_id_trial_number(self.study._study_id, number)
        storage.set_trial_user_attr(trial_id, key, value)

    # --- reading -----------------------------------------------------------------------------------------------

    def proposals(self) -> int:
        """Number of proposals made, duplicates included."""
        return len(self._proposed())

    def repeats(self) -> int:
        """Number of proposals since the last one that became a candidate."""
        accepted = ["fingerprint" in trial.user_attrs for trial in reversed(self._proposed())]
        return accepted.index(True) if True in accepted else len(accepted)

    def _proposed(self) -> list[optuna.trial.FrozenTrial]:
        """Proposals in order of number, without those that wait or were abandoned."""
        return [
            trial
            for trial in self.study.get_trials(deepcopy=False)
            if trial.state in (TrialState.RUNNING, TrialState.COMPLETE)
            or not trial.user_attrs.keys().isdisjoint({"outcome", "duplicate_of"})
        ]

    def trials(self) -> list[Trial]:
        """Finished trials in order of number, the failed among them with their error."""
        if self._study is None:
            return []
        for frozen in self._study.get_trials(deepcopy=False):
            if "outcome" in frozen.user_attrs and frozen.number not in self._trials:
                self._enter(load_outcome(frozen.number, frozen.user_attrs["outcome"]))
        return [self._trials[number] for number in sorted(self._trials)]

    def find(self, fingerprint: str) -> Trial | None:
        """The finished trial of this recipe."""
        self.trials()
        return self._by_fingerprint.get(fingerprint)

    def _enter(self, trial: Trial) -> Trial:
        self._trials[trial.number] = trial
        self._by_fingerprint.setdefault(trial.recipe.fingerprint, trial)
        return trial

    def record_evaluation(self, fingerprint: str, split: str, done: Done, task: str | None = None) -> None:
        """Write an evaluation outside the search loop to disk; a failed one only if it concerns one ``task``."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._evaluations.record(fingerprint, split, done, task)

    def failure(self, fingerprint: str, split: str, task: str) -> str | None:
        """Why a recorded evaluation failed; None if none failed, or the task was scored since."""
        return self._evaluations.failure(fingerprint, split, task)

    def evaluation(self, fingerprint: str, split: str, tasks: Sequence[str]) -> tuple[ItemScore, ...] | None:
        """Recorded item scores of all ``tasks``, in their order; None unless each of them is known."""
        done = self.evaluated(fingerprint, split, tasks)
        return None if done is None else done.items

    def evaluated(self, fingerprint: str, split: str, tasks: Sequence[str]) -> Done | None:
        """The same with seconds and isolation."""
        return self._evaluations.find(fingerprint, split, tasks)

    def evaluations(self, split: str) -> Iterator[tuple[str, str, tuple[ItemScore, ...]]]:
        """Fingerprint, task and items of everything recorded on the items of ``split``, in order."""
        return self._evaluations.of_split(split)
