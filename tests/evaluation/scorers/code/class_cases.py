"""MBPP rows with a right program (the gold) and wrong ones.

Their tests use objects of the answer's classes, raise its exceptions, or receive values of many types.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """``wrong``: replacements in ``gold``, each of which makes it wrong."""

    gold: str
    asserts: tuple[str, ...]
    wrong: tuple[tuple[str, str], ...]
    setup: str = ""

    def row(self, name: str) -> dict[str, object]:
        return {
            "task_id": name,
            "text": "Write a program.",
            "code": textwrap.dedent(self.gold).strip(),
            "test_list": list(self.asserts),
            "test_setup_code": textwrap.dedent(self.setup),
        }

    def programs(self) -> list[str]:
        """The gold, then the wrong ones."""
        gold = textwrap.dedent(self.gold).strip()
        assert all(gold.count(old) == 1 for old, _ in self.wrong)
        return [gold, *(gold.replace(old, new) for old, new in self.wrong)]


CASES = {
    "objects as arguments": Case(
        """
        class Span(object):
            def __init__(self, start, end):
                self.start = start
                self.end = end

        def covered(spans):
            return sum(span.end - span.start for span in spans)
        """,
        ("assert covered([Span(1, 3), Span(5, 9)]) == 6", "assert covered([]) == 0"),
        (("span.end - span.start", "span.end"), ("self.end = end", "self.end = start")),
    ),
    "a tree made in the setup": Case(
        """
        class Node:
            def __init__(self, value):
                self.value, self.left, self.right = value, None, None

        def depth(node):
            return 0 if node is None else 1 + max(depth(node.left), depth(node.right))
        """,
        ("assert depth(root) == 3", "assert (depth(root.left)) == 2", "assert depth(root.right.left) == 0"),
        (("max", "min"), ("value, None, None", "value, self, None")),
        setup="""
            root = Node(1)
            root.left = Node(2)
            root.right = Node(3)
            root.left.right = Node(4)
        """,
    ),
    "objects as results, changed in place": Case(
        """
        class Node:
            def __init__(self, value, next=None):
                self.value = value
                self.next = next

        def reverse(head):
            last = None
            while head:
                head.next, last, head = last, head, head.next
            return last
        """,
        (
            "a = Node(1); b = Node(2, a); c = reverse(b)\nassert c is a and c.next is b and b.next is None",
            "assert [reverse(Node('x')).value, reverse(None)] == ['x', None]",
        ),
        (
            ("return last", "return head"),
            ("head.next, last, head = last, head, head.next", "head, last = head.next, head"),
        ),
    ),
    "methods, state and built-in names": Case(
        """
        class Stack:
            def __init__(self): self.items = []
            def push(self, item):
                self.items.append(item)
                return self
            def pop(self):
                if not self.items: raise IndexError('empty')
                return self.items.pop()
            def __len__(self): return len(self.items)
        """,
        (
            "s = Stack().push(1).push((2, {3}))\nassert len(s) == 2 and s.pop() == (2, {3}) and s.pop() == 1",
            "assert len(Stack()) == 0 and not Stack()",
            "s = Stack()\ntry:\n    s.pop()\n    assert False\nexcept IndexError as e:\n    assert str(e) == 'empty'",
            "s = Stack()\ns.items = [7]\nassert s.items == [7] and s.pop() == 7",
        ),
        (
            ("return self.items.pop()", "return self.items[-1]"),
            ("IndexError('empty')", "KeyError('empty')"),
            ("IndexError('empty')", "IndexError('none')"),
            ("return len(self.items)", "return 2"),
        ),
    ),
    "operators between objects": Case(
        """
        class Vector:
            def __init__(self, x, y): self.x, self.y = x, y
            def __add__(self, other): return Vector(self.x + other.x, self.y + other.y)
            def __mul__(self, k): return Vector(self.x * k, self.y * k)
            __rmul__ = __mul__
            def __eq__(self, other): return (self.x, self.y) == (other.x, other.y)
            def __lt__(self, other): return abs(self) < abs(other)
            def __abs__(self): return (self.x ** 2 + self.y ** 2) ** 0.5
            def __repr__(self): return f'<{self.x} {self.y}>'
            def __iter__(self): return iter((self.x, self.y))
            def __getitem__(self, i): return (self.x, self.y)[i]
        """,
        (
            "assert Vector(1, 2) + Vector(3, 4) == Vector(4, 6)",
            "assert Vector(1, 2) * 3 == 3 * Vector(1, 2) == Vector(3, 6)",
            "assert sorted([Vector(3, 0), Vector(0, 1)])[0] == Vector(0, 1) and abs(Vector(3, 4)) == 5.0",
            "assert str(Vector(1, 2)) == '<1 2>' and list(Vector(1, 2)) == [1, 2] and Vector(1, 2)[1] == 2",
            "assert 2 in Vector(1, 2) and 3 not in Vector(1, 2)",
            "assert Vector(1, 2) != Vector(2, 1)",
        ),
        (
            ("self.y + other.y", "self.y - other.y"),
            ("Vector(self.x * k, self.y * k)", "Vector(self.x * k, self.y)"),
            ("abs(self) <", "abs(self) >"),
            ("(self.x, self.y)[i]", "self.x"),
            ("(self.x, self.y) == (other.x, other.y)", "True"),
        ),
    ),
    "classes, inheritance, class attributes": Case(
        """
        class Shape:
            count = 0
            def __init__(self): Shape.count += 1
            def area(self): raise NotImplementedError
            @classmethod
            def many(cls, n): return [cls() for _ in range(n)]
            @staticmethod
            def sides(): return 0

        class Square(Shape):
            def __init__(self, side=1):
                super().__init__()
                self.side = side
            def area(self): return self.side ** 2
            @property
            def edge(self): return 4 * self.side
        """,
        (
            "assert Square(3).area() == 9 and Square(3).edge == 12 and Square.sides() == 0",
            "assert isinstance(Square(1), Shape) and not isinstance(Shape(), Square) and issubclass(Square, Shape)",
            "before = Shape.count\nassert len(Square.many(3)) == 3 and Shape.count == before + 3",
            "assert type(Square(1)).__name__ == 'Square'",
            "assert hasattr(Square(1), 'side') and not hasattr(Shape(), 'side')",
            "try:\n    Shape().area()\nexcept NotImplementedError:\n    pass\nelse:\n    assert False",
        ),
        (
            ("class Square(Shape)", "class Square"),
            ("Shape.count += 1", "self.count += 1"),
            ("raise NotImplementedError", "pass"),
            ("4 * self.side", "2 * self.side"),
            ("@property", ""),
        ),
    ),
    "exceptions of its own": Case(
        """
        class Overdrawn(ValueError):
            def __init__(self, missing):
                super().__init__(f'{missing} too little')
                self.missing = missing

        def pay(balance, price):
            if price > balance: raise Overdrawn(price - balance)
            return balance - price
        """,
        (
            "try:\n    pay(1, 5)\n    assert False\nexcept Overdrawn as error:\n"
            "    assert error.missing == 4 and str(error) == '4 too little'",
            "try:\n    pay(1, 5)\n    assert False, 'no'\nexcept ValueError:\n    pass",
            "assert pay(5, 1) == 4",
        ),
        (
            ("raise Overdrawn(price - balance)", "raise ValueError('4 too little')"),
            ("Overdrawn(ValueError)", "Overdrawn(Exception)"),
            ("Overdrawn(price - balance)", "Overdrawn(price)"),
            ("self.missing = missing", ""),
            ("raise Overdrawn(price - balance)", "return Overdrawn(price - balance)"),
        ),
    ),
    "data classes, enums, named tuples": Case(
        """
        from collections import namedtuple
        from dataclasses import dataclass
        from enum import Enum

        Place = namedtuple('Place', 'x y')

        @dataclass(order=True)
        class Card:
            rank: int
            suit: str = 'hearts'

        class Color(Enum):
            RED = 1
            BLUE = 2

        def best(cards): return max(cards)
        def other(color): return Color.BLUE if color == Color.RED else Color.RED
        def corner(): return Place(3, 4)
        """,
        (
            "assert best([Card(2), Card(9, 'spades'), Card(4)]) == Card(9, 'spades')",
            "assert best([Card(1)]).suit == 'hearts' and Card(1) != Card(2)",
            "assert repr(Card(1)).startswith('Card(rank=1')",
            "assert other(Color.RED) is Color.BLUE and other(Color.BLUE).name == 'RED' and Color(2) is Color.BLUE",
            "assert [color.value for color in Color] == [1, 2] and Color['RED'].value == 1",
            "assert corner() == (3, 4)",
        ),
        (
            ("max(cards)", "cards[0]"),
            ("BLUE = 2", "BLUE = 3"),
            ("Color.BLUE if color == Color.RED else Color.RED", "color"),
            ("@dataclass(order=True)", "@dataclass(order=True, eq=True, repr=False)"),
            ("Place(3, 4)", "Place(4, 3)"),
        ),
    ),
    "context managers and iterators": Case(
        """
        class Log:
            def __init__(self): self.lines = []
            def __enter__(self):
                self.lines.append('in')
                return self
            def __exit__(self, kind, error, trace):
                self.lines.append(kind.__name__ if kind else 'out')
                return kind is KeyError

        class Down:
            def __init__(self, n): self.n = n
            def __iter__(self): return self
            def __next__(self):
                if self.n == 0: raise StopIteration
                self.n -= 1
                return self.n
        """,
        (
            "log = Log()\nwith log as inner:\n    assert inner is log\nassert log.lines == ['in', 'out']",
            "log = Log()\nwith log:\n    raise KeyError('x')\nassert log.lines == ['in', 'KeyError']",
            "down = Down(3)\nassert next(down) == 2 and list(down) == [1, 0]",
            "assert sum(x for x in Down(4)) == 6",
        ),
        (("self.n -= 1", "self.n -= 2"), ("kind is KeyError", "False"), ("'in'", "'enter'")),
    ),
    "a subclass of a built-in": Case(
        """
        class Path(list):
            def ends(self): return (self[0], self[-1])

        def route(*places): return Path(places)
        """,
        (
            "assert route(1, 2, 3) == [1, 2, 3] and route(1, 2, 3).ends() == (1, 3)",
            "path = Path([4])\npath.append(5)\nassert path == [4, 5] and path.ends() == (4, 5) and path[0] == 4",
            "assert Path([1]) == route(1) and len(Path()) == 0",
        ),
        (("Path(places)", "list(places)"), ("self[-1]", "self[0]"), ("Path(places)", "Path(places[::-1])")),
    ),
    "values of many types": Case(
        """
        import datetime
        from collections import Counter, OrderedDict, defaultdict, deque
        from decimal import Decimal
        from fractions import Fraction

        def half(x): return x / 2
        def pair(x): return (x, {x, -x}, frozenset([x]))
        def when(days): return datetime.date(2020, 2, 28) + datetime.timedelta(days=days)
        def last(n): return deque(range(n), maxlen=2)
        def count(text): return Counter(text)
        def keys(d): return d.keys()
        def squares(n): return (i * i for i in range(n))
        def nothing(): pass
        """,
        (
            "assert half(1) == 0.5 and half(Fraction(1, 3)) == Fraction(1, 6)",
            "assert half(Decimal('1.1')) == Decimal('0.55')",
            "assert pair(2) == (2, {2, -2}, {2}) and pair(1.0) == (1, {1, -1}, frozenset({1}))",
            "assert when(1) == datetime.date(2020, 2, 29) and (when(2) - when(0)).days == 2",
            "assert list(last(5)) == [3, 4] and count('aab') == {'a': 2, 'b': 1} and list(squares(3)) == [0, 1, 4]",
            "assert keys({1: 2, 3: 4}) == {1, 3} and sorted(keys({1: 2})) == [1]",
            "assert nothing() is None and half(float('inf')) == float('inf') and half(float('nan')) != 0",
        ),
        (
            ("x / 2", "x / 2 + 1e-12"),
            ("(x, {x, -x}, frozenset([x]))", "[x, {x, -x}, frozenset([x])]"),
            ("{x, -x}", "[x, -x]"),
            ("return d.keys()", "return d.values()"),
            ("maxlen=2", "maxlen=3"),
            ("def nothing(): pass", "def nothing(): return False"),
        ),
    ),
}
