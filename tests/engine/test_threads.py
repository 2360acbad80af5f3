from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator

import pytest
import torch

from evomerge.engine.threads import in_order


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_results_come_in_order_and_few_are_begun_ahead(threads):
    begun: list[int] = []

    def items() -> Iterator[int]:
        for item in itertools.count(1):
            begun.append(item)
            yield item

    for number, (item, result) in enumerate(in_order(lambda item: item * item, items(), threads), start=1):
        assert (item, result) == (number, number * number)
        assert len(begun) <= number + threads
        if number == 50:
            break


def test_several_work_at_once_and_each_computes_on_one_thread():
    before = torch.get_num_threads()
    both = threading.Barrier(2, timeout=60)

    def work(item: int) -> int:
        both.wait()  # none gets on alone
        return torch.get_num_threads()

    assert [found for _, found in in_order(work, range(4), 2)] == [1, 1, 1, 1]
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_comes_in_its_turn_and_ends_the_rest(threads):
    done = []
    threads_before = threading.active_count()

    def work(item: int) -> int:
        if item == 2:
            raise ValueError("two")
        return item

    with pytest.raises(ValueError, match="two"):
        for item, _ in in_order(work, range(1000), threads):
            done.append(item)
    assert done == [0, 1]
    assert threading.active_count() == threads_before
