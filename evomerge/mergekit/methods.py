"""mergekit's 20 methods (0.1.5): their parameters and defaults, and the equal evomerge methods.

Methods have the same names in both. This table states every default of mergekit, because evomerge's defaults are those
of the papers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from evomerge.mergekit.scoped_values import Read, not_negative, number, switch, whole

Value = float | str | bool
Values = Mapping[str, Any]
Weights = Callable[[Values, Sequence[Values]], Sequence[float]]


@dataclass(frozen=True)
class Parameter:
    """A parameter of a mergekit method.

    Attributes:
        name: mergekit's name of the parameter.
        read: function that reads a value and checks its type.
        default: value if the file gives none.
        required: whether the file must give a value.
        per_model: whether each merged model has a value, looked up by the tensor's name in that model.
        to: evomerge's name of the parameter; None: the evomerge method has no such parameter.
        as_choice: evomerge's words for (false, true), if evomerge has a choice of words instead of a switch.
    """

    name: str
    read: Read = number
    default: Value | None = None
    required: bool = False
    per_model: bool = False
    to: str | None = None
    as_choice: tuple[str, str] | None = None

    def translated(self, value: Any) -> Any:
        """Translate a value to evomerge's form."""
        return value if self.as_choice is None else self.as_choice[bool(value)]


@dataclass(frozen=True)
class Method:
    """A mergekit method.

    Attributes:
        base: use of a base model. ``required``: the method merges deltas to the base; ``optional``: likewise, if there
            is a base; ``input``: the base is one more model to merge; ``first``: a base is required, and is the first
            of the models to merge.
        least, most: limits on the number of models, not counting a base of deltas.
        parameters: mergekit's parameters.
        weights: function ``(shared values, values of each model) -> weights`` with one weight per model.
        normalize: name of the switch that divides the result by the sum of the weights.
        fixed: values of evomerge's parameters that are constants in mergekit.
    """

    name: str
    base: Literal["required", "optional", "input", "first"]
    least: int
    most: int | None
    parameters: tuple[Parameter, ...]
    weights: Weights
    normalize: str | None = None
    fixed: Mapping[str, Value] = field(default_factory=dict)

    @property
    def models(self) -> str:
        """Limits on the number of models, as text."""
        if self.most is None:
            return f"at least {self.least}"
        return f"exactly {self.least}"


@dataclass(frozen=True)
class MethodCall:
    """A call of an evomerge method for one output tensor.

    Attributes:
        method: name of a registered evomerge method.
        base: index of the base among the slice's sources; None: no base.
        experts: indices of the T experts among the sources, in the order of the weights.
        weights: weights (T,) of the experts.
        expert_parameters: T values of each per-expert parameter.
        parameters: one value of each shared parameter.
    """

    method: str
    base: int | None
    experts: tuple[int, ...]
    weights: tuple[float, ...]
    expert_parameters: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    parameters: Mapping[str, Value] = field(default_factory=dict)


def _given(shared: Values, each: Sequence[Values]) -> list[float]:
    return [values["weight"] for values in each]


def _ones(shared: Values, each: Sequence[Values]) -> list[float]:
    return [1.0] * len(each)


def _equal_shares(shared: Values, each: Sequence[Values]) -> list[float]:
    return [1.0 / len(each)] * len(each)


def _along_arc(shared: Values, each: Sequence[Values]) -> list[float]:
    return [1.0 - shared["t"], shared["t"]]


def _half_way_if_cancelling(shared: Values, each: Sequence[Values]) -> list[float]:
    weights = _given(shared, each)
    return [0.5, 0.5] if abs(sum(weights)) < 1e-6 else weights  # the rule of mergekit


def _task_vectors(name: str, normalize: bool, rescale: bool, sparsifier: Sequence[Parameter] | None) -> Method:
    """A method that adds weighted task vectors to the base; ``sparsifier`` None leaves them dense."""
    thins = sparsifier is not None
    return Method(
        name,
        "required",
        0,
        None,
        (
            Parameter("weight", required=True, per_model=True),
            Parameter("density", default=1.0, per_model=True, to="density" if thins else None),
            *(sparsifier or ()),
            Parameter("normalize", switch, normalize, to="average", as_choice=("sum", "weight")),
            Parameter("rescale", switch, rescale, to="rescale" if thins else None, as_choice=("none", "l1")),
            Parameter("lambda", default=1.0, to="scale"),
            _INT8_MASK,
        ),
        _given,
        "normalize",
    )


