"""Questions whose answer is rows of one table, or their number."""

from __future__ import annotations

import random
import re

from sql_conditions import Pair, Scene, any_condition, condition, literal, maybe_condition


def is_state(phrase: str) -> bool:
    """Whether "are" may stand before the phrase: "made by Kia", not "with four rooms"."""
    return not phrase.startswith(("that", "who", "with", "where"))


def select_where(rng: random.Random, s: Scene) -> Pair:
    phrase, where = any_condition(rng, s)
    t, label = s.table, s.table.label
    question = rng.choice(
        [
            f"Which {t.many} are {phrase}?" if is_state(phrase) else f"What {t.many} are there {phrase}?",
            f"List the {label.nouns} of {t.many} {phrase}.",
            f"Show the {label.noun} of all {t.many} {phrase}.",
            f"What are the {label.nouns} of the {t.many} {phrase}?",
            f"Give me the {label.nouns} of {t.many} {phrase}.",
            f"Find the {label.noun} of every {t.one} {phrase}.",
            *([f"Who are the {t.many} {phrase}?"] * 3 if t.is_people else []),
        ]
    )
    return question, f"SELECT {label.name} FROM {t.name} WHERE {where}"


def lookup(rng: random.Random, s: Scene) -> Pair:
    t, label = s.table, s.table.label
    column, value = rng.choice(t.columns[1:]), rng.choice(label.values)
    where = f"WHERE {label.name} = {literal(value)}"
    others = [c for c in t.columns[1:] if c != column]
    if others and rng.random() < 0.25:
        other = rng.choice(others)
        question = rng.choice(
            [
                f"What are the {column.noun} and the {other.noun} of {value}?",
                f"Show the {column.noun} and {other.noun} of the {t.one} {value}.",
            ]
        )
        return question, f"SELECT {column.name}, {other.name} FROM {t.name} {where}"
    question = rng.choice(
        [
            f"What is the {column.noun} of {value}?",
            f"What {column.noun} does {value} have?",
            f"Find the {column.noun} of the {t.one} {value}.",
            f"Tell me the {column.noun} of {value}.",
            f"What is the {column.noun} of the {t.one} with the {label.noun} {value}?",
        ]
    )
    return question, f"SELECT {column.name} FROM {t.name} {where}"


def two_columns(rng: random.Random, s: Scene) -> Pair:
    t, label = s.table, s.table.label
    column = rng.choice(t.columns[1:])
    phrase, where = maybe_condition(rng, s, column, 0.7)
    question = rng.choice(
        [
            f"List the {label.noun} and {column.noun} of all {t.many}{phrase}.",
            f"Show the {label.noun} and the {column.noun} of {t.many}{phrase}.",
            f"What are the {label.nouns} and {column.nouns} of the {t.many}{phrase}?",
        ]
    )
    return question, f"SELECT {label.name}, {column.name} FROM {t.name}{where}"


def count(rng: random.Random, s: Scene) -> Pair:
    t = s.table
    if rng.random() < 0.15:
        question = rng.choice(
            [
                f"How many {t.many} are there?",
                f"Count all {t.many}.",
                f"What is the total number of {t.many}?",
            ]
        )
        return question, f"SELECT COUNT(*) FROM {t.name}"
    phrase, where = any_condition(rng, s)
    question = rng.choice(
        [
            f"How many {t.many} {phrase} are there?",
            f"Count the {t.many} {phrase}.",
            f"What is the number of {t.many} {phrase}?",
            f"How many {t.many} are {phrase}?"
            if is_state(phrase)
            else f"How many {t.many} are there {phrase}?",
        ]
    )
    return question, f"SELECT COUNT(*) FROM {t.name} WHERE {where}"


def like(rng: random.Random, s: Scene) -> Pair:
    t, label = s.table, s.table.label
    column = label if rng.random() < 0.75 else rng.choice(s.texts() or [label])
    value = str(rng.choice(column.values))
    kind = rng.choice(["start", "start", "contain", "contain", "end"])
    word = rng.choice(re.split(r"[ -]", value))
    part, pattern, verb = {
        "start": (value[0], f"{value[0]}%", "starts with"),
        "contain": (word, f"%{word}%", "contains"),
        "end": (value[-1], f"%{value[-1]}", "ends with"),
    }[kind]
    mark = rng.choice(["'{}'", "{}", '"{}"']).format(part)
    where = f"{column.name} LIKE {literal(pattern)}"
    if rng.random() < 0.3:
        return (
            f"How many {t.many} have a {column.noun} that {verb} {mark}?",
            f"SELECT COUNT(*) FROM {t.name} WHERE {where}",
        )
    question = rng.choice(
        [
            f"Which {t.many} have a {column.noun} that {verb} {mark}? Give the {label.noun}.",
            f"List the {label.nouns} of {t.many} whose {column.noun} {verb} {mark}.",
            f"Find the {label.noun} of all {t.many} whose {column.noun} {verb} {mark}.",
        ]
    )
    return question, f"SELECT {label.name} FROM {t.name} WHERE {where}"


