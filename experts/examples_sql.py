"""Training examples for the SQL expert, in the prompt format of the project's own `sql` task.

Every example is built from a domain of sql_domains.py; the domains and table names are disjoint from those
of tasks/sql, so the task measures whether the skill carries over. A random part of a table's columns is
shown, so that the schema has to be read.
"""

from __future__ import annotations

import random
import re
import sqlite3
from dataclasses import replace

from sql_conditions import Scene
from sql_domains import DOMAINS, Domain, Table
from sql_groups import KINDS, NEEDS_NUMBER, join


def create(rng: random.Random, t: Table, extra: tuple[str, ...], with_id: bool) -> str:
    columns = [f"{c.name} {c.type}" for c in t.columns]
    return f"CREATE TABLE {t.name} ({', '.join([*(['id INTEGER'] if with_id else []), *columns, *extra])})"


def draw_columns(rng: random.Random, t: Table, least: int, most: int) -> Table:
    """The label and some of the others, a number among them where the table has one."""
    others = list(t.columns[1:])
    numbers = [c for c in others if not c.is_text]
    chosen = set(rng.sample(others, min(len(others), rng.randint(least, most))))
    if numbers and chosen.isdisjoint(numbers):
        chosen.add(rng.choice(numbers))
    kept = [c for c in others if c in chosen]
    if rng.random() < 0.3:
        rng.shuffle(kept)
    return replace(t, columns=(t.label, *kept))


def scene(rng: random.Random, domain: Domain, joined: bool, pair: bool) -> Scene:
    """`joined` shows both tables; `pair` asks about both, else it may be about the parent alone."""
    if domain.parent is None or not joined:
        if domain.parent is not None and rng.random() < 0.3:
            shown = draw_columns(rng, domain.parent, 2, 2)
            return Scene(shown, None, "", "", create(rng, shown, (), rng.random() < 0.6))
        shown = draw_columns(rng, domain.table, 2, 4)
        return Scene(shown, None, "", "", create(rng, shown, (), rng.random() < 0.6))
    child, parent = draw_columns(rng, domain.table, 1, 3), draw_columns(rng, domain.parent, 1, 2)
    lines = [create(rng, parent, (), True), create(rng, child, (f"{domain.key} INTEGER",), True)]
    schema = "\n".join(lines if rng.random() < 0.7 else lines[::-1])
    if not pair and rng.random() < 0.3:
        return Scene(parent, None, "", "", schema)
    return Scene(child, parent, domain.key, domain.link, schema)


def runs(schema: str, sql: str) -> bool:
    """Whether SQLite accepts the query on the empty tables."""
    connection = sqlite3.connect(":memory:")
    try:
        connection.executescript(schema.replace("\n", ";\n"))
        connection.execute(sql).fetchall()
        return True
    except sqlite3.Error:
        return False
    finally:
        connection.close()


def examples(seed: int = 0, count: int = 3000) -> list[dict[str, str]]:
    """`count` different examples {"prompt", "completion"}; the same for the same seed and count.

    Raises ValueError when a generated query does not run on its schema: a domain is wrong then.
    """
    rng = random.Random(seed)
    paired = [d for d in DOMAINS if d.parent is not None]
    kinds, weights = [k for k, _ in KINDS], [w for _, w in KINDS]
    found: dict[str, dict[str, str]] = {}
    while len(found) < count:
        kind = rng.choices(kinds, weights)[0]
        domain = rng.choice(paired if kind is join else DOMAINS)
        shown = scene(rng, domain, joined=kind is join or rng.random() < 0.4, pair=kind is join)
        if kind in NEEDS_NUMBER and not shown.numbers():
            continue
        question, sql = kind(rng, shown)
        question = re.sub(r"\ba (?=[aeioAEIO])", "an ", question)
        if not runs(shown.schema, sql):
            raise ValueError(
                f"a query must run on its schema, got {sql!r} on {shown.schema!r}; correct {domain.name}"
            )
        prompt = f"{shown.schema}\n\nQuestion: {question}\nSQL:"
        found.setdefault(prompt, {"prompt": prompt, "completion": f" {sql}"})
    return list(found.values())


def domain_names() -> set[str]:
    """The training domains, for the test that keeps them out of the task."""
    return {d.name for d in DOMAINS}


def table_names() -> set[str]:
    """The training tables, for the same test."""
    return {t.name for d in DOMAINS for t in (d.table, d.parent) if t is not None}
