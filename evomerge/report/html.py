"""``report.html``: one file that needs no network. Data go in as JSON; a small script of ours draws them.

Answers of models are hostile text: they travel as JSON with ``<`` escaped, are inserted by ``textContent`` only, and
the page's content security policy runs no script but the one whose hash it names.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

from evomerge.report.bootstrap import Interval
from evomerge.report.info import Weights, flat, points, samples, weights
from evomerge.report.results import WINNER, Row
from evomerge.report.run import Run
from evomerge.report.verdict import verdict
from evomerge.types import Score


def payload(run: Run, questions: Mapping[tuple[str, str], str] | None = None) -> dict[str, Any]:
    """All that the page shows, as plain values. ``questions``: prompts of test items by (task, item)."""
    table, best = run.results, run.winner
    environment = {key: value for key, value in run.environment.items() if key != "seconds"}
    history = run.hypervolume()
    return {
        "name": run.name,
        "folder": shown(run.folder),
        "verdict": asdict(verdict(run)),
        "facts": _facts(run),
        "commands": [] if best is None else commands(run),
        "tasks": list(table.tasks),
        "side_tasks": list(table.side_tasks),
        "rows": [_row(row) for row in table.rows],
        "delivered": _delivered(run),
        "points": [asdict(point) for point in points(run)],
        "experts": [expert.name for expert in run.records[0].recipe.experts] if run.records else list(run.experts),
        "hypervolume": history[["trials", "hypervolume"]].to_numpy().tolist(),
        "anchors": sum(trial.label is not None for trial in run.records),
        "weights": None if best is None else _weights(weights(best.recipe), best.recipe.method, best.number),
        "samples": [asdict(sample) for sample in samples(run, questions)],
        "failures": [{"number": t.number, "method": t.recipe.method, "error": t.error} for t in run.failures],
        "seconds": run.environment.get("seconds", {}),
        "environment": [[name, str(value)] for name, value in flat(environment)],
    }


def shown(folder: Path) -> str:
    """The folder as a person would type it: relative to the working directory where it lies below it."""
    whole = folder.resolve()
    return str(whole.relative_to(Path.cwd())) if whole.is_relative_to(Path.cwd()) else str(whole)


def commands(run: Run) -> list[dict[str, str]]:
    """What to run with the winner, to copy."""
    best = f"{shown(run.folder)}/best"
    tasks = ",".join(run.tasks)
    return [
        {
            "title": "The merged model, with transformers",
            "text": "from transformers import AutoModelForCausalLM, AutoTokenizer\n"
            f'model = AutoModelForCausalLM.from_pretrained("{best}/model")\n'
            f'tokenizer = AutoTokenizer.from_pretrained("{best}/model")',
        },
        {
            "title": "The same as a LoRA on the base, with peft",
            "text": "from peft import AutoPeftModelForCausalLM  # reads the base from the adapter's configuration\n"
            f'model = AutoPeftModelForCausalLM.from_pretrained("{best}/lora")',
        },
        {
            "title": "Score it again on the test items",
            "text": f"python -m evomerge job=evaluate model={best}/model 'tasks=[{tasks}]' split=test",
        },
    ]


def _facts(run: Run) -> list[dict[str, str]]:
    """The few numbers of the first screen."""
    facts = []
    table = run.results
    winner, comparison = table.winner, table.comparison
    if winner is not None and winner.retention is not None:
        facts.append(_fact(_percent(winner.retention), "smallest retention, 95 % interval " + _range(winner.retention)))
    if comparison is not None:
        gap = comparison.difference
        words = f"against {comparison.other}, 95 % interval {_range(gap, '+.1f')}"
        facts.append({**_fact(f"{100 * gap.mean:+.1f} points", words), "better": "yes" if gap.low > 0 else ""})
        facts.append(_fact(f"{100 * comparison.probability:.1f} %", "of resamples of the items have it ahead"))
    failed = f", {len(run.failures)} failed" if run.failures else ""
    facts.append(_fact(str(len(run.records)), f"candidates tried{failed}"))
    seconds = sum(run.environment.get("seconds", {}).values())
    if seconds:
        facts.append(_fact(f"{seconds / 60:.1f} min", "from start to finish"))
    return facts


def _fact(value: str, words: str) -> dict[str, str]:
    return {"value": value, "words": words}


def _percent(value: Score | Interval) -> str:
    return f"{100 * value.mean:.1f} %"


def _range(value: Interval, form: str = ".1f") -> str:
    return f"{100 * value.low:{form}} to {100 * value.high:{form}}"


def _row(row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "winner": row.label == WINNER,
        "scores": {task: asdict(score) for task, score in row.scores.items()},
        "retention": None if row.retention is None else asdict(row.retention),
    }


def _delivered(run: Run) -> str:
    """What the exported files scored, in words."""
    said = []
    for kind, scores in run.delivered.items():
        listed = ", ".join(f"{task} {100 * score.mean:.1f} %" for task, score in scores.items())
        said.append(f"best/{kind}: {listed}")
    if not said:
        return ""
    return "The exported files, loaded and scored again: " + "; ".join(said) + "."


def _weights(values: Weights, method: str, number: int) -> dict[str, Any]:
    return {**asdict(values), "method": method, "number": number}


def _plain(value: Any) -> Any:
    """JSON has no NaN: null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return value


def render(data: Mapping[str, Any]) -> str:
    """The page of a :func:`payload`."""
    folder = files("evomerge.report")
    style, script = (_read(folder, name) for name in ("template.css", "template.js"))
    text = json.dumps(_plain(dict(data)), ensure_ascii=False, allow_nan=False)
    # No "<": neither </script> nor <!-- can end or bend the element that holds the data.
    text = text.replace("<", "\\u003c")
    page = _read(folder, "template.html")
    # The data last, so that nothing in them is taken for a place to fill.
    for place, value in (
        ("@TITLE@", html.escape(f"{data['name']}: evomerge")),
        ("@STYLE_HASH@", _hash(style)),
        ("@SCRIPT_HASH@", _hash(script)),
        ("@STYLE@", style),
        ("@SCRIPT@", script),
        ("@DATA@", text),
    ):
        page = page.replace(place, value, 1)
    return page


def _read(folder: Any, name: str) -> str:
    return str(folder.joinpath(name).read_text(encoding="utf-8"))


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
