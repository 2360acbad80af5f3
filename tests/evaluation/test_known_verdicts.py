"""An answer that is known keeps its verdict, and is not judged again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from evomerge.evaluation.judging.judge import Judge
from evomerge.evaluation.task_settings import TaskSpec
from evomerge.evaluation.tasks import load_tasks
from evomerge.evaluation.worker import EvaluationWorker
from evomerge.inference.backends.hf import HFBackend
from evomerge.search.known_answers import AnswerIndex
from evomerge.types import Artifact, ItemScore, KnownAnswer, Work

PLANTED = {"planted": 1.0}


def test_known_answers_keep_their_verdicts(pico_model: Callable[..., Path], judge: Judge) -> None:
    folder = str(pico_model(dtype="float32", initializer_range=0.3))
    tasks = load_tasks([TaskSpec("json", "json", limit=6, max_new_tokens=12)], judge)
    asked: list[str] = []
    ask = judge.judge

    def noted(scorer, answers):
        asked.extend(answer for _, answer in answers)
        return ask(scorer, answers)

    judge.judge = noted
    worker = EvaluationWorker(HFBackend(folder, dtype="float32", batch_size=4), tasks, judge)

    def scored(known: Mapping[str, tuple[KnownAnswer, ...]]) -> list[ItemScore]:
        asked.clear()
        return list(worker.evaluate(Work("k", Artifact(folder), "test", ("json",), known={"json": known})).items)

    try:
        first = scored({})
        assert len(asked) == 6
        texts = {item.item: item.answer for item in first}
        names = list(texts)
        known = {
            names[0]: (KnownAnswer(texts[names[0]], 12, (0,), 0.25, PLANTED),),
            names[1]: (KnownAnswer(texts[names[1]] + "x", 12, (0,), 0.25, PLANTED),),  # another answer
            names[2]: (KnownAnswer(texts[names[2]], 12, (0,)),),  # without a verdict
            "no item": (KnownAnswer("text", 12, (0,), 0.25, PLANTED),),
        }
        again = scored(known)
        assert asked == [texts[name] for name in names[1:]]
        assert [item.answer for item in again] == list(texts.values())
        assert [item.outcome for item in again] == [0.25, *(item.outcome for item in first[1:])]
        assert [item.metrics.get("planted") for item in again] == [1.0, *[None] * 5]
        assert all(item.metrics["tokens"] == other.metrics["tokens"] for item, other in zip(again, first, strict=True))

        index = AnswerIndex()
        index.add(0, first)
        same = scored(index.known(("json",))["json"])
        assert asked == []
        assert [(item.outcome, dict(item.metrics) | {"passes": 0}) for item in same] == [
            (item.outcome, dict(item.metrics) | {"passes": 0}) for item in first
        ]
    finally:
        del judge.judge
