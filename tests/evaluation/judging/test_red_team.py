"""Hostile answers at every sandbox level that this machine offers.

Each is judged wrong within its limits, leaves no process and no file, and the same judge then passes a right answer.
"""

from __future__ import annotations

import json
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import hostile_code
import hostile_objects
import hostile_sql
import pytest

from evomerge.errors import UserError
from evomerge.evaluation.judging.judge import Judge
from evomerge.evaluation.judging.sandbox import LEVELS, SandboxSettings, bubblewrap

PROMISING = [level for level in LEVELS if level != "rlimits" and (level != "bubblewrap" or bubblewrap.find())]
LIMITS = {"code_seconds": 1, "code_wall": 5.0, "sql_seconds": 0.2, "parallel": 6}


@dataclass
class Target:
    """A judge under attack, its processes when idle, and a folder of the host that nobody may change."""

    judge: Judge
    folder: Path
    canary: Path
    idle: frozenset[int]
    right: int = 0

    def check(self, kind: str, item: str, right: str) -> None:
        """The judge is alive, alone and clean, and judges a right answer."""
        self.right += 1
        comment = f"\n# {self.right}" if kind == "code" else f" -- {self.right}"
        assert set(self.judge.judge(kind, [(item, right + comment)])[0].values()) == {1.0}
        assert processes_of(self.folder) == self.idle
        assert list(self.folder.rglob("*")) == []
        assert [path.name for path in self.canary.iterdir()] == ["secret"]
        assert (self.canary / "secret").read_text() == "42"
        assert (self.canary / "secret").stat().st_mtime > 1
        assert self.canary.stat().st_mode & 0o777 == 0o755

    def prepare(self, text: str) -> str:
        return text.replace("@CANARY@", str(self.canary)).replace("@PACKAGES@", sysconfig.get_path("purelib"))


def processes_of(folder: Path) -> frozenset[int]:
    """All processes of the judge with this folder: they were forked from it, so they share its command line."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(folder).encode() in path.read_bytes():
                found.add(int(path.parent.name))
        except OSError:
            continue  # gone meanwhile
    return frozenset(found)


@pytest.fixture(scope="module", params=PROMISING)
def target(request, tmp_path_factory) -> Iterator[Target]:
    canary = tmp_path_factory.mktemp("canary")
    canary.chmod(0o755)
    (canary / "secret").write_text("42")
    with Judge(SandboxSettings(level=request.param, **LIMITS)) as judge:
        try:
            assert judge.level == request.param
        except UserError as error:
            pytest.skip(str(error))
        folder = Path(judge._process._folder)
        yield Target(judge, folder, canary, processes_of(folder))


@pytest.fixture(scope="module")
def slow_verdicts(target) -> dict[str, list[dict[str, float]]]:
    """Of each slow answer and of a right one beside it, all judged side by side."""
    pairs = []
    for name, answer in hostile_code.SLOW.items():
        pairs += [(hostile_code.ITEM, answer), (hostile_code.ITEM, f"{hostile_code.RIGHT}# beside {name}")]
    verdicts = target.judge.judge("code", pairs)
    return {name: verdicts[2 * i : 2 * i + 2] for i, name in enumerate(hostile_code.SLOW)}


@pytest.mark.parametrize("name", hostile_code.FAST)
def test_hostile_code_is_wrong(target, name):
    pairs = [(hostile_code.ITEM, target.prepare(hostile_code.FAST[name]))]
    assert target.judge.judge("code", pairs) == [{"pass@1": 0.0}]
    target.check("code", hostile_code.ITEM, hostile_code.RIGHT)


@pytest.mark.parametrize("name", hostile_objects.ANSWERS)
def test_hostile_objects_are_wrong(target, name):
    test, answer = hostile_objects.ANSWERS[name]
    assert target.judge.judge("code", [(hostile_objects.item(test), answer)]) == [{"pass@1": 0.0}]
    target.check("code", hostile_objects.RIGHT_ITEM, hostile_objects.RIGHT)


@pytest.mark.parametrize("name", hostile_code.FAST)
def test_hostile_code_beside_its_tests_reaches_nothing_outside(target, name):
    """In the tests' own process: five answers forge their verdict, which is marked, and that is all they get."""
    item = json.dumps(json.loads(hostile_code.ITEM) | {"together": True})
    (verdict,) = target.judge.judge("code", [(item, target.prepare(hostile_code.FAST[name]))])
    assert verdict["trusted"] == 1.0
    assert verdict["pass@1"] == 0.0 or name in hostile_code.FORGING
    target.check("code", hostile_code.ITEM, hostile_code.RIGHT)


def test_a_slow_answer_beside_its_tests_is_ended(target):
    item = json.dumps(json.loads(hostile_code.ITEM) | {"together": True})
    pairs = [(item, answer) for answer in [*list(hostile_code.SLOW.values())[:4], hostile_code.RIGHT]]
    assert [verdict["pass@1"] for verdict in target.judge.judge("code", pairs)] == [0, 0, 0, 0, 1]
    target.check("code", item, hostile_code.RIGHT)


@pytest.mark.parametrize("name", hostile_code.SLOW)
def test_slow_code_is_ended_and_wrong(target, slow_verdicts, name):
    assert slow_verdicts[name] == [{"pass@1": 0.0}, {"pass@1": 1.0}]
    target.check("code", hostile_code.ITEM, hostile_code.RIGHT)


@pytest.mark.parametrize("name", hostile_sql.ANSWERS)
def test_hostile_sql_is_wrong(target, name):
    verdict = target.judge.judge("sql", [(hostile_sql.ITEM, target.prepare(hostile_sql.ANSWERS[name]))])
    assert verdict[0]["sql_exec"] == 0.0
    target.check("sql", hostile_sql.ITEM, hostile_sql.RIGHT)
