"""Levels of the sandbox and processes of the judge; test_red_team.py covers hostile answers."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from evomerge.errors import UserError
from evomerge.evaluation.judging.judge import Judge
from evomerge.evaluation.judging.sandbox import LEVELS, SandboxSettings, bubblewrap, readable_folders, seccomp
from evomerge.evaluation.judging.sandbox.remove_tree import remove_tree

ITEM = json.dumps(
    {"prompt": "def double(x):\n", "test": "def check(f):\n    assert f(2) == 4\n", "entry_point": "double"}
)
RIGHT = "    return 2 * x"
# Numbers on x86_64, aarch64: what Docker's default profile refuses, then what the level below needs.
NAMESPACE_CALLS = [(272, 97), (165, 40), (155, 41), (308, 268), (166, 39), (442, 442)]  # unshare, mount, pivot_root ...
LANDLOCK_CALLS = [(444, 444), (445, 445), (446, 446)]


@pytest.fixture(scope="module")
def quick_judge():
    with Judge(SandboxSettings(code_seconds=1)) as judge:
        yield judge


def judge_under(refused: list[tuple[int, int]], settings: str) -> str:
    """What a judge says in a process to which the system refuses some calls, as containers do."""
    program = f"""
        from evomerge.evaluation.judging.sandbox import kernel
        from evomerge.evaluation.judging.sandbox import limits
        from evomerge.evaluation.judging.sandbox import seccomp
        from evomerge.evaluation.judging.sandbox import SandboxSettings
        from evomerge.evaluation.judging.judge import Judge
        limits.prctl(limits.PR_SET_NO_NEW_PRIVS, 1)
        seccomp.install([numbers[kernel.COLUMN] for numbers in {refused}], guard_parent=False)
        with Judge(SandboxSettings({settings})) as judge:
            try:
                print(judge.level, *judge.judge("code", [({ITEM!r}, {RIGHT!r}), ({ITEM!r}, "    return x")]))
            except Exception as error:
                print(type(error).__name__, error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout.strip()


def test_without_namespaces_landlock_and_seccomp_stand_in():
    right, wrong = {"pass@1": 1.0}, {"pass@1": 0.0}
    assert judge_under(NAMESPACE_CALLS, "") == f"landlock+seccomp {right} {wrong}"


def test_the_weakest_level_is_refused_unless_allowed():
    refusal = judge_under(NAMESPACE_CALLS + LANDLOCK_CALLS, "")
    assert refusal.startswith("UserError") and "sandbox.allow_weak=true" in refusal
    assert "nothing hides files" in refusal and "unshare: Operation not permitted" in refusal
    accepted = judge_under(NAMESPACE_CALLS + LANDLOCK_CALLS, "allow_weak=True")
    assert accepted.startswith("rlimits {'pass@1': 1.0}")


def test_without_seccomp_only_the_weakest_level_is_left():
    refusal = judge_under([(317, 277)], "")
    assert refusal.startswith("UserError") and "no seccomp filters" in refusal
    assert judge_under([(317, 277)], "allow_weak=True").startswith("rlimits {'pass@1': 1.0}")


def test_the_strongest_level_is_taken(quick_judge):
    assert quick_judge.level == ("bubblewrap" if bubblewrap.find() else "namespaces")


def test_an_unknown_level_is_the_users_error():
    with pytest.raises(UserError, match=r"sandbox\.level must be one of bubblewrap, .* got gvisor"):
        Judge(SandboxSettings(level="gvisor"))


def test_what_answers_may_read_leaves_installed_packages_out():
    readable = [os.path.realpath(path) for path in readable_folders.readable()]
    assert any(path.endswith("lib-dynload") or path.endswith("json") for path in readable)
    for packages in map(os.path.realpath, readable_folders.installed_packages()):
        assert not any((packages + "/").startswith(path + "/") for path in readable)


def test_the_filter_names_the_dangerous_calls():
    assert {numbers for numbers in seccomp.refused_numbers() if numbers in (425, 435)} == {425}  # clone3 is unknown
    assert len(set(seccomp.refused_numbers())) == len(seccomp.refused_numbers()) > 90


def test_a_hostile_tree_is_removed_and_links_are_not_followed(tmp_path, monkeypatch):
    keep = tmp_path / "keep"
    keep.mkdir()
    (keep / "file").write_text("x")
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "link").symlink_to(keep)
    (tree / "closed").mkdir(0o000)
    monkeypatch.chdir(tree)
    for _ in range(300):  # 300 x 100 characters: longer than any path may be
        os.mkdir("d" * 100)
        os.chdir("d" * 100)
    os.chdir(tmp_path)
    remove_tree(str(tree))
    assert sorted(os.listdir(tmp_path)) == ["keep"] and (keep / "file").read_text() == "x"


