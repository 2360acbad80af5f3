"""Compose the configuration, pick the job, run it: the only place that exits."""

from __future__ import annotations

import atexit
import errno
import gc
import importlib
import logging
import os
import sys
import warnings
from typing import TYPE_CHECKING

import evomerge
from evomerge.errors import RunFailed, UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

_INTERRUPTED = "interrupted; what is finished is kept, the same command goes on"


def command() -> None:
    """:func:`main` as the whole of a process, which it leaves without taking the interpreter apart."""
    done: list[bool] = []
    atexit.register(lambda: _leave() if done else None)  # the first of all: it comes last, after what jobs clean up
    try:
        main()
    except KeyboardInterrupt:  # while the first modules come
        _exit(_INTERRUPTED, 130)
    done.append(True)


def _leave() -> None:
    """Freeing the hundreds of thousands of objects that torch brought, one by one, is time that nobody wants."""
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
    gc.disable()  # until the job's modules are there, see _run
    # Late: Hydra's modules are the first of many, and come faster without a look for garbage.
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from evomerge.command_line.composition import compose, run_by_hydra_main
    from evomerge.command_line.overrides import one_line, read

    failures: list[Exception] = []

    def run(composed: DictConfig) -> None:
        try:
            _run(composed)
        except Exception as error:  # the other runs of -m go on; Hydra would print a line of its own for each
            failures.append(error)

    try:
        if "--version" in sys.argv[1:]:
            print(f"evomerge {evomerge.__version__}")
            return
        options, overrides = read(sys.argv[1:] or ["--help"])
        if options or any("hydra" in override for override in overrides):
            run_by_hydra_main(run, [*options, *overrides])
        else:
            _run(compose(overrides))
        if failures:
            raise failures[0]
    except UserError as error:
        _exit(str(error), 2)
    except (HydraException, OmegaConfBaseException) as error:
        _exit(one_line(error), 2)
    except RunFailed as error:
        _exit(str(error), 1)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        _exit(f"{error.strerror}: make room; what is finished is kept, the same command goes on", 1)
    except KeyboardInterrupt:
        _exit(_INTERRUPTED, 130)


def _run(composed: DictConfig) -> None:
    from evomerge.config import to_config  # late, as Hydra

    config = to_config(composed)
    job = importlib.import_module(f"evomerge.jobs.{config.job}")
    # Modules stay. Looking for garbage among the hundreds of thousands of objects that torch alone brings, again and
    # again while they come and once more at exit, takes as long as loading them.
    gc.freeze()
    gc.enable()
    job.run(config)


def _exit(message: str, code: int) -> None:
    print(f"evomerge: {message}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    command()
