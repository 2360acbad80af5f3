"""From the words of the command line to a job, and from errors to exit codes: the only place that exits."""

from __future__ import annotations

import atexit
import errno
import gc
import logging
import os
import sys
import warnings
from typing import TYPE_CHECKING

import evomerge
from evomerge.errors import RunFailed, UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

_RESUME = "finished work is kept; run the same command to resume"


def command() -> None:
    """:func:`main` as the whole of a process."""
    done: list[bool] = []
    atexit.register(lambda: _leave() if done else None)  # registered first so that it runs last (atexit is LIFO)
    try:
        main()
    except KeyboardInterrupt:  # while the first modules are imported
        _exit(f"interrupted: {_RESUME}", 130)
    done.append(True)


def _leave() -> None:
    """Skip interpreter teardown: freeing torch's objects takes as long as loading them."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def main() -> None:
    """Exit code 0: done. 1: the job failed. 2: asked for something that cannot be. 130: interrupted."""
    # OpenMP threads that spin for long slow each other down tenfold where several workers share cores; those that sleep
    # at once halve the speed of two threads on two cores. Must be set before torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    # Libraries' progress bars and remarks would run through the live view.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TQDM_DISABLE", "1")
    warnings.simplefilter("ignore", FutureWarning)
    logging.basicConfig(format="%(message)s")
    logging.getLogger("evomerge").setLevel(logging.INFO)
    words = sys.argv[1:] or ["--help"]
    if "--version" in words:
        print(f"evomerge {evomerge.__version__}")
    elif not {"--help", "-h"}.isdisjoint(words):
        from evomerge.command_line.help import help_text

        print(help_text())
    else:
        _exit_by_error(words)


def _exit_by_error(words: list[str]) -> None:
    """Do what ``words`` ask for; an error becomes a line and an exit code."""
    gc.disable()  # until the job's modules are there, see _run
    # Late: Hydra's modules are the first of many, and come faster without a look for garbage.
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from evomerge.command_line.messages import one_line

    try:
        _do(words)
    except UserError as error:
        _exit(str(error), 2)
    except (HydraException, OmegaConfBaseException) as error:
        _exit(one_line(error), 2)
    except RunFailed as error:
        _exit(str(error), 1)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        _exit(f"{error.strerror}: make room; {_RESUME}", 1)
    except KeyboardInterrupt:
        _exit(f"interrupted: {_RESUME}", 130)


def _do(words: list[str]) -> None:
    from evomerge.command_line.compose import compose, run_by_hydra_main
    from evomerge.command_line.overrides import read, typed_settings

    failures: list[Exception] = []
    options, overrides = read(words)
    typed = typed_settings(words)
    if not options and not any("hydra" in override for override in overrides):
        _run(compose(overrides), typed)
        return

    def run(composed: DictConfig) -> None:
        try:
            _run(composed, [key for key in typed if key != "outputs"])  # where -m notes what was asked
        except Exception as error:  # the other runs of -m go on; Hydra would print a line of its own for each
            failures.append(error)

    run_by_hydra_main(run, [*options, *overrides])
    if failures:
        raise failures[0]


def _run(composed: DictConfig, typed: list[str]) -> None:
    from evomerge.command_line.schema import job_settings
    from evomerge.jobs.registry import JOBS, refuse_others

    refuse_others(composed.job, typed)
    settings = job_settings(composed)
    # Modules stay. Looking for garbage among the hundreds of thousands of objects that torch alone brings, again and
    # again while they come and once more at exit, takes as long as loading them.
    gc.freeze()
    gc.enable()
    JOBS[composed.job].run(settings)


def _exit(message: str, code: int) -> None:
    print(f"evomerge: {message}", file=sys.stderr)
    sys.exit(code)
