from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from model_folders import write_like
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from evomerge.errors import UserError
from evomerge.weights.checkpoint import Checkpoint
from evomerge.weights.stream_writer import StreamWriter, TensorLayout, companions, shard_bytes, with_dtype

TENSORS = {
    "scalar": torch.tensor(2.5, dtype=torch.float64),
    "flags": torch.tensor([True, False, True]),
    "empty": torch.zeros(0, 3),
    "rows": torch.randn(17, 5).to(torch.bfloat16),
    "fp8": torch.randn(4, 4).to(torch.float8_e4m3fn),
    "buffer": torch.arange(9),
    "cube": torch.randn(6, 2, 3),
}


def layout_of(tensors):
    return [TensorLayout(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()]


def same(left: torch.Tensor, right: torch.Tensor) -> bool:
    return left.dtype == right.dtype and left.shape == right.shape and left.tolist() == right.tolist()


@pytest.mark.parametrize("max_shard_bytes", [1 << 30, 100])
def test_safetensors_reads_what_was_written_in_any_order_from_any_thread(tmp_path, max_shard_bytes):
    blocks = []
    for name, tensor in TENSORS.items():
        step = 2 if tensor.ndim > 1 else max(tensor.numel(), 1)
        starts = range(0, tensor.shape[0], step) if tensor.ndim else [0]
        blocks += [(name, tensor[start : start + step] if tensor.ndim else tensor, start) for start in starts]
    random.Random(0).shuffle(blocks)
    target = tmp_path / "model"
    with StreamWriter(target, layout_of(TENSORS), max_shard_bytes=max_shard_bytes, config={"a": 1}) as writer:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda block: writer.write(*block), blocks))
        assert writer.written_bytes == writer.total_bytes == sum(tensor.nbytes for tensor in TENSORS.values())
    files = sorted(target.glob("*.safetensors"))
    assert (len(files) > 1) == (max_shard_bytes == 100)
    read = {name: tensor for file in files for name, tensor in load_file(file).items()}
    assert read.keys() == TENSORS.keys()
    assert all(same(read[name], TENSORS[name]) for name in TENSORS)
    for file in files:
        with safe_open(file, "pt") as opened:
            assert opened.metadata() == {"format": "pt"}
        assert int.from_bytes(file.read_bytes()[:8], "little") % 8 == 0
        assert file.stat().st_mode & 0o777 == 0o666 & ~current_umask()
    assert json.loads((target / "config.json").read_text()) == {"a": 1}
    if len(files) > 1:
        index = json.loads((target / "model.safetensors.index.json").read_text())
        assert index["metadata"]["total_size"] == writer.total_bytes
        assert all(name in load_file(target / file) for name, file in index["weight_map"].items())


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_every_tensor_is_aligned_to_its_item_size(tmp_path):
    target = tmp_path / "raw.safetensors"
    with StreamWriter(target, layout_of(TENSORS)) as writer:
        for name, tensor in TENSORS.items():
            writer.write(name, tensor)
    checkpoint = Checkpoint(target)
    assert all(tensor.data_ptr() % tensor.element_size() == 0 for tensor in checkpoint.values())
    assert all(same(checkpoint[name], TENSORS[name]) for name in TENSORS)
    assert [path.name for path in tmp_path.iterdir()] == ["raw.safetensors"]


def test_writing_holds_one_block_and_no_shard(tmp_path):
    rows, width, count = 256, 1 << 14, 8  # 16 MiB a tensor, 128 MiB in all
    layout = [TensorLayout(f"w{i}", torch.float32, (rows, width)) for i in range(count)]
    block = torch.ones(16, width)
    before = resident_anonymous()
    with StreamWriter(tmp_path / "big.safetensors", layout) as writer:
        for i in range(count):
            for start in range(0, rows, 16):
                writer.write(f"w{i}", block, start)
        assert resident_anonymous() - before < 8 << 20
    checkpoint = Checkpoint(tmp_path / "big.safetensors")
    assert all(bool((checkpoint[name] == 1).all()) for name in checkpoint)


