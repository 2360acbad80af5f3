"""Find the query in a model's answer, and read off a query what the comparison modes need.

Standard library only: this runs in the judge.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing

from evomerge.evaluation.scorers.chat_messages import parts, without_reasoning

_QUERY = re.compile(
    r"\(*\s*(?:select|values)\b|with\s+(?:recursive\s+)?\S+\s*(?:\([^)]*\)\s*)?\bas\s*(?:(?:not\s+)?materialized\s*)?\(",
    re.IGNORECASE,
)
# Any statement, also those that may not run: "INSERT ... SELECT" is not prose with a query in it.
_STATEMENT = re.compile(
    r"(?:alter|analyze|attach|begin|commit|create|delete|detach|drop|end|explain|insert|pragma|reindex|release|replace|"
    r"rollback|savepoint|update|vacuum)\b",
    re.IGNORECASE,
)
# Where prose hands over to a query: a new line, a colon, or an inline code mark.
_HANDOVER = re.compile(r"(?:^|[:`]|\n)[ \t`>*]*", re.MULTILINE)
_CLAUSE = re.compile(
    r"(?:from|where|group|order|having|limit|offset|union|intersect|except|join|left|right|inner|outer|full|cross|"
    r"natural|on|using|and|or|when|then|else|end|as|in|not|case|window|between|like|is)\b",
    re.IGNORECASE,
)
_NEW_LINE = re.compile(r"[ \t\r]*\n\s*")
_NO_SYNTAX = ("near ", "incomplete input", "unrecognized token", "parser stack overflow")
#: Literals, quoted names and comments: what looks like SQL in there is none.
_OPAQUE = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`[^`]*`|\[[^\]]*\]|--[^\n]*|/\*.*?(?:\*/|\Z)", re.DOTALL)


def extract_query(answer: str) -> str:
    """The query in a model's answer, without its semicolon. The one place where answers are cleaned:

    1. Reasoning before the answer is left out.
    2. Of Markdown fences, what stands before the first of them, and all of the text, the first that holds a query.
    3. Unless the text starts with a statement: everything before the first SELECT, WITH or VALUES that makes a query is
       prose; those that start a line or follow a colon or a backtick come first.
    4. The first statement: what follows its semicolon is not run. Without a semicolon, what follows a query on a new
       line is prose if it does not go on as SQL does.

    >>> extract_query(" SELECT 1; and so on"), extract_query("Sure! The query is: SELECT 1\\n\\nIt gives one.")
    ('SELECT 1', 'SELECT 1')
    """
    texts = parts(without_reasoning(answer))
    queries = (_without_tail(_first_statement(rest)) for text in texts for rest in _from_query(text))
    first = next(queries, None)
    if first is None:
        return _first_statement(next((text for text in texts if text.strip()), ""))
    return first if is_sql(first) else next(filter(is_sql, queries), first)


def is_sql(query: str) -> bool:
    """Whether SQLite can read ``query``, whatever tables there are. Nothing runs."""
    with closing(sqlite3.connect(":memory:")) as connection:
        # Refused after it was read: some pragmas would act while they are compiled, for the whole process.
        connection.set_authorizer(lambda *_: sqlite3.SQLITE_DENY)
        try:
            connection.execute(f"EXPLAIN {query}")
        except (sqlite3.Error, sqlite3.Warning) as error:
            return not str(error).startswith(_NO_SYNTAX)
        except ValueError:  # text that cannot be passed on
            return False
    return True


def _from_query(text: str) -> Iterator[str]:
    """The rest of the text from each possible start of a query, likeliest first."""
    bare = _OPAQUE.sub(lambda found: "\0" * len(found.group()), text)
    start = len(bare) - len(bare.lstrip(" \t\r\n\0"))
    if _QUERY.match(bare, start):
        yield text
        return
    statement = _STATEMENT.match(bare, start)
    if not (statement and (statement.group().lower() == "explain" or is_sql(_first_statement(text)))):
        for handover in _HANDOVER.finditer(text):
            if _QUERY.match(text, handover.end()):
                rest = text[handover.end() :]
                # An inline code mark ends where it began: `SELECT 1` is the answer.
                yield rest.split("`")[0] if "`" in handover.group() else rest
        for amid in re.finditer(r"(?<=\s)(?=[swv])", text, re.IGNORECASE):
            if _QUERY.match(text, amid.end()):
                yield text[amid.end() :]


def _without_tail(text: str) -> str:
    """The query without prose behind it."""
    opaque = [found.span() for found in _OPAQUE.finditer(text)]
    complete: bool | None = None
    for gap in _NEW_LINE.finditer(text):
        word = _CLAUSE.match(text, gap.end())
        # A clause that breaks off is no prose, but a sentence starts with a capital: "In this query ..."
        if any(start < gap.start() < end for start, end in opaque) or (word and not word.group().istitle()):
            continue
        complete = is_sql(text) if complete is None else complete
        before = text[: gap.start()].rstrip("` \t\n")
        if (not complete or gap.group().count("\n") > 1) and is_sql(before):
            return before
    return text


def _first_statement(text: str) -> str:
    for semicolon in re.finditer(";", text):
        # A semicolon inside a literal does not end a statement.
        if sqlite3.complete_statement(text[: semicolon.end()]):
            return text[: semicolon.start()].strip()
    return text.strip()


def is_ordered(query: str) -> bool:
    """Whether the outermost part of a query has an ORDER BY.

    >>> is_ordered("SELECT a FROM t ORDER BY a"), is_ordered("SELECT a FROM (SELECT a FROM t ORDER BY a)")
    (True, False)
    """
    outermost, depth = [], 0
    for character in _OPAQUE.sub(" ", query):
        depth += character == "("
        if depth == 0:
            outermost.append(character)
        depth -= character == ")"
    return re.search(r"\border\s+by\b", "".join(outermost), re.IGNORECASE) is not None


def spider_form(query: str) -> str:
    """What the test-suite evaluation runs instead of ``query``: operators that tokenisers tore apart are joined, every
    DISTINCT is left out, the current year is 2020 (arXiv:2010.02840 and its code).

    >>> spider_form("SELECT count(DISTINCT a) FROM t WHERE b > = 'distinct'")
    "SELECT count( a) FROM t WHERE b >= 'distinct'"
    """
    for torn, whole in (("> =", ">="), ("< =", "<="), ("! =", "!=")):
        query = query.replace(torn, whole)
    parts, end = [], 0
    for opaque in _OPAQUE.finditer(query):
        parts += [_without_distinct(query[end : opaque.start()]), opaque.group()]
        end = opaque.end()
    query = "".join([*parts, _without_distinct(query[end:])])
    return re.sub(r"year\s*\(\s*curdate\s*\(\s*\)\s*\)\s*", "2020", query, flags=re.IGNORECASE)


def _without_distinct(code: str) -> str:
    return re.sub(r"\bdistinct\b", "", code, flags=re.IGNORECASE)
