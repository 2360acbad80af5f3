"""Render offline pages: one file, data as JSON, drawn by small scripts inside it.

Answers of models are hostile text: they travel as JSON with ``<`` escaped, are inserted by ``textContent`` only, and
the page's content security policy runs no script but the one whose hash it names.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

# Scripts that draw each page, in order; they share one scope.
SCRIPTS = {
    "report": ("base.js", "plots.js", "front.js", "parallel.js", "report.js"),
    "comparison": ("base.js", "plots.js", "front.js", "parallel.js", "comparison.js"),
}


def render(data: Mapping[str, Any], page: str = "report") -> str:
    """The page that shows a :func:`evomerge.report.page_json.payload` or :func:`evomerge.report.compare.comparison`."""
    style = _read("page.css")
    script = '"use strict";\n(() => {\n' + "\n".join(_read(name) for name in SCRIPTS[page]) + "})();\n"
    text = json.dumps(_plain(dict(data)), ensure_ascii=False, allow_nan=False)
    # Without "<", neither </script> nor <!-- can end the element that holds the data.
    text = text.replace("<", "\\u003c")
    # Half a surrogate pair, which data files may hold as "\\ud83d", cannot be encoded.
    text = re.sub("[\ud800-\udfff]", lambda half: f"\\u{ord(half[0]):04x}", text)
    written = _read("frame.html")
    # Data are filled in last, so that no text in them is taken for a placeholder.
    for place, value in (
        ("@BODY@", _read(f"{page}.html")),
        ("@TITLE@", html.escape(f"{data['name']}: evomerge")),
        ("@STYLE_HASH@", _hash(style)),
        ("@SCRIPT_HASH@", _hash(script)),
        ("@STYLE@", style),
        ("@SCRIPT@", script),
        ("@DATA@", text),
    ):
        written = written.replace(place, value, 1)
    return written


def _plain(value: Any) -> Any:
    """The value with NaN as None, since JSON has no NaN."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return value


def _read(name: str) -> str:
    return files("evomerge.report").joinpath("page", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