def superlative(rng: random.Random, s: Scene) -> Pair:
    t, label, column = s.table, s.table.label, rng.choice(s.numbers())
    high = rng.random() < 0.55
    own = column.most if high else column.least
    if column.noun.endswith("year") and own in ("newest", "youngest", "oldest", "latest", "earliest"):
        extreme = own
    else:
        extreme = rng.choice(["highest", "largest", "greatest"] if high else ["lowest", "smallest"])
    order = f"ORDER BY {column.name} {'DESC' if high else 'ASC'} LIMIT 1"
    phrase, where = maybe_condition(rng, s, column, 0.3)
    generic = extreme not in ("newest", "youngest", "oldest", "latest", "earliest")
    forms = (
        [
            f"Which {t.one}{phrase} has the {extreme} {column.noun}?",
            f"What is the {label.noun} of the {t.one}{phrase} with the {extreme} {column.noun}?",
        ]
        if generic
        else []
    )
    if own:
        forms += [
            f"Which {t.one}{phrase} is the {own}?",
            f"What is the {label.noun} of the {own} {t.one}{phrase}?",
            f"Find the {own} {t.one}{phrase}.",
        ]
        forms += [f"Who is the {own} {t.one}{phrase}?"] * 3 if t.is_people else []
        others = [c for c in t.columns[1:] if c != column]
        if others and rng.random() < 0.3:
            other = rng.choice(others)
            question = f"What is the {other.noun} of the {own} {t.one}{phrase}?"
            return question, f"SELECT {other.name} FROM {t.name}{where} {order}"
    return rng.choice(forms), f"SELECT {label.name} FROM {t.name}{where} {order}"


def top(rng: random.Random, s: Scene) -> Pair:
    t, label, column = s.table, s.table.label, rng.choice(s.numbers())
    high, size = rng.random() < 0.6, rng.choice([2, 3, 3, 4, 5, 5, 10])
    own = column.most if high else column.least
    words = ["two", "three", "four", "five", "ten"]
    shown = rng.choice([str(size), words[[2, 3, 4, 5, 10].index(size)]])
    extreme = "highest" if high else "lowest"
    forms = [
        f"List the {shown} {t.many} with the {extreme} {column.noun}.",
        f"What are the {label.nouns} of the {shown} {t.many} with the {extreme} {column.noun}?",
    ] + ([f"What are the {shown} {own} {t.many}?", f"Name the {shown} {own} {t.many}."] if own else [])
    return rng.choice(
        forms
    ), f"SELECT {label.name} FROM {t.name} ORDER BY {column.name} {'DESC' if high else 'ASC'} LIMIT {size}"


def order(rng: random.Random, s: Scene) -> Pair:
    t, label, column = s.table, s.table.label, rng.choice(s.table.columns[1:] + s.table.columns[:1])
    down = rng.random() < 0.5 and not column.is_text
    phrase, where = maybe_condition(rng, s, column, 0.4)
    if column.is_text:
        how = rng.choice(
            [
                f"in alphabetical order of {column.noun}",
                f"sorted by {column.noun}",
                f"ordered by {column.noun}",
            ]
        )
    elif down:
        how = rng.choice(
            [
                f"from the highest to the lowest {column.noun}",
                f"sorted by {column.noun} in descending order",
                f"ordered by {column.noun}, highest first",
            ]
        )
    else:
        how = rng.choice(
            [
                f"from the lowest to the highest {column.noun}",
                f"sorted by {column.noun} in ascending order",
                f"sorted by {column.noun}",
            ]
        )
    question = rng.choice(
        [
            f"List the {label.nouns} of all {t.many}{phrase} {how}.",
            f"Show the {label.noun} of the {t.many}{phrase}, {how}.",
        ]
    )
    return (
        question,
        f"SELECT {label.name} FROM {t.name}{where} ORDER BY {column.name}{' DESC' if down else ''}",
    )


def two_conditions(rng: random.Random, s: Scene) -> Pair:
    t, label = s.table, s.table.label
    pool = list(t.columns[1:])
    if len(pool) < 2:
        return select_where(rng, s)
    if rng.random() < 0.2 and s.texts():
        column = rng.choice(s.texts())
        a, b = (str(v) for v in rng.sample(column.values, 2))
        phrase = f"{column.where.format(a)} or {b}"
        where = f"{column.name} = {literal(a)} OR {column.name} = {literal(b)}"
    elif rng.random() < 0.15 and s.texts():
        column = rng.choice(s.texts())
        value = str(rng.choice(column.values))
        phrase, where = f"whose {column.noun} is not {value}", f"{column.name} != {literal(value)}"
    else:
        # Text before number: "cars made by Kia that cost more than 9000" reads like speech.
        first, second = sorted(rng.sample(pool, 2), key=lambda c: not c.is_text)
        (one, left), (two, right) = condition(rng, first), condition(rng, second)
        phrase, where = f"{one}{rng.choice([' and ', ' ', ' and '])}{two}", f"{left} AND {right}"
    if rng.random() < 0.4:
        return rng.choice([f"How many {t.many} {phrase} are there?", f"Count the {t.many} {phrase}."]), (
            f"SELECT COUNT(*) FROM {t.name} WHERE {where}"
        )
    question = rng.choice(
        [
            f"List the {label.nouns} of {t.many} {phrase}.",
            f"Find the {label.noun} of the {t.many} {phrase}.",
            f"What are the {label.nouns} of {t.many} {phrase}?",
        ]
    )
    return question, f"SELECT {label.name} FROM {t.name} WHERE {where}"
