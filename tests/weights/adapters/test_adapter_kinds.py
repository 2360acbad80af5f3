"""Every kind of LoRA adapter equals peft's merge_and_unload."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from evomerge.engine.core.core_space import CoreSpace
from evomerge.errors import UserError
from evomerge.tensors.lazy import dense
from evomerge.weights.adapters.adapter import Adapter
from evomerge.weights.adapters.updates import updates_on
from evomerge.weights.checkpoint import Checkpoint
from evomerge.weights.task_vector import lora_vector, open_task_vector


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory) -> Path:
    """GPT-2 with Conv1D layers; attn.c_proj is square."""
    folder = tmp_path_factory.mktemp("gpt2") / "model"
    config = GPT2Config(vocab_size=40, n_embd=16, n_layer=2, n_head=2, n_positions=16, bos_token_id=0, eos_token_id=0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def trained(base: Path, folder: Path, **settings) -> Path:
    """An adapter whose every trainable number was changed, saved by peft."""
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base), LoraConfig(task_type="CAUSAL_LM", **({"r": 3} | settings))
    )
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data += 0.2 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    return folder


def merged_by_peft(base: Path, adapter: Path) -> dict[str, torch.Tensor]:
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)
    return {name: value.data for name, value in model.merge_and_unload().named_parameters()}


def check(base: Path, adapter: Path):
    """The task vector gives what peft merges, whole and by rows; returns it."""
    checkpoint = Checkpoint(base)
    vector = open_task_vector(checkpoint, str(adapter))
    merged = merged_by_peft(base, adapter)
    changed = {name for name in checkpoint.names if not torch.equal(merged[name], checkpoint[name])}
    assert changed == set(vector.names)
    for name in vector.names:
        delta = dense(vector.delta(name))
        assert delta.dtype == torch.float32
        torch.testing.assert_close(checkpoint[name] + delta, merged[name], rtol=1e-5, atol=2e-6)
        half = checkpoint.shape(name)[0] // 2
        rows = torch.cat([vector.delta(name).rows(0, half), vector.delta(name).rows(half, len(delta))])
        torch.testing.assert_close(rows, delta, rtol=1e-6, atol=1e-7)
        if (factors := vector.factors(name)) is not None:
            assert factors.shape == checkpoint.shape(name)
            torch.testing.assert_close(factors.dense(), delta, rtol=1e-6, atol=1e-7)
    return vector


LLAMA = {
    "embeddings": {"target_modules": ["q_proj", "embed_tokens"], "rank_pattern": {"embed_tokens": 5}},
    "rslora_embeddings": {"target_modules": ["embed_tokens"], "use_rslora": True, "alpha_pattern": {"embed_tokens": 3}},
    "head": {"target_modules": ["lm_head", "up_proj"]},
    "modules_to_save": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head", "input_layernorm", "norm"]},
    "all_biases": {"target_modules": ["q_proj"], "bias": "all"},
    "lora_biases": {"target_modules": ["q_proj"], "bias": "lora_only"},
    "lora_bias": {"target_modules": ["q_proj", "o_proj"], "lora_bias": True, "lora_alpha": 5},
    "dora": {"target_modules": ["q_proj", "k_proj", "down_proj"], "use_dora": True},
    "dora_rslora": {"target_modules": ["v_proj"], "use_dora": True, "use_rslora": True},
    "dora_embeddings": {"target_modules": ["q_proj", "embed_tokens"], "use_dora": True},
    "everything": {
        "target_modules": ["q_proj", "embed_tokens"],
        "modules_to_save": ["lm_head"],
        "bias": "all",
        "use_dora": True,
    },
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", LLAMA)
def test_llama_adapters_are_what_peft_merges(pico_model, tmp_path, kind):
    base = pico_model(dtype="float32", tied=False, attention_bias=True)
    vector = check(base, trained(base, tmp_path / "adapter", **LLAMA[kind]))
    assert vector.is_lora == (kind == "head")
    if kind == "dora":
        assert all(vector.factors(name) is None for name in vector.names)
    if kind == "embeddings":
        assert vector.factors("model.embed_tokens.weight").rank == 5
    if kind == "modules_to_save":
        assert vector.factors("lm_head.weight") is None
        assert vector.factors("model.layers.0.self_attn.q_proj.weight").rank == 3


GPT2 = {
    "conv1d": {"target_modules": ["c_attn", "c_fc"]},
    # the only layer is square: shapes say nothing
    "square": {"target_modules": [r"attn.c_proj"]},
    "conv1d_dora": {"target_modules": ["c_attn", "c_proj"], "use_dora": True, "bias": "all"},
    "conv1d_lora_bias": {"target_modules": ["c_proj"], "lora_bias": True},
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", GPT2)
def test_gpt2_adapters_are_what_peft_merges(gpt2, tmp_path, kind):
    vector = check(gpt2, trained(gpt2, tmp_path / "adapter", **GPT2[kind]))
    assert not vector.is_lora
    if kind in ("conv1d", "square"):
        assert all(vector.factors(name).rank == 3 for name in vector.names)


@pytest.mark.filterwarnings("ignore")
def test_the_model_decides_what_is_transposed_not_the_flag(gpt2, pico_model, tmp_path):
    adapter = trained(gpt2, tmp_path / "gpt2", target_modules=["attn.c_proj"])
    set_flag(adapter, False)  # as peft saves it when a linear layer was adapted last
    check(gpt2, adapter)
    base = pico_model(dtype="float32")
    adapter = trained(base, tmp_path / "llama", target_modules=["q_proj", "up_proj"])
    set_flag(adapter, True)
    assert check(base, adapter).is_lora


def set_flag(adapter: Path, value: bool) -> None:
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"fan_in_fan_out": value}))


@pytest.mark.filterwarnings("ignore")
def test_a_square_layer_of_a_raw_transposed_base_is_refused(gpt2, tmp_path):
    adapter = trained(gpt2, tmp_path / "adapter", target_modules=["attn.c_proj"])
    raw = tmp_path / "gpt2.safetensors"
    shutil.copy(gpt2 / "model.safetensors", raw)
    with pytest.raises(UserError, match=r"nobody can tell whether .*c_proj.weight' is one: give the model folder"):
        updates_on(Adapter(adapter), Checkpoint(raw))


@pytest.mark.filterwarnings("ignore")
def test_a_pickled_adapter_reads_like_safetensors(pico_model, tmp_path):
    base = pico_model(dtype="float32", tied=False)
    adapter = trained(base, tmp_path / "adapter", target_modules=["q_proj"], modules_to_save=["lm_head"])
    before = open_task_vector(Checkpoint(base), str(adapter))
    torch.save(load_file(adapter / "adapter_model.safetensors"), adapter / "adapter_model.bin")
    (adapter / "adapter_model.safetensors").unlink()
    after = open_task_vector(Checkpoint(base), str(adapter))
    assert before.names == after.names
    assert all(torch.equal(dense(before.delta(name)), dense(after.delta(name))) for name in before.names)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "settings",
    [
        {"target_modules": ["q_proj", "embed_tokens"]},
        {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]},
        {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
        {"target_modules": ["q_proj", "lm_head"]},
    ],
    ids=["lora_embeddings", "own_embeddings", "own_head", "lora_head"],
)
def test_parting_tied_embeddings_from_their_head_is_refused(pico_model, tmp_path, settings):
    base = pico_model(dtype="float32")
    adapter = trained(base, tmp_path / "adapter", **settings)
    with pytest.raises(UserError, match=r"changes the embeddings and the output head differently, .*: untie the base"):
        open_task_vector(Checkpoint(base), str(adapter))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "settings",
    [
        {"target_modules": ["q_proj", "embed_tokens"]},
        {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]},
    ],
    ids=["lora", "own"],
)
def test_tied_weights_that_stay_tied_merge_once(pico_model, tmp_path, settings):
    base = pico_model(dtype="float32")
    adapter = trained(base, tmp_path / "adapter", ensure_weight_tying=True, **settings)
    checkpoint = Checkpoint(base)
    vector = open_task_vector(checkpoint, str(adapter))
    name = "model.embed_tokens.weight"
    assert name in vector.names and "lm_head.weight" not in vector.names
    tokens = torch.tensor([[5, 9, 2, 7]])
    model = AutoModelForCausalLM.from_pretrained(base)
    with torch.no_grad():
        wanted = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)(tokens).logits
        for changed in vector.names:
            model.get_parameter(changed).add_(dense(vector.delta(changed)))
        torch.testing.assert_close(model(tokens).logits, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_what_needs_plain_adapters_says_why_not(pico_model, tmp_path):
    base = Checkpoint(pico_model(dtype="float32", tied=False))
    adapter = Adapter(trained(base.folder, tmp_path / "dora", target_modules=["q_proj"], use_dora=True))
    with pytest.raises(
        UserError, match=r"more than a LoRA on linear layers \(DoRA: model.layers.0.*q_proj.weight \.\.\."
    ):
        lora_vector(adapter, base)
    plain = Adapter(trained(base.folder, tmp_path / "plain", target_modules=["q_proj"]))
    space = CoreSpace({"plain": lora_vector(plain, base)}, layers=2)
    assert set(space.names) == set(updates_on(plain, base))


@pytest.mark.filterwarnings("ignore")
def test_the_log_says_what_is_merged_densely(pico_model, tmp_path, caplog):
    base = Checkpoint(pico_model(dtype="float32", tied=False))
    dora = trained(base.folder, tmp_path / "dora", target_modules=["q_proj"], use_dora=True)
    plain = trained(base.folder, tmp_path / "plain", target_modules=["q_proj"])
    with caplog.at_level("INFO"):
        open_task_vector(base, str(plain))
        assert not caplog.messages
        open_task_vector(base, str(dora))
    assert caplog.messages == [
        f"{dora} changes more than LoRA matrices (DoRA: model.layers.0.self_attn.q_proj.weight ...); those are merged "
        "as full matrices"
    ]


@pytest.mark.filterwarnings("ignore")
def test_a_magnitude_of_another_shape_is_named(pico_model, tmp_path):
    base = pico_model(dtype="float32")
    adapter = trained(base, tmp_path / "dora", target_modules=["k_proj"], use_dora=True)
    path = adapter / "adapter_model.safetensors"
    tensors = load_file(path)
    key = next(key for key in tensors if key.endswith("lora_magnitude_vector"))
    save_file(tensors | {key: tensors[key][:-1].clone()}, path)
    with pytest.raises(
        UserError, match=r"magnitude of shape \[15\] for 'model.layers.0.self_attn.k_proj', wanted \[16\]"
    ):
        updates_on(Adapter(adapter), Checkpoint(base))
