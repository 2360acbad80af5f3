"""Every shipped configuration composes and is valid."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from evomerge.command_line import compose as composition
from evomerge.command_line.schema import all_settings, job_settings, register
from evomerge.errors import UserError
from evomerge.files.package_data import data_dir
from evomerge.search.samplers import SAMPLERS

CONF = data_dir("conf").resolve()


def composed(*overrides: str):
    register()
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        return compose("config", overrides=list(overrides))


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("+experiment=sql_code_json", "search=nsga2", "models.base='a b=c'"),
        ("tasks=[sql,humaneval]", "++tasks.sql.expert=null", "++models.experts.maths-2=x", "ranks=[4,8]", "energy=0.9"),
        ("name=of-${search.sampler}-${models.base}", "models=own", "models.base=x", "search.runaway=null"),
    ],
)
def test_a_run_is_composed_as_hydra_composes_it(overrides: tuple[str, ...]) -> None:
    whole = composed(*overrides)
    own = composition.compose(overrides)
    assert own == whole
    assert OmegaConf.get_type(own) is all_settings() and OmegaConf.is_struct(own)


@pytest.mark.parametrize("path", sorted((CONF / "experiment").glob("*.yaml")), ids=lambda path: path.stem)
def test_experiment(path: Path) -> None:
    config = job_settings(composed(f"+experiment={path.stem}"))
    assert config.name == path.stem  # the same command resumes in the same folder


@pytest.mark.parametrize(
    "choice",
    [f"{path.parent.name}={path.stem}" for path in sorted(CONF.glob("*/*.yaml")) if path.parent.name != "experiment"],
)
def test_choice(choice: str) -> None:
    group, _, name = choice.partition("=")
    if group == "tasks":
        choice = f"tasks=[sql,{name}]"
    values = composed(choice)
    if OmegaConf.missing_keys(values):
        with pytest.raises(UserError, match="has to be set"):
            job_settings(values)
    else:
        config = job_settings(values)
        assert config.search.sampler in SAMPLERS


def test_a_searched_task_must_have_its_expert() -> None:
    with pytest.raises(UserError, match=r"tasks\.sql\.expert names no expert, got 'nobody'"):
        job_settings(composed("++tasks.sql.expert=nobody"))
