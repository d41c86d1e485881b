import threading
import time

import pytest

from aejax.runtime.parallel import concurrent_calls, parallel_map


def test_results_come_in_order_whatever_takes_longest():
    def slow_first(item):
        time.sleep(0.02 if item % 2 else 0.001)
        return item**2

    assert list(parallel_map(slow_first, range(9))) == [item**2 for item in range(9)]
    assert list(parallel_map(slow_first, [])) == []


def test_the_first_is_alone_and_then_two_are_under_way():
    together = threading.Barrier(concurrent_calls(), timeout=20)
    alone = []

    def meets_another(item):
        if item == 0:
            alone.append(together.n_waiting)
        else:
            together.wait()  # breaks, unless another call is under way
        return item

    assert list(parallel_map(meets_another, range(1 + 2 * concurrent_calls()))) == list(range(5))
    assert alone == [0]


def test_no_more_is_read_than_is_under_way():
    read = []

    def source():
        for item in range(100):
            read.append(item)
            yield item

    found = parallel_map(lambda item: item, source())
    assert [next(found) for _ in range(3)] == [0, 1, 2]
    assert len(read) <= 3 + concurrent_calls()
    found.close()


def test_an_error_comes_where_its_result_would():
    def fails_at_3(item):
        if item == 3:
            raise ValueError("three")
        return item

    found = parallel_map(fails_at_3, range(9))
    assert [next(found) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(found)
