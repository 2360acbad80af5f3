"""A full disk while a large output is written: one line of error, no partial files, the former output unchanged."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from transformers import AutoTokenizer

# A limit on the size of files stands for the disk: what goes beyond fails as on a full one.
WRITING = """
import resource, sys
from pathlib import Path
import torch
from evomerge.errors import UserError
from evomerge.tensors.lazy import LowRank
from evomerge.weights.adapters.writer import write_adapter
from evomerge.files.atomic_output import appearing_folder
from evomerge.weights.stream_writer import StreamWriter, TensorLayout
from evomerge.weights.tokenizers.output_tokenizer import InputModel, TokenizerSettings, build_tokenizer

folder, one, other = map(Path, sys.argv[1:])
tokenizer = build_tokenizer(TokenizerSettings("union"), {"one": InputModel(one, 300), "other": InputModel(other, 301)})

def adapter():
    write_adapter(folder / "adapter", {"m": LowRank(torch.ones(400, 4), torch.ones(4, 400))}, "base")

def model():
    with StreamWriter(folder / "model", [TensorLayout("a", torch.float32, (1000,))], config={}) as writer:
        writer.write("a", torch.ones(1000))

def words():
    with appearing_folder(folder / "words") as work:
        tokenizer.save(work)

for write in (adapter, model, words):
    write()
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
for write in (adapter, model, words):
    try:
        write()
    except UserError as error:
        print(error)
"""


def test_every_writer_says_it_in_one_line(pico_model, tmp_path: Path) -> None:
    base = pico_model()
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.add_tokens(["<tool>"])
    tokenizer.save_pretrained(tmp_path / "other")
    folder = tmp_path / "out"
    command = [sys.executable, "-c", WRITING, str(folder), str(base), str(tmp_path / "other")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    said = result.stdout.splitlines()
    assert len(said) == 3 and all(line.startswith(f"cannot write {folder}") for line in said), result.stdout
    assert all("free some" in line for line in said)
    assert sorted(path.name for path in folder.iterdir()) == ["adapter", "model", "words"]
    assert all(len(list(kind.iterdir())) > 2 for kind in folder.iterdir())
