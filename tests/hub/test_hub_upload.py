"""Uploads to the hub, without contacting it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evomerge.errors import UserError
from evomerge.hub.upload import upload_files


def adapter(folder: Path, base: str) -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base, "r": 4}))
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    (folder / "README.md").write_text("the local card")
    (folder / ".README.md.123").write_text("half written")
    return folder


def test_every_visible_file_goes_with_the_card_made_for_the_hub(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "lora", "org/base")
    files = upload_files(folder, "the card", None)
    assert files == {
        "README.md": b"the card",
        "adapter_config.json": folder / "adapter_config.json",
        "adapter_model.safetensors": folder / "adapter_model.safetensors",
    }


def test_an_adapter_names_its_base_by_the_hub_id(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "lora", str(tmp_path))
    sent = upload_files(folder, "", "org/base")["adapter_config.json"]
    assert isinstance(sent, bytes)
    assert json.loads(sent) == {"base_model_name_or_path": "org/base", "r": 4}
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == str(tmp_path)


def test_an_adapter_of_a_local_base_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"needs a base on the hub.*models.base=ORG/NAME, or hub.kind=model"):
        upload_files(adapter(tmp_path / "lora", str(tmp_path)), "", None)
