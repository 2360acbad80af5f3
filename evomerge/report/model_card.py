"""Write a merge's model card in the hub's format: metadata first, then text. Values in, text out.

The metadata's keys are those of the hub's specification (https://huggingface.co/docs/hub/model-cards).
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

from evomerge.hub.model_card_facts import Licence, Parent
from evomerge.recipes.recipe_yaml import dump
from evomerge.types import Expert, Recipe, Score

# Values that vLLM accepts for --max-lora-rank.
_SERVED_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)


@dataclass(frozen=True)
class AdapterFacts:
    """Rank and error of an adapter; see :class:`evomerge.engine.export.LoraExport`."""

    rank: int
    how: str
    relative_error: float
    left_out: tuple[str, ...] = ()

    def __str__(self) -> str:
        """
        >>> str(AdapterFacts(16, "compressed", 0.0123))
        'rank 16, compressed, relative error 0.012'
        """
        said = f"rank {self.rank}, {self.how}"
        if self.how != "exact" or self.left_out:
            said += f", relative error {self.relative_error:.2g}"
        if self.left_out:
            said += f", without {len(self.left_out)} changed parameters that a LoRA cannot hold"
        return said


@dataclass(frozen=True)
class CardValues:
    """Content of a model card.

    Attributes:
        name: title and model name.
        where: what a loader takes: a folder or a hub id.
        base, experts: facts of the merged models; methods that merge whole models have no base.
        method: the merge method.
        recipe: the recipe's text, with public names of models.
        origin: a sentence on how the merge came about.
        adapter: facts of a LoRA; None for a full model.
        results: Markdown text; empty if nothing was measured.
        scores: scores of the exported files, by task.
        metrics: name of the metric that is a task's score (``sql_exec``), by task.
        made: rows (name, value) on how the model was made.
    """

    name: str
    where: str
    base: Parent | None
    experts: tuple[Parent, ...]
    method: str
    recipe: str
    origin: str
    adapter: AdapterFacts | None = None
    results: str = ""
    scores: Mapping[str, Score] = field(default_factory=dict)
    metrics: Mapping[str, str] = field(default_factory=dict)
    made: Sequence[tuple[str, str]] = ()

    @property
    def parents(self) -> tuple[Parent, ...]:
        return self.experts if self.base is None else (self.base, *self.experts)


def model_card(values: CardValues) -> str:
    """Text of ``README.md``."""
    licence, remark = common_licence(values.parents)
    sections = [f"# {values.name}", _introduction(values)]
    if values.results:
        sections += ["## Results", values.results]
    sections += ["## Use", _use(values)]
    sections += ["## Recipe", f"```yaml\n{values.recipe.rstrip()}\n```"]
    sections.append("`python -m evomerge job=merge recipe=FILE out=DIR` makes the model again from these lines.")
    if values.made:
        sections += ["## How it was made", _table(("", ""), values.made)]
    sections += ["## Parents and licences", _parents(values.parents), remark]
    sections += ["## Limits", "\n".join(f"- {line}" for line in _limits(values))]
    return f"---\n{_metadata(values, licence)}\n---\n\n" + "\n\n".join(sections) + "\n"


def common_licence(parents: Sequence[Parent]) -> tuple[Licence, str]:
    """The licence of a merge and a remark on it: that of base and experts if they agree, else ``other`` with the
    reason."""
    stated = list(dict.fromkeys(parent.licence for parent in parents if parent.licence is not None))
    silent = [parent.role for parent in parents if parent.licence is None]
    if len(stated) == 1 and not silent:
        return stated[0], f"All parents are under {stated[0]}, and so is this model."
    if len(stated) > 1:
        listed = "; ".join(
            f"{licence}: {', '.join(parent.role for parent in parents if parent.licence == licence)}"
            for licence in stated
        )
        remark = f"**The parents' licences differ** ({listed}). A merge has to satisfy all of them at once."
        found = Licence("other", "conflicting-parent-licences")
    else:
        remark = "**Not every parent states its licence.**"
        found = Licence("other", "unknown-parent-licences")
    if silent:
        remark += f" No licence is stated for {', '.join(silent)}."
    return found, f"{remark} The licence is marked `other`; look into it before you pass this model on."


def public_recipe(recipe: Recipe, base: Parent, experts: tuple[Parent, ...]) -> str:
    """YAML of a recipe that names no folders of this machine."""
    named = tuple(Expert(parent.role, parent.public_name) for parent in experts)
    return dump(replace(recipe, base=base.public_name, experts=named))


def _metadata(values: CardValues, licence: Licence) -> str:
    # In the hub's tree an adapter has one base; a merged model descends from base and experts.
    above = values.parents[:1] if values.adapter is not None else values.parents
    bases = list(dict.fromkeys(parent.hub_id for parent in above if parent.hub_id is not None))
    relation = "adapter" if values.adapter is not None else "merge"
    metadata = {
        "base_model": bases or None,
        "base_model_relation": relation if bases else None,
        "library_name": "transformers" if values.adapter is None else "peft",
        "pipeline_tag": "text-generation",
        "tags": ["merge", "evomerge", values.method, *(["lora"] if values.adapter is not None else [])],
        "license": licence.id,
        "license_name": licence.name,
        "license_link": licence.link,
        "language": list(dict.fromkeys(code for parent in values.parents for code in parent.languages)) or None,
        "model-index": [{"name": values.name, "results": _model_index(values)}] if values.scores else None,
    }
    known = {key: value for key, value in metadata.items() if value is not None}
    return str(yaml.safe_dump(known, sort_keys=False, allow_unicode=True)).rstrip()


def _model_index(values: CardValues) -> list[dict[str, Any]]:
    """Results in the hub's form, one entry per task."""
    results = []
    for task, score in values.scores.items():
        metric = values.metrics.get(task, "score")
        results.append(
            {
                "task": {"type": "text-generation"},
                "dataset": {"name": f"evomerge {task}, test items", "type": task, "split": "test"},
                "metrics": [
                    {"type": metric, "value": round(score.mean, 4), "name": f"{metric}, {_interval(score)}"},
                ],
            }
        )
    return results


