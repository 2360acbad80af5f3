"""Reading mergekit files: meaning, and refusal of wrong ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from evomerge.errors import UserError
from evomerge.mergekit import (
    MergeConfig,
    ModelRef,
    Tokenizer,
    TokenRow,
    TokenSource,
    is_mergekit,
    load,
    output_layers,
    output_slices,
    parse,
    tensor_settings,
    unused_parameters,
)

TIES = """
merge_method: ties
base_model: base
models:
  - {model: a, parameters: {weight: 0.5, density: 0.3}}
  - {model: b, parameters: {weight: 0.5, density: 0.3}}
"""


def one(text: str) -> MergeConfig:
    (config,) = parse(text, "m.yaml")
    return config


@pytest.mark.parametrize(
    ("text", "model"),
    [
        ("a/b", ModelRef("a/b")),
        ("a/b@v2", ModelRef("a/b", "v2")),
        ("a/b@v2+c/d", ModelRef("a/b", "v2", "c/d")),
        ("a/b+c/d@v1", ModelRef("a/b", None, "c/d", "v1")),
        ("{model: a/b+c/d, override_architecture: X}", ModelRef("a/b", None, "c/d", None, "X")),
        ("{model: {path: a@b, revision: r}, lora: c@d}", ModelRef("a@b", "r", "c", "d")),
    ],
)
def test_ways_to_name_a_model(text: str, model: ModelRef) -> None:
    config = one(f"{{merge_method: passthrough, models: [{{model: {text}}}]}}")
    assert config.models == (model,)


def test_paths_are_relative_to_the_file_and_then_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("recipes/near", "recipes/odd+name@1", "work/far", "work/near"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work")
    file = tmp_path / "recipes" / "m.yaml"
    file.write_text(
        "{merge_method: karcher, models: [{model: near}, {model: far}, {model: org/hub}, {model: odd+name@1}]}"
    )
    (config,) = load(file)
    folder = str(tmp_path / "recipes")
    paths = [model.path for model in config.models]
    assert paths == [f"{folder}/near", "far", "org/hub", f"{folder}/odd+name@1"]


def test_several_documents_run_in_order_of_need() -> None:
    text = """
merge_method: linear
models: [{model: first}, {model: second+adapter}, {model: x}]
parameters: {weight: 1}
---
name: second
merge_method: slerp
base_model: first
models: [{model: y}]
parameters: {t: 0.5}
---
name: first
merge_method: passthrough
models: [{model: z}]
tokenizer: {source: z}
---
"""
    configs = parse(text, "m.yaml")
    assert [config.name for config in configs] == ["first", "second", None]
    assert [sorted(config.steps) for config in configs] == [[], ["first"], ["first", "second"]]
    assert configs[1].base_model == ModelRef("first", step=True)
    assert configs[2].models[1] == ModelRef("second", lora="adapter", step=True)


def test_tokenizer() -> None:
    config = one(
        TIES
        + """
tokenizer:
  source: base
  pad_to_multiple_of: 64
  tokens:
    <|im_start|>: {source: a}
    <|im_end|>: {source: {kind: model_token, model: b, token: </s>}, force: true}
    <pad>: {source: {kind: zero}}
    <eos>: {source: {kind: model_token, model: b, token_id: 3}}
    <new>: {}
chat_template: chatml
"""
    )
    assert config.tokenizer == Tokenizer(
        "base",
        {
            "<|im_start|>": TokenRow(TokenSource(ModelRef("a"))),
            "<|im_end|>": TokenRow(TokenSource(ModelRef("b"), token="</s>"), force=True),
            "<pad>": TokenRow(TokenSource(None)),
            "<eos>": TokenRow(TokenSource(ModelRef("b"), token_id=3)),
            "<new>": TokenRow(),
        },
        64,
    )
    assert config.chat_template == "chatml"
    assert one(TIES + "tokenizer_source: union").tokenizer == Tokenizer("union")
    assert one(TIES + "tokenizer_source: a").tokenizer == Tokenizer(ModelRef("a"))
    assert one(TIES).tokenizer is None


def test_frankenmerge_numbers_its_layers_through_all_slices() -> None:
    config = one(
        """
merge_method: passthrough
slices:
  - sources: [{model: a, layer_range: [0, 3]}]
  - sources: [{model: b, layer_range: [1, 2]}]
  - sources: [{model: a, layer_range: [1, 3]}]
