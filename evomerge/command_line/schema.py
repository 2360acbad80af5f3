"""All settings of all jobs as one schema for Hydra, and the settings of one job from what Hydra composed."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import MISSING, Field, field, fields, make_dataclass
from functools import cache, partial
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from evomerge.errors import UserError
from evomerge.jobs.registry import JOBS
from evomerge.settings import setting_types


@cache
def all_settings() -> type[Any]:
    """A dataclass with ``job`` and every setting that a job reads."""
    found: dict[str, tuple[Any, Any]] = {}
    for name in JOBS:
        forms = setting_types(JOBS[name].settings)
        for one in fields(JOBS[name].settings):
            declared = (forms[one.name], _default(one))
            assert found.setdefault(one.name, declared) == declared, f"jobs disagree about the setting {one.name}"
    declared_fields = [(key, form, field(default_factory=partial(deepcopy, v))) for key, (form, v) in found.items()]
    return make_dataclass("AllSettings", [("job", str, field(default="search")), *declared_fields], frozen=True)


def register() -> None:
    """Enter the schema that ``conf/config.yaml`` starts from."""
    ConfigStore.instance().store(name="schema", node=_writable(OmegaConf.structured(all_settings())))


def job_settings(composed: DictConfig) -> Any:
    """The settings class of the job that ``composed`` names, filled and checked.

    Raises:
        UserError: an unknown job, a setting of it that is still ``???``, or what the class refuses.
    """
    kind = JOBS[composed.job].settings
    own = setting_types(kind)
    missing = sorted(key for key in OmegaConf.missing_keys(composed) if key.partition(".")[0] in own)
    if missing:
        raise UserError(f"{missing[0]} has to be set: add {missing[0]}=VALUE")
    return kind(**{key: _plain(composed[key]) for key in own})


def _plain(value: Any) -> Any:
    return OmegaConf.to_object(value) if OmegaConf.is_config(value) else value


def _default(one: Field[Any]) -> Any:
    return one.default if one.default_factory is MISSING else one.default_factory()


def _writable(node: Any) -> Any:
    """OmegaConf marks frozen dataclasses as read-only; a schema takes overrides."""
    if isinstance(node, DictConfig):
        OmegaConf.set_readonly(node, False)
        for key in node:
            if not OmegaConf.is_missing(node, key):
                _writable(node[key])
    return node
