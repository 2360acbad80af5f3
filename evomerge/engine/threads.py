"""Set the threads of torch; run several small computations side by side, each on one thread."""

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
def threads_of_torch(threads: int | None) -> Iterator[None]:
    """Within, torch uses so many threads in this process; None leaves them as they are."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def pool_of(threads: int) -> Iterator[ThreadPoolExecutor]:
    """A thread pool; an error inside the ``with`` cancels waiting tasks and waits for running ones."""
    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            try:
                yield pool
            except BaseException:
                # wait=False: the end of the with waits for running tasks; waiting for cancelled ones would never end
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    finally:
        torch.set_num_threads(before)  # restore: the pool's threads change the number that later threads inherit


def in_order(work: Callable[[_Item], _Result], items: Iterable[_Item], threads: int) -> Iterator[tuple[_Item, _Result]]:
    """Pairs of item and ``work(item)``, in the order of ``items``; at most ``threads + 1`` items wait for their turn.

    Raises:
        The error of the first failing item, when its turn comes.
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
