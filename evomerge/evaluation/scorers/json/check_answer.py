"""Check JSON answers: strict RFC 8259, then the item's JSON Schema (draft 2020-12) and its value. Runs in the judge."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from referencing import Registry

from evomerge.evaluation.scorers.chat_messages import parts, without_reasoning
from evomerge.evaluation.scorers.json.exact_values import equal, right_call

_MAX_DEPTH = 64
_MAX_DIGITS = 1000
_SURROGATE = re.compile("[\ud800-\udfff]")
_BRACKETS = re.compile(r"[{\[].*[}\]]", re.DOTALL)
# RFC 8259 knows four white-space characters; str.strip() would also take others away.
_WHITE_SPACE = " \t\n\r"


class NotJSON(ValueError):
    """Text that is not one JSON value."""


def parse(text: str) -> Any:
    """The value of a text that is exactly one JSON value.

    Stricter than ``json.loads``: no NaN or Infinity, no repeated key, no lone surrogate; bounded depth and numbers.

    Raises:
        NotJSON: it is not.
    """
    try:
        value = json.loads(
            text.strip(_WHITE_SPACE),
            object_pairs_hook=_object,
            parse_constant=_refuse,
            parse_int=lambda digits: int(_short(digits)),
            parse_float=lambda digits: float(_short(digits)),
        )
        _check(value, _MAX_DEPTH)
    except (ValueError, RecursionError) as error:
        raise NotJSON(str(error)) from None
    return value


def conforms(value: Any, schema: Any) -> bool:
    """Whether ``value`` conforms to ``schema``. References lead nowhere outside the schema."""
    try:
        return bool(Draft202012Validator(schema, registry=Registry()).is_valid(value))
    # A reference that leads nowhere, a number too large to divide, a pattern that is no regular expression: jsonschema
    # raises errors of many libraries, and none of them is an answer that conforms.
    except Exception:
        return False


def check_schema(schema: Any) -> str | None:
    """What is wrong with a schema, in one line; None if it is one."""
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        return str(error.message)
    return None


def judge(item: Mapping[str, Any], answer: str) -> dict[str, float]:
    """Metrics of one answer: ``json_schema`` (parses and conforms), ``json_valid`` (parses), ``json_exact`` (equals an
    expected value; only for items that have one), ``json_fenced`` (a fence or words were taken away; only if that is
    asked for).

    Args:
        item: ``schema``; expected is a value of the list ``accepted`` or the call ``call`` (``name`` and accepted
            ``arguments``, see ``exact_values.right_call``); ``strip_fence`` takes reasoning
            before the answer away and, if that is no JSON, Markdown fences and words around an object or array.
    """
    metrics = dict(wrong(item))
    stripped = bool(item.get("strip_fence"))
    whole = without_reasoning(answer) if stripped else answer
    for text in [whole, *(_within(whole) if stripped else [])]:
        try:
            value = parse(text)
        except NotJSON:
            continue
        metrics |= {"json_schema": float(conforms(value, item["schema"])), "json_valid": 1.0}
        if "json_exact" in metrics:
            metrics["json_exact"] = float(_is_expected(item, value))
        if text is not whole:
            metrics["json_fenced"] = 1.0
        break
    return metrics


def _within(message: str) -> list[str]:
    """Texts in a message that may be its JSON, likeliest first."""
    texts = parts(message)
    return texts + [found.group() for text in texts if (found := _BRACKETS.search(text))]


def wrong(item: Mapping[str, Any]) -> dict[str, float]:
    """Metrics of an answer that is not even JSON."""
    expected = ["json_exact"] if "accepted" in item or "call" in item else []
    return dict.fromkeys(
        ["json_schema", "json_valid", *expected, *(["json_fenced"] * bool(item.get("strip_fence")))], 0.0
    )


def _is_expected(item: Mapping[str, Any], value: Any) -> bool:
    call = item.get("call")
    if call is not None and right_call(value, call["name"], call["arguments"]):
        return True
    return any(equal(value, accepted) for accepted in item.get("accepted", ()))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise NotJSON("a key is repeated")
    return result


def _refuse(constant: str) -> Any:
    raise NotJSON(f"{constant} is not JSON")


def _short(digits: str) -> str:
    if len(digits) > _MAX_DIGITS:
        raise NotJSON("a number is too long")
    return digits


def _check(value: Any, depth: int) -> None:
    if depth < 0:
        raise NotJSON("nested too deeply")
    if isinstance(value, str) and _SURROGATE.search(value):
        raise NotJSON("a lone surrogate")
    if isinstance(value, dict):
        for key, item in value.items():
            _check(key, depth)
            _check(item, depth - 1)
    elif isinstance(value, list):
        for item in value:
            _check(item, depth - 1)
