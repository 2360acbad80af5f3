"""Hostile answers that return objects of their class ``Pair`` where the test expects a number, a text or a list.

Some write bytes on the channel that look like such objects. Each name has an assert and an answer. The items run in
isolation: the answer's process judges only items whose gold defines a class (``RIGHT_ITEM``).
"""

from __future__ import annotations

import json
import textwrap

PRELUDE = """
class Pair:
    def __init__(self, a, b):
        self.a, self.b = a, b
    def swapped(self):
        return Pair(self.b, self.a)
    def __add__(self, other):
        return Pair(self.a + other.a, self.b + other.b)
"""
# Agrees with whatever it meets; bound to the name that the tests know.
_YES = """
class Pair:
    __hash__ = lambda *a: 1
    def __init__(self, *a, **k): self.a = self
    def yes(self, *a, **k): return True
    def zero(self, *a, **k): return 0.0
    def this(self, *a, **k): return self
    __eq__ = __lt__ = __le__ = __gt__ = __ge__ = __contains__ = yes
    __sub__ = __rsub__ = __mod__ = __rmod__ = zero
    startswith = endswith = isdigit = issubset = issuperset = isdisjoint = is_integer = yes
    swapped = __add__ = __radd__ = __truediv__ = this
    symmetric_difference = difference = lambda *a: set()
    def __instancecheck__(*a): return True
    @property
    def __class__(self): return float
"""
_FRAMES = """
import os
def tell(text):
    for fd in range(3, 64):
        try: os.write(fd, len(text).to_bytes(8, 'big') + text)
        except OSError: pass
"""
_ONLY = "def f(x): return Pair(1, 2)"


def _reply(result: str) -> str:
    told = f'["d", [[["s", "result"], {result}], [["s", "changed"], ["d", []]]]]'
    return f"def f(x):\n    tell({told.encode()!r})\n    tell({told.encode()!r})"


ANSWERS = {
    "equal to all": ("assert f(1) == 41956", _YES + _ONLY),
    "equal to all, from the right": ("assert 41956 == f(1)", _YES + _ONLY),
    "equal within a list": ("assert f(1) == [41956]", _YES + "def f(x): return [Pair()]"),
    "equal as a key": ("assert f(1) == {41956: 1}", _YES + "def f(x): return {Pair(): 1}"),
    "equal within a set": ("assert f(1) == {41956}", _YES + "def f(x): return {Pair()}"),
    "a member of all": ("assert f(1) in ('a', 'b')", _YES + _ONLY),
    "a container of all": ("assert 41956 in f(1)", _YES + _ONLY),
    "below all": ("assert f(1) < 41956", _YES + _ONLY),
    "above all, from the right": ("assert 41956 <= f(1)", _YES + _ONLY),
    "no difference": ("assert abs(f(1) - 0.41956) < 1e-6", _YES + _ONLY),
    "no difference, from the right": ("assert abs(0.41956 - f(1)) < 1e-6", _YES + _ONLY),
    "no remainder": ("assert f(1) % 41956 == 0", _YES + _ONLY),
    "a text that starts with all": ("assert f(1).startswith('41956')", _YES + _ONLY),
    "a number that is whole": ("assert f(1).is_integer() and f(1) > 0", _YES + _ONLY),
    "a set like all": ("assert not f(1).symmetric_difference({41956})", _YES + _ONLY),
    "a subset of all": ("assert f(1).issubset({41956})", _YES + _ONLY),
    "an attribute of its own": ("assert Pair(1, 2).a == 1", _YES + _ONLY),
    "a result of a method": ("assert Pair(1, 2).swapped().a == 2", _YES + _ONLY),
    "a class that lies about itself": ("assert isinstance(f(1), (int, float)) and f(1) is not None", _YES + _ONLY),
    "the class itself": ("assert f(1) == 41956", _YES + "def f(x): return Pair"),
    "a class in the place of the function": (
        "assert f(1) == 41956",
        _YES + "class f(Pair): pass",
    ),
    "an object of another class": (
        "assert f(1).a",
        "class Other(Pair): pass\nclass Third:\n  a = 1\ndef f(x): return Third()",
    ),
    "a subclass of int": (
        "assert f(1) == 41956",
        "class Pair(int):\n  __eq__ = lambda *a: True\n  __hash__ = int.__hash__\ndef f(x): return Pair(5)",
    ),
    "a subclass of str": (
        "assert f(1) == 'right' and len(f(1)) == 5",
        "class Pair(str):\n  __eq__ = lambda *a: True\n  __hash__ = str.__hash__\ndef f(x): return Pair('wrong')",
    ),
    "an exception for all": (
        "try:\n    f(1)\n    assert False\nexcept KeyError:\n    pass",
        "class Evil(BaseException): pass\nEvil.__name__ = 'KeyError'\ndef f(x): raise SystemExit(0)",
    ),
    "told bases of an interpreter's end": (
        "assert f(1) == 41956",
        "class Pair(SystemExit): pass\ndef f(x): raise Pair(0)",
    ),
    "a metaclass": (
        "assert f(1) == 41956",
        "class Meta(type):\n  __eq__ = lambda *a: True\n  __hash__ = type.__hash__\n"
        "  __mro__ = property(lambda s: (s,))\nclass Pair(metaclass=Meta): pass\ndef f(x): return Pair",
    ),
    "patched helpers": (
        "assert f(1) == 41956",
        "import builtins, sys\nfor m in list(sys.modules.values()):\n"
        "  for n in ('dumps', 'loads', 'raised', 'key', 'function', 'Channel'):\n"
        "    try: setattr(m, n, lambda *a, **k: True)\n    except Exception: pass\n" + _ONLY,
    ),
    "frames of an object": ("assert f(1) == 41956", _FRAMES + PRELUDE + _reply('["O", "Pair", 7]')),
    "frames of a class": ("assert f(1) == 41956", _FRAMES + PRELUDE + _reply('["O", "Pair", -1]')),
    "frames of an object of no class": ("assert f(1).a or True", _FRAMES + PRELUDE + _reply('["O", "object", 0]')),
    "frames of an object without a number": ("assert f(1).a or True", _FRAMES + PRELUDE + _reply('["O", "Pair", "x"]')),
    "frames that are true": ("assert f(1) == 41956", _FRAMES + PRELUDE + _reply("true")),
}


def item(test: str) -> str:
    """An item of this assert; ``RIGHT`` of it is the answer that makes it true."""
    text = f"def check(candidate):\n{textwrap.indent(test, '    ')}"
    return json.dumps({"prompt": "", "test": text, "entry_point": "f", "style": "chat"})


RIGHT_ITEM = json.dumps(
    json.loads(item("assert f(Pair(1, 2) + Pair(3, 4)).a == 6 and f(Pair(1, 2)).swapped().b == 2")) | {"together": True}
)
RIGHT = PRELUDE + "\ndef f(pair):\n    return pair.swapped()\n"
