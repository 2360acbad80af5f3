"""``python -m evomerge``."""

from __future__ import annotations

from evomerge.command_line.main import command

if __name__ == "__main__":
    command()
