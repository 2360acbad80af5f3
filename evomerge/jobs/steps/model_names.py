"""Read model names of the command line."""

from __future__ import annotations

from pathlib import Path

import yaml

from evomerge.files.package_data import data_dir


def model_source(name: str) -> str:
    """The base of a set-up in conf/models; the whole path of a folder, so that any worker finds it; else ``name``."""
    setup = data_dir("conf") / "models" / f"{name}.yaml"
    if Path(name).expanduser().is_dir():
        return str(Path(name).expanduser().resolve())
    if setup.is_file():
        base = yaml.safe_load(setup.read_text())["base"]
        assert isinstance(base, str)
        return base
    return name
