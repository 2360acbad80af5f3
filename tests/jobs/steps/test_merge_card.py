"""The card that ``job=merge`` writes into the model folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from run_evomerge import evomerge

RECIPE = """\
base: {base}
method: task_arithmetic
experts:
  - {{name: one, model: {one}, weight: 0.5}}
  - {{name: two, model: {two}, weight: 0.25}}
"""
MERGEKIT = """\
merge_method: {method}
models:
  - {{model: {one}, parameters: {{weight: 0.5}}}}
  - {{model: {two}, parameters: {{weight: 0.25}}}}
"""


@pytest.fixture
def models(tmp_path: Path, pico_model) -> dict[str, Path]:
    """A base under Apache-2.0, two fine-tunes of which one says another licence."""
    cards = {"base": "apache-2.0", "one": "apache-2.0", "two": "llama3.1"}
    for seed, (name, licence) in enumerate(cards.items()):
        shutil.copytree(pico_model(seed), tmp_path / "kept-secret" / name)
        (tmp_path / "kept-secret" / name / "README.md").write_text(f"---\nlicense: {licence}\nlanguage: en\n---\n")
    return {name: tmp_path / "kept-secret" / name for name in cards}


@pytest.mark.parametrize("form", [RECIPE, MERGEKIT.replace("{method}", "linear")], ids=["evomerge", "mergekit"])
def test_recipe_parents_and_licences(form: str, models: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "merge.yaml").write_text(form.format(**models))
    result = evomerge("job=merge", "recipe=merge.yaml", "out=merged", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    card = ModelCard.load(tmp_path / "merged" / "README.md")
    assert (card.data.library_name, card.data.license, card.data.language) == ("transformers", "other", ["en"])
    assert "**The parents' licences differ**" in card.text and "Nothing was measured" in card.text
    assert "weight: 0.25" in card.text and "kept-secret" not in card.content
    assert "| one | `one` | apache-2.0 |" in card.text or "| model 1 | `one` | apache-2.0 |" in card.text
    assert ("| base | `base` | apache-2.0 |" in card.text) == (form is RECIPE)


def test_a_file_of_weights_gets_no_card(models: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "merge.yaml").write_text(
        MERGEKIT.format(
            method="linear", one=models["one"] / "model.safetensors", two=models["two"] / "model.safetensors"
        )
    )
    result = evomerge("job=merge", "recipe=merge.yaml", "out=merged.safetensors", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept-secret", "merge.yaml", "merged.safetensors"]
