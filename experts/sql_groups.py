"""Questions over groups, averages and two tables; the list of all kinds of questions."""

from __future__ import annotations

import random
from collections.abc import Callable

from sql_conditions import Pair, Scene, condition, literal, maybe_condition
from sql_rows import count, like, lookup, order, select_where, superlative, top, two_columns, two_conditions

AGGREGATES = {
    "AVG": ("average", "mean"),
    "SUM": ("total", "sum of the"),
    "MAX": ("highest", "maximum", "largest"),
    "MIN": ("lowest", "minimum", "smallest"),
}


def aggregate(rng: random.Random, s: Scene) -> Pair:
    t, column = s.table, rng.choice(s.numbers())
    function = rng.choice(["AVG", "AVG", "SUM", "MAX", "MIN"])
    word = rng.choice(AGGREGATES[function])
    phrase, where = maybe_condition(rng, s, column, 0.6)
    the = "" if phrase else "all "
    question = rng.choice(
        [
            f"What is the {word} {column.noun} of {the}{t.many}{phrase}?",
            f"Find the {word} {column.noun} of the {t.many}{phrase}.",
            f"Compute the {word} {column.noun} for {the}{t.many}{phrase}.",
        ]
    )
    return question, f"SELECT {function}({column.name}) FROM {t.name}{where}"


def group(rng: random.Random, s: Scene) -> Pair:
    t, column = s.table, rng.choice(s.texts() or s.numbers())
    by = f"GROUP BY {column.name}"
    if rng.random() < 0.5:
        question = rng.choice(
            [
                f"How many {t.many} are there for each {column.noun}?",
                f"Show the number of {t.many} per {column.noun}.",
                f"Count the {t.many} by {column.noun}.",
                f"For each {column.noun}, how many {t.many} are there?",
                f"List every {column.noun} with its number of {t.many}.",
            ]
        )
        return question, f"SELECT {column.name}, COUNT(*) FROM {t.name} {by}"
    if rng.random() < 0.3:
        forms = [
            f"Which {column.noun} has the most {t.many}?",
            f"Which {column.noun} is the most common among the {t.many}?",
            f"What is the most frequent {column.noun} of the {t.many}?",
        ]
        return rng.choice(forms), f"SELECT {column.name} FROM {t.name} {by} ORDER BY COUNT(*) DESC LIMIT 1"
    numbers = [c for c in s.numbers() if c != column]
    if not numbers:
        return distinct(rng, s)
    other, function = rng.choice(numbers), rng.choice(["AVG", "AVG", "SUM", "MAX", "MIN"])
    word = rng.choice(AGGREGATES[function])
    question = rng.choice(
        [
            f"What is the {word} {other.noun} for each {column.noun}?",
            f"Show the {word} {other.noun} of {t.many} per {column.noun}.",
            f"For every {column.noun}, find the {word} {other.noun}.",
        ]
    )
    return question, f"SELECT {column.name}, {function}({other.name}) FROM {t.name} {by}"


def distinct(rng: random.Random, s: Scene) -> Pair:
    t, column = s.table, rng.choice(s.texts() or [s.table.label])
    if rng.random() < 0.45:
        question = rng.choice(
            [
                f"How many different {column.nouns} are there?",
                f"How many distinct {column.nouns} do the {t.many} have?",
                f"Count the different {column.nouns} of the {t.many}.",
            ]
        )
        return question, f"SELECT COUNT(DISTINCT {column.name}) FROM {t.name}"
    phrase, where = maybe_condition(rng, s, column, 0.35)
    question = rng.choice(
        [
            f"What are the different {column.nouns} of the {t.many}{phrase}?",
            f"List all distinct {column.nouns} of {t.many}{phrase}.",
            f"Show each {column.noun} of the {t.many}{phrase} only once.",
            f"Which {column.nouns} do the {t.many}{phrase} have, without repeats?",
        ]
    )
    return question, f"SELECT DISTINCT {column.name} FROM {t.name}{where}"


def having(rng: random.Random, s: Scene) -> Pair:
    t, column = s.table, rng.choice(s.texts() or s.numbers())
    if not s.numbers() or rng.random() < 0.65:
        size = rng.choice([1, 2, 2, 3, 4, 5])
        words, sign = rng.choice(
            [("more than", ">"), ("more than", ">"), ("at least", ">="), ("fewer than", "<")]
        )
        size += sign != ">"
        question = rng.choice(
            [
                f"Which {column.nouns} have {words} {size} {t.many}?",
                f"List the {column.nouns} with {words} {size} {t.many}.",
                f"Find every {column.noun} that has {words} {size} {t.many}.",
            ]
        )
        return (
            question,
            f"SELECT {column.name} FROM {t.name} GROUP BY {column.name} HAVING COUNT(*) {sign} {size}",
        )
    other = rng.choice(s.numbers())
    value, (word, sign) = (
        rng.choice(other.values),
        rng.choice([("above", ">"), ("below", "<"), ("greater than", ">")]),
    )
    question = rng.choice(
        [
            f"Which {column.nouns} have an average {other.noun} {word} {value}?",
            f"List the {column.nouns} whose average {other.noun} is {word} {value}.",
        ]
    )
    return (
        question,
        f"SELECT {column.name} FROM {t.name} GROUP BY {column.name} HAVING AVG({other.name}) {sign} {value}",
    )


