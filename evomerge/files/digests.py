"""Digests of files: tell whether models are the ones that a run began with, without reading gigabytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

# Files of a model's or adapter's folder that decide its answers.
_DECIDING = (
    "*config.json", "*.safetensors", "pytorch_model*.bin", "adapter_model.bin", "tokenizer*", "special_tokens_map.json",
    "added_tokens.json", "vocab*", "merges.txt", "chat_template*",
)  # fmt: skip
_WHOLE = 512 * 1024**2  # bytes; longer files are sampled
_SAMPLES = 1024  # number of samples, evenly spread
_SAMPLE = 4096  # bytes of each
_ENDS = 1024**2  # bytes from the start, where safetensors has its header


def digest_model(path: Path) -> str:
    """Digest of a model's or adapter's folder, or of one file of weights: 16 hexadecimal digits."""
    if path.is_file():
        return digest_files([path])
    return digest_files({file for pattern in _DECIDING for file in path.glob(pattern) if file.is_file()})


def digest_files(files: Iterable[Path]) -> str:
    """Digest of names and contents: 16 hexadecimal digits. Files above half a gigabyte are sampled."""
    digest = hashlib.sha256()
    for file in sorted(files, key=lambda file: file.name):
        size = file.stat().st_size
        digest.update(f"{file.name}\0{size}\0".encode())
        with file.open("rb") as stream:
            if size <= _WHOLE:
                while block := stream.read(_ENDS):
                    digest.update(block)
                continue
            digest.update(stream.read(_ENDS))
            for number in range(_SAMPLES):
                stream.seek((size - _SAMPLE) * number // (_SAMPLES - 1))
                digest.update(stream.read(_SAMPLE))
    return digest.hexdigest()[:16]
