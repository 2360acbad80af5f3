"""Serve verdicts: the judge's process, a clean interpreter in the sandbox that judges batches of answers.

This process, the server, reads requests from standard input, holds what scorers prepare and runs trusted code alone.
A scorer says how its answers are judged (:meth:`evomerge.evaluation.scorers.base.Scorer.judge_many`).
"""

from __future__ import annotations

import json
import os
from typing import Any

from evomerge.evaluation import scorers
from evomerge.evaluation.judging import framed_messages
from evomerge.evaluation.judging.children import Verdict
from evomerge.evaluation.judging.sandbox import SandboxSettings, SandboxUnavailable, assembly, limits
from evomerge.evaluation.judging.sandbox.assembly import Walls
from evomerge.evaluation.judging.zygote import Zygote
from evomerge.evaluation.scorers.base import SCORERS, Workbench


def main(arguments: str) -> None:
    """Enter the sandbox, report the level, then serve requests until standard input ends."""
    options = json.loads(arguments)
    settings = SandboxSettings(**options["settings"])
    scorers.__path__[:] = options["scorers"]
    # Late imports have to happen now: the sandbox's file system holds only the standard library.
    for name in SCORERS:
        SCORERS[name].load()
    replies = os.dup(1)
    os.dup2(2, 1)
    try:
        surrounding = assembly.build(options["level"], options["folder"], settings)
        limits.hide_from_peers()
        zygote = Zygote(surrounding)
    except (SandboxUnavailable, OSError) as error:
        framed_messages.send(replies, json.dumps({"failed": str(error)}).encode())
        return
    framed_messages.send(replies, json.dumps({"level": options["level"]}).encode())
    server = Server(surrounding, zygote)
    while (message := framed_messages.receive(0)) is not None:
        request = json.loads(message)
        if "file" in request:
            server.files[request["file"]] = framed_messages.receive(0, request["bytes"]) or b""
        else:
            framed_messages.send(replies, json.dumps(server.judge(request)).encode())


class Server:
    """Judges batches.

    Attributes:
        files: contents of the files that items name, by stamp; the sandbox cannot read them itself.
    """

    def __init__(self, walls: Walls, zygote: Zygote) -> None:
        self.files: dict[str, bytes] = {}
        self._benches = {name: Workbench(walls, zygote, self.files) for name in SCORERS}

    def judge(self, request: dict[str, Any]) -> list[Verdict]:
        """Verdicts on a batch ``{"scorer": name, "items": [[item, answer], ...]}``, in order."""
        name = request["scorer"]
        return SCORERS[name].judge_many(self._benches[name], request["items"])
