"""``conf/`` and what a person has typed, composed by Hydra: once, and with our settings alone.

``hydra.main`` composes twice, to find out first whether it is to sweep, each time with more settings of its own than
we have, and imports every plugin before. That takes longer than many a job, so only what needs it goes through it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

import hydra
from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository, ConfigRepository
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.core_plugins.structured_config_source import StructuredConfigSource
from hydra._internal.defaults_list import create_defaults_list
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import setup_globals
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from evomerge.config import register
from evomerge.files.package_data import data_dir


def run_by_hydra_main(task: Callable[[DictConfig], None], arguments: Sequence[str]) -> None:
    """Does what the options of the command line ask for; they may run ``task`` many times, or never."""
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # else it prints its errors and exits with 1 by itself
    register()
    sys.argv[1:] = arguments
    hydra.main(version_base="1.3", config_path=str(data_dir("conf")), config_name="hydra_main")(task)()


def compose(overrides: Sequence[str]) -> DictConfig:
    """What ``hydra.compose("config", overrides)`` gives.

    Raises:
        HydraException, OmegaConfBaseException: an override that cannot be read, or that names nothing.
    """
    register()
    version.setbase("1.3")
    setup_globals()
    for source in (FileConfigSource, StructuredConfigSource):
        SourcesRegistry.instance().register(source)
    path = ConfigSearchPathImpl()
    path.append("main", str(data_dir("conf")))
    path.append("schema", "structured://")
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    loader = ConfigLoaderImpl(path)
    loader.validate_sweep_overrides_legal(parsed, RunMode.RUN, from_shell=True)
    repository = CachingConfigRepository(ConfigRepository(path))
    defaults = create_defaults_list(repository, "config", parsed, prepend_hydra=False, skip_missing=False)
    composed = loader._compose_config_from_defaults_list(defaults.defaults, repository)
    OmegaConf.set_struct(composed, True)
    loader._apply_overrides_to_config(defaults.config_overrides, composed)
    return composed
