"""Hostile code answers: wrong, with nothing else happening, and the judge alive afterwards."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from evomerge.evaluation.judge import Judge
from evomerge.evaluation.sandbox import SandboxSettings

ITEM = json.dumps(
    {
        "prompt": 'def double(x):\n    """Twice x."""',
        "test": "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate([1]) == [1, 1]\n",
        "entry_point": "double",
    }
)
RIGHT = "\n    return 2 * x"

HOSTILE = {
    "endless loop": "\n    while True: pass",
    "endless sleep": "\n    import time; time.sleep(1000)",
    "endless result": "\n    import itertools; return itertools.count()",
    "endless recursion": "\n    return double(x)",
    "fork bomb": "\n    import os\n    while True: os.fork()",
    "thread bomb": "\n    import threading as t, time\n    while True: t.Thread(target=time.sleep, args=[9]).start()",
    "huge list": "\n    return [0] * 10**10",
    "huge text": "\n    return 'x' * (2 << 30)",
    "huge number": "\n    return 1 << 10**9",
    "sys.exit(0)": "\n    import sys; sys.exit(0)",
    "os._exit(0)": "\n    import os; os._exit(0)",
    "SystemExit while loading": "\n    return x\nraise SystemExit(0)",
    "_exit while loading": "\n    return x\nimport os; os._exit(0)",
    "print passed": "\n    print('passed'); print('p'); return x",
    "write into every descriptor": "\n    import os\n    for fd in range(64):\n        try: os.write(fd, b'p' * 64)\n"
    "        except OSError: pass\n    return x",
    "always equal": "\n    class Yes:\n        def __eq__(self, other): return True\n    return Yes()",
    "equal int": "\n    class Yes(int):\n        def __eq__(self, other): return True\n    return Yes(0)",
    "patched builtins": "\n    import builtins\n    builtins.AssertionError = builtins.Exception = None\n    return x",
    "own check": "\n    return x\ndef check(candidate): pass",
    "AssertionError": "\n    raise AssertionError",
    "kill everybody": "\n    import os\n    for pid in [-1, *range(2, 400)]:\n        try: os.kill(pid, 9)\n"
    "        except OSError: pass\n    return x",
    "find the tests in memory": "\n    import gc\n"
    "    texts = [t for t in gc.get_objects() if 'assert candidate' in repr(t)]\n"
    "    return 4 if texts else None",
    "segmentation fault": "\n    import ctypes; return ctypes.string_at(0)",
    "huge file": "\n    open('f', 'wb').write(b'x' * (64 << 20)); return 2 * x",
    "read the home folder": "\n    import os; return os.listdir(os.path.expanduser('~root'))",
    "read a password file": "\n    return open('/etc/passwd').read() and 2 * x",
    "write beside Python": "\n    import os; open(os.path.dirname(os.__file__) + '/evil.py', 'w'); return 2 * x",
    "run a shell": "\n    import os; os.execv('/bin/sh', ['sh', '-c', 'echo passed']); return 2 * x",
    "syntax error": "\n    return (",
    "null byte": "\n    return '\0'",
    "lone surrogate": "\n    return '\ud800'",
}


@pytest.fixture(scope="module")
def quick_judge():
    with Judge(SandboxSettings(code_seconds=1)) as judge:
        yield judge


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_code_is_wrong_and_the_judge_goes_on(quick_judge, name):
    verdicts = quick_judge.judge("code", [(ITEM, HOSTILE[name]), (ITEM, RIGHT + f"  # {name}")])
    assert verdicts == [{"pass@1": 0.0}, {"pass@1": 1.0}]


def test_nothing_is_written_outside_the_sandbox(quick_judge, tmp_path):
    target = tmp_path / "written"
    answer = (
        f"\n    import os\n    os.makedirs({str(tmp_path)!r}, exist_ok=True)\n    open({str(target)!r}, 'w').write('x')"
        + RIGHT
    )
    quick_judge.judge("code", [(ITEM, answer)])
    assert not target.exists()


def test_there_is_no_network(quick_judge):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        answer = f"\n    import socket\n    socket.create_connection(('127.0.0.1', {port}), 2)" + RIGHT
        assert quick_judge.judge("code", [(ITEM, answer)]) == [{"pass@1": 0.0}]
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()


def test_answers_see_no_variable_of_ours(quick_judge, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "x")
    with Judge() as judge:
        answer = "\n    import os\n    if 'SECRET_TOKEN' in os.environ: return 0" + RIGHT
        assert judge.judge("code", [(ITEM, answer)]) == [{"pass@1": 1.0}]


def test_a_killed_judge_is_started_again(quick_judge):
    quick_judge.judge("code", [(ITEM, RIGHT)])
    os.kill(quick_judge._process.pid, 9)
    quick_judge._process.wait()
    assert quick_judge.judge("code", [(ITEM, RIGHT + "  # again")]) == [{"pass@1": 1.0}]


def test_close_leaves_no_process_and_no_folder():
    judge = Judge()
    assert judge.level == "namespaces"
    pid, folder = judge._process.pid, Path(judge._folder)
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
