"""Every parameter has the same value as in mergekit, for every tensor."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from mergekit.architecture import get_architecture_info
from mergekit.config import MergeConfiguration
from mergekit.io.tasks import LoaderCache
from mergekit.merge_methods import BasePolicy, registered_methods
from mergekit.merge_methods.base import ParameterScope
from mergekit.merge_methods.task_adapter import ExecuteMergeMethodTask
from mergekit.options import MergeOptions
from mergekit.plan import MergePlanner

from evomerge.mergekit import MethodCall, output_layers, output_slices, parse
from evomerge.mergekit.methods import METHODS
from evomerge.mergekit.tensors import tensor_settings

LAYERS = 7

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
          default:
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


@pytest.fixture(scope="module")
def folder(pico_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the models a, b, c and base of the files exist."""
    made = tmp_path_factory.mktemp("models")
    for name in ("a", "b", "c", "base"):
        (made / name).symlink_to(pico_model(tied=False, num_hidden_layers=LAYERS))
    return made


@pytest.mark.parametrize("name", FILES)
def test_parameters_of_every_tensor(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every task that mergekit's planner makes has its like here: inputs, their names and all values."""
    monkeypatch.chdir(folder)
    (ours,) = parse(FILES[name])
    (module,) = ours.modules
    slices = output_slices(ours, module, lambda model: LAYERS)
    layers = list(output_layers(slices))
    planned = tasks(FILES[name])
    assert len(planned) == 3 + 9 * len(layers)
    for task in planned:
        output = task.output_weight.name
        piece, t = (slices[0] if "embed" in output else slices[-1]), 0.0
        expected = [output] * len(piece.sources)
        if number := re.search(r"layers\.(\d+)\.", output):
            layer = layers[int(number[1])]
            piece, t = layer.slice, layer.t
            expected = [output.replace(number[0], f"layers.{source}.") for source in layer.sources]
        inputs = [task.gather_tensors.weight_info[model].name for model in task.model_order]
        assert [str(model) for model in task.model_order] == [str(source.model) for source in piece.sources]
        assert inputs == expected
        found = tensor_settings(ours, module, piece, output, inputs, t)
        given = [dict(task.input_parameters[model].items()) for model in task.model_order]
        assert_same(found, ours.merge_method, dict(task.parameters.items()), given)


def tasks(text: str) -> list[ExecuteMergeMethodTask]:
    """What mergekit's planner makes of a file."""
    config = MergeConfiguration.model_validate(yaml.safe_load(text))
    options = MergeOptions()
    architecture = get_architecture_info(config, options)
    LoaderCache().setup(options=options)
    planner = MergePlanner(config, architecture, options, config.referenced_models()[0].config())
    planner._plan()
    return [task for _, task in planner._tensors]


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
