"""Watched generation: answers arrive when they end, and allowances and deadlines hold.

The model of these tests never ends an answer.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from evomerge.evaluation.judging.judge import Judge
from evomerge.evaluation.task_settings import TaskSpec
from evomerge.evaluation.tasks import load_tasks
from evomerge.evaluation.worker import EvaluationWorker
from evomerge.inference import attention
from evomerge.inference.answer_text import TextCodec
from evomerge.inference.backend import GenerationRequest
from evomerge.inference.backends.hf import HFBackend
from evomerge.inference.deadline import Ended, OutOfTime, Watch
from evomerge.inference.generation import GreedyDecoder
from evomerge.inference.memory_limits import Limits
from evomerge.inference.plain_generation import generate_plainly
from evomerge.types import Artifact, Work

Generate = Callable[[list[GenerationRequest], Watch | None], list[str]]
LONGEST = 40


@pytest.fixture(scope="module", params=["fast", "plain"])
def generate(request, pico_model: Callable[..., Path]) -> Generate:
    """Four rows at a time of a model that never ends its answers: it says one token for ever."""
    folder = pico_model(dtype="float32", initializer_range=0.3)
    codec = TextCodec(AutoTokenizer.from_pretrained(folder))
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    with torch.no_grad():
        model.lm_head.weight[0] = 0  # tied: the end-of-sequence token is never the likeliest
    if request.param == "plain":
        return lambda requests, watch: generate_plainly(model, codec, requests, 4, watch)
    fast = copy.deepcopy(model)
    attention.install(fast)
    return lambda requests, watch: GreedyDecoder(fast, codec, Limits(4, 256)).generate(requests, watch)


def requests(count: int = 10) -> list[GenerationRequest]:
    return [GenerationRequest(f"how many {'x' * n}", (), LONGEST) for n in range(count)]


def test_every_answer_is_handed_over_as_it_ends(generate: Generate) -> None:
    seen: list[Ended] = []
    sizes = [3, 9, 20, 7, 1, 30]
    wanted = [GenerationRequest(f"how many {n}", (), size) for n, size in enumerate(sizes)]
    answers = generate(wanted, Watch(seen.append))
    assert answers == generate(wanted, None)
    assert sorted(ended.index for ended in seen) == list(range(len(sizes)))
    assert all(ended.text == answers[ended.index] and not ended.cut for ended in seen)
    assert all(ended.tokens == sizes[ended.index] for ended in seen)


def test_a_stop_string_counts_and_cuts_nothing(generate: Generate) -> None:
    free = generate(requests(1), None)[0]
    seen: list[Ended] = []
    stopped = GenerationRequest("how many ", (free[5:7],), LONGEST)
    assert generate([stopped], Watch(seen.append, ["a"], {"a": LONGEST})) == [free[: free.index(free[5:7])]]
    assert 0 < seen[0].tokens < LONGEST and not seen[0].cut


@pytest.mark.parametrize("allowance", [0, 1, 50, 150])
def test_a_spent_allowance_ends_its_group_and_no_other(generate: Generate, allowance: int) -> None:
    seen: dict[int, Ended] = {}
    groups = ["a", "b"] * 5
    watch = Watch(lambda ended: seen.update({ended.index: ended}), groups, {"a": allowance})
    answers, whole = generate(requests(), watch), generate(requests(), None)
    assert answers[1::2] == whole[1::2]
    assert all(seen[n].tokens == LONGEST and not seen[n].cut for n in range(1, 10, 2))
    spent = sum(seen[n].tokens for n in range(0, 10, 2))
    assert allowance <= spent < allowance + 4  # rows that grow together
    for n in range(0, 10, 2):
        assert whole[n].startswith(answers[n]) and seen[n].text == answers[n]
        assert seen[n].cut == (seen[n].tokens < LONGEST)
        assert seen[n].cut or answers[n] == whole[n]


def test_an_allowance_cuts_alike_every_time(generate: Generate) -> None:
    answers = [generate(requests(), Watch(None, ["a"] * 10, {"a": 133})) for _ in range(2)]
    assert answers[0] == answers[1] != generate(requests(), None)


def test_a_deadline_ends_the_generation(generate: Generate) -> None:
    with pytest.raises(OutOfTime, match="still being generated"):
        generate(requests(), Watch(deadline=time.monotonic() - 1))
    assert generate(requests(2), Watch(deadline=time.monotonic() + 600)) == generate(requests(2), None)


@pytest.fixture(scope="module")
def worker(pico_model: Callable[..., Path], judge: Judge) -> EvaluationWorker:
    tasks = load_tasks(
        [TaskSpec("json", "json", limit=20, max_new_tokens=30), TaskSpec("sql", "sql", limit=20, max_new_tokens=10)],
        judge,
    )
    backend = HFBackend(pico_model(dtype="float32", initializer_range=0.3), dtype="float32", batch_size=8)
    return EvaluationWorker(backend, tasks, judge)


def test_a_worker_records_what_answers_cost_and_what_was_cut(pico_model: Callable[..., Path], worker) -> None:
    subject = Artifact(str(pico_model(dtype="float32", initializer_range=0.3)))
    whole = worker.evaluate(Work("k", subject, "test", ("json", "sql")))
    assert {item.metrics["tokens"] for item in whole.items if item.task == "sql"} <= set(range(1, 11))
    assert not any("cut" in item.metrics for item in whole.items)
    cut = worker.evaluate(Work("k", subject, "test", ("json", "sql"), {"json": 6.0}))
    assert [item for item in cut.items if item.task == "sql"] == [item for item in whole.items if item.task == "sql"]
    looping = [item for item in cut.items if item.task == "json"]
    assert 120 <= sum(item.metrics["tokens"] for item in looping) < 128
    assert sum(item.metrics.get("cut", 0.0) for item in looping) > 10
    for item, other in zip(cut.items, whole.items, strict=True):
        assert item.item == other.item and other.answer.startswith(item.answer)


def test_answers_go_to_the_judge_before_the_last_is_generated(pico_model: Callable[..., Path], worker, judge) -> None:
    begun: list[int] = []  # forward passes that were over when an answer was handed over
    forwards = [0]
    subject = Artifact(str(pico_model(dtype="float32", initializer_range=0.3)))
    worker.evaluate(Work("k", subject, "test", ("sql",)))  # loads the model
    model = worker._backend._current.model
    handle = model.register_forward_hook(lambda *_: forwards.__setitem__(0, forwards[0] + 1))
    begin = judge.begin
    judge.begin = lambda kind, answers: (begun.append(forwards[0]), begin(kind, answers))
    try:
        done = worker.evaluate(Work("k", subject, "test", ("sql", "json")))
    finally:
        del judge.begin
        handle.remove()
    handed = begun[: len(done.items)]  # scoring hands over once more what is known by then
    assert handed[0] < handed[len(handed) // 2] < handed[-1] <= forwards[0]
    assert sum(count < forwards[0] for count in handed) > len(handed) // 2


def test_a_worker_out_of_time_says_so(pico_model: Callable[..., Path], worker, judge) -> None:
    hurried = EvaluationWorker(worker._backend, worker._tasks, judge, seconds=0.0)
    with pytest.raises(OutOfTime):
        hurried.evaluate(Work("k", Artifact(str(pico_model(dtype="float32", initializer_range=0.3))), "test", ("sql",)))
