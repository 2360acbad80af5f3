"""``job=merge``: size of shards, seed, and export of the recipe as a mergekit file."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from evomerge.cluster import machine
from evomerge.engine.dense import write_tensors
from evomerge.engine.dense.stream import stream
from evomerge.errors import UserError
from evomerge.jobs import merge
from evomerge.jobs.steps.environment import environment
from evomerge.weights.adapters.adapter import Adapter
from evomerge.weights.checkpoint import Checkpoint


@pytest.fixture
def recipe(tmp_path, pico_model, pico_adapter) -> dict:
    return {
        "base": str(pico_model()),
        "method": "dare_linear",
        "experts": [
            {"name": "sql", "model": str(pico_adapter(seed=1)), "weight": 0.5, "density": 0.5},
            {"name": "code", "model": str(pico_adapter(seed=2)), "weight": 0.4, "density": 0.5},
        ],
        "seed": 3,
    }


def run(folder: Path, recipe: dict, **settings) -> Path:
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    merge.run(merge.Settings(**{"recipe": str(folder / "recipe.yaml"), "out": str(folder / "out")} | settings))
    return folder / "out"


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(Checkpoint(folder).items())


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def test_shards_are_as_large_as_asked(tmp_path, recipe):
    one = weights(run(tmp_path, recipe))
    assert len(list((tmp_path / "out").glob("*.safetensors"))) == 1
    many = run(tmp_path, recipe, max_shard="40KB")
    files = list(many.glob("*.safetensors"))
    largest = max(tensor.nbytes for tensor in one.values())
    assert len(files) > 1 and same(weights(many), one)
    for file in files:
        tensors = load_file(file)
        assert sum(tensor.nbytes for tensor in tensors.values()) <= max(40_000, largest)
    with pytest.raises(UserError, match="max_shard must be a size such as 5GB or 500MB, got '40'"):
        run(tmp_path, recipe, max_shard="40")


def test_shards_of_a_mergekit_file(tmp_path, pico_model):
    models = [{"model": str(pico_model(seed)), "parameters": {"weight": 0.5}} for seed in (1, 2)]
    out = run(tmp_path, {"merge_method": "linear", "models": models, "dtype": "float32"}, max_shard="40KB")
    assert json.loads((out / "model.safetensors.index.json").read_text())["weight_map"]


def test_a_seed_on_the_command_line_takes_the_place_of_the_recipes(tmp_path, recipe):
    of_recipe = weights(run(tmp_path, recipe))
    assert same(weights(run(tmp_path, recipe | {"seed": 0}, seed=3)), of_recipe)
    assert not same(weights(run(tmp_path, recipe, seed=0)), of_recipe)


def test_an_expert_that_cannot_be_read_and_weights_for_more_layers_than_there_are(tmp_path, recipe):
    good = recipe["experts"][1]["model"]
    recipe["experts"][1]["model"] = "/nowhere/code"
    with pytest.raises(UserError, match=r"^expert 'code': no model '/nowhere/code'"):
        run(tmp_path, recipe)
    recipe["experts"][1] |= {"model": good, "weight": [0.1, 0.2, 0.3]}
    with pytest.raises(UserError, match=r"weights are given for 3 layer groups, .* has 2 layers"):
        run(tmp_path, recipe)
    recipe["experts"][1]["weight"] = [0.1, 0.2]
    assert run(tmp_path, recipe).is_dir()


def test_a_seed_on_the_command_line_reaches_combinations(tmp_path, pico_adapter):
    adapters = [{"model": str(pico_adapter(seed=i)), "weight": 1.0, "name": f"a{i}"} for i in (1, 2)]
    combination = {"combine": "dare_linear_svd", "adapters": adapters, "density": 0.4, "seed": 3}

    def products(**settings) -> torch.Tensor:
        factors = Adapter(run(tmp_path, combination, **settings)).factors
        return torch.cat([factors[module].dense().flatten() for module in sorted(factors)])

    of_recipe = products()
    assert torch.equal(products(seed=3), of_recipe)
    assert not torch.equal(products(seed=0), of_recipe)


def test_a_recipe_as_a_mergekit_file(tmp_path, recipe, capsys):
    recipe |= {"method": "task_arithmetic", "dtype": "float32"}
    recipe["experts"] = [{k: v for k, v in expert.items() if k != "density"} for expert in recipe["experts"]]
    file = tmp_path / "new" / "mergekit.yaml"
    run(tmp_path, recipe, out=None, mergekit=str(file))
    assert not (tmp_path / "out").exists()
    assert f"task_arithmetic of sql, code as a mergekit file: {file}" in capsys.readouterr().out
    wanted = weights(run(tmp_path, recipe, mergekit=str(file)))  # again, and the model, too
    merge.run(merge.Settings(recipe=str(file), out=str(tmp_path / "again")))
    found = weights(tmp_path / "again")
    assert found.keys() == wanted.keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, wanted[name], rtol=1e-5, atol=1e-6)


def test_what_cannot_be_a_mergekit_file(tmp_path, recipe):
    with pytest.raises(UserError, match="mergekit has no method core_tsv: export the merged model"):
        own = recipe | {"method": "core_tsv"}
        own["experts"] = [{k: v for k, v in expert.items() if k != "density"} for expert in own["experts"]]
        run(tmp_path, own, out=None, mergekit=str(tmp_path / "m.yaml"))
    assert not (tmp_path / "m.yaml").exists()
    with pytest.raises(UserError, match=r"recipe\.yaml is there and no mergekit file: give another name"):
        run(tmp_path, recipe, out=None, mergekit=str(tmp_path / "recipe.yaml"))
    with pytest.raises(UserError, match=r"takes a recipe of evomerge, .*recipe\.yaml is none"):
        run(tmp_path, {"merge_method": "linear", "models": []}, mergekit=str(tmp_path / "m.yaml"))


def test_a_merge_uses_the_cores_of_its_container(tmp_path, recipe, pico_model, monkeypatch):
    """One core's time, whatever the machine has."""
    (tmp_path / "root/proc/self").mkdir(parents=True)
    (tmp_path / "root/sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "root/proc/self/cgroup").write_text("0::/\n")
    (tmp_path / "root/proc/self/mountinfo").write_text("30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")
    (tmp_path / "root/sys/fs/cgroup/cpu.max").write_text("100000 100000\n")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(64)), raising=False)
    monkeypatch.setattr(machine.cores, "__defaults__", (tmp_path / "root",))
    assert environment()["cores"] == 1
    used = []

    def spy(*given, **named):
        used.append(named["threads"])
        return stream(*given, **named)

    monkeypatch.setattr(write_tensors, "stream", spy)
    run(tmp_path, recipe)
    file = tmp_path / "merge.yaml"
    models = [{"model": str(pico_model(seed=seed)), "parameters": {"weight": 0.5}} for seed in (0, 1)]
    file.write_text(yaml.safe_dump({"merge_method": "linear", "models": models, "dtype": "float32"}))
    merge.run(merge.Settings(recipe=str(file), out=str(tmp_path / "linear")))
    assert used == [1, 1]
