"""Groups of settings that ``conf/`` offers, and their names."""

from __future__ import annotations

from evomerge.files.package_data import data_dir


def groups() -> list[str]:
    """Names of the folders in ``conf/``, from each of which one file is chosen; of ``tasks`` several."""
    return sorted(path.name for path in data_dir("conf").iterdir() if path.is_dir())


def choices(group: str) -> list[str]:
    """Names of a group's files."""
    return sorted(path.stem for path in (data_dir("conf") / group).glob("*.yaml"))
