"""Score JSON answers: one JSON text that conforms to the item's schema.

A row has ``instruction`` and ``schema`` (JSON Schema, draft 2020-12). ``instance`` is the gold value. Besides it, right
by ``json_exact`` are the values of the list ``accepted``, or the calls of ``instance["name"]`` whose arguments are in
``acceptable`` (:func:`.exact_values.right_call`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from evomerge.evaluation.documents import Document, Row
from evomerge.evaluation.scorers.base import Item, Scorer, scorer

# ``check_answer`` is imported where it is used: jsonschema takes 0.2 s, and the worker reads rows of other tasks, too.


@scorer(metrics=("json_schema", "json_valid", "json_exact", "json_fenced"))
class JSON(Scorer):
    """See :func:`evomerge.evaluation.scorers.json.check_answer.judge` for the metrics."""

    example: ClassVar[Mapping[str, Any]] = {
        "instruction": "Write as JSON: Ada is 36.",
        "schema": {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]},
        "instance": {"name": "Ada", "age": 36},
    }

    @dataclass(frozen=True)
    class Options:
        """``strip_fence``: take reasoning, Markdown fences and words around the answer away, counted as
        ``json_fenced``."""

        strip_fence: bool = False

    def read(self, row: Row, options: Options) -> Document:
        from evomerge.evaluation.scorers.json.check_answer import check_schema

        schema = row["schema"]
        key = json.dumps(schema, sort_keys=True)
        if key not in row.known:  # many items share one, and checking one takes 20 ms
            wrong = check_schema(schema)
            if wrong is not None:
                row.fail(f"'schema' is no JSON Schema: {wrong}")
            row.known[key] = True
        item: dict[str, Any] = {"schema": schema}
        accepted = row.values.get("accepted", [])
        if not isinstance(accepted, list):
            row.fail(f"'accepted' must be a list of values, got {type(accepted).__name__}")
        if "instance" in row.values:
            accepted = [row["instance"], *accepted]
        if accepted:
            item["accepted"] = accepted
        if "acceptable" in row.values:
            item["call"] = {"name": _called(row), "arguments": row["acceptable"]}
        if options.strip_fence:
            item["strip_fence"] = True
        gold = " " + json.dumps(accepted[0], ensure_ascii=False) if accepted else ""
        return Document(row.name("id"), f"{row.text('instruction')}\n\nJSON:", gold, item, group=key)

    def load(self) -> None:
        self.judge({"schema": {"type": "object"}}, '{"a": 1}')

    def judge(self, item: Item, answer: str) -> dict[str, float]:
        from evomerge.evaluation.scorers.json import check_answer

        return check_answer.judge(item, answer)

    def wrong(self, item: Item) -> dict[str, float]:
        from evomerge.evaluation.scorers.json import check_answer

        return check_answer.wrong(item)


def _called(row: Row) -> str:
    instance = row["instance"]
    if not isinstance(row["acceptable"], dict):
        row.fail("'acceptable' must be an object: accepted values by argument")
    if not isinstance(instance, dict) or not isinstance(instance.get("name"), str):
        row.fail("'acceptable' needs an 'instance' with the called function's 'name'")
    return str(instance["name"])
