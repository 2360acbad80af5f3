"""``out`` never names an input of the command, and its path resolves as in a shell."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from evomerge.errors import UserError
from evomerge.jobs import extract_lora, merge


def yaml_file(folder: Path, content: object) -> str:
    """A new one at every call."""
    file = folder / f"{len(list(folder.glob('*.yaml')))}.yaml"
    file.write_text(yaml.safe_dump(content))
    return str(file)


def recipe(folder: Path, base: Path, *experts: Path) -> str:
    named = [{"name": f"e{number}", "model": str(model), "weight": 0.5} for number, model in enumerate(experts)]
    return yaml_file(folder, {"base": str(base), "method": "task_arithmetic", "experts": named})


@pytest.fixture
def merged(tmp_path, pico_model, pico_adapter) -> Path:
    """An output, which may be an input of what comes next."""
    file = recipe(tmp_path, pico_model(), pico_adapter(seed=1))
    merge.run(merge.Settings(recipe=file, out=str(tmp_path / "merged")))
    return tmp_path / "merged"


def state(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def mergekit_file(folder: Path, *models: object) -> str:
    listed = [{"model": str(model), "parameters": {"weight": 0.5}} for model in models]
    return yaml_file(folder, {"merge_method": "linear", "models": listed})


def test_an_output_never_takes_the_place_of_an_input(tmp_path, merged, pico_model, pico_adapter):
    base, adapter = pico_model(), pico_adapter(seed=1)
    extract_lora.run(extract_lora.Settings(base=str(base), model=str(merged), out=str(tmp_path / "lora"), rank=4))
    lora = tmp_path / "lora"
    adapters = [{"model": str(model), "weight": 1.0} for model in (lora, adapter)]
    combination = yaml_file(tmp_path, {"combine": "linear", "base": str(base), "adapters": adapters})
    (tmp_path / "link").symlink_to(merged)
    asked = [
        merge.Settings(recipe=recipe(tmp_path, merged, adapter), out=str(merged)),
        merge.Settings(recipe=recipe(tmp_path, merged, adapter), out=str(tmp_path / "link")),
        merge.Settings(recipe=recipe(tmp_path, base, lora), out=str(lora)),
        merge.Settings(recipe=mergekit_file(tmp_path, merged, base), out=str(merged)),
        merge.Settings(recipe=mergekit_file(tmp_path, f"{base}+{lora}", base), out=str(lora)),
        merge.Settings(recipe=combination, out=str(lora)),
        extract_lora.Settings(base=str(base), model=str(merged), out=str(merged), rank=4),
        extract_lora.Settings(base=str(merged), model=str(base), out=str(merged), rank=4),
    ]
    before = state(tmp_path)
    for config in asked:
        with pytest.raises(UserError, match=r"cannot write to .*: .* is read for it; give another name"):
            (merge if isinstance(config, merge.Settings) else extract_lora).run(config)
    assert state(tmp_path) == before


def test_a_file_of_weights_never_takes_the_place_of_one_that_is_read(tmp_path, merged, pico_model):
    raw = [merged / "model.safetensors", pico_model() / "model.safetensors"]
    before = state(merged)
    for models in (raw, [merged, pico_model()]):
        with pytest.raises(UserError, match="is read for it"):
            merge.run(merge.Settings(recipe=mergekit_file(tmp_path, *models), out=str(raw[0])))
    assert state(merged) == before


def test_a_model_is_no_single_file(tmp_path, pico_model, pico_adapter):
    file = recipe(tmp_path, pico_model(), pico_adapter(seed=1))
    with pytest.raises(UserError, match=r"a model folder is written to a folder: out=DIR, got out=.*x\.safetensors"):
        merge.run(merge.Settings(recipe=file, out=str(tmp_path / "x.safetensors")))


def test_home_and_links_are_followed(tmp_path, monkeypatch, pico_model, pico_adapter, capsys):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    file = recipe(tmp_path, pico_model(), pico_adapter(seed=1))
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    for out in ("~/models/one", str(tmp_path / "link"), f"{tmp_path}/two/", f"{tmp_path}/two/../three"):
        merge.run(merge.Settings(recipe=file, out=out))
    for folder in ("home/models/one", "disk", "two", "three"):
        assert (tmp_path / folder / "config.json").is_file() and (tmp_path / folder / "README.md").is_file()
    assert (tmp_path / "link").is_symlink()
    assert f"written to {tmp_path}/home/models/one" in capsys.readouterr().out
