"""Resolve one output tensor: its method, its inputs and the values of all parameters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from evomerge.errors import UserError
from evomerge.mergekit.config import MergeConfig, ModelRef, Module, OutputSlice, Parameters
from evomerge.mergekit.methods import METHODS, Method, MethodCall, Parameter
from evomerge.mergekit.scoped_values import resolve


def tensor_settings(
    config: MergeConfig, module: Module, piece: OutputSlice, output: str, inputs: Sequence[str], t: float
) -> MethodCall:
    """Resolve the method call for one tensor of the result.

    Args:
        config: document of the merge.
        module: module of the tensor, one of ``config.modules``.
        piece: slice of the tensor, from :func:`output_slices`.
        output: name of the tensor in the result; filters of shared parameters see this name.
        inputs: name of the tensor in each of the slice's sources; filters of a model's parameters see that model's
            name.
        t: position in the slice, see :class:`OutputLayer`.

    Raises:
        UserError: a required parameter has no value for this tensor, or the values contradict each other.
    """
    method = METHODS[config.merge_method]
    base, experts = divide(method, [source.model for source in piece.sources], piece.base_model or config.base_model)

    def value(parameter: Parameter, scopes: Iterator[Parameters], tensor: str, whose: str) -> Any:
        where = f"{config.where}: tensor {tensor}{whose}"
        found = resolve(
            scopes, parameter.name, parameter.read, tensor=tensor, t=t, where=where, default=parameter.default
        )
        if found is None:
            raise UserError(
                f"{method.name} needs '{parameter.name}', which has no value here: give one, or add an entry without"
                f" a filter ({where})"
            )
        return found

    shared = {
        p.name: value(p, scopes_of(config, module, piece), output, "") for p in method.parameters if not p.per_model
    }
    each = [
        {
            p.name: value(p, scopes_of(config, module, piece, i), inputs[i], f" of {piece.sources[i].model}")
            for p in method.parameters
            if p.per_model
        }
        for i in experts
    ]
    if base is not None and not experts:
        return MethodCall("passthrough", None, (base,), (1.0,), {}, {"scale": 1.0})
    weights = tuple(method.weights(shared, each))
    where = f"{config.where}: tensor {output}"
    if method.normalize and shared[method.normalize]:
        check_sum(method, weights, where)
    if any(p.name == "density" and p.to for p in method.parameters):
        for number, values in zip(experts, each, strict=True):
            check_densities(values, f"{where} of {piece.sources[number].model}")
    expert_parameters: dict[str, tuple[float, ...]] = {}
    parameters: dict[str, Any] = dict(method.fixed)
    for p in method.parameters:
        if p.to is None:
            continue
        if not p.per_model:
            parameters[p.to] = p.translated(shared[p.name])
        elif method.most == 1:
            parameters[p.to] = p.translated(each[0][p.name])
        else:
            expert_parameters[p.to] = tuple(p.translated(values[p.name]) for values in each)
    return MethodCall(method.name, base, experts, weights, expert_parameters, parameters)


def scopes_of(
    config: MergeConfig, module: Module, piece: OutputSlice, source: int | None = None
) -> Iterator[Parameters]:
    """Scopes to look up a parameter in, innermost first; ``source`` for a parameter of that source's model."""
    if source is not None:
        yield piece.sources[source].parameters
    yield piece.parameters
    yield module.parameters
    yield config.parameters


def divide(method: Method, models: Sequence[ModelRef], base: ModelRef | None) -> tuple[int | None, tuple[int, ...]]:
    """Indices of the base of deltas (None if the method uses none) and of the models to merge."""
    if base is None or base not in models or method.base == "input":
        return None, tuple(range(len(models)))
    at = models.index(base)
    others = tuple(i for i in range(len(models)) if i != at)
    return (None, (at, *others)) if method.base == "first" else (at, others)


def check_sum(method: Method, weights: Sequence[float], where: str) -> None:
    """Raise a UserError if the method divides by the sum of the weights and the sum is zero.

    If all weights of deltas are zero, the result is the base.
    """
    if not any(weights) and method.base == "required":
        return
    if method.name == "multislerp" and len(weights) == 1:  # a single model is the result for any weight
        return
    if abs(sum(weights)) <= 1e-6 * sum(map(abs, weights)):
        raise UserError(
            f"{method.name} divides by the sum of the weights, got {', '.join(f'{w:g}' for w in weights)} which sum"
            f" to zero: change one, or set {method.normalize}: false ({where}: weight)"
        )


def check_densities(values: dict[str, float], where: str) -> None:
    """Raise a UserError for a density outside (0, 1], or drop probabilities of DELLA that reach 0 or 1."""
    density = values["density"]
    if not 0.0 < density <= 1.0:
        raise UserError(f"density must be in (0, 1], got {density:g} ({where}: density)")
    if "epsilon" in values and density < 1.0:
        epsilon = values["epsilon"]
        if not (density - epsilon > 0.0 and density + epsilon < 1.0):
            raise UserError(
                f"density - epsilon and density + epsilon must be in (0, 1), got density {density:g} and epsilon"
                f" {epsilon:g}: lower epsilon ({where}: epsilon)"
            )
