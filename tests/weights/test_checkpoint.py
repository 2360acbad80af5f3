from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from model_folders import write_like
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from evomerge.errors import UserError
from evomerge.weights.adapters.adapter import Adapter
from evomerge.weights.checkpoint import Checkpoint
from evomerge.weights.tensor_files import equal_values


def test_gives_names_shapes_and_values_of_the_file(pico_model):
    folder = pico_model()
    stored = load_file(folder / "model.safetensors")
    checkpoint = Checkpoint(folder)
    assert set(checkpoint.names) == set(stored)
    for name, tensor in stored.items():
        assert checkpoint.shape(name) == tuple(tensor.shape)
        assert torch.equal(checkpoint[name], tensor)
    assert checkpoint.config["num_hidden_layers"] == 2


def test_shards_read_like_one_file(pico_model, tmp_path):
    whole = Checkpoint(pico_model())
    write_like(whole, tmp_path / "shards", whole.items(), max_shard_bytes=10_000)
    shards = Checkpoint(tmp_path / "shards")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 2
    assert shards.names == whole.names
    assert all(torch.equal(shards[name], whole[name]) for name in whole.names)


def test_a_stored_tied_head_is_left_out(pico_model, tmp_path):
    folder = tmp_path / "tied"
    shutil.copytree(pico_model(), folder)
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"].clone()}, folder / "model.safetensors")
    assert Checkpoint(folder).names == Checkpoint(pico_model()).names
    assert "lm_head.weight" in Checkpoint(pico_model(tied=False)).names


def test_says_what_is_wrong_with_a_folder(pico_model, tmp_path):
    with pytest.raises(UserError, match=r"has no config.json"):
        Checkpoint(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"has no model.safetensors and no pytorch_model.bin: convert it"):
        Checkpoint(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not a model")
    with pytest.raises(UserError, match=r"cannot read .*model.safetensors"):
        Checkpoint(tmp_path)
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=r"model-00001-of-00002.safetensors is missing"):
        Checkpoint(tmp_path)


