"""Model cards of a run's winner."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from rich.console import Console

from evomerge.recipes.recipe_yaml import dump
from evomerge.report.delivery import adapter_facts, write_cards
from evomerge.report.run_data import RunData
from evomerge.report.write import print_summary

ABOUT = {"rank": 24, "how": "truncated", "relative_error": 0.0312, "left_out": [], "folder": "lora"}


@pytest.fixture
def delivered(finished: Path, tmp_path: Path) -> Path:
    """A finished run whose exported folders are there."""
    shutil.copytree(finished, tmp_path / "run")
    for kind in ("model", "lora"):
        (tmp_path / "run" / "best" / kind).mkdir()
    (tmp_path / "run" / "best" / "lora.json").write_text(json.dumps(ABOUT))
    return tmp_path / "run"


def test_both_artifacts_get_a_card_with_their_own_scores(delivered: Path) -> None:
    run = RunData(delivered)
    assert write_cards(delivered) == [delivered / "best" / kind / "README.md" for kind in ("model", "lora")]
    for kind in ("model", "lora"):
        card = ModelCard.load(delivered / "best" / kind / "README.md")
        measured = {r.dataset_type: (r.metric_type, r.metric_value) for r in card.data.eval_results}
        assert {task: value for task, (_, value) in measured.items()} == {
            task: round(score.mean, 4) for task, score in run.delivered[kind].items()
        }
        assert measured["sql"][0] == "sql_exec" and measured["json"][0] == "json_schema"
        assert f'from_pretrained("outputs/{run.name}/best/{kind}"' in card.text
        assert "| **winner** |" in card.text and "command | `python -m evomerge name=" in card.text
    assert "rank 24, truncated, relative error 0.031" in (delivered / "best" / "lora" / "README.md").read_text()


def test_the_recipe_on_the_card_is_the_winners(delivered: Path) -> None:
    write_cards(delivered)
    winner = RunData(delivered).winner
    assert winner is not None
    weights = [line for line in dump(winner.recipe).splitlines() if "weight" in line]
    text = (delivered / "best" / "model" / "README.md").read_text()
    assert weights and all(line in text for line in weights)


def test_cards_are_rebuilt_byte_for_byte(delivered: Path) -> None:
    before = {path: path.read_bytes() for path in write_cards(delivered)}
    for path in before:
        path.unlink()
    assert {path: path.read_bytes() for path in write_cards(delivered)} == before
    assert not [path for path in (delivered / "best").rglob(".*") if path.is_file()]


def test_the_summary_says_how_the_adapter_holds_the_winner(delivered: Path) -> None:
    out = io.StringIO()
    print_summary(delivered, Console(file=out, width=120))
    assert "best/lora (rank 24, truncated, relative error 0.031)" in out.getvalue()


def test_no_winner_no_card(interrupted: Path) -> None:
    assert write_cards(interrupted) == []
    assert adapter_facts(interrupted) is None
