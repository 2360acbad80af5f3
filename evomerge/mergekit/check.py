"""Check whether a mergekit file describes a merge that can work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from evomerge.errors import UserError, nearest
from evomerge.mergekit.config import MergeConfig, ModelRef, Module, OutputSlice, Parameters
from evomerge.mergekit.methods import METHODS, PARAMETERS, Method
from evomerge.mergekit.scoped_values import scalars
from evomerge.mergekit.slices import place
from evomerge.mergekit.tensors import check_densities, check_sum, divide


def check(config: MergeConfig) -> MergeConfig:
    """Return ``config``, or raise a UserError that names file and key.

    It checks the method's name, the number of models and the base in every slice, names, types and presence of
    parameters, densities, and weights that hold for all tensors. The plan of a tensor checks values that differ between
    tensors.
    """
    method = METHODS.get(config.merge_method)
    if method is None:
        raise UserError(
            f"unknown merge method '{config.merge_method}': {nearest(config.merge_method, METHODS)}"
            f" ({config.where}: merge_method)"
        )
    for key, parameters in _all_parameters(config):
        _check_parameters(method, parameters, f"{config.where}: {key}")
    for module in config.modules:
        if module.models:
            models = [source.model for source in module.models]
            own = [source.parameters for source in module.models]
            base = config.base_model
            if base is not None and base not in models:
                models, own = [*models, base], [*own, {}]
            where = place(config, module)
            _check_inputs(method, models, base, where)
            _check_values(method, config, models, base, own, (module.parameters, config.parameters), where)
        for number, piece in enumerate(module.slices):
            _check_slice(method, config, module, piece, place(config, module, number))
    tokenizer = config.tokenizer
    if tokenizer is not None and tokenizer.source == "base" and config.base_model is None:
        raise UserError(
            f"the tokenizer of the base needs a base: give base_model, or a model as the tokenizer's source"
            f" ({config.where}: tokenizer)"
        )
    return config


def unused_parameters(config: MergeConfig) -> tuple[str, ...]:
    """Parameters in the file that belong to other methods of mergekit, and so have no effect."""
    known = {parameter.name for parameter in METHODS[config.merge_method].parameters}
    return tuple(sorted({name for _, given in _all_parameters(config) for name in given if name not in known}))


def _check_slice(method: Method, config: MergeConfig, module: Module, piece: OutputSlice, where: str) -> None:
    if len({source.layers for source in piece.sources}) > 1:
        found = ", ".join(f"{list(source.layer_range)} of {source.model}" for source in piece.sources)
        raise UserError(f"the sources of a slice need equally many layers, got {found} ({where}.sources)")
    models = [source.model for source in piece.sources]
    base = piece.base_model or config.base_model
    _check_inputs(method, models, base, f"{where}.sources")
    own = [source.parameters for source in piece.sources]
    outer = (piece.parameters, module.parameters, config.parameters)
    _check_values(method, config, models, base, own, outer, f"{where}.sources")


def _check_inputs(method: Method, models: Sequence[ModelRef], base: ModelRef | None, where: str) -> None:
    """Raise a UserError unless the method can merge these models with this base."""
    for number, model in enumerate(models):
        if model in models[:number]:
            raise UserError(f"a model can be merged once only, got {model} twice: drop one ({where}[{number}])")
    if base is None and method.base in ("required", "first"):
        raise UserError(f"{method.name} needs a base: give base_model ({where})")
    if base is not None and base not in models and method.base != "input":
        raise UserError(
            f"{method.name} needs base_model among the sources of the slice: add {base} with its layer_range ({where})"
        )
    at, experts = divide(method, models, base)
    if not method.least <= len(experts) <= (method.most or len(experts)):
        besides = " besides the base" if at is not None else ""
        got = f"got {len(experts)}"
        if method.base == "input" and base is not None and at is None:
            got += " (base_model counts as one)"
        plural = "model" if method.least == 1 else "models"
        raise UserError(f"{method.name} merges {method.models} {plural}{besides}, {got} ({where})")


def _check_parameters(method: Method, given: Parameters, where: str) -> None:
    """Check names and types of the parameters under one key of the file."""
    known = {parameter.name: parameter for parameter in method.parameters}
    for name, setting in given.items():
        if name not in PARAMETERS:
            raise UserError(f"unknown parameter '{name}': {nearest(name, PARAMETERS)} ({where})")
        if name in known:
            for value in scalars(setting):
                read = known[name].read(value, name, f"{where}.{name}")
                if name == "density" and known[name].to:
                    check_densities({"density": read}, where)


def _check_values(
    method: Method,
    config: MergeConfig,
    models: Sequence[ModelRef],
    base: ModelRef | None,
    own: Sequence[Parameters],
    outer: Sequence[Parameters],
    where: str,
) -> None:
    """Check that the file gives all required parameters, and that weights for all tensors can be divided by their
    sum."""
    _, experts = divide(method, models, base)
    for parameter in method.parameters:
        if not parameter.required:
            continue
        for i in experts if parameter.per_model else experts[:1]:
            scopes = (own[i], *outer) if parameter.per_model else outer
            if not any(parameter.name in scope for scope in scopes):
                whose = f" for {models[i]}" if parameter.per_model else ""
                raise UserError(
                    f"{method.name} needs the parameter '{parameter.name}'{whose}: add it under parameters ({where})"
                )
    if method.normalize is None:
        return
    normalize = _constant(method.normalize, outer)
    weights = [_constant("weight", (own[i], *outer)) for i in experts]
    switch = next(p for p in method.parameters if p.name == method.normalize)
    on = switch.default if normalize is None else switch.read(normalize, method.normalize, where)
    if on and weights and all(weight is not None for weight in weights):
        numbers = [float(weight) for weight in weights if weight is not None]
        if not any(numbers):
            raise UserError(
                f"{method.name} divides by the sum of the weights, which are all zero: give a model another weight"
                f" ({where}: weight)"
            )
        check_sum(method, numbers, where)


def _constant(name: str, scopes: Sequence[Parameters]) -> bool | int | float | str | None:
    """The value of a parameter for all tensors; None if it has none, or differs between tensors."""
    for scope in scopes:
        if name in scope:
            setting = scope[name]
            return None if isinstance(setting, tuple) else setting
    return None


def _all_parameters(config: MergeConfig) -> Iterator[tuple[str, Parameters]]:
    """Every mapping of parameters in the file, with its key."""
    yield "parameters", config.parameters
    for module in config.modules:
        prefix = f"modules.{module.name}." if module.name is not None else ""
        if module.name is not None:
            yield f"{prefix}parameters", module.parameters
        for number, source in enumerate(module.models):
            yield f"{prefix}models[{number}].parameters", source.parameters
        for number, piece in enumerate(module.slices):
            yield f"{prefix}slices[{number}].parameters", piece.parameters
            for at, part in enumerate(piece.sources):
                yield f"{prefix}slices[{number}].sources[{at}].parameters", part.parameters