def _interval(score: Score) -> str:
    return f"{score.items} items, 95 % interval {score.low:.3f} to {score.high:.3f}"


def _introduction(values: CardValues) -> str:
    roles = ", ".join(expert.role for expert in values.experts)
    if values.base is None:
        return f"A merge of {roles} by `{values.method}`. {values.origin}"
    base = _linked(values.base)
    if values.adapter is None:
        return f"A merge of {roles} on {base} by `{values.method}`. {values.origin}"
    held = f"holds a merge of {roles} by `{values.method}`: {values.adapter}"
    return f"A LoRA adapter on {base} that {held}. {values.origin}"


def _linked(parent: Parent) -> str:
    return f"[{parent.hub_id}](https://huggingface.co/{parent.hub_id})" if parent.hub_id else f"`{parent.public_name}`"


def _use(values: CardValues) -> str:
    named, where = json.dumps(values.where, ensure_ascii=False), shlex.quote(values.where)
    if values.adapter is None:
        text = (
            "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
            f'model = AutoModelForCausalLM.from_pretrained({named}, dtype="auto")\n'
            f"tokenizer = AutoTokenizer.from_pretrained({named})"
        )
        return f"With transformers:\n\n```python\n{text}\n```\n\nWith vLLM:\n\n```\nvllm serve {where}\n```"
    base = (values.base and values.base.hub_id) or "BASE"
    rank = next((rank for rank in _SERVED_RANKS if rank >= values.adapter.rank), values.adapter.rank)
    text = (
        "from peft import AutoPeftModelForCausalLM  # loads the base that the adapter names\n\n"
        f'model = AutoPeftModelForCausalLM.from_pretrained({named}, dtype="auto")'
    )
    served = (
        f"vllm serve {base} --enable-lora --max-lora-rank {rank} --lora-modules {shlex.quote(f'merge={values.where}')}"
    )
    return f"With peft:\n\n```python\n{text}\n```\n\nWith vLLM:\n\n```\n{served}\n```"


def _parents(parents: Sequence[Parent]) -> str:
    rows = [
        (parent.role, f"`{parent.public_name}`", "not stated" if parent.licence is None else _licence(parent.licence))
        for parent in parents
    ]
    return _table(("", "model", "licence"), rows)


def _licence(licence: Licence) -> str:
    return f"[{licence}]({licence.link})" if licence.link else str(licence)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines)


def _limits(values: CardValues) -> list[str]:
    limits = []
    if values.scores:
        tasks = ", ".join(values.scores)
        limits.append(f"Measured on {tasks} and nothing else; what a merge does to other skills is not known.")
        limits.append("The intervals are of these items; other questions, prompts or languages can give other scores.")
    else:
        limits.append("Nothing was measured: `python -m evomerge job=evaluate model=DIR tasks=[...]` does it.")
    limits.append("No part of the making looked at safety or bias: both are what base and experts bring.")
    base = values.base
    if (
        base is not None
        and base.hub_id is not None
        and base.public_name != base.hub_id
        and not base.public_name.startswith(base.hub_id)
    ):
        limits.append(
            f"The base was read from `{base.public_name}`. Its experts' cards call it {base.hub_id}; where the hub's "
            "weights differ, by quantization for example, scores can differ, too."
        )
    if values.adapter is not None and values.adapter.left_out:
        limits.append(f"The adapter leaves out what no LoRA on linear layers holds: {_some(values.adapter.left_out)}.")
    return limits


def _some(names: Sequence[str], limit: int = 5) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(f"`{name}`" for name in names[:limit]) + more