# no effect: in mergekit it saves memory and does not change the result
_INT8_MASK = Parameter("int8_mask", switch, False)
_WEIGHT = Parameter("weight", required=True, per_model=True)
_GAMMA = Parameter("gamma", not_negative, default=0.01, per_model=True, to="gamma")
_MAGPRUNE = Parameter("epsilon", not_negative, default=0.15, per_model=True, to="epsilon")
_NEGLIGIBLE = Parameter("epsilon", not_negative, default=1e-5, to="epsilon")

_ALL = (
    Method(
        "linear",
        "input",
        1,
        None,
        (_WEIGHT, Parameter("normalize", switch, True, to="average", as_choice=("sum", "weight"))),
        _given,
        "normalize",
    ),
    Method("slerp", "first", 2, 2, (Parameter("t", required=True),), _along_arc),
    Method(
        "nuslerp",
        "optional",
        2,
        2,
        (
            _WEIGHT,
            Parameter("nuslerp_flatten", switch, True, to="flatten"),
            Parameter("nuslerp_row_wise", switch, False, to="row_wise"),
        ),
        _half_way_if_cancelling,
    ),
    Method(
        "multislerp",
        "optional",
        1,
        None,
        (
            _WEIGHT,
            Parameter("normalize_weights", switch, True, to="normalize_weights"),
            Parameter("eps", not_negative, default=1e-8, to="eps"),
        ),
        _given,
        "normalize_weights",
    ),
    Method(
        "karcher",
        "input",
        1,
        None,
        (Parameter("max_iter", whole, 10, to="max_iter"), Parameter("tol", not_negative, default=1e-5, to="tol")),
        _equal_shares,
    ),
    _task_vectors("task_arithmetic", normalize=False, rescale=False, sparsifier=None),
    _task_vectors("ties", normalize=True, rescale=False, sparsifier=()),
    _task_vectors("dare_linear", normalize=False, rescale=True, sparsifier=()),
    _task_vectors("dare_ties", normalize=False, rescale=True, sparsifier=()),
    _task_vectors("della", normalize=True, rescale=True, sparsifier=(_MAGPRUNE,)),
    _task_vectors("della_linear", normalize=False, rescale=True, sparsifier=(_MAGPRUNE,)),
    _task_vectors("breadcrumbs", normalize=False, rescale=False, sparsifier=(_GAMMA,)),
    _task_vectors("breadcrumbs_ties", normalize=False, rescale=False, sparsifier=(_GAMMA,)),
    Method("model_stock", "required", 2, None, (Parameter("filter_wise", switch, False, to="filter_wise"),), _ones),
    Method(
        "sce",
        "required",
        0,
        None,
        (Parameter("select_topk", not_negative, default=1.0, to="select_topk"), _INT8_MASK),
        _ones,
        fixed={"energy_floor": 1e-6},
    ),
    Method("arcee_fusion", "required", 1, 1, (), _ones),
    Method("nearswap", "required", 1, 1, (Parameter("t", not_negative, required=True, to="t"),), _ones),
    Method("ram", "required", 0, None, (_NEGLIGIBLE,), _ones),
    Method(
        "ramplus_tl",
        "required",
        0,
        None,
        (
            Parameter("r", not_negative, 0.1, to="r"),
            Parameter("alpha", not_negative, 0.2, to="alpha"),
            _NEGLIGIBLE,
        ),
        _ones,
    ),
    Method("passthrough", "input", 1, 1, (Parameter("scale", default=1.0, per_model=True, to="scale"),), _ones),
)
METHODS: Mapping[str, Method] = {method.name: method for method in _ALL}
PARAMETERS = frozenset(parameter.name for method in _ALL for parameter in method.parameters)
