"""Send and receive messages on a pipe or socket: eight bytes of length, then the bytes."""

from __future__ import annotations

import os

MAX_BYTES = 256 << 20


def send(fd: int, payload: bytes) -> None:
    """Write one message. Raises BrokenPipeError when nobody reads."""
    view = memoryview(len(payload).to_bytes(8, "big") + payload)
    while view:
        view = view[os.write(fd, view) :]


def receive(fd: int, most: int = MAX_BYTES) -> bytes | None:
    """Read one message; None at the end of the stream, also amid a message and for more than ``most`` bytes."""
    head = _exactly(fd, 8)
    if head is None or int.from_bytes(head, "big") > most:
        return None
    return _exactly(fd, int.from_bytes(head, "big"))


def _exactly(fd: int, count: int) -> bytes | None:
    parts = []
    while count:
        try:
            part = os.read(fd, min(count, 1 << 20))
        except ConnectionError:
            return None
        if not part:
            return None
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
