"""What a merge method is, and how a function's signature becomes its schema.

A method is one function in a file of ``merging/methods/``, under one of three decorators:

- :func:`merge_method`: ``(parameter, weights, *, ...)`` reads a :class:`Parameter` as often as it needs and returns its
  merged blocks;
- :func:`blockwise`: ``(base, deltas, weights, *, ...)`` merges one block without looking at the others;
- :func:`core_method`: ``(cores, weights, *, ...)`` merges the core matrices of LoRA experts.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Required, TypedDict, Unpack, get_args, get_origin, get_type_hints

from torch import Tensor

from evomerge.merging.block import InMemoryParameter, Parameter, gather
from evomerge.merging.parameters import Choice, Domain, Flag, PerExpert, Range, Value
from evomerge.merging.randomness import Randomness
from evomerge.registry import Registry

LAWS: Mapping[str, str] = {
    "zero": "weights 0 give a copy of the base",
    "identity": "one expert at weight 1, the others at 0, with default parameters, gives that expert",
    "order": "permuting the experts with their weights and parameters changes nothing",
    "untouched": "where no expert differs from the base, neither does the merge",
}
"""What users expect of a merge method. One that differs by its definition says so in ``exceptions``."""


@dataclass(frozen=True)
class MergeMethod:
    """A merge method: a function on the tensors of one parameter and what its signature says about it.

    Attributes:
        name: the function's name.
        summary: the first line of its docstring.
        paper: where it comes from.
        function: full space: ``(parameter, weights, **parameters)`` gives the merged blocks, in order. Core space:
            ``(state, weights, **parameters)`` with state from ``prepare``, weights (T,) or (*N, T); gives the merged
            core, shape (*N, R, R).
        space: ``full``: works on dense tensors; ``core``: works on the core matrices of LoRA experts.
        base: full space: ``required``: the experts come as deltas (expert minus base); ``optional``: they come as their
            own parameters, and the result depends on the base where there is one; ``unused``: it never does.
        min_experts, max_experts: how many experts it takes; None means any number.
        relative_weights: scaling all weights by one factor changes nothing.
        relative_while: the options that this holds for; others than these defaults end it.
        whole: full space: the function needs all rows at once; it gets one block, in memory.
        prepare: core space: cores (*N, T, R, R) -> state, the work that no candidate changes.
        parts: core space: state -> parts (*N, T, R, R), such that with default parameters the merge is the sum of
            weight x part while every expert has a weight above 0. None: the merge is not linear in the weights.
        draws: core space: the function takes ``uniform``, a number in (0, 1) for each entry of the cores.
        expert_parameters, parameters: name -> (domain, default); the former have one value per expert.
        exceptions: what does not hold for this method by its definition -> why. A law (a word of :data:`LAWS`), a law
            at other values of a shared parameter than its default (``zero with average``), or that a parameter changes
            something (``average``). The tests' conformance kit reads it.
    """

    name: str
    summary: str
    paper: str
    function: Callable[..., Any]
    space: Literal["full", "core"] = "full"
    base: Literal["required", "optional", "unused"] = "required"
    min_experts: int = 1
    max_experts: int | None = None
    relative_weights: bool = False
    relative_while: Mapping[str, Value] = field(default_factory=dict)
    whole: bool = False
    prepare: Callable[[Tensor], Any] = lambda cores: cores
    parts: Callable[[Any], Tensor] | None = None
    draws: bool = False
    expert_parameters: Mapping[str, tuple[Range, float]] = field(default_factory=dict)
    parameters: Mapping[str, tuple[Domain, Value]] = field(default_factory=dict)
    exceptions: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, *args: Any, randomness: Randomness | None = None, **parameters: Any) -> Tensor:
        """Core space: the function itself. Full space: ``(base, experts, weights)`` as whole tensors, in one block."""
        if self.space == "core":
            merged: Tensor = self.function(*args, **parameters)
            return merged
        base, experts, weights = args
        parameter = InMemoryParameter(base, experts, randomness or Randomness(0, (), ""))
        return next(self.over(parameter, weights, **parameters))

    def over(self, parameter: Parameter, weights: Tensor, **parameters: Any) -> Iterator[Tensor]:
        """The merged parameter, block by block in the parameter's order.

        Args:
            parameter: base and experts, in the form that ``base`` says.
            weights: shape (T,).
            parameters: per-expert ones with T values, shared ones with one.

        Raises:
            UserError: weights or tensors the method refuses.
        """
        if 0 in parameter.shape:  # no entry to merge, and methods need not know that this exists
            yield from (block.experts[0].clone() for block in parameter.blocks())
        elif self.whole:
            gathered, rows = gather(parameter)
            (merged,) = self.function(gathered, weights, **parameters)
            yield from merged.split(rows) if len(rows) > 1 else (merged,)
        else:
            yield from self.function(parameter, weights, **parameters)

    @property
    def inputs(self) -> Literal["deltas", "models"]:
        """Whether the experts come as ``deltas`` or as ``models``, their own parameters."""
        return "deltas" if self.base == "required" else "models"

    @property
    def needs_base(self) -> bool:
        """Whether the result depends on the base, not only on the experts' parameters."""
        return self.base != "unused"

    def is_relative(self, parameters: Mapping[str, Value]) -> bool:
        """``relative_weights`` under these options."""
        return self.relative_weights and all(
            parameters.get(name, value) == value for name, value in self.relative_while.items()
        )

    @property
    def experts(self) -> str:
        """How many experts it takes, as text: ``2``, ``1 or more``, ``2 to 4``."""
        if self.max_experts is None:
            return f"{self.min_experts} or more"
        return f"{self.min_experts}" + (f" to {self.max_experts}" if self.max_experts > self.min_experts else "")

    def takes(self, experts: int) -> bool:
        """Whether the method can merge this number of experts."""
        return self.min_experts <= experts and (self.max_experts is None or experts <= self.max_experts)


