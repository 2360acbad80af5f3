"""``push_to_hub``: what cannot work is refused in one line before anything is done."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from command_line import ENVIRONMENT, command

UNREACHABLE = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_TOKEN": "hf_none", "HF_HUB_OFFLINE": "0"}


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["push_to_hub=org/name"], {}, "needs a token of the hub with write access, got none: hf auth login"),
        (["push_to_hub=name"], {}, "push_to_hub must be org/name, got 'name'"),
        (["push_to_hub=org/na--me"], {}, "push_to_hub must be org/name, got 'org/na--me'"),
        (["push_to_hub=org/name"], {"HF_TOKEN": "hf_none"}, "HF_HUB_OFFLINE is set: unset it"),
        (["push_to_hub=org/name"], UNREACHABLE, "the hub is out of reach or refuses"),
        (["push_to_hub=org/name", "hub.kind=lorra"], {}, "unknown hub.kind 'lorra': did you mean 'lora'?"),
        (["push_to_hub=org/name", "job=merge"], {}, "push_to_hub goes with job=search and job=report"),
        (["push_to_hub=org/name", "job=report", "run=nowhere"], {}, "needs a token"),
    ],
)
def test_refused_in_one_line(arguments: list[str], environment: dict[str, str], said: str, tmp_path: Path) -> None:
    # an empty home: the token of whoever runs the tests is not theirs to use
    clean = {key: value for key, value in ENVIRONMENT.items() if key not in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")}
    result = subprocess.run(
        command(*arguments, "models.base=no-such-folder"),
        cwd=tmp_path,
        env={**clean, "HF_HOME": str(tmp_path / "home"), **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 2, result.stderr
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert not (tmp_path / "outputs").exists()
