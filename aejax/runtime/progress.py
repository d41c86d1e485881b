"""Progress bars and warnings on the terminal."""

import os
import sys
from typing import Any

from tqdm import tqdm

from aejax.runtime.errors import printable


def progress(items: Any, total: int, desc: str) -> tqdm:
    """A progress bar that counts files."""
    return bar(items, total=total or None, desc=desc, unit="file")


_silent = False


def silence() -> None:
    """Makes this process print nothing but errors and what happens to it alone: another process
    prints the same."""
    global _silent
    _silent = True
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # also what libraries in C++ print


def warn(message: str, *, own: bool = False) -> None:
    """Prints a warning to standard error, without breaking a progress bar.

    Args:
      message: one line.
      own: of several processes of a run, it happens to this one alone.
    """
    if own or not _silent:
        tqdm.write(f"warning: {printable(message)}", file=sys.stderr)


def note(message: str) -> None:
    """Prints a message to standard error; standard output is for results."""
    if not _silent:
        tqdm.write(printable(message), file=sys.stderr)


def bar(items: Any = None, **options: Any) -> tqdm:
    """A progress bar for a terminal or a log, shown after a second and removed at the end."""
    interval = 0.1 if sys.stderr.isatty() else 10
    return tqdm(
        items,
        leave=False,
        mininterval=interval,
        delay=1,
        dynamic_ncols=True,
        disable=_silent,
        **options,
    )
