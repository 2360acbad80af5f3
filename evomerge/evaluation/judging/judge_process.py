"""Start the judge's process at the strongest level that works, ask it, restart it when it dies, and end it."""

from __future__ import annotations

import dataclasses
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Any

from evomerge.errors import UserError
from evomerge.evaluation import scorers
from evomerge.evaluation.judging import framed_messages
from evomerge.evaluation.judging.sandbox import LEVELS, SandboxSettings, bubblewrap
from evomerge.evaluation.scorers.base import SCORERS

_START_SECONDS = 120.0  # to start and import, on an overloaded machine
_END_SECONDS = 5.0  # for the process to end by itself

_START = "import json, sys; a = json.loads(sys.argv[1]); sys.path[:0] = a['path']; \
from evomerge.evaluation.judging import judge_server; judge_server.main(sys.argv[1])"


class JudgeFailed(Exception):
    """The judge itself failed; nothing is known about the answers."""


class JudgeProcess:
    """One process at a time, started on first use. Only :meth:`kill` may be called from another thread.

    Args:
        settings: limits, and whether a weak sandbox is acceptable.
    """

    def __init__(self, settings: SandboxSettings) -> None:
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: str | None = None
        self._log: IO[bytes] | None = None
        self._level = ""
        self._sent: set[str] = set()  # stamps of the files that the process has
        self._killed = False

    def level(self) -> str:
        """Isolation level in force, one of ``sandbox.LEVELS``.

        Raises:
            UserError: only a weak level is available and it was not asked for.
        """
        self._start()
        return self._level

    def stop(self) -> None:
        """End the process, and remove its folder and log."""
        if self._process is not None:
            assert self._process.stdin and self._process.stdout
            self._process.stdin.close()
            try:
                self._process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process.stdout.close()
            self._process = None
            self._sent.clear()
        if self._log is not None:
            self._log.close()
            self._log = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def kill(self) -> None:
        """From another thread: kill the process, so that a waiting :meth:`ask` fails, and start none again."""
        self._killed = True
        if (process := self._process) is not None:
            process.kill()

    def ask(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        """The server's reply to ``request`` (see :mod:`evomerge.evaluation.judging.judge_server`).

        Raises:
            JudgeFailed: the process died on it twice, or was killed.
        """
        reason = ""
        for _ in range(2):
            self._start()
            assert self._process and self._process.stdin and self._process.stdout
            try:
                self._send_files(request)
                framed_messages.send(self._process.stdin.fileno(), json.dumps(request).encode())
                reply = framed_messages.receive(self._process.stdout.fileno())
            except OSError:
                reply = None
            if reply is not None:
                return list(json.loads(reply))
            reason = self._last_words()
            self.stop()
        raise JudgeFailed(f"the judge's process died twice on one batch: {reason}")

    def _send_files(self, request: dict[str, Any]) -> None:
        """Send the files that items name, once per process: the sandbox cannot read them."""
        assert self._process and self._process.stdin
        scorer = SCORERS[request["scorer"]]
        for item, _ in request["items"]:
            for stamp, path in scorer.files(item).items():
                if stamp not in self._sent:
                    content = scorer.read_file(path)
                    head = {"file": stamp, "bytes": len(content)}
                    framed_messages.send(self._process.stdin.fileno(), json.dumps(head).encode())
                    framed_messages.send(self._process.stdin.fileno(), content)
                    self._sent.add(stamp)

    def _start(self) -> None:
        if self._process is not None:
            return
        reasons = []
        for level in [self._settings.level] if self._settings.level else LEVELS:
            if level == "rlimits" and not self._settings.allow_weak:
                reasons.append("rlimits: too weak")
                continue
            reason = self._start_at(level)
            if reason is None:
                return
            reasons.append(f"{level}: {reason}")
        raise UserError(
            f"running a model's code needs a sandbox, and this system offers none ({'; '.join(reasons)}): allow user "
            "namespaces, install bubblewrap (pip install evomerge[sandbox]), or accept resource limits alone by "
            "sandbox.allow_weak=true"
        )

    def _start_at(self, level: str) -> str | None:
        """Start the process at ``level``. Returns None, or why that failed."""
        if self._killed:
            raise JudgeFailed("the judge was closed")
        self._folder = tempfile.mkdtemp(prefix="evomerge-judge-")
        path = [os.path.abspath(entry or ".") for entry in sys.path if not entry or os.path.exists(entry)]
        package = str(Path(__file__).resolve().parents[3])
        path = [package, *(entry for entry in path if entry != package)]
        options = {
            "level": level,
            "folder": self._folder,
            "path": path,
            "scorers": list(scorers.__path__),
            "settings": dataclasses.asdict(self._settings),
        }
        command = [sys.executable, "-s", "-P", "-S", "-B", "-c", _START, json.dumps(options)]
        if level == "bubblewrap":
            bwrap = bubblewrap.find()
            if bwrap is None:
                self.stop()
                return "not installed"
            interpreter = [sys.base_prefix, sys.prefix, str(Path(sys.executable).resolve().parent)]
            ours = {*path, *scorers.__path__, *interpreter}
            visible = [entry for entry in ours if os.path.isdir(entry) and entry != os.path.sep]
            command = bubblewrap.command(bwrap, visible) + command
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            # No variable of ours, so no token in one. Fixed hashes: the order of a set must not change a verdict.
            env={"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"},
            cwd=self._folder,
            start_new_session=True,
        )
        reply = self._first_reply()
        hello = {"failed": self._last_words()} if reply is None else json.loads(reply)
        if "failed" in hello:
            self.stop()
            return str(hello["failed"])
        self._level = hello["level"]
        return None

    def _first_reply(self) -> bytes | None:
        """The first message of the new process; None if it dies or stays silent. A child that inherited its output and
        outlives it (as of a killed bubblewrap) is not waited for."""
        assert self._process and self._process.stdout
        deadline = time.monotonic() + _START_SECONDS
        over = False
        while not select.select([self._process.stdout], [], [], 0.1)[0]:
            if over:
                self._process.kill()
                return None
            # Checked before the next look for a reply: a process may send one and then die.
            over = self._process.poll() is not None or time.monotonic() > deadline
        return framed_messages.receive(self._process.stdout.fileno())

    def _last_words(self) -> str:
        """The last line that the process wrote to stderr."""
        assert self._log
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"
