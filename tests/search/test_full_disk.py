"""A full disk while the study is written: finished trials are kept, and the search resumes."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

from test_order import BUDGET, Mortal, search, sequence

from evomerge.cluster.serial import SerialPool
from evomerge.search.store import Store

HERE = Path(__file__).parents[1]
# A limit on the size of files ends a write as a full disk does: after a part of it.
SCRIPT = """
import resource, sys
sys.path[:0] = [{tests!r}, {here!r}]
from pathlib import Path
from evomerge.cluster.serial import SerialPool
from test_order import Mortal, search
resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))
try:
    search(Path({folder!r}), SerialPool(Mortal(99)), "random", 0)
except OSError as error:
    print(error.strerror)
"""


def test_the_study_is_read_and_goes_on(tmp_path: Path) -> None:
    search(tmp_path / "whole", SerialPool(Mortal(BUDGET)), "random", 0)
    size = (tmp_path / "whole" / "study.journal").stat().st_size
    folder = tmp_path / "full"
    code = SCRIPT.format(tests=str(HERE), here=str(HERE / "search"), folder=str(folder), size=size * 2 // 3)
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert told.stdout == f"{os.strerror(errno.EFBIG)}\n" and told.stderr == ""
    assert (folder / "study.journal").stat().st_size == size * 2 // 3

    finished = sequence(folder)
    assert 0 < len(finished) < BUDGET and finished == sequence(tmp_path / "whole")[: len(finished)]
    search(folder, SerialPool(Mortal(BUDGET)), "random", 0)
    assert sequence(folder) == sequence(tmp_path / "whole")
    assert len(Store(folder).trials()) == BUDGET