def resident_anonymous() -> int:
    """Bytes of this process's memory that are no mapped file."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("RssAnon"))


def test_transformers_loads_shards_with_companions(pico_model, tmp_path):
    base = Checkpoint(pico_model())
    target = tmp_path / "model"
    layout = layout_of(base)
    files = companions(base.folder)
    with StreamWriter(target, layout, max_shard_bytes=10_000, config=base.config, files=files) as writer:
        (writer.folder / "tokenizer_config.json").write_text("{}")
        for name in reversed(base.names):
            writer.write(name, base[name])
    assert len(list(target.glob("*.safetensors"))) > 2
    loaded = AutoModelForCausalLM.from_pretrained(target, dtype="auto").state_dict()
    assert all(torch.equal(loaded[name], base[name]) for name in base)
    assert (target / "tokenizer_config.json").read_text() == "{}"  # the caller's own file goes first
    assert (target / "tokenizer.json").read_bytes() == (base.folder / "tokenizer.json").read_bytes()


def test_companions_with_and_without_the_tokenizer(pico_model, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(pico_model(), folder)
    (folder / "model.safetensors.index.json").write_text("{}")
    (folder / "chat_template.jinja").write_text("")
    for name in ("adapter_config.json", "trainer_state.json", "eval_results.json", "modeling_own.py"):
        (folder / name).write_text("{}")
    names = {path.name for path in companions(folder)}
    assert "modeling_own.py" in names  # where config.json names it, nothing loads without
    assert not names & {"adapter_config.json", "trainer_state.json", "eval_results.json"}
    assert {"config.json", "tokenizer.json", "chat_template.jinja"} <= names
    assert not names & {"model.safetensors", "model.safetensors.index.json"}
    assert {path.name for path in companions(folder, tokenizer=False)} == {"config.json", "generation_config.json"}


@pytest.mark.parametrize("target", ["model", "raw.safetensors"])
def test_an_error_or_a_gap_leaves_the_old_output_and_no_rubbish(tmp_path, target):
    target = tmp_path / target
    config = None if target.suffix else {"a": 1}
    layout = [TensorLayout("a", torch.float32, (4,))]

    def attempt(*blocks):
        with StreamWriter(target, layout, config=config) as writer:
            for block in blocks:
                if block is None:
                    raise KeyboardInterrupt
                writer.write("a", *block)

    def fails():
        with pytest.raises(KeyboardInterrupt):
            attempt((torch.zeros(4),), None)
        with pytest.raises(AssertionError, match="a was not written completely"):
            attempt((torch.zeros(2),))
        with pytest.raises(AssertionError, match=r"a: wanted torch.float32, got torch.float64"):
            attempt((torch.zeros(4, dtype=torch.float64),))
        with pytest.raises(AssertionError, match=r"rows from 2 do not fit"):
            attempt((torch.zeros(3), 2))

    fails()
    assert list(tmp_path.iterdir()) == []
    attempt((torch.ones(2), 2), (torch.ones(2),))
    weights = target if target.suffix else target / "model.safetensors"
    before = weights.read_bytes()
    fails()
    assert [path.name for path in tmp_path.iterdir()] == [target.name]
    assert weights.read_bytes() == before


STALLED = """
import sys, time, torch
from pathlib import Path
from evomerge.weights.stream_writer import StreamWriter, TensorLayout
target = Path(sys.argv[1])
config = None if target.suffix else {"model_type": "llama"}
with StreamWriter(target, [TensorLayout("a", torch.float32, (4,))], config=config) as writer:
    writer.write("a", torch.ones(4))
    print("written", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("name", ["model", "raw.safetensors"])
def test_a_killed_run_leaves_nothing_that_loads_and_the_next_one_clears_up(tmp_path, name):
    target = tmp_path / name
    process = subprocess.Popen([sys.executable, "-c", STALLED, str(target)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "written\n"
        # a second writer leaves the work of one that still runs alone
        write_ones(target)
        assert len(list(tmp_path.glob(".*.partial"))) == 1
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    (left,) = tmp_path.glob(".*.partial")
    with pytest.raises(UserError, match=r"no model folder|no file of weights|cannot read"):
        Checkpoint(left)
    for weights in (left, *left.glob("*.safetensors")):
        if weights.is_file():
            with pytest.raises(Exception, match="header"):
                load_file(weights)
    write_ones(target)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def write_ones(target: Path) -> None:
    config = None if target.suffix else {"model_type": "llama"}
    with StreamWriter(target, [TensorLayout("a", torch.float32, (4,))], config=config) as writer:
        writer.write("a", torch.ones(4))


def test_an_older_output_that_a_killed_run_had_moved_comes_back(tmp_path):
    target = tmp_path / "model"
    write_ones(target)
    target.rename(tmp_path / ".model.0123abcd.old")
    (tmp_path / ".model.0123abcd.partial").mkdir()
    with (
        pytest.raises(KeyboardInterrupt),
        StreamWriter(target, [TensorLayout("a", torch.float32, (4,))], config={}),
    ):
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert torch.equal(load_file(target / "model.safetensors")["a"], torch.ones(4))


def test_never_replaces_what_is_no_model(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match=r"home: it holds other things than a model"):
        write_ones(tmp_path / "home")
    with pytest.raises(UserError, match=r"a file of that name"):
        write_ones(tmp_path / "home" / "thesis.txt")
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(UserError, match=r"a folder of that name"):
        write_ones(tmp_path / "folder.safetensors")
    with pytest.raises(UserError, match=r"cannot write .*thesis.txt/model \(.*\): give a place that can be written to"):
        write_ones(tmp_path / "home" / "thesis.txt" / "model")
    assert (tmp_path / "home" / "thesis.txt").read_text() == "years of work"


def test_a_full_disk_is_said_before_any_work(tmp_path):
    size = shutil.disk_usage(tmp_path).free + (1 << 40)
    with (
        pytest.raises(
            UserError, match=r"cannot write .*model: it takes .* GB more and the disk gives .* GB; free some"
        ),
        StreamWriter(tmp_path / "model", [TensorLayout("a", torch.uint8, (size,))], config={}),
    ):
        raise AssertionError("the disk holds more than it has")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("max_shard_bytes", [1 << 30, 8_000])
def test_a_model_in_another_dtype(pico_model, tmp_path, max_shard_bytes):
    base = Checkpoint(pico_model())
    tensors = {name: (base[name].float() * 1.5) for name in base.names}
    write_like(base, tmp_path / "model", tensors.items(), "float32", max_shard_bytes)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype="auto")
    assert model.dtype == torch.float32
    loaded = dict(model.named_parameters())
    assert set(loaded) == set(tensors)
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)
    text = "SELECT 1; déjà"
    assert AutoTokenizer.from_pretrained(tmp_path / "model")(text) == AutoTokenizer.from_pretrained(base.folder)(text)


def test_the_same_tensors_give_the_same_files(pico_model, tmp_path):
    base = Checkpoint(pico_model())
    for name in ("one", "two"):
        write_like(base, tmp_path / name, base.items(), max_shard_bytes=20_000)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "two").iterdir())
    assert all((tmp_path / "one" / f).read_bytes() == (tmp_path / "two" / f).read_bytes() for f in files)


