"""Conformance checks for scorers: functions that raise AssertionError; test_scorers.py applies them to all scorers."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import yaml

from evomerge.errors import UserError
from evomerge.evaluation import scorers
from evomerge.evaluation.documents import Document, Row
from evomerge.evaluation.judging.judge import Judge
from evomerge.evaluation.scorers.base import SCORERS, TRUSTED, Scorer
from evomerge.evaluation.task_settings import task_settings


def check_gold(scorer: Scorer, judge: Judge) -> None:
    """The gold answer scores 1, whatever the options."""
    for options in variations(scorer):
        assert score(scorer, judge, options, document(scorer, options).gold) == 1.0, options


def check_empty(scorer: Scorer, judge: Judge) -> None:
    """An empty answer and a huge one score 0, and the judge lives on."""
    options = scorer.Options()
    for answer in ("", " ", "9" * 1_000_000):
        assert score(scorer, judge, options, answer) == 0.0, answer[:1]
    check_gold(scorer, judge)


def check_endless(scorer: Scorer, judge: Judge) -> None:
    """An answer that never ends is cut off and scores 0."""
    if scorer.endless:
        assert score(scorer, judge, scorer.Options(), scorer.endless) == 0.0


def check_metrics(scorer: Scorer, judge: Judge) -> None:
    """The metrics that are given are the declared ones, each in [0, 1], and the first is given always."""
    given: set[str] = set()
    for options in variations(scorer):
        one = document(scorer, options)
        verdicts = judge.judge(scorer.name, [(one.judged, answer) for answer in (one.gold, "")])
        for verdict in verdicts:
            assert scorer.metrics[0] in verdict
            assert all(0.0 <= value <= 1.0 for value in verdict.values())
            given |= verdict.keys() - {TRUSTED}
            assert scorer.metric_names(scorer.Options())[0] in scorer.combine([verdict], scorer.Options())
    assert given == set(scorer.metrics)


def check_options(scorer: Scorer, folder: Path) -> None:
    """Options are the same after they went through settings and YAML."""
    path = folder / f"{scorer.name}.yaml"
    path.write_text(f"task: {scorer.name}\nmetadata:\n  scorer: {scorer.name}\n")
    changed: set[str] = set()
    for options in variations(scorer):
        spec = task_settings("mine", {"task": str(path), **asdict(options)})
        assert spec.options == options
        assert task_settings("mine", yaml.safe_load(yaml.safe_dump(spec.settings))) == spec
        default = scorer.Options()
        changed |= {one.name for one in fields(options) if getattr(options, one.name) != getattr(default, one.name)}
    assert changed == {one.name for one in fields(scorer.Options)}, "an option that nothing else is allowed for"


def variations(scorer: Scorer) -> Iterator[Any]:
    """The default options, then each option at other values."""
    default = scorer.Options()
    yield default
    forms = get_type_hints(scorer.Options)
    for one in fields(scorer.Options):
        for value in others(forms[one.name], getattr(default, one.name)):
            try:
                yield replace(default, **{one.name: value})
            except UserError:
                continue


def others(form: Any, value: Any) -> list[Any]:
    if get_origin(form) is Literal:
        return [other for other in get_args(form) if other != value]
    if form is bool:
        return [not value]
    return [value + 1] if form is int else [value + 0.25] if form is float else [2 * value or "x"]


def document(scorer: Scorer, options: Any) -> Document:
    return scorer.read(Row(Path("example.jsonl"), 1, dict(scorer.example), {}), options)


def score(scorer: Scorer, judge: Judge, options: Any, answer: str) -> float:
    (verdict,) = judge.judge(scorer.name, [(document(scorer, options).judged, answer)])
    return verdict[scorer.metrics[0]]


@contextmanager
def planted(folder: Path, name: str, code: str) -> Iterator[Scorer]:
    """A scorer in a file of its own, as if it lay in evaluation/scorers/."""
    (folder / f"{name}.py").write_text(code)
    scorers.__path__.append(str(folder))
    module = f"{scorers.__name__}.{name}"
    try:
        assert name not in SCORERS
        importlib.import_module(module)
        yield SCORERS[name]
    finally:
        scorers.__path__.remove(str(folder))
        SCORERS._items.pop(name, None)
        sys.modules.pop(module, None)
