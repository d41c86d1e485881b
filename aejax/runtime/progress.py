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
    """A progress bar that is removed at the end, shown after a second; where nothing can be drawn
    again, whole lines at longer intervals."""
    options["disable"] = _silent or options.get("disable", False)
    if _redraws(sys.stderr):
        return tqdm(items, leave=False, delay=1, dynamic_ncols=True, **options)
    return _Lines(items, leave=False, mininterval=_SECONDS_PER_LINE, bar_format=_LINE, **options)


_SECONDS_PER_LINE = 20
_LINE = "{l_bar}{r_bar}"  # without a bar


def _redraws(stream: Any) -> bool:
    """Whether the last line of a stream can be drawn again."""
    if not stream.isatty() or os.environ.get("TERM") == "dumb":
        return False
    try:
        return os.get_terminal_size(stream.fileno()).lines > 1
    except (OSError, ValueError):
        return False


class _Lines(tqdm):
    """Progress as whole lines."""

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        if msg is None and self.n > self.initial:
            self.fp.write(f"{self}\n")
            self.fp.flush()
        return False

    def clear(self, nolock: bool = False) -> None:
        """Does nothing: messages come after the line."""

    def refresh(self, nolock: bool = False, lock_args: Any = None) -> bool:
        # Without the lock, tqdm draws again what a message has interrupted.
        return False if nolock else bool(super().refresh(lock_args=lock_args))
