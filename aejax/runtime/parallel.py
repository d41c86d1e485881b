"""Concurrent calls where a single call does not use all cores of a CPU."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

import jax

from aejax.runtime.threads import thread_map

Item = TypeVar("Item")
Result = TypeVar("Result")


def concurrent_calls() -> int:
    """Number of concurrent calls: 2 on a single CPU device. One call fills an accelerator,
    and several devices must run all calls in the same order."""
    one_device = jax.default_backend() == "cpu" and jax.local_device_count() == 1
    return 2 if one_device else 1


def parallel_map(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """``map(function, items)`` with `concurrent_calls` calls at a time, in threads; in order.

    The first call runs alone, so that functions are compiled once.
    """
    source = iter(items)
    yield from map(function, islice(source, 1))
    concurrent = concurrent_calls()
    if concurrent == 1:
        yield from map(function, source)
    else:
        yield from thread_map(function, source, threads=concurrent, ahead=concurrent)
