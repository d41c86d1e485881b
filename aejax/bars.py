"""Progress bars and warnings on the terminal."""

import sys
from typing import Any

from tqdm import tqdm

from aejax.errors import plain


def progress(items: Any, total: int, what: str) -> tqdm:
    """A progress bar for what counts files."""
    return bar(items, total=total or None, desc=what, unit="file")


def warn(message: str) -> None:
    """A line on the terminal, beside a progress bar if there is one."""
    tqdm.write(f"warning: {plain(message)}", file=sys.stderr)


def note(message: str) -> None:
    """A line on the terminal that is no warning; standard output is left to results."""
    tqdm.write(plain(message), file=sys.stderr)


def bar(items: Any = None, **options: Any) -> tqdm:
    """A progress bar on a terminal or in a log, after a second, gone when it is done."""
    every = 0.1 if sys.stderr.isatty() else 10
    return tqdm(items, leave=False, mininterval=every, delay=1, dynamic_ncols=True, **options)
