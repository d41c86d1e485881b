"""Two things at a time, where one alone leaves a CPU's cores idle in part."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

AT_A_TIME = 2


def overlapped(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """``map(function, items)``, in order, with two calls at a time in threads of their own.

    The first call is by itself: what it compiles is compiled once.
    """
    source = iter(items)
    yield from map(function, islice(source, 1))
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        waiting: deque[Future[Result]] = deque()
        for item in source:
            waiting.append(pool.submit(function, item))
            if len(waiting) > AT_A_TIME:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
