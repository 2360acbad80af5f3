"""Upload a model or an adapter to the Hugging Face hub."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from evomerge.errors import UserError
from evomerge.hub.model_card_facts import hub_id_of

_REPO = re.compile(r"[\w.-]+/[\w.-]+")


def check_access(repo: str) -> None:
    """Refuse, before any work is done, an upload that would fail at its end.

    Raises:
        UserError: ``repo`` is no ``org/name``, there is no token, or the hub does not answer to it.
    """
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise UserError(f"push_to_hub must be org/name, got '{repo}': {error}") from error
    if not _REPO.fullmatch(repo):
        raise UserError(
            f"push_to_hub must be org/name, got '{repo}': name an organisation or yourself before the slash"
        )
    if get_token() is None:
        raise UserError(
            "push_to_hub needs a token of the hub with write access, got none: hf auth login, or set HF_TOKEN"
        )
    with _reachable(repo):
        HfApi().whoami()


def upload_files(folder: Path, card: str, base_id: str | None) -> dict[str, Path | bytes]:
    """Files to upload by their names on the hub: those of ``folder``, with ``card`` as README.md.

    An adapter names its base by ``base_id`` instead of a folder of this machine.

    Raises:
        UserError: an adapter's base has no hub id.
    """
    files: dict[str, Path | bytes] = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }
    if "adapter_config.json" in files:
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        if hub_id_of(str(config["base_model_name_or_path"])) is None:
            if base_id is None:
                raise UserError(
                    f"an adapter on the hub needs a base on the hub, and that of {folder} is the folder "
                    f"'{config['base_model_name_or_path']}': search with models.base=ORG/NAME, or hub.kind=model"
                )
            config["base_model_name_or_path"] = base_id
            files["adapter_config.json"] = json.dumps(config, indent=2, sort_keys=True).encode()
    return {**files, "README.md": card.encode()}


def upload(repo: str, files: Mapping[str, Path | bytes], private: bool = True) -> str:
    """Create the repository if it is missing, commit ``files`` to it in one commit, and return its address.

    Raises:
        UserError: the hub is out of reach or refuses.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    with _reachable(repo):
        api = HfApi()
        address = api.create_repo(repo, private=private, exist_ok=True)
        operations = [
            CommitOperationAdd(name, content if isinstance(content, bytes) else str(content))
            for name, content in files.items()
        ]
        api.create_commit(repo, operations, commit_message="Merge found by evomerge")
    return str(address)


@contextmanager
def _reachable(repo: str) -> Iterator[None]:
    import httpx2  # the HTTP library of huggingface_hub, whose errors reach the caller
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        yield
    except OfflineModeIsEnabled as error:
        raise UserError("push_to_hub needs the hub, and HF_HUB_OFFLINE is set: unset it") from error
    except (HfHubHTTPError, httpx2.HTTPError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"push_to_hub={repo}: the hub is out of reach or refuses ({reason}): check the network, and that the token "
            "may write there (hf auth login)"
        ) from error
