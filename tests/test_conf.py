"""Every shipped set-up composes and is valid."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from evomerge import composition
from evomerge.__main__ import _with_harness_tasks, _with_own_models
from evomerge.config import Config, register, to_config
from evomerge.errors import UserError
from evomerge.search.samplers import SAMPLERS
from evomerge.weights.package_data import data_dir

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
        ("tasks=[sql,humaneval]", "tasks.sql.expert=null", "++models.experts.maths-2=x", "ranks=[4,8]", "energy=0.9"),
        ("name=of-${search.sampler}-${models.base}", "models=own", "models.base=x", "search.runaway=null"),
    ],
)
def test_a_run_is_composed_as_hydra_composes_it(overrides: tuple[str, ...]) -> None:
    whole = composed(*overrides)
    own = composition.compose(overrides)
    assert own == whole
    assert OmegaConf.get_type(own) is Config and OmegaConf.is_struct(own)


@pytest.mark.parametrize("path", sorted((CONF / "experiment").glob("*.yaml")), ids=lambda path: path.stem)
def test_experiment(path: Path) -> None:
    config = to_config(composed(f"+experiment={path.stem}"))
    assert config.job == "search"
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
            to_config(values)
    else:
        config = to_config(values)
        assert config.search.sampler in SAMPLERS


def test_a_searched_task_must_have_its_expert() -> None:
    with pytest.raises(UserError, match=r"tasks\.sql\.expert names no expert, got 'nobody'"):
        to_config(composed("tasks.sql.expert=nobody"))


def test_a_base_of_ones_own_has_the_experts_that_are_named() -> None:
    config = to_config(composed(*_with_own_models(["models.base=mine", "models.experts.sql=a", "tasks=[sql]"])))
    assert (config.models.base, config.models.experts) == ("mine", {"sql": "a"})


def test_a_package_names_a_model_without_quotes() -> None:
    given = ["models.base=pypi:a==1.2/b.gguf#sha256=00", "models.experts.sql=pypi:c==1/d"]
    models = to_config(composed(*_with_own_models(given), "tasks=[sql]")).models
    assert (models.base, models.experts) == ("pypi:a==1.2/b.gguf#sha256=00", {"sql": "pypi:c==1/d"})


def test_experts_of_any_name_join_those_of_a_choice() -> None:
    config = to_config(composed(*_with_own_models(["models.experts.maths-2=a", "models.experts.sql=b"])))
    assert set(config.models.experts) == {"sql", "code", "json", "maths-2"}
    assert config.models.experts["sql"] == "b"


def test_names_of_lm_evals_tasks_stand_beside_our_own() -> None:
    given = ["tasks=[sql,gsm8k]", "tasks.gsm8k.num_fewshot=5", "tasks.sql.compare=bird", "job=evaluate"]
    arguments = _with_harness_tasks(given)
    assert arguments == given
    config = to_config(composed(*arguments))
    assert {name: task.task for name, task in config.tasks.items()} == {"sql": "sql", "gsm8k": "gsm8k"}
    assert (config.tasks["gsm8k"].num_fewshot, config.tasks["sql"].compare) == (5, "bird")
    alone = to_config(composed(*_with_harness_tasks(["job=evaluate", "tasks=hellaswag"])))
    assert list(alone.tasks) == ["hellaswag"]
    assert _with_harness_tasks(["tasks=[sqll]"]) == ["tasks=[sqll]"], "Hydra suggests the nearest of our own"
