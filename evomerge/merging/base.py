"""What a merge method is, and how a function's signature becomes its schema."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeAlias, get_args, get_origin, get_type_hints

from torch import Tensor

from evomerge.errors import UserError
from evomerge.registry import Registry

PerExpert: TypeAlias = float | Sequence[float]
"""Annotates a parameter with one value per expert. A function gets T values, or one that stands for all."""


@dataclass(frozen=True)
class Range:
    """Where a parameter is searched (``low`` to ``high``) and where it is valid at all.

    Args:
        low, high: the range a search draws from, both included.
        log: search on a logarithmic scale.
        above: valid values are greater than this.
        at_most: valid values are not greater than this.
    """

    low: float
    high: float
    log: bool = False
    above: float = -math.inf
    at_most: float = math.inf

    @property
    def valid(self) -> str:
        """The valid interval as text.

        >>> Range(0.05, 1.0, above=0.0, at_most=1.0).valid
        '(0, 1]'
        """
        closing = ")" if math.isinf(self.at_most) else "]"
        return f"({self.above:g}, {self.at_most:g}{closing}"

    def check(self, name: str, value: float, where: str = "") -> float:
        """``value`` itself when it is valid, else a UserError; ``where`` names the file and key."""
        if not (math.isfinite(value) and self.above < value <= self.at_most):
            suffix = f" ({where})" if where else ""
            raise UserError(f"{name} must be in {self.valid}, got {value:g}{suffix}")
        return value


@dataclass(frozen=True)
class MergeMethod:
    """A merge method: a function on the tensors of one parameter and what its signature says about it.

    Attributes:
        name: the function's name.
        summary: the first line of its docstring.
        paper: where it comes from.
        space: ``full``: works on dense deltas; ``core``: works on the core matrices of LoRA experts.
        min_experts, max_experts: how many experts it takes; None means any number.
        needs_base: the result depends on the base, not only on the experts' parameters.
        relative_weights: scaling all weights by one factor changes nothing.
        uses_magnitudes: the function can reuse one MagnitudeIndex per expert (argument ``magnitudes``).
        expert_parameters, parameters: name -> (range, default); the former have one value per expert.
        function: full space: ``(base, deltas, weights, *, randomness, magnitudes=None, <parameters>)``
            with base of any shape S, deltas (T, *S), weights (T,), all float32; gives the merged
            parameter, shape S. Core space: ``(state, weights, <parameters>)`` with state from ``prepare``
            and weights (T,) or (*N, T); gives the merged core, shape (*N, R, R).
        prepare: core space only: cores (*N, T, R, R) -> state, the work that no candidate changes.
    """

    name: str
    summary: str
    paper: str
    space: Literal["full", "core"]
    min_experts: int
    max_experts: int | None
    needs_base: bool
    relative_weights: bool
    uses_magnitudes: bool
    function: Callable[..., Tensor]
    prepare: Callable[[Tensor], Any]
    expert_parameters: Mapping[str, tuple[Range, float]] = field(default_factory=dict)
    parameters: Mapping[str, tuple[Range, float]] = field(default_factory=dict)

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        return self.function(*args, **kwargs)

    @property
    def experts(self) -> str:
        """How many experts it takes, as text: ``2``, ``1 or more``, ``2 to 4``."""
        if self.max_experts is None:
            return f"{self.min_experts} or more"
        return f"{self.min_experts}" + (f" to {self.max_experts}" if self.max_experts > self.min_experts else "")

    def takes(self, experts: int) -> bool:
        """Whether the method can merge this number of experts."""
        return self.min_experts <= experts and (self.max_experts is None or experts <= self.max_experts)


METHODS: Registry[MergeMethod] = Registry("merge method", "evomerge.merging")

# What the engine hands to every full-space function; a function names those it uses.
_SERVICES = ("randomness", "magnitudes")


def merge_method(
    *,
    paper: str,
    space: Literal["full", "core"] = "full",
    min_experts: int = 1,
    max_experts: int | None = None,
    needs_base: bool = True,
    relative_weights: bool = False,
    prepare: Callable[[Tensor], Any] | None = None,
) -> Callable[[Callable[..., Tensor]], MergeMethod]:
    """Decorator that registers a function as a merge method under its own name; its signature is its schema.

    Parameters are keyword-only arguments annotated with a :class:`Range`:
    ``density: Annotated[PerExpert, Range(0.05, 1.0)] = 1.0`` is one value per expert,
    ``scale: Annotated[float, Range(0.3, 2.0)] = 1.0`` is one value. Each has a default.
    """

    def enter(function: Callable[..., Tensor]) -> MergeMethod:
        hints = get_type_hints(function, include_extras=True)
        arguments = inspect.signature(function).parameters
        per_expert: dict[str, tuple[Range, float]] = {}
        shared: dict[str, tuple[Range, float]] = {}
        for name, argument in arguments.items():
            if get_origin(hints[name]) is Annotated:
                kind, bounds = get_args(hints[name])
                assert isinstance(bounds, Range) and argument.kind is argument.KEYWORD_ONLY, name
                (per_expert if kind == PerExpert else shared)[name] = (bounds, float(argument.default))
        unused = tuple(name for name in _SERVICES if name not in arguments)
        method = MergeMethod(
            name=function.__name__,
            summary=(function.__doc__ or "").strip().splitlines()[0],
            paper=paper,
            space=space,
            min_experts=min_experts,
            max_experts=max_experts,
            needs_base=needs_base,
            relative_weights=relative_weights,
            uses_magnitudes="magnitudes" in arguments,
            function=_without(function, unused) if space == "full" else function,
            prepare=prepare or (lambda cores: cores),
            expert_parameters=per_expert,
            parameters=shared,
        )
        METHODS.register(method.name)(method)
        return method

    return enter


def _without(function: Callable[..., Tensor], unused: tuple[str, ...]) -> Callable[..., Tensor]:
    """``function``, called like every full-space function although it does not name all services."""

    def call(base: Tensor, deltas: Tensor, weights: Tensor, **kwargs: Any) -> Tensor:
        return function(base, deltas, weights, **{k: v for k, v in kwargs.items() if k not in unused})

    return call


def per_expert(values: PerExpert, experts: int) -> list[float]:
    """One float per expert; a single value (or a tensor or sequence of length T) is accepted."""
    if isinstance(values, (int, float)):
        return [float(values)] * experts
    listed = [float(value) for value in values]
    assert len(listed) == experts, f"{len(listed)} values for {experts} experts"
    return listed