def subquery(rng: random.Random, s: Scene) -> Pair:
    t, label, column = s.table, s.table.label, rng.choice(s.numbers())
    over = rng.random() < 0.6
    word = rng.choice(
        ["above", "higher than", "greater than"] if over else ["below", "lower than", "less than"]
    )
    where = f"{column.name} {'>' if over else '<'} (SELECT AVG({column.name}) FROM {t.name})"
    if rng.random() < 0.3:
        question = f"How many {t.many} have a {column.noun} {word} the average {column.noun}?"
        return question, f"SELECT COUNT(*) FROM {t.name} WHERE {where}"
    question = rng.choice(
        [
            f"Which {t.many} have a {column.noun} {word} the average?",
            f"List the {label.nouns} of {t.many} whose {column.noun} is {word} average.",
            f"Find the {label.noun} of all {t.many} with a {column.noun} {word} the average {column.noun}.",
        ]
    )
    return question, f"SELECT {label.name} FROM {t.name} WHERE {where}"


def join(rng: random.Random, s: Scene) -> Pair:
    """A question over both tables; without a parent, one that needs a subquery."""
    if s.parent is None:
        return subquery(rng, s)
    t, p, label, top_label = s.table, s.parent, s.table.label, s.parent.label
    child = f"{t.name}.{label.name}"
    parent_label = f"{p.name}.{top_label.name}"
    owner, value = rng.choice(top_label.values), rng.choice(label.values)
    pick = rng.randrange(10)
    if pick in (0, 1):
        question = rng.choice(
            [
                f"List the {label.nouns} of {t.many} {s.link} {owner}.",
                f"Which {t.many} are {s.link} {owner}?",
                f"Show all {t.many} {s.link} {owner}.",
            ]
        )
        return question, f"SELECT {child} FROM {s.join} WHERE {parent_label} = {literal(owner)}"
    if pick == 2:
        return (
            f"How many {t.many} are {s.link} {owner}?",
            f"SELECT COUNT(*) FROM {s.join} WHERE {parent_label} = {literal(owner)}",
        )
    if pick in (3, 4):
        column = rng.choice(p.columns)
        forms = [
            f"What is the {column.noun} of the {p.one} of {value}?",
            f"What is the {column.noun} of the {p.one} of the {t.one} {value}?",
        ]
        if column == top_label:
            forms.append(f"Which {p.one} belongs to the {t.one} {value}?")
        return rng.choice(
            forms
        ), f"SELECT {p.name}.{column.name} FROM {s.join} WHERE {child} = {literal(value)}"
    if pick in (5, 6):
        phrase, where = condition(rng, rng.choice(p.columns[1:]), f"{p.name}.")
        if rng.random() < 0.35:
            return (
                f"How many {t.many} are {s.link} {p.many} {phrase}?",
                f"SELECT COUNT(*) FROM {s.join} WHERE {where}",
            )
        return (
            f"List the {label.nouns} of {t.many} {s.link} {p.many} {phrase}.",
            f"SELECT {child} FROM {s.join} WHERE {where}",
        )
    if pick == 7:
        question = rng.choice(
            [
                f"List each {t.one} with the {top_label.noun} of its {p.one}.",
                f"Show the {label.noun} of every {t.one} and the {top_label.noun} of its {p.one}.",
            ]
        )
        return question, f"SELECT {child}, {parent_label} FROM {s.join}"
    if pick == 8:
        question = rng.choice(
            [
                f"How many {t.many} does each {p.one} have? Show the {top_label.noun} and the number.",
                f"Show the {top_label.noun} of each {p.one} and its number of {t.many}.",
            ]
        )
        return question, f"SELECT {parent_label}, COUNT(*) FROM {s.join} GROUP BY {parent_label}"
    if rng.random() < 0.5:
        return (
            f"Which {p.one} has the most {t.many}?",
            f"SELECT {parent_label} FROM {s.join} GROUP BY {parent_label} ORDER BY COUNT(*) DESC LIMIT 1",
        )
    column, function = rng.choice(s.numbers()), rng.choice(["AVG", "SUM", "MAX", "MIN"])
    question = f"What is the {AGGREGATES[function][0]} {column.noun} of the {t.many} {s.link} {owner}?"
    return (
        question,
        f"SELECT {function}({t.name}.{column.name}) FROM {s.join} WHERE {parent_label} = {literal(owner)}",
    )


KINDS: tuple[tuple[Callable[[random.Random, Scene], Pair], int], ...] = (
    (select_where, 13),
    (lookup, 7),
    (two_columns, 6),
    (count, 11),
    (aggregate, 10),
    (like, 5),
    (superlative, 10),
    (top, 4),
    (order, 4),
    (group, 9),
    (distinct, 5),
    (two_conditions, 10),
    (having, 6),
    (subquery, 5),
    (join, 14),
)

NEEDS_NUMBER = (aggregate, superlative, top, subquery)
