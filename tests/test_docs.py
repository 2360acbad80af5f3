"""Documents that repeat what the code says are made from it."""

from __future__ import annotations

from pathlib import Path

from evomerge.merging.describe import method_table, modifier_table

DOCS = Path(__file__).parents[1] / "docs"


def test_methods_are_listed_as_they_are():
    text = (DOCS / "methods.md").read_text()
    assert method_table() in text and modifier_table() in text, "write the tables of describe.py into docs/methods.md"
