"""Let Hydra compose ``conf/`` and the settings from the command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

import hydra
from omegaconf import DictConfig

from evomerge.command_line.schema import register
from evomerge.files.package_data import data_dir


def compose(overrides: Sequence[str]) -> DictConfig:
    """The configuration of one run.

    Raises:
        HydraException, OmegaConfBaseException: an override that cannot be read, or that names nothing.
    """
    register()
    with hydra.initialize_config_dir(str(data_dir("conf").resolve()), version_base="1.3"):
        return hydra.compose("config", list(overrides))


def run_by_hydra_main(task: Callable[[DictConfig], None], arguments: Sequence[str]) -> None:
    """Do what Hydra's options ask for (``-m``, ``--cfg`` ...); they may run ``task`` many times, or never."""
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # else it prints its errors and exits with 1 by itself
    register()
    sys.argv[1:] = arguments
    hydra.main(version_base="1.3", config_path=str(data_dir("conf")), config_name="hydra_main")(task)()