METHODS: Registry[MergeMethod] = Registry("merge method", "evomerge.merging.methods")


class Declared(TypedDict, total=False):
    """What a decorator says of a method beside its signature, see :class:`MergeMethod`."""

    paper: Required[str]
    base: Literal["required", "optional", "unused"]
    min_experts: int
    max_experts: int | None
    relative_weights: bool
    relative_while: Mapping[str, Value]
    whole: bool
    exceptions: Mapping[str, str]


def merge_method(**declared: Unpack[Declared]) -> Callable[[Callable[..., Iterator[Tensor]]], MergeMethod]:
    """Decorator that registers a function as a merge method under its own name; its signature is its schema.

    The function takes a :class:`Parameter` and the weights (T,), and returns the merged blocks. Its parameters are
    keyword-only arguments annotated with their domain, each with a default:
    ``density: Annotated[PerExpert, Range(0.05, 1.0)] = 1.0`` is one value per expert,
    ``scale: Annotated[float, Range(0.3, 2.0)] = 1.0`` is one value,
    ``rescale: Annotated[str, Choice(("none", "l1"))] = "none"`` an option.
    """
    return lambda function: _register(function, dict(declared))


def blockwise(**declared: Unpack[Declared]) -> Callable[[Callable[..., Tensor]], MergeMethod]:
    """The same for a function of one block: base, deltas or models (T, ...) and weights (T,) give the merged block."""

    def enter(function: Callable[..., Tensor]) -> MergeMethod:
        @functools.wraps(function)
        def over(parameter: Parameter, weights: Tensor, **parameters: Any) -> Iterator[Tensor]:
            return (function(block.base, block.experts, weights, **parameters) for block in parameter.blocks())

        return _register(over, dict(declared))

    return enter


def core_method(
    *,
    paper: str,
    prepare: Callable[[Tensor], Any] = lambda cores: cores,
    parts: Callable[[Any], Tensor] | None = None,
    draws: bool = False,
    exceptions: Mapping[str, str] | None = None,
) -> Callable[[Callable[..., Tensor]], MergeMethod]:
    """The same for a function on core matrices, see :class:`MergeMethod`."""
    declared: dict[str, Any] = {"paper": paper, "prepare": prepare, "parts": parts, "draws": draws, "space": "core"}
    declared["exceptions"] = exceptions or {}
    return lambda function: _register(function, declared)


def _register(function: Callable[..., Any], declared: dict[str, Any]) -> MergeMethod:
    hints = get_type_hints(function, include_extras=True)
    each: dict[str, tuple[Range, float]] = {}
    shared: dict[str, tuple[Domain, Value]] = {}
    for name, argument in inspect.signature(function).parameters.items():
        if get_origin(hints[name]) is Annotated:
            kind, domain = get_args(hints[name])
            assert argument.kind is argument.KEYWORD_ONLY, name
            if kind == PerExpert:
                assert isinstance(domain, Range), name
                each[name] = (domain, float(argument.default))
            else:
                assert isinstance(domain, Range | Choice | Flag), name
                shared[name] = (domain, domain.check(name, argument.default))
    name, summary = function.__name__, (function.__doc__ or "").strip().splitlines()[0]
    method = MergeMethod(
        name=name, summary=summary, function=function, expert_parameters=each, parameters=shared, **declared
    )
    names = each.keys() | shared.keys()
    known = LAWS.keys() | names | {f"{law} with {parameter}" for law in LAWS for parameter in names}
    assert method.exceptions.keys() <= known, f"{name}: {method.exceptions.keys() - known}"
    METHODS.register(name)(method)
    return method
