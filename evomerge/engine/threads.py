"""Run several small computations side by side, each on one thread."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@contextlib.contextmanager
def pool_of(threads: int) -> Iterator[ThreadPoolExecutor]:
    """A pool; an error inside the ``with`` cancels what has not begun and waits for what has."""
    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            try:
                yield pool
            except BaseException:
                # the end of the with waits for those at work; waiting for the cancelled ones would never end
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    finally:
        torch.set_num_threads(before)  # the pool's threads set what later threads inherit


def in_order(work: Callable[[_Item], _Result], items: Iterable[_Item], threads: int) -> Iterator[tuple[_Item, _Result]]:
    """Each item with what ``work`` makes of it, in the order of ``items``; few more are begun than threads can take.

    Raises:
        The error of the first item that has one, in its turn.
    """
    if threads <= 1:
        yield from ((item, work(item)) for item in items)
        return
    begun: deque[tuple[_Item, Future[_Result]]] = deque()
    with pool_of(threads) as pool:
        for item in items:
            begun.append((item, pool.submit(work, item)))
            if len(begun) > threads:
                first, future = begun.popleft()
                yield first, future.result()
        while begun:
            first, future = begun.popleft()
            yield first, future.result()
