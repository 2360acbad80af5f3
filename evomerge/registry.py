"""Registry of plug-ins, used for each kind: merge methods, samplers, scorers and others."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from evomerge.errors import UserError, nearest

T = TypeVar("T")


class Registry(Generic[T]):
    """Plug-ins of one kind by name. A plug-in is one module in ``package``; importing it registers it.

    Args:
        kind: name of the kind in error texts, for example ``"merge method"``.
        package: dotted name of the package with the plug-ins. Its modules are imported on first use, so a new file
            there is a new plug-in.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self.package = package
        self._items: dict[str, T] = {}
        self._loaded = False

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that registers its argument under ``name``; registering a name twice is a programming error."""

        def enter(item: T) -> T:
            assert name not in self._items, f"{self.kind} {name!r} is registered twice"
            self._items[name] = item
            return item

        return enter

    def __getitem__(self, name: str) -> T:
        self._load()
        if name not in self._items:
            raise UserError(f"unknown {self.kind} '{name}': {nearest(name, self._items)}")
        return self._items[name]

    def __contains__(self, name: object) -> bool:
        self._load()
        return name in self._items

    def __iter__(self) -> Iterator[str]:
        """Names in alphabetical order."""
        self._load()
        return iter(sorted(self._items))

    def __len__(self) -> int:
        self._load()
        return len(self._items)

    def _load(self) -> None:
        if not self._loaded:
            self._loaded = True
            package = importlib.import_module(self.package)
            for module in pkgutil.iter_modules(package.__path__):
                importlib.import_module(f"{self.package}.{module.name}")