def resident_anonymous() -> int:
    """Bytes of this process's memory that are no mapped file."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("RssAnon"))


def test_tensors_are_views_of_the_file_and_keep_their_dtypes(tmp_path):
    tensors = {
        "fp8": torch.randn(4, 8).to(torch.float8_e4m3fn),
        "position_ids": torch.arange(7),
        "mask": torch.tensor([True, False, True]),
        "scalar": torch.tensor(3.5, dtype=torch.float64),
        "empty": torch.zeros(0, 4),
        "weight": torch.randn(6, 3).to(torch.bfloat16),
    }
    path = tmp_path / "mixed.safetensors"
    save_file(tensors, path)
    checkpoint = Checkpoint(path)
    assert checkpoint.raw and checkpoint.config == {}
    assert checkpoint.nbytes == sum(tensor.nbytes for tensor in tensors.values())
    for name, tensor in tensors.items():
        read = checkpoint[name]
        assert checkpoint.dtype(name) == read.dtype == tensor.dtype
        assert checkpoint.shape(name) == read.shape == tensor.shape
        assert read.flatten().tolist() == tensor.flatten().tolist()
    rows = checkpoint.rows("weight", 2, 5)
    assert torch.equal(rows, tensors["weight"][2:5])
    assert rows.data_ptr() == checkpoint["weight"].data_ptr() + 2 * 3 * 2
    assert checkpoint.rows("scalar", 0, 1) == 3.5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn, torch.float64, torch.bool])
@pytest.mark.parametrize("count", [0, 7, 16])
def test_equal_values_compares_what_is_stored(dtype, count):
    whole = torch.arange(count + 3).to(dtype)
    left, right = whole[3:], whole[3:].clone()  # one of them starts inside its storage
    if count and dtype.is_floating_point:
        left[0] = right[0] = float("nan")
    assert equal_values(left, right)
    if count:
        right[-1] = 0
        assert not equal_values(left, right)
        assert not equal_values(left, right.to(torch.float32))


def test_a_write_to_a_view_does_not_reach_the_file(tmp_path):
    path = tmp_path / "raw.safetensors"
    save_file({"a": torch.ones(4)}, path)
    Checkpoint(path)["a"].zero_()
    assert torch.equal(Checkpoint(path)["a"], torch.ones(4))


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_reading_copies_nothing_to_the_heap(tmp_path, suffix):
    path = tmp_path / f"big.{suffix}"
    tensors = {f"w{i}": torch.zeros(1 << 20) + i for i in range(16)}  # 64 MiB
    save_file(tensors, path) if suffix == "safetensors" else torch.save(tensors, path)
    del tensors
    before = resident_anonymous()
    checkpoint = Checkpoint(path)
    views = [checkpoint[name] for name in checkpoint]
    assert sum(float(view[-1]) for view in views) == sum(range(16))
    for name in checkpoint:
        checkpoint.release(name)
    assert all(bool((checkpoint[f"w{i}"] == i).all()) for i in range(16))
    assert resident_anonymous() - before < 16 << 20


def test_unaligned_data_is_read_all_the_same(tmp_path):
    header = json.dumps(
        {
            "a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
            "b": {"dtype": "F32", "shape": [2], "data_offsets": [1, 9]},
        }
    ).encode()
    path = tmp_path / "odd.safetensors"
    data = b"\x07" + torch.tensor([1.5, -2.0]).numpy().tobytes()
    path.write_bytes(len(header).to_bytes(8, "little") + header + data)
    assert Checkpoint(path)["b"].tolist() == [1.5, -2.0]


@pytest.mark.parametrize("sharded", [False, True])
def test_pickled_folders_read_like_safetensors(pico_model, tmp_path, sharded):
    source = Checkpoint(pico_model(tied=False))
    shutil.copy(source.folder / "config.json", tmp_path)
    tensors = {name: tensor.clone() for name, tensor in source.items()}
    if sharded:
        parts = [dict(list(tensors.items())[i::2]) for i in range(2)]
        files = {}
        for number, part in enumerate(parts):
            torch.save(part, tmp_path / f"pytorch_model-{number}.bin")
            files |= dict.fromkeys(part, f"pytorch_model-{number}.bin")
        (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))
    else:
        torch.save(tensors, tmp_path / "pytorch_model.bin")
    pickled = Checkpoint(tmp_path)
    assert pickled.names == source.names
    assert all(torch.equal(pickled[name], source[name]) for name in source)
    assert pickled.dtype("model.norm.weight") == torch.bfloat16
    assert dict(AutoModelForCausalLM.from_pretrained(tmp_path).state_dict()).keys() == set(pickled.names)


@pytest.mark.parametrize("suffix", ["pt", "pth", "bin"])
@pytest.mark.parametrize("zipped", [True, False])
def test_raw_state_dicts(tmp_path, suffix, zipped):
    path = tmp_path / f"weights.{suffix}"
    state = {"layer.weight": torch.nn.Parameter(torch.randn(3, 2)), "steps": torch.tensor(4)}
    for content in (state, {"epoch": 3, "state_dict": state}):
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
        checkpoint = Checkpoint(path)
        assert checkpoint.raw and checkpoint.names == ("layer.weight", "steps")
        assert torch.equal(checkpoint["layer.weight"], state["layer.weight"].detach())
        assert not checkpoint["layer.weight"].requires_grad


def test_never_runs_code_from_a_pickle(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    for zipped in (True, False):
        torch.save({"a": Trap()}, tmp_path / "trap.pt", _use_new_zipfile_serialization=zipped)
        with pytest.raises(
            UserError, match=r"trap.pt cannot be read as plain tensors .*never run.*save it again"
        ) as caught:
            Checkpoint(tmp_path / "trap.pt")
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


def test_says_what_is_wrong_with_a_file(tmp_path):
    save_file({"a": torch.ones(1000)}, tmp_path / "whole.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "whole.safetensors").read_bytes()[:-8])
    with pytest.raises(UserError, match=r"cut.safetensors \(the data of 'a' is not all there"):
        Checkpoint(tmp_path / "cut.safetensors")
    torch.save({"a": torch.ones(1000)}, tmp_path / "whole.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "whole.pt").read_bytes()[:-100])
    with pytest.raises(UserError, match=r"cut.pt .*again"):
        Checkpoint(tmp_path / "cut.pt")
    torch.save({"epoch": 3}, tmp_path / "other.pt")
    with pytest.raises(UserError, match=r"holds a int under 'epoch', wanted plain tensors"):
        Checkpoint(tmp_path / "other.pt")
    torch.save([torch.ones(2)], tmp_path / "list.pt")
    with pytest.raises(UserError, match=r"holds a list, wanted a state dict"):
        Checkpoint(tmp_path / "list.pt")
    (tmp_path / "notes.txt").write_text("no weights")
    with pytest.raises(UserError, match=r"no file of weights: wanted one of .safetensors"):
        Checkpoint(tmp_path / "notes.txt")


def test_an_index_that_promises_too_much(pico_model, tmp_path):
    shutil.copytree(pico_model(), tmp_path / "model")
    index = {"weight_map": {"model.norm.weight": "model.safetensors", "ghost": "model.safetensors"}}
    (tmp_path / "model" / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=r"model.safetensors lacks 'ghost', which its index promises"):
        Checkpoint(tmp_path / "model").shape("ghost")


def header(content: object) -> bytes:
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    return len(text).to_bytes(8, "little") + text + bytes(16)


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
ENTRY = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}


@pytest.mark.parametrize(
    ("file", "content", "text"),
    [
        ("model.safetensors", b"", r"model.safetensors \(it is empty\): download or save it again"),
        ("model.safetensors", POINTER, r"model.safetensors is only a pointer of Git LFS .*git lfs pull"),
        ("model.safetensors", header([1]), r"model.safetensors \(its header is no JSON object\)"),
        ("model.safetensors", header({"a": ENTRY | {"shape": [-2, -2]}}), r"'a' has the shape \[-2, -2\]"),
        ("model.safetensors", header({}), "holds no parameters: download or save it again"),
        ("model.safetensors", header(b"\xff\xff"), r"cannot read .*model.safetensors"),
        ("config.json", b"", r"config.json \(it is empty\)"),
        ("config.json", b"[]", r"config.json \(it is no JSON object\)"),
        ("config.json", POINTER, r"config.json is only a pointer of Git LFS"),
        ("model.safetensors.index.json", POINTER, r"index.json is only a pointer of Git LFS"),
        ("model.safetensors.index.json", b"[]", r"index.json \(it is no JSON object\)"),
        ("model.safetensors.index.json", b'{"weight_map": {}}', r"index.json \(it has no weight_map\)"),
        ("model.safetensors.index.json", b'{"weight_map": {"a": 3}}', r"is incomplete, 3 is missing"),
        ("model.safetensors.index.json", b'{"weight_map": {"a": "../x/model.safetensors"}}', r"names '../x/model.saf"),
        (
            "model.safetensors.index.json",
            b'{"weight_map": {"a": "/x.safetensors"}}',
            r"names '/x.safetensors', wanted a",
        ),
        ("pytorch_model.bin", POINTER, r"pytorch_model.bin is only a pointer of Git LFS"),
        ("pytorch_model.bin", b"", r"pytorch_model.bin \(it is empty\)"),
        ("model-00001-of-00002.safetensors", b"x", r"incomplete, model-00001-of-00002.safetensors is there without"),
    ],
)
def test_a_damaged_folder_is_one_line_with_the_file_and_the_cure(pico_model, tmp_path, file, content, text):
    shutil.copytree(pico_model(), tmp_path / "model")
    if file.endswith((".bin", "2.safetensors")):
        (tmp_path / "model" / "model.safetensors").unlink()
    (tmp_path / "model" / file).write_bytes(content)
    with pytest.raises(UserError, match=text) as caught:
        Checkpoint(tmp_path / "model")
    assert "\n" not in str(caught.value) and str(tmp_path / "model") in str(caught.value)


def test_an_adapter_is_no_model_and_a_model_no_adapter(pico_model, pico_adapter):
    with pytest.raises(UserError, match=r"has no config.json; it is an adapter, name the model it was trained on"):
        Checkpoint(pico_adapter())
    with pytest.raises(UserError, match=r"has no adapter_config.json; it is a whole model, wanted an adapter on one"):
        Adapter(pico_model())


def test_threads_read_at_once(pico_model, tmp_path):
    source = Checkpoint(pico_model())
    write_like(source, tmp_path / "shards", source.items(), max_shard_bytes=10_000)
    for _ in range(20):
        shards = Checkpoint(tmp_path / "shards")
        with ThreadPoolExecutor(8) as pool:
            same = pool.map(lambda name: torch.equal(shards[name], source[name]), source.names)  # noqa: B023
        assert all(same)
