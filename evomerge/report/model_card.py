"""The model card of a merge in the hub's format: metadata, then what a person wants to know. Values in, text out.

The metadata's keys are those of the hub's specification (https://huggingface.co/docs/hub/model-cards).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from huggingface_hub import EvalResult, ModelCardData

from evomerge.types import Score
from evomerge.weights.parents import Licence, Parent

# What vLLM takes as --max-lora-rank.
_SERVED_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)


@dataclass(frozen=True)
class AdapterFacts:
    """How an adapter holds its merge; see :class:`evomerge.engine.export.LoraExport`."""

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
    """All that a card says.

    Attributes:
        name: title, and the model's name in the metadata.
        where: what a loader is given: a folder or a hub id.
        base, experts: the parents.
        method: the merge method.
        recipe: the recipe's text, with names that mean something elsewhere.
        origin: a sentence on how the merge came about.
        adapter: of a LoRA; None for a full model.
        results: Markdown for people; empty where nothing was measured.
        scores: of these very files, by task.
        metrics: what a task's score is (``sql_exec``), by task.
        made: rows (what, value) on how it was made.
    """

    name: str
    where: str
    base: Parent
    experts: tuple[Parent, ...]
    method: str
    recipe: str
    origin: str
    adapter: AdapterFacts | None = None
    results: str = ""
    scores: Mapping[str, Score] = field(default_factory=dict)
    metrics: Mapping[str, str] = field(default_factory=dict)
    made: Sequence[tuple[str, str]] = ()


def model_card(values: CardValues) -> str:
    """Text of ``README.md``."""
    parents = (values.base, *values.experts)
    licence, remark = common_licence(parents)
    sections = [f"# {values.name}", _introduction(values)]
    if values.results:
        sections += ["## Results", values.results]
    sections += ["## Use", _use(values)]
    sections += ["## Recipe", f"```yaml\n{values.recipe.rstrip()}\n```"]
    sections.append("`python -m evomerge job=merge recipe=FILE out=DIR` makes the model again from these lines.")
    if values.made:
        sections += ["## How it was made", _table(("", ""), values.made)]
    sections += ["## Parents and licences", _parents(parents), remark]
    sections += ["## Limits", "\n".join(f"- {line}" for line in _limits(values))]
    return f"---\n{_metadata(values, licence)}\n---\n\n" + "\n\n".join(sections) + "\n"


def common_licence(parents: Sequence[Parent]) -> tuple[Licence, str]:
    """The licence of a merge and a remark on it: inherited where all parents agree, else ``other``, with the reason."""
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


def _metadata(values: CardValues, licence: Licence) -> str:
    parents = (values.base, *values.experts)
    # An adapter has one base in the hub's tree; a merge descends from all its parents.
    above = (values.base,) if values.adapter is not None else parents
    bases = list(dict.fromkeys(parent.hub_id for parent in above if parent.hub_id is not None))
    relation = "adapter" if values.adapter is not None else "merge"
    results = [
        EvalResult(
            task_type="text-generation",
            dataset_type=task,
            dataset_name=f"evomerge {task}, test items",
            dataset_split="test",
            metric_type=values.metrics.get(task, "score"),
            metric_name=f"{values.metrics.get(task, 'score')}, {_interval(score)}",
            metric_value=round(score.mean, 4),
        )
        for task, score in values.scores.items()
    ]
    data = ModelCardData(
        base_model=bases or None,
        base_model_relation=relation if bases else None,
        library_name="transformers" if values.adapter is None else "peft",
        pipeline_tag="text-generation",
        tags=["merge", "evomerge", values.method, *(["lora"] if values.adapter is not None else [])],
        license=licence.id,
        license_name=licence.name,
        license_link=licence.link,
        language=list(dict.fromkeys(code for parent in parents for code in parent.languages)) or None,
        model_name=values.name if results else None,
        eval_results=results or None,
    )
    return str(data.to_yaml())


def _interval(score: Score) -> str:
    return f"{score.items} items, 95 % interval {score.low:.3f} to {score.high:.3f}"


def _introduction(values: CardValues) -> str:
    base = _linked(values.base)
    experts = ", ".join(expert.role for expert in values.experts)
    if values.adapter is None:
        return f"A merge of experts ({experts}) of {base} by `{values.method}`. {values.origin}"
    return (
        f"A LoRA adapter on {base} that holds a merge of experts ({experts}) by `{values.method}`: {values.adapter}. "
        f"{values.origin}"
    )


def _linked(parent: Parent) -> str:
    return f"[{parent.hub_id}](https://huggingface.co/{parent.hub_id})" if parent.hub_id else f"`{parent.public_name}`"


def _use(values: CardValues) -> str:
    where = values.where
    if values.adapter is None:
        text = (
            "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
            f'model = AutoModelForCausalLM.from_pretrained("{where}", dtype="auto")\n'
            f'tokenizer = AutoTokenizer.from_pretrained("{where}")'
        )
        return f"With transformers:\n\n```python\n{text}\n```\n\nWith vLLM:\n\n```\nvllm serve {where}\n```"
    base = values.base.hub_id or "BASE"
    rank = next((rank for rank in _SERVED_RANKS if rank >= values.adapter.rank), values.adapter.rank)
    text = (
        "from peft import AutoPeftModelForCausalLM  # loads the base that the adapter names\n\n"
        f'model = AutoPeftModelForCausalLM.from_pretrained("{where}", dtype="auto")'
    )
    served = f"vllm serve {base} --enable-lora --max-lora-rank {rank} --lora-modules merge={where}"
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
    if base.hub_id is not None and base.public_name != base.hub_id and not base.public_name.startswith(base.hub_id):
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
