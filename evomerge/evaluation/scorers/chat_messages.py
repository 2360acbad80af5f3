"""Find the answer in a message that a model wrote: behind its reasoning, in a Markdown fence, in prose.

The one parser of fences for SQL, code and JSON answers. Standard library only: this runs in the judge.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_REASONING = re.compile(r"\A\s*<(think|thinking)>(.*?)(?:</\1>|\Z)", re.DOTALL | re.IGNORECASE)
# Some chat formats write the opening tag into the prompt.
_OPENED_BEFORE = re.compile(r"\A.*?</think(?:ing)?>[ \t]*\n", re.DOTALL | re.IGNORECASE)
_OPENING = re.compile(r"^(?P<indent>[ \t]*)(?P<fence>`{3,}|~{3,})|(?P<amid>`{3,})", re.MULTILINE)
# A fence alone on its line, whatever program is around it. Texts in triple quotes may hold one.
_ALONE = re.compile(
    r"\"\"\"(?:\\.|[^\\])*?\"\"\"|'''(?:\\.|[^\\])*?'''|^[ \t]*(?P<fence>`{3,}|~{3,})[ \t]*$",
    re.DOTALL | re.MULTILINE,
)
_LANGUAGE = re.compile(r"\s*(?:sql\w*|mysql|postgres\w*|python\d?|py|json[c5]?)(?=\s|\Z)", re.IGNORECASE)
_MARKDOWN = re.compile(r"\s*(?:md|markdown)\s*", re.IGNORECASE)
_ATTRIBUTES = re.compile(r"(?:\s*\{?[\w.:-]+=(?:\"[^\"]*\"|'[^']*'|\S+))+\s*")


def without_reasoning(answer: str) -> str:
    """What follows a leading ``<think>...</think>``; nothing if that never ends.

    >>> without_reasoning("<think>2 or 3?</think>\\n\\n2"), without_reasoning("2 or 3?\\n</think>\\n2")
    ('\\n\\n2', '2')
    """
    match = _REASONING.match(answer) or _OPENED_BEFORE.match(answer)
    return answer[match.end() :] if match else answer


def parts(message: str) -> list[str]:
    """Where the answer may be in a message, likeliest first: in its fences, before the first of them, all of it.

    >>> parts("So:\\n~~~sql\\nSELECT 1\\n~~~\\nThat is all.")
    ['SELECT 1\\n', 'So:\\n', 'So:\\n~~~sql\\nSELECT 1\\n~~~\\nThat is all.']
    """
    first = _OPENING.search(message)
    return [*fenced(message), *([message[: first.start()]] if first else []), message]


def fenced(text: str) -> Iterator[str]:
    """The insides of Markdown fences: of backticks or tildes, of any length from three on, indented, in a line of
    prose, with anything behind the language's name, closed at the end of a line or never (CommonMark 0.31, sec. 4.5,
    and what models make of it)."""
    at = 0
    while opening := _OPENING.search(text, at):
        fence, indent = opening["fence"] or opening["amid"], opening["indent"] or ""
        run = f"{re.escape(fence[0])}{{{len(fence)},}}"
        line = re.compile(r"[^\n]*\n?").match(text, opening.end())
        assert line
        same_line = re.search(run, line.group()) if fence[0] == "`" else None
        if same_line:
            yield _after_language(line.group()[: same_line.start()])
            at = opening.end() + same_line.end()
            continue
        # Deeper than by three it belongs to what is fenced, unless nothing else closes it.
        closing = re.compile(
            rf"^[ ]{{0,{len(indent.expandtabs()) + 3}}}{run}(?=\s|\Z)|(?<=\S){run}(?=[ \t]*$)", re.MULTILINE
        ).search(text, line.end()) or re.compile(rf"^[ \t]*{run}(?=\s|\Z)", re.MULTILINE).search(text, line.end())
        inside = text[line.end() : closing.start() if closing else len(text)]
        inside = re.sub(rf"^[ \t]{{1,{len(indent)}}}", "", inside, flags=re.MULTILINE) if indent else inside
        at = closing.end() if closing else len(text)
        if _MARKDOWN.fullmatch(line.group()):
            yield from fenced(inside)
        else:
            yield _first_line(line.group()) + inside


def before_fence(code: str) -> str:
    """Code up to a line that holds a fence alone: a model that goes on in a fence closes it.

    >>> before_fence("    return x\\n```\\nIt works.")
    '    return x\\n'
    """
    ends = (found.start() for found in _ALONE.finditer(code) if found["fence"])
    return code[: next(ends, len(code))]


def _first_line(info: str) -> str:
    """What of the line that opens a fence is fenced already: ```` ```sql SELECT a ````."""
    rest = _after_language(info)
    return "" if len(info.split()) < 2 or _ATTRIBUTES.fullmatch(rest) else rest


def _after_language(text: str) -> str:
    language = _LANGUAGE.match(text)
    return text[language.end() :].lstrip(" \t") if language else text