dtype: torch.bfloat16
"""
    )
    layers = list(output_layers(output_slices(config, config.modules[0], lambda model: 3)))
    assert [layer.index for layer in layers] == list(range(6))
    assert [str(layer.slice.sources[0].model) for layer in layers] == ["a", "a", "a", "b", "a", "a"]
    assert [layer.sources for layer in layers] == [(0,), (1,), (2,), (1,), (1,), (2,)]
    assert [layer.t for layer in layers] == [0.0, 0.5, 1.0, 1.0, 0.0, 1.0]
    assert config.dtype == "bfloat16"


def test_a_merge_of_nothing_but_the_base_is_the_base() -> None:
    config = one("{merge_method: ties, base_model: base, models: [{model: base}]}")
    (piece,) = output_slices(config, config.modules[0], lambda model: 1)
    call = tensor_settings(config, config.modules[0], piece, "x", ["x"], 0.0)
    assert (call.method, call.base, call.experts) == ("passthrough", None, (0,))


def test_parameters_of_other_methods_are_read_and_named() -> None:
    config = one(TIES + "parameters: {t: 0.5, int8_mask: true, epsilon: 0.1}")
    assert unused_parameters(config) == ("epsilon", "t")


def test_is_mergekit(tmp_path: Path) -> None:
    files = {"m.yaml": TIES, "e.yaml": "{base: x, method: ties}", "t.txt": ": : :", "multi.yaml": f"---\n{TIES}---\n"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert [name for name in files if is_mergekit(tmp_path / name)] == ["m.yaml", "multi.yaml"]
    assert not is_mergekit(tmp_path / "missing.yaml")


SLICE = "{model: a, layer_range: [0, 4]}"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["m.yaml", "merge_method"]),
        ("- a", ["mapping", "a list"]),
        ("{models: [{model: a}]}", ["needs the key 'merge_method'"]),
        ("{merge_method: linear}", ["exactly one of models, slices and modules", "none"]),
        ("{merge_method: linear, models: [{model: a}], modules: {}, slices: [x]}", ["exactly one of"]),
        ("{merge_method: tise, models: [{model: a}]}", ["'tise'", "did you mean 'ties'", "m.yaml: merge_method"]),
        ("{merge_method: linear, modelz: [{model: a}]}", ["'modelz'", "did you mean 'models'"]),
        (TIES + "dtype: bfloat17", ["'bfloat17'", "did you mean 'bfloat16'", "m.yaml: dtype"]),
        (TIES + "parameters: {denisty: 1}", ["'denisty'", "did you mean 'density'", "m.yaml: parameters"]),
        (TIES.replace("density: 0.3", "density: 1.5"), ["(0, 1], got 1.5", "models[0].parameters"]),
        (TIES.replace("density: 0.3", "density: [0.5, 0]"), ["(0, 1], got 0", "models[0].parameters"]),
        (TIES.replace("density: 0.3", "density: {filter: mlp, value: -1}"), ["(0, 1], got -1"]),
        (TIES.replace("density: 0.3", "density: much"), ["density must be a number, got 'much'"]),
        (
            TIES.replace("ties", "breadcrumbs").replace("density: 0.3", "gamma: -0.1"),
            ["gamma must be 0 or greater, got -0.1"],
        ),
        ("{merge_method: karcher, models: [{model: a}], parameters: {tol: -1}}", ["tol must be 0 or greater, got -1"]),
        (
            "{merge_method: sce, base_model: b, models: [{model: a}], parameters: {select_topk: -0.5}}",
            ["select_topk must be 0 or greater, got -0.5", "parameters.select_topk"],
        ),
        (TIES.replace("density: 0.3", "density: [0.3, {value: 1}]"), ["mapping", "density[0]"]),
        (TIES.replace("density: 0.3", "density: {vlaue: 1}"), ["'vlaue'", "did you mean 'value'"]),
        (TIES.replace("density: 0.3", "density: null"), ["gradient", "got nothing", "models[0].parameters.density"]),
        (TIES + "parameters: {normalize: maybe}", ["normalize must be true or false, got 'maybe'"]),
        (TIES.replace("weight: 0.5, ", ""), ["ties needs the parameter 'weight' for a", "m.yaml: models"]),
        (TIES.replace("base_model: base", ""), ["ties needs a base", "base_model"]),
        (TIES.replace("{model: b, parameters: {weight: 0.5", "{model: b, parameters: {weight: -0.5"), ["sum", "zero"]),
        (TIES.replace("weight: 0.5", "weight: 0"), ["all zero", "weight"]),
        (TIES.replace("model: b", "model: a"), ["once only, got a twice", "models[1]"]),
        (TIES + "chat_template: chatlm", ["did you mean 'chatml'", "m.yaml: chat_template"]),
        (TIES + "tokenizer: {sorce: union}", ["'sorce'", "did you mean 'source'", "m.yaml: tokenizer"]),
        (TIES + "tokenizer_source: union\ntokenizer: {source: union}", ["give one of them"]),
        (TIES + "tokenizer: {tokens: {x: {source: {kind: zeor}}}}", ["'zeor'", "did you mean 'zero'"]),
        (TIES + "tokenizer: {tokens: {x: {source: {kind: model_token, model: a}}}}", ["token and token_id"]),
        (TIES + "tokenizer: {pad_to_multiple_of: 0}", ["at least 1, got 0", "tokenizer.pad_to_multiple_of"]),
        (
            "{merge_method: linear, models: [{model: a}], parameters: {weight: 1}, tokenizer_source: base}",
            ["base_model"],
        ),
        ("{merge_method: linear, models: [{model: a}, {model: b}], parameters: {weight: 0}}", ["all zero"]),
        ("{merge_method: linear, models: [{model: a+b+c}]}", ["'a+b+c'", "m.yaml: models[0].model"]),
        ("{merge_method: linear, models: [{model: a@1@2}]}", ["'a@1@2'"]),
        ("{merge_method: linear, base_model: x, models: [{model: a, parameters: {weight: 1}}]}", ["'weight' for x"]),
        ("{merge_method: slerp, base_model: a, models: [{model: b}]}", ["slerp needs the parameter 't'"]),
        ("{merge_method: slerp, base_model: a, models: [{model: b}, {model: c}]}", ["exactly 2 models, got 3"]),
        ("{merge_method: nuslerp, models: [{model: b}], parameters: {weight: 1}}", ["exactly 2 models, got 1"]),
        ("{merge_method: nearswap, base_model: a, models: [{model: a}]}", ["exactly 1 model besides the base, got 0"]),
        ("{merge_method: model_stock, base_model: a, models: [{model: b}]}", ["at least 2 models besides the base"]),
        (
            "{merge_method: passthrough, base_model: a, models: [{model: b}]}",
            ["exactly 1 model, got 2 (base_model counts as one)"],
        ),
        ("{merge_method: passthrough, slices: [{sources: [{model: a}]}]}", ["layer_range", "slices[0].sources[0]"]),
        (
            "{merge_method: passthrough, slices: [{sources: [{model: a, layer_range: [4, 2]}]}]}",
            ["[4, 2]", "first < end"],
        ),
        ("{merge_method: passthrough, slices: [{sources: []}]}", ["list", "slices[0].sources"]),
        (
            f"{{merge_method: karcher, slices: [{{sources: [{SLICE}, {{model: b, layer_range: [0, 3]}}]}}]}}",
            ["equally many layers", "[0, 4] of a", "[0, 3] of b", "slices[0].sources"],
        ),
        (
            f"{{merge_method: ties, base_model: base, slices: [{{sources: [{SLICE}]}}], parameters: {{weight: 1}}}}",
            ["base_model among the sources", "add base", "slices[0].sources"],
        ),
        ("{merge_method: passthrough, modules: {text: {}}}", ["exactly one of models and slices", "modules.text"]),
        (f"name: x\n{TIES}---\nname: x\n{TIES}", ["the name 'x' is given more than once", "document 1"]),
        (f"{TIES}---\n{TIES}", ["no name is given more than once"]),
        (
            "{name: x, merge_method: passthrough, models: [{model: y}]}\n---\n"
            "{name: y, merge_method: passthrough, models: [{model: x}]}",
            ["wait for each other", "x -> y -> x"],
        ),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(text: str, parts: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        parse(text, "m.yaml")
    message = str(caught.value)
    assert "\n" not in message and "m.yaml" in message
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("parameters", "parts"),
    [
        ("{weight: [{filter: attn, value: 1}]}", ["'weight', which has no value here", "tensor mlp.weight of a"]),
        ("{weight: 1, density: 0.9, epsilon: 0.2}", ["density 0.9 and epsilon 0.2", "tensor mlp.weight of a"]),
    ],
)
def test_values_that_only_some_tensors_have_are_refused_with_the_tensor(parameters: str, parts: list[str]) -> None:
    config = one(f"{{merge_method: della, base_model: base, models: [{{model: a}}], parameters: {parameters}}}")
    (piece,) = output_slices(config, config.modules[0], lambda model: 1)
    with pytest.raises(UserError) as caught:
        tensor_settings(config, config.modules[0], piece, "mlp.weight", ["mlp.weight"] * 2, 0.0)
    for part in parts:
        assert part in str(caught.value)


def test_weights_that_cancel_in_one_layer() -> None:
    config = one(
        """
merge_method: linear
models:
  - {model: a, parameters: {weight: [1, -1]}}
  - {model: b, parameters: {weight: 1}}
"""
    )
    (piece,) = output_slices(config, config.modules[0], lambda model: 2)
    assert tensor_settings(config, config.modules[0], piece, "x", ["x", "x"], 0.0).weights == (1.0, 1.0)
    with pytest.raises(UserError, match=r"-1, 1 which sum to zero: change one, or set normalize: false \(m.yaml: te"):
        tensor_settings(config, config.modules[0], piece, "x", ["x", "x"], 1.0)


def test_models_of_different_depth_and_slices_beyond_the_last_layer() -> None:
    depths = {"a": 4, "b": 5, "base": 4}
    config = one(TIES)
    with pytest.raises(UserError, match=r"a has 4, b has 5, base has 4"):
        output_slices(config, config.modules[0], lambda model: depths[model.path])
    config = one("{merge_method: passthrough, slices: [{sources: [{model: a, layer_range: [2, 5]}]}]}")
    with pytest.raises(
        UserError, match=r"end at 4 or before, for a has 4 layers, got \[2, 5\] \(m.yaml: slices\[0\]\)"
    ):
        output_slices(config, config.modules[0], lambda model: depths[model.path])