def test_a_failed_write_leaves_the_old_folder_and_no_rubbish(pico_model, tmp_path):
    base = Checkpoint(pico_model())
    write_like(base, tmp_path / "model", base.items())
    before = (tmp_path / "model" / "model.safetensors").read_bytes()

    def interrupted():
        yield "model.norm.weight", base["model.norm.weight"]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_like(base, tmp_path / "model", interrupted())
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == before


def test_the_key_that_a_configuration_has_for_its_dtype():
    assert with_dtype({"dtype": "float16", "a": 1}, "float32") == {"dtype": "float32", "a": 1}
    assert with_dtype({"torch_dtype": "float16"}, "float32") == {"torch_dtype": "float32"}
    assert with_dtype({"torch_dtype": "float16", "dtype": "float16"}, "float32") == dict.fromkeys(
        ("torch_dtype", "dtype"), "float32"
    )
    parts = {"text_config": {"dtype": "float16", "a": 1}, "vision_config": {"torch_dtype": "float16"}, "x_config": {}}
    assert with_dtype(parts, "float32") == {
        "text_config": {"dtype": "float32", "a": 1},
        "vision_config": {"torch_dtype": "float32"},
        "x_config": {},
        "dtype": "float32",
    }


@pytest.mark.parametrize(
    ("size", "wanted"),
    [("5GB", 5 * 10**9), ("500mb", 5 * 10**8), (" 2 GiB", 2 << 30), ("1.5KB", 1500), ("1TB", 10**12)],
)
def test_sizes_in_the_hubs_spelling(size, wanted):
    assert shard_bytes(size) == wanted


@pytest.mark.parametrize("size", ["", "5", "5G", "GB", "-1GB", "0GB", "5 GBs", "1e3MB", "5XB"])
def test_what_is_no_size(size):
    with pytest.raises(UserError, match=r"max_shard must be a size such as 5GB or 500MB, got '"):
        shard_bytes(size)
