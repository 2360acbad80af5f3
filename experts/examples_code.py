"""Training examples for the `code` expert: short Python functions in HumanEval's prompt format.

The function kinds are hand-written in examples_code_kinds.txt; this script varies their names, constants,
parameter names and phrasing. Written for evomerge; nothing is taken from a public benchmark.

A kind in examples_code_kinds.txt (kinds are separated by a blank line):

    name|other_name(L) k=3,'x':word      names, parameter tokens, values of the constant $k and their word $w
    Doc. | Another wording.              docstrings
    > [1, 2] | [3]                       calls for the `>>>` lines, without the name; results are computed
    return [_v for _v in L]              body, without its first indent

Upper-case tokens (keys of PARAMETERS) become parameter names; _v, _w and _c become loop variables.
"""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any, NamedTuple

KINDS_FILE = Path(__file__).with_name("examples_code_kinds.txt")

# token: (type for an annotated signature, parameter names)
PARAMETERS = {
    "N": ("int", ("n", "x", "number", "num")),
    "X": ("int", ("a", "first", "p")),
    "Y": ("int", ("b", "second", "q")),
    "Z": ("int", ("c", "third", "r")),
    "K": ("int", ("k", "limit", "amount")),
    "L": ("list", ("numbers", "values", "nums", "items", "lst", "data")),
    "P": ("list", ("others", "more", "b", "other_list")),
    "M": ("list", ("rows", "table", "entries", "lists")),
    "W": ("list", ("words", "strings", "names", "tokens")),
    "S": ("str", ("s", "text", "string", "line")),
    "T": ("str", ("t", "other", "second")),
    "D": ("dict", ("d", "mapping", "dictionary", "prices")),
}
LOOP_VARIABLES = {"_v": ("x", "n", "num", "value", "v"), "_w": ("word", "w"), "_c": ("c", "char", "ch")}
ONE_TO_FIFTEEN = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
NUMBER_WORDS = dict(enumerate(ONE_TO_FIFTEEN.split(), 1))
HEADER = re.compile(r"(?P<names>\S+)\((?P<tokens>[A-Z, ]+)\)(?: k=(?P<constants>.+))?")
TOKEN = re.compile(r"\b(?:[" + "".join(PARAMETERS) + r"]|_[vwc])\b")


# NamedTuple: a dataclass cannot be made in a script loaded by path that is not in sys.modules
class Kind(NamedTuple):
    """One hand-written function with its variants; fields still hold the tokens."""

    names: tuple[str, ...]
    tokens: tuple[str, ...]
    constants: tuple[tuple[int | str | None, str], ...]
    docs: tuple[str, ...]
    calls: tuple[str, ...]
    body: str


class Variant(NamedTuple):
    """One finished function; `calls` are (arguments, result), in the order in which they are shown."""

    name: str
    header: str
    doc: str
    calls: tuple[tuple[tuple[Any, ...], Any], ...]
    body: str


def parse_constants(text: str | None) -> tuple[tuple[int | str | None, str], ...]:
    """Turn "3,4" or "'-':dash,'+':plus" into (value, word) pairs; no constants give one empty pair."""
    if not text:
        return ((None, ""),)
    pairs: list[tuple[int | str | None, str]] = []
    for part in text.split(","):
        quoted = re.fullmatch(r"'(.*)':(\w+)", part)
        if quoted:
            pairs.append((quoted[1], quoted[2]))
        else:
            value = int(part)
            pairs.append((value, NUMBER_WORDS.get(value, str(value).replace("-", "minus_"))))
    return tuple(pairs)


def read_kinds(path: Path = KINDS_FILE) -> list[Kind]:
    """Read every kind of the text file, in file order. Raises ValueError on a header that does not parse."""
    kinds = []
    for block in path.read_text(encoding="utf-8").strip().split("\n\n"):
        header, docs, calls, *body = block.split("\n")
        match = HEADER.fullmatch(header)
        if match is None or not calls.startswith(">"):
            raise ValueError(f"a kind needs 'name(TOKENS)', docs and '> calls', got {header!r} ({path.name})")
        kinds.append(
            Kind(
                names=tuple(match["names"].split("|")),
                tokens=tuple(match["tokens"].replace(" ", "").split(",")),
                constants=parse_constants(match["constants"]),
                docs=tuple(doc.strip() for doc in docs.split(" | ")),
                calls=tuple(call.strip() for call in calls[1:].split(" | ")),
                body="\n".join("    " + line for line in body),
            )
        )
    return kinds


