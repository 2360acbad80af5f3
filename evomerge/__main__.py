"""Compose the configuration, pick the job, run it: the only place that exits."""

from __future__ import annotations

import gc
import importlib
import logging
import os
import re
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from evomerge.composition import compose, needs_hydra_main, run_by_hydra_main
from evomerge.config import Config, register, to_config
from evomerge.errors import UserError, nearest
from evomerge.weights.package_data import data_dir

if TYPE_CHECKING:
    from omegaconf import DictConfig


def main() -> None:
    """Exit code 0: done. 1: the job failed. 2: asked for something that cannot be. 130: interrupted."""
    # Hydra prints its errors and exits with 1 by itself, unless told to raise.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    # Spinning OpenMP threads of several workers slow each other down tenfold; must be set before torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    # Libraries' progress bars and remarks would run through the live view.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TQDM_DISABLE", "1")
    warnings.simplefilter("ignore", FutureWarning)
    logging.basicConfig(format="%(message)s")
    logging.getLogger("evomerge").setLevel(logging.INFO)
    gc.disable()  # until the job's modules are there, see _run
    register()
    sys.argv[1:] = _with_harness_tasks(_with_own_models(sys.argv[1:]))
    failures: list[BaseException] = []

    def run(composed: DictConfig) -> None:
        try:
            _run(composed)
        except (Exception, KeyboardInterrupt) as error:  # Hydra would print a line of its own for each
            failures.append(error)

    try:
        if needs_hydra_main(sys.argv[1:]):
            run_by_hydra_main(run)
        else:
            _run(compose(sys.argv[1:]))
        if failures:
            raise failures[0]
    except UserError as error:
        _exit(str(error), 2)
    except (HydraException, OmegaConfBaseException) as error:
        _exit(_one_line(error), 2)
    except KeyboardInterrupt:
        _exit("interrupted; what is finished is kept, the same command goes on", 130)


def _run(composed: DictConfig) -> None:
    config = to_config(composed)
    job = importlib.import_module(f"evomerge.jobs.{config.job}")
    # Modules stay. Looking for garbage among the hundreds of thousands of objects that torch alone brings, again and
    # again while they come and once more at exit, takes as long as loading them.
    gc.freeze()
    gc.enable()
    job.run(config)


def _with_own_models(arguments: list[str]) -> list[str]:
    """Let ``models.experts.NAME=MODEL`` name any expert, and ``models.base=MODEL`` begin with none.

    The experts of the default choice were made for its own base: those that are named are the experts of another.
    ``pypi:NAME==VERSION/FILE`` is quoted, since Hydra's grammar knows no second equals sign.
    """
    arguments = [re.sub(r"^([\w.-]+)=(pypi:[^'\"]*)$", r"\1='\2'", argument) for argument in arguments]
    if any(a.startswith("models.base=") for a in arguments) and not any(a.startswith("models=") for a in arguments):
        arguments = ["models=own", *arguments]
    return [f"++{a}" if re.match(r"models\.experts\.\w[\w-]*=", a) else a for a in arguments]


def _with_harness_tasks(arguments: list[str]) -> list[str]:
    """Let ``tasks=[sql,gsm8k]`` name lm-eval's tasks, and YAML files of such: conf/tasks gets an entry for each.

    Other unknown names stay as they are, so that Hydra's error suggests a known one.
    """
    given: list[str] = []
    for argument in arguments:
        match = re.fullmatch(r"tasks=\[?([^\[\]={}]+)\]?", argument)
        names = [name.strip() for name in match.group(1).split(",")] if match else []
        strange = [name for name in names if not (Path(data_dir("conf")) / "tasks" / f"{name}.yaml").is_file()]
        if strange:
            from evomerge.evaluation.harness_index import is_harness_name  # seconds to import, rarely needed

            strange = [name for name in strange if Path(name).suffix == ".yaml" or is_harness_name(name)]
        for name in strange:
            key = Path(name).stem if Path(name).suffix == ".yaml" else name
            ConfigStore.instance().store(group="tasks", name=key, node={key: {"task": name}})
            names[names.index(name)] = key
        given.append(f"tasks=[{','.join(names)}]" if strange else argument)
    return given


def _exit(message: str, code: int) -> None:
    print(f"evomerge: {message}", file=sys.stderr)
    sys.exit(code)


def _one_line(error: Exception) -> str:
    """Hydra's and OmegaConf's texts run over several lines and name no cure; say key, value and nearest known name."""
    text = str(error)
    cause = error
    while cause.__cause__ is not None and isinstance(cause.__cause__, OmegaConfBaseException):
        cause = cause.__cause__  # type: ignore[assignment]
    unknown_key = re.search(r"Key '([^']+)' (?:is )?not in '(\w+)'", str(cause)) or re.search(
        r"Key '([^']+)' (?:is )?not in '(\w+)'", text
    )
    if unknown_key:
        key, owner = unknown_key.groups()
        return f"unknown setting '{_overridden(f'{text} {cause}', key)}': {nearest(key, _fields(owner))}"
    unknown_choice = re.search(r"Could not (?:find|load) '([\w-]+)/([^']+)'", text)
    if unknown_choice:
        group, name = unknown_choice.groups()
        names = [path.stem for path in (Path(data_dir("conf")) / group).glob("*.yaml")]
        return f"unknown {group} '{name}': {nearest(name, names)}"
    first = [line.strip() for line in (text if text else str(cause)).splitlines() if line.strip()]
    reason = str(cause).splitlines()[0].strip() if str(cause) else ""
    return first[0] if not reason or reason in first[0] else f"{first[0]}: {reason}"


def _overridden(text: str, key: str) -> str:
    """The dotted key as it was typed, where Hydra quotes it."""
    match = re.search(rf"full_key: ([\w.]*{re.escape(key)})", text)
    return match.group(1) if match else key


def _fields(owner: str) -> list[str]:
    schema = getattr(sys.modules["evomerge.config"], owner, Config)
    return list(schema.__dataclass_fields__)


if __name__ == "__main__":
    main()
