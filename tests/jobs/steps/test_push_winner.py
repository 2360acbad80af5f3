"""``push_to_hub`` refuses impossible uploads in one line before any work."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml
from run_evomerge import ENVIRONMENT, command
from toy_space import ToySpace
from toy_worker import ToySpec, ToyWorker

from evomerge.cluster.serial import SerialPool
from evomerge.errors import UserError
from evomerge.hub.settings import HubSettings
from evomerge.jobs.steps.push_winner import push
from evomerge.recipes.recipe_yaml import dump
from evomerge.search.loop import run_search
from evomerge.search.store import Store
from evomerge.types import Objective

UNREACHABLE = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_TOKEN": "hf_none", "HF_HUB_OFFLINE": "0"}


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["push_to_hub=org/name"], {}, "needs a token of the hub with write access, got none: hf auth login"),
        (["push_to_hub=name"], {}, "push_to_hub must be org/name, got 'name'"),
        (["push_to_hub=org/na--me"], {}, "push_to_hub must be org/name, got 'org/na--me'"),
        (["push_to_hub=org/name"], {"HF_TOKEN": "hf_none"}, "HF_HUB_OFFLINE is set: unset it"),
        (["push_to_hub=org/name"], UNREACHABLE, "the hub is out of reach or refuses"),
        (["push_to_hub=org/name", "hub.kind=lorra"], {}, "unknown hub.kind 'lorra': did you mean 'lora'?"),
        (["push_to_hub=org/name", "job=merge"], {}, "push_to_hub belongs to job=report and job=search, got job=merge"),
        (["push_to_hub=org/name", "job=report", "run=nowhere"], {}, "needs a token"),
        (["push_to_hub=org/name", "job=report", "run=[a,b]"], {}, "push_to_hub takes one run, got 2"),
    ],
)
def test_refused_in_one_line(arguments: list[str], environment: dict[str, str], said: str, tmp_path: Path) -> None:
    # an empty home: the token of whoever runs the tests is not theirs to use
    clean = {key: value for key, value in ENVIRONMENT.items() if key not in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")}
    models = ("models.base=no-such-folder", "models.experts.sql=adapter", "tasks=[sql]")
    searches = not any(argument.startswith("job=") for argument in arguments)
    result = subprocess.run(
        command(*arguments, *(models if searches else ())),
        cwd=tmp_path,
        env={**clean, "HF_HOME": str(tmp_path / "home"), **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 2, result.stderr
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert not (tmp_path / "outputs").exists()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with a winner whose ``best/model`` and ``best/lora`` are there, on a base that is no hub model."""
    tasks = {name: {"task": name, "expert": name} for name in "ab"}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"name": "toy", "tasks": tasks}))
    store, space = Store(tmp_path), ToySpace()
    trials = run_search(SerialPool(ToyWorker(ToySpec())), space, store, [Objective(n, n) for n in "ab"], 6, "random")
    store.close()
    for kind in ("model", "lora"):
        (tmp_path / "best" / kind).mkdir(parents=True)
    (tmp_path / "best" / "lora" / "adapter_config.json").write_text('{"base_model_name_or_path": "/models/base"}')
    (tmp_path / "best" / "recipe.yaml").write_text(dump(trials[-1].recipe))
    return tmp_path


def test_a_push_that_fails_at_the_end_is_one_line(run: Path) -> None:
    before = sorted(run.rglob("*"))
    with pytest.raises(UserError, match="push_to_hub needs the hub, and HF_HUB_OFFLINE is set"):
        push("org/name", HubSettings(), run)
    assert sorted(run.rglob("*")) == before


def test_an_adapter_on_a_local_base_is_not_pushed(run: Path) -> None:
    with pytest.raises(UserError, match=r"that of .*best/lora is the folder '/models/base'.*hub.kind=model"):
        push("org/name", HubSettings("lora"), run)


def test_without_a_winner_there_is_nothing_to_push(run: Path) -> None:
    (run / "best" / "recipe.yaml").unlink()
    with pytest.raises(UserError, match="has no best/model to push: let the search finish"):
        push("org/name", HubSettings(), run)


def test_never_by_default(run: Path) -> None:
    push(None, HubSettings(), run)
