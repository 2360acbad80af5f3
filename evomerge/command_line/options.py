"""Words of the command line that begin with a dash."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

from evomerge.errors import UserError


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """In one line; argparse would print the usage, too."""
        raise UserError(f"{message}: python -m evomerge --help shows what there is")


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Options as they are, and the other words.

    Raises:
        UserError: an unknown option.
    """
    parser = _Parser(add_help=False, allow_abbrev=False)
    for names in (("--help", "-h"), ("--version",), ("--multirun", "-m"), ("--run", "-r"), ("--resolve",)):
        parser.add_argument(*names, action="store_true")
    # Hydra's, which has no public list of them
    for names in (("--hydra-help",), ("--shell-completion", "-sc")):
        parser.add_argument(*names, action="store_true")
    parser.add_argument("--cfg", "-c", choices=("job", "hydra", "all"))
    parser.add_argument("--info", "-i", nargs="?", const="all")
    for names in (("--package", "-p"), ("--config-dir", "-cd"), ("--config-path", "-cp"), ("--config-name", "-cn")):
        parser.add_argument(*names)
    parser.add_argument("words", nargs="*")
    known, unknown = parser.parse_known_intermixed_args(list(arguments))
    if unknown:
        parser.error(f"unknown option {unknown[0]}, settings are KEY=VALUE without dashes")
    words: list[str] = known.words
    return [argument for argument in arguments if argument not in words], words