def test_there_is_no_network(quick_judge):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        answer = f"    import socket\n    socket.create_connection(('127.0.0.1', {port}), 2)\n" + RIGHT
        assert quick_judge.judge("code", [(ITEM, answer)]) == [{"pass@1": 0.0}]
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()


def test_answers_see_no_variable_of_ours(monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "x")
    with Judge() as judge:
        answer = "    import os\n    if 'SECRET_TOKEN' in os.environ: return 0\n" + RIGHT
        assert judge.judge("code", [(ITEM, answer)]) == [{"pass@1": 1.0}]


@pytest.mark.parametrize("level", [level for level in LEVELS if level != "bubblewrap" or bubblewrap.find()])
def test_answers_use_the_library_and_files_of_their_own(level):
    answer = """
    import asyncio, csv, decimal, fractions, statistics, tempfile, zoneinfo
    with open("own", "w") as file: file.write("2")
    with tempfile.NamedTemporaryFile("w+") as file:
        file.write(open("own").read())
        file.seek(0)
        return asyncio.run(asyncio.sleep(0, x)) * int(file.read())
"""
    with Judge(SandboxSettings(level=level, allow_weak=True)) as judge:
        assert judge.judge("code", [(ITEM, answer)]) == [{"pass@1": 1.0}]


def test_a_killed_judge_is_started_again(quick_judge):
    quick_judge.judge("code", [(ITEM, RIGHT)])
    process = quick_judge._process._process
    os.kill(process.pid, 9)
    process.wait()
    assert quick_judge.judge("code", [(ITEM, RIGHT + "  # again")]) == [{"pass@1": 1.0}]


@pytest.mark.parametrize("level", [level for level in LEVELS if level != "bubblewrap" or bubblewrap.find()])
def test_close_leaves_no_process_and_no_folder(level):
    judge = Judge(SandboxSettings(level=level, allow_weak=True))
    assert judge.level == level
    pid, folder = judge._process._process.pid, Path(judge._process._folder)
    judge.close()
    assert not Path(f"/proc/{pid}").exists()
    assert not folder.exists()


def test_helpers_and_changes_in_place_work_across_the_processes(judge):
    item = json.dumps(
        {
            "prompt": "from math import sqrt\n\ndef helper(x):\n    return x + 1\n\n"
            'def order(xs):\n    """Sort xs in place."""',
            "test": "def check(candidate):\n    xs = [3, 1]\n    candidate(xs)\n    assert xs == [1, 3]\n"
            "    assert extra(helper(1)) == sqrt(16)\n    try:\n        extra('a')\n        assert False\n"
            "    except TypeError:\n        pass\n",
            "entry_point": "order",
        }
    )
    answer = "\n    xs.sort()\n\ndef extra(x):\n    return x + 2.0"
    assert judge.judge("code", [(item, answer)]) == [{"pass@1": 1.0}]


BROKEN = {
    "no such user": ("first_user=1 << 40", "", "OverflowError"),
    "killed at its start": ("", "os.setsid = lambda: os.kill(os.getpid(), 9)", "it died"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_process_that_cannot_confine_itself_makes_no_answer_wrong(name):
    wall, fault, reason = BROKEN[name]
    program = f"""
        import json, os
        from evomerge.evaluation.judging.zygote import Zygote
        from evomerge.evaluation.judging.judge_server import Server
        from evomerge.evaluation.judging.sandbox import SandboxSettings
        from evomerge.evaluation.judging.sandbox.assembly import Walls
        walls = Walls(SandboxSettings(), {wall})
        server = Server(walls, Zygote(walls))
        {fault}
        query = {{"sql": ["SELECT 1"], "databases": [{{"script": ""}}], "compare": "bag"}}
        for kind, item, answer in (
            ("json", {{"schema": True}}, "1"), ("sql", query, "SELECT 1"), ("code", json.loads({ITEM!r}), {RIGHT!r})
        ):
            print(json.dumps(server.judge({{"scorer": kind, "items": [[item, answer]] * 2}})))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=120, check=True
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [len(verdicts) for verdicts in found] == [2, 2, 2]
    for verdict in (verdict for verdicts in found for verdict in verdicts):
        assert verdict["error"].startswith("the sandbox could not start a process for it")
    assert all(reason in verdict["error"] for verdicts in found[:2] for verdict in verdicts)
