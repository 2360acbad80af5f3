"""Find, stamp and read the SQLite files that items name; the judge's sandbox cannot read them."""

from __future__ import annotations

from pathlib import Path

from evomerge.errors import UserError

_MAGIC = b"SQLite format 3\0"
_VERSIONS = slice(18, 20)  # of the file format: 2 means a write-ahead log, which a database in memory cannot have


def describe(path: Path) -> dict[str, str]:
    """``{"file": ..., "stamp": ...}`` for an item; the stamp changes when the file does.

    Raises:
        UserError: no such file, or no SQLite database.
    """
    path = path.resolve()
    if not path.is_file():
        raise UserError(f"no database {path}: wanted a SQLite file")
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise UserError(f"{path} is no SQLite database")
    status = path.stat()
    return {"file": str(path), "stamp": f"{path}:{status.st_size}:{status.st_mtime_ns}"}


def read_database(path: Path) -> bytes:
    """The file's bytes. Nothing is written: no journal is rolled back and no log is merged, as SQLite's immutable mode.

    Raises:
        UserError: the file is gone, or changes of it wait in a write-ahead log.
    """
    try:
        content = bytearray(path.read_bytes())
    except OSError as error:
        raise UserError(f"cannot read database {path}: {error.strerror}") from None
    log = path.with_name(path.name + "-wal")
    if log.is_file() and log.stat().st_size:
        raise UserError(
            f"{path} has unmerged changes in {log.name}: open it once with sqlite3 and run PRAGMA wal_checkpoint"
        )
    content[_VERSIONS] = b"\1\1"
    return bytes(content)
