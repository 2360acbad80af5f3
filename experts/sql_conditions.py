"""What a question is about, and conditions on its rows in words and in SQL."""

from __future__ import annotations

import random
from dataclasses import dataclass

from sql_domains import Column, Table

Pair = tuple[str, str]
"""Words (a question, or a phrase of one) and their SQL."""


@dataclass(frozen=True)
class Scene:
    """What one example shows: the child table with the drawn columns, maybe its parent."""

    table: Table
    parent: Table | None
    key: str
    link: str
    schema: str

    def texts(self) -> list[Column]:
        return [c for c in self.table.columns[1:] if c.is_text]

    def numbers(self) -> list[Column]:
        return [c for c in self.table.columns if not c.is_text]

    @property
    def join(self) -> str:
        assert self.parent is not None
        child, parent = self.table.name, self.parent.name
        return f"{child} JOIN {parent} ON {child}.{self.key} = {parent}.id"


def literal(value: str | int | float) -> str:
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)


def condition(rng: random.Random, column: Column, prefix: str = "") -> Pair:
    """A phrase that follows the plural noun, and its SQL."""
    name = prefix + column.name
    value = rng.choice(column.values)
    if column.is_text:
        forms = [column.where] * 4 + [f"whose {column.noun} is {{}}", f"where the {column.noun} is {{}}"]
        return rng.choice(forms).format(value), f"{name} = {literal(value)}"
    kind = rng.choice([">", ">", ">", "<", "<", "<", ">=", "<=", "BETWEEN", "="])
    if kind == "=" and column.where:
        return column.where.format(value), f"{name} = {value}"
    if kind == "BETWEEN":
        low, high = sorted(rng.sample(column.values, 2))
        phrase = rng.choice(
            ["with a {n} between {a} and {b}", "whose {n} is between {a} and {b}", "with {n} from {a} to {b}"]
        )
        return phrase.format(n=column.noun, a=low, b=high), f"{name} BETWEEN {low} AND {high}"
    if kind in (">=", "<="):
        word = "at least" if kind == ">=" else "at most"
        phrase = rng.choice(["with a {n} of {w} {v}", "whose {n} is {w} {v}"])
        return phrase.format(n=column.noun, w=word, v=value), f"{name} {kind} {value}"
    kind = ">" if kind == ">" else "<"
    own = column.over if kind == ">" else column.under
    words = (
        ["above", "over", "greater than", "higher than"]
        if kind == ">"
        else ["below", "under", "less than", "lower than"]
    )
    forms = [own] * 3 if own else []
    forms += [
        f"with a {column.noun} {rng.choice(words)} {{}}",
        f"whose {column.noun} is {rng.choice(words)} {{}}",
    ]
    return rng.choice(forms).format(value), f"{name} {kind} {value}"


def any_condition(rng: random.Random, scene: Scene) -> Pair:
    return condition(rng, rng.choice(list(scene.table.columns[1:])))


def maybe_condition(rng: random.Random, scene: Scene, skip: Column, chance: float = 0.5) -> Pair:
    """A condition as (" phrase", " WHERE sql"), or two empty strings."""
    rest = [c for c in scene.table.columns[1:] if c != skip]
    if not rest or rng.random() > chance:
        return "", ""
    phrase, sql = condition(rng, rng.choice(rest))
    return " " + phrase, " WHERE " + sql
