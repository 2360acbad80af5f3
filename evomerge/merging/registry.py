"""What a merge method is, and how a function's signature becomes its schema."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from torch import Tensor

from evomerge.merging.block import InMemoryView, View
from evomerge.merging.parameters import Choice, Domain, Flag, PerExpert, Range, Value
from evomerge.merging.randomness import Randomness
from evomerge.registry import Registry

# What every full-space function is offered by keyword; a function names those it uses.
_SERVICES = {"measured", "randomness", "start"}

LAWS: Mapping[str, str] = {
    "zero": "weights 0 give the base",
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
        space: ``full``: works on dense tensors; ``core``: works on the core matrices of LoRA experts.
        inputs: full space: whether the experts come as ``deltas`` (expert minus base) or as ``models`` (their own
            parameters; the base may then be None).
        min_experts, max_experts: how many experts it takes; None means any number.
        needs_base: the result depends on the base, not only on the experts' parameters.
        relative_weights: scaling all weights by one factor changes nothing.
        relative_while: the options that this holds for; others than these defaults end it.
        expert_parameters, parameters: name -> (domain, default); the former have one value per expert.
        exceptions: law of merge methods (a word of :data:`LAWS`) -> why this method's definition breaks it.
        function: full space: ``(base, deltas or models, weights, [measured, randomness, start,] <parameters>)``
            on one :class:`Block`, whose flat position is ``start``; gives the merged block. Core space:
            ``(state, weights, [uniform,] <parameters>)`` with state from ``prepare``, weights (T,) or (*N, T), and
            for random masks a number in (0, 1) for each entry of the cores; gives the merged core, shape (*N, R, R).
        measure: full space: ``(view, weights, [randomness,] <parameters>)`` -> statistics of the whole parameter that
            the function gets as ``measured``. It may name fewer parameters than the function, whose defaults it is
            given. Its ``randomness`` is the whole parameter's: the function gets ``randomness.at(block.start)``.
        prepare: core space: cores (*N, T, R, R) -> state, the work that no candidate changes.
    """

    name: str
    summary: str
    paper: str
    space: Literal["full", "core"]
    inputs: Literal["deltas", "models"]
    min_experts: int
    max_experts: int | None
    needs_base: bool
    relative_weights: bool
    relative_while: Mapping[str, Value]
    function: Callable[..., Tensor]
    measure: Callable[..., Any] | None
    prepare: Callable[[Tensor], Any]
    expert_parameters: Mapping[str, tuple[Range, float]] = field(default_factory=dict)
    parameters: Mapping[str, tuple[Domain, Value]] = field(default_factory=dict)
    exceptions: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, *args: Any, randomness: Randomness | None = None, **parameters: Any) -> Tensor:
        """Core space: the function itself. Full space: ``(base, experts, weights)`` as whole tensors, in one block."""
        if self.space == "core":
            return self.function(*args, **parameters)
        base, experts, weights = args
        return next(self.over(InMemoryView(base, experts), weights, randomness, **parameters))

    def over(
        self, view: View, weights: Tensor, randomness: Randomness | None = None, **parameters: Any
    ) -> Iterator[Tensor]:
        """The merged parameter, block by block in the view's order.

        Args:
            view: base and experts, in the form that ``inputs`` says.
            weights: shape (T,).
            randomness: of this parameter, for methods that draw masks.
            parameters: per-expert ones with T values, shared ones with one.

        Raises:
            UserError: weights or tensors the method refuses.
        """
        if 0 in view.shape:  # no entry to measure, and methods need not know that this exists
            yield from (block.experts[0].clone() for block in view.blocks())
            return
        wanted = set(inspect.signature(self.function).parameters) & _SERVICES
        services: dict[str, Any] = {}
        if "measured" in wanted:
            assert self.measure is not None, self.name
            named = inspect.signature(self.measure).parameters
            schema = {**self.expert_parameters, **self.parameters}
            defaults = {name: default for name, (_, default) in schema.items()}
            offered = {**defaults, **parameters, "randomness": randomness}
            services["measured"] = self.measure(view, weights, **{k: v for k, v in offered.items() if k in named})
        for block in view.blocks():
            if "randomness" in wanted:
                assert randomness is not None, self.name
                services["randomness"] = randomness.at(block.start)
            if "start" in wanted:
                services["start"] = block.start
            yield self.function(block.base, block.experts, weights, **services, **parameters)

    @property
    def draws(self) -> bool:
        """Whether the function, or what it measures, needs random numbers."""
        asking = [call for call in (self.function, self.measure) if call is not None]
        return any({"randomness", "uniform"} & set(inspect.signature(call).parameters) for call in asking)

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


def merge_method(
    *,
    paper: str,
    space: Literal["full", "core"] = "full",
    min_experts: int = 1,
    max_experts: int | None = None,
    needs_base: bool = True,
    relative_weights: bool | Mapping[str, Value] = False,
    measure: Callable[..., Any] | None = None,
    prepare: Callable[[Tensor], Any] | None = None,
    exceptions: Mapping[str, str] | None = None,
) -> Callable[[Callable[..., Tensor]], MergeMethod]:
    """Decorator that registers a function as a merge method under its own name; its signature is its schema.

    Parameters are keyword-only arguments annotated with their domain, each with a default:
    ``density: Annotated[PerExpert, Range(0.05, 1.0)] = 1.0`` is one value per expert,
    ``scale: Annotated[float, Range(0.3, 2.0)] = 1.0`` is one value,
    ``rescale: Annotated[str, Choice(("none", "l1"))] = "none"`` an option. A second argument called ``models``
    instead of ``deltas`` asks for the experts' own parameters. ``relative_weights={"average": "weight"}``: the weights
    are relative as long as that option has that value, its default.
    """

    def enter(function: Callable[..., Tensor]) -> MergeMethod:
        hints = get_type_hints(function, include_extras=True)
        arguments = inspect.signature(function).parameters
        each: dict[str, tuple[Range, float]] = {}
        shared: dict[str, tuple[Domain, Value]] = {}
        for name, argument in arguments.items():
            if get_origin(hints[name]) is Annotated:
                kind, domain = get_args(hints[name])
                assert argument.kind is argument.KEYWORD_ONLY, name
                if kind == PerExpert:
                    assert isinstance(domain, Range), name
                    each[name] = (domain, float(argument.default))
                else:
                    assert isinstance(domain, Range | Choice | Flag), name
                    shared[name] = (domain, domain.check(name, argument.default))
        method = MergeMethod(
            name=function.__name__,
            summary=(function.__doc__ or "").strip().splitlines()[0],
            paper=paper,
            space=space,
            inputs="models" if "models" in arguments else "deltas",
            min_experts=min_experts,
            max_experts=max_experts,
            needs_base=needs_base,
            relative_weights=bool(relative_weights),
            relative_while=relative_weights if isinstance(relative_weights, Mapping) else {},
            function=function,
            measure=measure,
            prepare=prepare or (lambda cores: cores),
            expert_parameters=each,
            parameters=shared,
            exceptions=exceptions or {},
        )
        assert method.exceptions.keys() <= LAWS.keys(), method.name
        METHODS.register(method.name)(method)
        return method

    return enter
