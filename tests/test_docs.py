"""Documents that repeat what the code says are made from it."""

from __future__ import annotations

from pathlib import Path

from evomerge.merging.describe import methods_page

DOCS = Path(__file__).parents[1] / "docs"


def test_methods_are_listed_as_they_are():
    text = (DOCS / "methods.md").read_text()
    assert text == methods_page(), "regenerate it: evomerge job=methods write=docs/methods.md"