def fill(text: str, constant: tuple[int | str | None, str], code: bool) -> str:
    """Put the constant into `text`: as a literal in code, as plain words elsewhere."""
    value, word = constant
    literal = repr(value) if code else str(value)
    return text.replace("$w", word if code else word.replace("_", " ")).replace("$k", literal)


def vary(kind: Kind, rng: random.Random) -> Variant:
    """Draw one variant of a kind and compute the results of its example calls by running it."""
    constant = rng.choice(kind.constants)
    renames: dict[str, str] = {}
    for token in (*kind.tokens, *LOOP_VARIABLES):
        pool = PARAMETERS[token][1] if token in PARAMETERS else LOOP_VARIABLES[token]
        renames[token] = rng.choice([name for name in pool if name not in renames.values()])

    def rename(text: str) -> str:
        return TOKEN.sub(lambda match: renames.get(match[0], match[0]), text)

    # the name takes the constant's word, never a quoted literal
    name = (
        rng.choice(kind.names)
        .replace("$w", constant[1])
        .replace("$k", str(constant[0]).replace("-", "minus_"))
    )
    body = rename(fill(kind.body, constant, code=True))
    parameters = [renames[token] for token in kind.tokens]
    namespace: dict[str, Any] = {}
    exec(f"def {name}({', '.join(parameters)}):\n{body}", namespace)  # our own source
    calls = []
    for call in kind.calls:
        arguments = eval(f"({fill(call, constant, code=True)},)")
        calls.append((arguments, namespace[name](*eval(repr(arguments)))))
    rng.shuffle(calls)

    returns = ""
    if rng.random() < 0.3:
        types = {type(result).__name__ for _, result in calls}
        parameters = [f"{renames[token]}: {PARAMETERS[token][0]}" for token in kind.tokens]
        # mixed result types (None, or int beside float) have no short true annotation
        returns = f" -> {types.pop()}" if len(types) == 1 else ""
    header = f"def {name}({', '.join(parameters)}){returns}:"
    return Variant(
        name, header, rename(fill(rng.choice(kind.docs), constant, code=False)), tuple(calls), body
    )


def render(variant: Variant, shown: int) -> dict[str, str]:
    """Write a variant as prompt (rstripped) and completion (newline and body), with `shown` example calls."""
    lines = [variant.header, f'    """{variant.doc}', ""]
    for arguments, result in variant.calls[:shown]:
        lines += [f"    >>> {variant.name}({', '.join(map(repr, arguments))})"]
        lines += [] if result is None else [f"    {result!r}"]
    return {"prompt": "\n".join([*lines, '    """']), "completion": "\n" + variant.body}


def examples(seed: int = 0, count: int = 2000) -> list[dict[str, str]]:
    """Return `count` different {"prompt", "completion"} rows; every kind occurs before any occurs again.

    The prompt is a signature and a docstring with one or two `>>>` examples; prompt + completion runs.
    The same seed gives the same rows, and a smaller count gives a prefix of them.
    """
    rng = random.Random(seed)
    kinds = read_kinds()
    rows: list[dict[str, str]] = []
    seen: set[str] = set()
    while len(rows) < count:
        before = len(rows)
        for kind in rng.sample(kinds, len(kinds)):
            row = render(vary(kind, rng), shown=rng.choice((1, 1, 2)))
            if row["prompt"] not in seen and len(rows) < count:
                seen.add(row["prompt"])
                rows.append(row)
        if len(rows) == before:
            raise ValueError(
                f"count must be at most about {before} for these kinds, got {count}; add kinds or lower it"
            )
    return rows


if __name__ == "__main__":
    for example in examples(count=5):
        print(example["prompt"] + example["completion"] + "\n")
