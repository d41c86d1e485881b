"""Two things at a time, where one alone leaves a CPU's cores idle in part."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

import jax

Item = TypeVar("Item")
Result = TypeVar("Result")


def at_a_time() -> int:
    """How many: an accelerator is busy with one, and of several devices each has a part of every
    one, in an order that all have to agree on."""
    return 2 if jax.default_backend() == "cpu" and jax.local_device_count() == 1 else 1


def overlapped(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """``map(function, items)``, in order, with `at_a_time` calls at once in threads of their own.

    The first call is by itself: what it compiles is compiled once.
    """
    source = iter(items)
    yield from map(function, islice(source, 1))
    together = at_a_time()
    if together == 1:
        yield from map(function, source)
        return
    with ThreadPoolExecutor(together) as pool:
        waiting: deque[Future[Result]] = deque()
        for item in source:
            waiting.append(pool.submit(function, item))
            if len(waiting) > together:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
