"""Settings that every job reads; light, so that a job that needs no workers does not load what they need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from evomerge.config import Config
from evomerge.errors import UserError
from evomerge.files.package_data import data_dir


def model_source(name: str) -> str:
    """A set-up of conf/models stands for its base; a folder is named by its whole path, so that any worker finds it."""
    setup = data_dir("conf") / "models" / f"{name}.yaml"
    if Path(name).expanduser().is_dir():
        return str(Path(name).expanduser().resolve())
    if setup.is_file():
        base = yaml.safe_load(setup.read_text())["base"]
        assert isinstance(base, str)
        return base
    return name


def required(config: Config, *keys: str) -> list[Any]:
    """Values of settings that a job cannot do without."""
    values = [getattr(config, key) for key in keys]
    for key, value in zip(keys, values, strict=True):
        if value is None:
            raise UserError(f"job={config.job} needs {key}=...")
    return values
