"""Overrides, read in this process: values keep their meaning, and errors take one line."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hypothesis import given
from hypothesis import strategies as st
from omegaconf.errors import OmegaConfBaseException

from evomerge.command_line.compose import compose
from evomerge.command_line.messages import one_line
from evomerge.command_line.overrides import read
from evomerge.command_line.schema import all_settings, job_settings
from evomerge.errors import UserError
from evomerge.settings import setting_types


def composed(*arguments: str) -> Any:
    options, overrides = read(arguments)
    assert options == []
    return compose(overrides)


def typed(*arguments: str) -> Any:
    return job_settings(composed(*arguments))


def refused(*arguments: str) -> str:
    try:
        typed(*arguments)
    except UserError as error:
        return str(error)
    except (HydraException, OmegaConfBaseException) as error:
        return one_line(error)
    pytest.fail(f"{arguments} is taken")


@pytest.mark.parametrize(
    "path",
    [
        "a b", "a=b", "a,b", "a(b)", "a{b}", "a[b]", "it's", 'say "hi"', "a\\b", "a\\", "\\'", "a:b@c$d", "a&b;c!d#e%f",
        "ünï/日本", "2026", "1e5", "true", "org/name@main", "pypi:a==1.2/b.gguf#sha256=00", "choice(a,b)", "[a",
    ],
)  # fmt: skip
def test_text_is_taken_as_it_was_typed(path: str) -> None:
    given = composed(f"run={path}", f"model={path}", f"models.experts.sql={path}", f"tasks.sql.data={path}")
    assert (given.run, given.model, given.models.experts["sql"], given.tasks["sql"].data) == (path,) * 4


@given(
    st.text(min_size=1).map(str.strip).filter(lambda text: text and not text.startswith(("'", '"', "[", "~/", "${")))
)
def test_hydra_reads_any_text_as_it_was_typed(text: str) -> None:
    (override,) = read([f"model={text}"])[1]
    value = OverridesParser.create().parse_override(override).value()
    assert value == (None if text == "null" else text)


def test_values_that_are_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    given = composed(
        "job=report", "run=[outputs/A,'a(b),c']", "rank=8", "energy=0.9", "ranks=[4, 8]", "split=test", "model=null",
        "backend.device=null", "hub.private=false", "out=~/x", "name=of-${search.sampler}", "base='quoted'",
    )  # fmt: skip
    assert given.run == ["outputs/A", "a(b),c"]
    assert (given.rank, given.energy, given.ranks, given.model, given.backend.device) == (8, 0.9, [4, 8], None, None)
    assert (given.hub.private, given.out, given.name, given.base) == (False, "/home/me/x", "of-gp", "quoted")


def test_no_plus_is_needed_and_one_too_many_does_no_harm() -> None:
    assert typed("experiment=sql_code_json").name == typed("+experiment=sql_code_json").name == "sql_code_json"
    assert typed("+search.budget=3").search.budget == typed("++search.budget=3").search.budget == 3


def test_options_of_a_sampler_have_the_type_that_they_look_like() -> None:
    given = ("population=32", "rate=0.5", "on=true", "x=a b")
    options = typed(*(f"search.options.{one}" for one in given)).search.options
    assert options == {"population": 32, "rate": 0.5, "on": True, "x": "a b"}
    assert typed("search.options={population: 32}").search.options == {"population": 32}


def test_a_base_of_ones_own_has_the_experts_that_are_named() -> None:
    config = typed("models.base=mine", "models.experts.sql=a", "tasks=[sql]")
    assert (config.models.base, config.models.experts) == ("mine", {"sql": "a"})


def test_experts_of_any_name_join_those_of_a_choice() -> None:
    config = typed("models.experts.maths-2=a", "models.experts.sql=b")
    assert set(config.models.experts) == {"sql", "code", "json", "maths-2"}
    assert config.models.experts["sql"] == "b"


def test_names_of_lm_evals_tasks_stand_beside_our_own() -> None:
    model = ("job=evaluate", "model=m")
    config = typed("tasks=[sql,gsm8k]", "tasks.gsm8k.num_fewshot=5", "tasks.sql.compare=bird", *model)
    assert {name: task["task"] for name, task in config.tasks.items()} == {"sql": "sql", "gsm8k": "gsm8k"}
    assert (config.tasks["gsm8k"]["num_fewshot"], config.tasks["sql"]["compare"]) == (5, "bird")
    assert list(typed(*model, "tasks=hellaswag").tasks) == ["hellaswag"]
    assert "unknown tasks 'sqll': did you mean 'sql'?" in refused("tasks=[sqll]")


def test_a_task_file_is_never_taken_for_the_choice_of_its_name(tmp_path: Path) -> None:
    file = tmp_path / "sql.yaml"
    file.write_text("task: sql\n")
    config = typed("job=evaluate", "model=m", f"tasks=[{file},json]", "tasks.sql.limit=3")
    assert {name: (task["task"], task["limit"]) for name, task in config.tasks.items()} == {
        "sql": (str(file), 3),
        "json": ("json", None),
    }
    assert "two tasks are called 'sql'" in refused(f"tasks=[{file},sql]")


def test_options_stand_anywhere_and_m_takes_several_values() -> None:
    given = ["search=gp,nsga2", "-m", "name=a-${search.sampler}", "search.seed=range(3)", "out=a b,c"]
    options, overrides = read(given)
    assert options == ["-m"]
    assert overrides == ["search=gp,nsga2", "name='a-${search.sampler}'", "search.seed=range(3)", "out=a b,c"]
    assert read(["--cfg", "job", "job=methods"]) == (["--cfg", "job"], ["job='methods'"])


def test_choices_lie_in_a_folder_of_ones_own_too() -> None:
    assert read(["--config-dir=mine", "+experiment=first", "search=gpp"])[1] == ["+experiment='first'", "search='gpp'"]
    assert "unknown search 'gpp': did you mean 'gp'?" in refused("search=gpp")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--foo"], "unknown option --foo"),
        (["--job=merge"], "unknown option --job=merge, settings are KEY=VALUE without dashes"),
        (["--package"], "expected one argument"),
        (["search"], "'search' is no setting: write KEY=VALUE"),
        (["job = merge"], "'job = merge' is no setting: write KEY=VALUE, with no space"),
        (["job", "=", "merge"], "'job' is no setting"),
        (["=3"], "'=3' is no setting"),
        (["job:merge"], "'job:merge' is no setting"),
        (["job==merge"], "unknown job '=merge': did you mean 'merge'?"),
        (["name="], "name has no value: write name=VALUE"),
        (["ranks=4"], "ranks takes a list of whole numbers, got ranks=4: write ranks=[4]"),
        (["ranks=4,8"], "ranks takes a list of whole numbers, got ranks=4,8: write ranks=[4,8]"),
        (["space.methods=[ties"], "space.methods takes a list, got space.methods=[ties: write space.methods=[ties]"),
        (["ranks=[a]"], "ranks takes a list of whole numbers, got ranks=[a]"),
        (["tasks=sql,json"], "write tasks=[sql,json]"),
        (["tasks=null"], "unknown tasks 'null'"),
        (["search=3"], "unknown search '3'"),
        (["search=gp,tpe"], "search takes one of cmaes, gp, nsga2, qmc, random, tpe, got search=gp,tpe: -m"),
        (["rank=[4,8]"], "rank takes a whole number, got rank=[4,8]: -m rank=4,8 makes a run of each"),
        (["search.seed=1,2"], "search.seed takes a whole number, got search.seed=1,2: -m search.seed=1,2"),
        (["search.seed=range(3)"], "-m search.seed=range(3) makes a run of each"),
        (["model=[a,b]"], "model takes one value, got model=[a,b]"),
        (["rank=many"], "rank takes a whole number, got rank=many"),
        (["hub.private=maybe"], "hub.private takes true or false, got hub.private=maybe"),
        (["adapters=[a(b)]"], "cannot read adapters=[a(b)]: text with special characters goes in quotes"),
        (["+foo=3"], "unknown setting 'foo'"),
        (["++foo=3"], "unknown setting 'foo'"),
        (["+experiments=sql_code_json"], "unknown setting 'experiments'"),
        (["budget=3"], "unknown setting 'budget': did you mean 'search.budget'?"),
        (["serach.budget=3"], "unknown setting 'serach.budget': did you mean 'search'?"),
        (["search.sampler.x=3"], "unknown setting 'search.sampler.x': search.sampler has no parts"),
        (["tasks.sql.expet=x"], "unknown setting 'tasks.sql.expet': did you mean 'expert'?"),
        (["tasks.sql.limt=3"], "unknown setting 'tasks.sql.limt': did you mean 'limit'?"),
        (["tasks.sql.limit=many"], "tasks.sql.limit takes a whole number, got tasks.sql.limit=many"),
        (["tasks.sql.compare=brd"], "tasks.sql.compare must be one of bag, strict, spider, bird, got 'brd'"),
        (["tasks.sql.strip_fence=true"], "tasks.sql.strip_fence is for json tasks, and 'sql' is a sql task"),
        (["tasks.code.k=[5]"], "tasks.code.k must be between 1 and samples=1, got [5]: set samples=5 or more"),
        (["tasks.sql.limit=0"], "tasks.sql.limit must be at least 1, got 0"),
        (["tasks=[sql]", "tasks.json.data=x"], "tasks.json.data is of no chosen task: choose it"),
        (["sandbox=3"], "sandbox takes settings of its own (sandbox.allow_weak, "),
        (["models.experts=x"], "models.experts takes names and values (models.experts.NAME=VALUE)"),
        (["name=${search.budgt}"], "unknown setting 'search.budgt': did you mean 'budget'?"),
    ],
)
def test_one_line_with_the_cure(arguments: list[str], said: str) -> None:
    message = refused(*arguments)
    assert said in message and "\n" not in message and "hydra" not in message.lower()


def keys(settings: type[Any], above: str = "") -> Iterator[str]:
    """Every setting, sections among them."""
    for name, form in setting_types(settings).items():
        yield above + name
        if is_dataclass(form):
            yield from keys(form, f"{above}{name}.")
        elif typing.get_origin(form) is dict:
            yield f"{above}{name}.sql"
            yield f"{above}{name}.sql.x"


@pytest.mark.parametrize("value", ["many", "[[]", "{a: b}", "${x}", "null"])
def test_no_message_has_more_than_one_line(value: str) -> None:
    for key in [*keys(all_settings()), "tasks.sql.k", "search.options.x", "models", "experiment", "hydra.x", "x"]:
        try:
            typed(f"{key}={value}")
        except UserError as error:
            assert "\n" not in str(error) and "hydra" not in str(error).lower(), (key, str(error))
        except (HydraException, OmegaConfBaseException) as error:
            message = one_line(error)
            assert message and "\n" not in message, (key, message)
