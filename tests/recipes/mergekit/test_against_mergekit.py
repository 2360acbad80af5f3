"""The value of every parameter for every tensor is the one that mergekit itself finds."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from mergekit.config import ConfigReader, InputSliceDefinition, MergeConfiguration, OutputSliceDefinition
from mergekit.merge_methods import BasePolicy, get, registered_methods
from mergekit.merge_methods.base import ParameterScope
from mergekit.parameter_resolver import resolve_parameters

from evomerge.recipes.mergekit import MethodCall, output_layers, output_slices, parse
from evomerge.recipes.mergekit.methods import METHODS
from evomerge.recipes.mergekit.tensors import tensor_settings

LAYERS = 7
PARTS = ("self_attn.q_proj.weight", "mlp.down_proj.weight", "input_layernorm.weight")

# Every entry is a whole file. Together: scalars, texts that are numbers, gradients, filters without a match, filters
# around gradients, one-layer slices, every scope, base listed first, last or not at all, and all kinds of methods.
FILES: dict[str, str] = {
    "scalars": """
        merge_method: ties
        base_model: base
        models:
          - {model: a, parameters: {weight: 0.3, density: 0.5}}
          - {model: b, parameters: {weight: 1, density: 1e-1}}
        parameters: {normalize: false, rescale: 1, lambda: 0.7, int8_mask: true}
        """,
    "defaults": """
        merge_method: della
        base_model: base
        models: [{model: a}, {model: base}, {model: b}]
        parameters: {weight: 0.5}
        """,
    "gradients": """
        merge_method: dare_linear
        base_model: base
        models:
          - {model: a, parameters: {weight: [0, 0.3, 1], density: [1, 0.2]}}
          - {model: b, parameters: {weight: [0.5], density: 0.25}}
        parameters: {rescale: [true, false, yes], normalize: ["no", "on"], lambda: [0.1, 0.2, 0.9, 0.3]}
        """,
    "filters": """
        merge_method: slerp
        base_model: a
        models: [{model: a}, {model: b}]
        parameters:
          t:
            - {filter: self_attn, value: [0, 0.5, 0.3, 0.7, 1]}
            - {filter: mlp, value: [1, 0.5, 0.7, 0.3, 0]}
            - {value: 0.5}
        """,
    "first match": """
        merge_method: linear
        models:
          - model: a
            parameters: {weight: [{filter: proj, value: 0.2}, {filter: mlp, value: 0.9}, {filter: "*", value: 0.4}]}
          - {model: b, parameters: {weight: {filter: norm, value: 3}}}
        parameters: {weight: [{filter: layers.2., value: 5}, {value: [1, 2]}], normalize: false}
        """,
    "an empty list falls through": """
        merge_method: linear
        models:
          - {model: a, parameters: {weight: []}}
          - {model: b, parameters: {weight: [{filter: mlp, value: []}, {value: 0.25}]}}
        parameters: {weight: 2.5}
        """,
    "base is an input": """
        merge_method: linear
        base_model: base
        models:
          - {model: a, parameters: {weight: 0.3}}
        parameters: {weight: 0.6}
        """,
    "slices": """
        merge_method: breadcrumbs_ties
        base_model: base
        slices:
          - sources:
              - {model: a, layer_range: [0, 4], parameters: {weight: [0.1, 0.9]}}
              - {model: base, layer_range: [1, 5]}
              - {model: b, layer_range: [3, 7]}
            parameters: {weight: 0.6, gamma: [0.1, 0.3]}
          - sources:
              - {model: base, layer_range: [2, 3]}
              - {model: b, layer_range: [6, 7], parameters: {density: {filter: mlp, value: 0.5}}}
        parameters: {weight: [0.2, 0.8], density: 0.75, normalize: true}
        """,
    "own base in a slice": """
        merge_method: task_arithmetic
        base_model: base
        slices:
          - base_model: b
            sources:
              - {model: a, layer_range: [0, 7]}
              - {model: b, layer_range: [0, 7]}
        parameters: {weight: 0.5, normalize: true, density: 7}
        """,
    "modules": """
        merge_method: nuslerp
        modules:
          text:
            models: [{model: a, parameters: {weight: 1}}, {model: b}]
            parameters: {weight: [{filter: mlp, value: 0.5}], nuslerp_flatten: false}
        parameters: {weight: 3, nuslerp_row_wise: {filter: norm, value: true}}
        """,
    "passthrough": """
        merge_method: passthrough
        slices:
          - sources: [{model: a, layer_range: [0, 3]}]
          - sources:
              - model: a
                layer_range: [2, 6]
                parameters: {scale: [{filter: down_proj, value: 0.0}, {filter: q_proj, value: 0.5}]}
        """,
    "multislerp": """
        merge_method: multislerp
        base_model: base
        models: [{model: a}, {model: b}, {model: c}]
        parameters: {weight: [1, 2], eps: 1e-6, normalize_weights: false}
        """,
    "karcher": "{merge_method: karcher, models: [{model: a}, {model: b}], parameters: {max_iter: 5, tol: '1e-9'}}",
    "model_stock": """
        {merge_method: model_stock, base_model: base, models: [{model: a}, {model: b}], parameters: {filter_wise: true}}
        """,
    "sce": """
        {merge_method: sce, base_model: base, models: [{model: a}, {model: b}], parameters: {select_topk: [0.1, 1]}}
        """,
    "nearswap": "{merge_method: nearswap, base_model: base, models: [{model: a}], parameters: {t: [0.001, 0.0001]}}",
    "ram": "{merge_method: ram, base_model: base, models: [{model: a}, {model: b}]}",
    "ramplus_tl": """
        {merge_method: ramplus_tl, base_model: base, models: [{model: a}], parameters: {r: 0.3, alpha: {value: 0.1}}}
        """,
    "arcee_fusion": "{merge_method: arcee_fusion, base_model: base, models: [{model: a}]}",
}
# evomerge's name -> mergekit's where they differ, and what evomerge's words stand for.
NAMES = {"scale": "lambda", "average": "normalize", "flatten": "nuslerp_flatten", "row_wise": "nuslerp_row_wise"}
WORDS = {"sum": False, "weight": True, "none": False, "l1": True}
# What no result depends on, or what becomes weights.
UNUSED = {"int8_mask", "weight"}
UNUSED_BY = {"task_arithmetic": {"density", "rescale"}, "slerp": {"t"}}
# Constants in mergekit's code.
FIXED = {"sce": {"energy_floor": 1e-6}}


@pytest.mark.parametrize("name", FILES)
def test_parameters_of_every_tensor(name: str) -> None:
    (ours,) = parse(FILES[name])
    theirs = MergeConfiguration.model_validate(yaml.safe_load(FILES[name]))
    (module,) = ours.modules
    slices = output_slices(ours, module, lambda model: LAYERS)
    definitions = mergekit_slices(theirs, module.name)
    assert [[str(s.model) for s in piece.sources] for piece in slices] == [
        [str(s.model) for s in definition.sources] for definition in definitions
    ]

    def compare(index: int, output: str, inputs: list[str], t: float) -> None:
        found = tensor_settings(ours, module, slices[index], output, inputs, t)
        reader = ConfigReader(
            config=theirs,
            t=t,
            slice_out=definitions[index],
            module=theirs.modules[module.name] if theirs.modules and module.name else None,
        )
        spec = get(theirs.merge_method).spec
        models = [source.model for source in definitions[index].sources]
        shared, each = resolve_parameters(
            spec,
            tensor_name=output,
            inputs=dict(zip(models, inputs, strict=True)),
            sources=reader.parameter_sources,
            base_model=reader.base_model,
            t=t,
        )
        assert_same(found, ours.merge_method, shared, [each[model] for model in models])

    for layer in output_layers(slices):
        for part in PARTS:
            compare(
                slices.index(layer.slice),
                f"model.layers.{layer.index}.{part}",
                [f"model.layers.{source}.{part}" for source in layer.sources],
                layer.t,
            )
    for index, outside in ((0, "model.embed_tokens.weight"), (-1, "model.norm.weight"), (-1, "lm_head.weight")):
        compare(index, outside, [outside] * len(slices[index].sources), 0.0)


def test_table_of_methods() -> None:
    """The same methods, with the same parameters, defaults and numbers of models."""
    for theirs in (method.spec for method in registered_methods()):
        ours = METHODS[theirs.name]
        expected = {
            p.name: (p.required, None if p.required else p.default, p.scope is not ParameterScope.SHARED)
            for p in theirs.parameters
        }
        if theirs.name == "passthrough":
            expected["scale"] = (False, 1.0, True)  # mergekit: None, which leaves the tensor as it is
        assert {p.name: (p.required, p.default, p.per_model) for p in ours.parameters} == expected, theirs.name
        contract = theirs.contract
        policy = {"required": BasePolicy.REQUIRED, "first": BasePolicy.REQUIRED, "optional": BasePolicy.OPTIONAL}
        assert policy.get(ours.base, BasePolicy.IGNORED) == contract.base, theirs.name
        base = int(ours.base == "required")
        if contract.min_non_base is None:
            assert max(1, ours.least + base) == contract.min_inputs, theirs.name
            assert (None if ours.most is None else ours.most + base) == contract.max_inputs, theirs.name
        else:
            assert (ours.least, ours.most) == (contract.min_non_base, contract.max_non_base), theirs.name
    assert set(METHODS) == {method.spec.name for method in registered_methods()}


def mergekit_slices(theirs: MergeConfiguration, module: str | None) -> list[OutputSliceDefinition]:
    """What mergekit's planner makes of ``models``; it needs real folders, so that part is written out here."""
    found = theirs.modules[module] if theirs.modules and module else theirs
    if found.slices:
        return list(found.slices)
    sources = [
        InputSliceDefinition(model=m.model, layer_range=(0, LAYERS), parameters=m.parameters) for m in found.models
    ]
    if theirs.base_model and theirs.base_model not in [source.model for source in sources]:
        sources.append(InputSliceDefinition(model=theirs.base_model, layer_range=(0, LAYERS)))
    return [OutputSliceDefinition(sources=sources)]


def assert_same(found: MethodCall, method: str, shared: dict[str, Any], each: list[dict[str, Any]]) -> None:
    """Every number that evomerge gets is mergekit's, and none that mergekit's method uses is missing."""
    assert found.method == method
    own = [each[i] for i in found.experts]
    if method == "slerp":
        assert found.weights == pytest.approx((1 - shared["t"], shared["t"]))
    elif "weight" in own[0]:
        assert found.weights == pytest.approx([values["weight"] for values in own], rel=1e-12)
    if method == "passthrough":
        scale = own[0]["scale"]
        assert found.parameters == {"scale": 1.0 if scale is None else scale}
        return
    unused = UNUSED | UNUSED_BY.get(method, set())
    assert {
        NAMES.get(key, key): WORDS[v] if isinstance(v, str) else v for key, v in found.parameters.items()
    } == FIXED.get(method, {}) | {
        key: value if isinstance(value, bool) else pytest.approx(value)
        for key, value in shared.items()
        if key not in unused
    }
    assert dict(found.expert_parameters) == {
        key: pytest.approx(tuple(values[key] for values in own)) for key in own[0] if key not in unused
    }
