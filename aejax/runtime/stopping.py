"""Handling of SIGINT and SIGTERM: the process ends at once, or after a `graceful` block.

No exception is raised in the main thread: in an import or a callback of the garbage collector it
may be lost. A thread waits for signals instead, which also works while the main thread compiles for
minutes.
"""

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SAME_KEY = 0.2  # seconds; a terminal and a wrapper may both send a signal for one Ctrl-C
_FLUSH = 0.5  # seconds to flush the output to a slow reader


class _Listener:
    """The state of signal handling in a process.

    Attributes:
      says: message about how to continue the work.
      asked: the first signal received.
      graceful: number of `graceful` blocks that this process is in.
    """

    def __init__(self, says: str):
        self.says = says
        self.asked: int | None = None
        self.graceful = 0
        self._since = 0.0
        self._lock = threading.Lock()

    def enter(self) -> None:
        with self._lock:
            self.graceful += 1

    def leave(self) -> None:
        with self._lock:
            self.graceful -= 1

    def receive(self, number: int) -> None:
        """Handles a signal: the first may wait for the end of `graceful`, the second does not."""
        with self._lock:
            if self.asked is None:
                self.asked, self._since = number, time.monotonic()
                if self.graceful:
                    return
            elif time.monotonic() - self._since < _SAME_KEY:
                return
        end(exit_code(self.asked), f"error: {stopped_by(self.asked)}; {self.says}\n")


_listener: _Listener | None = None
_last: dict[object, Callable[[], None]] = {}


def stopped_by(number: int) -> str:
    """The words for a signal."""
    return "interrupted" if number == signal.SIGINT else "stopped by SIGTERM"


def exit_code(number: int) -> int:
    """The exit code of a program ended by a signal: 130 for SIGINT, 143 for SIGTERM."""
    return 128 + number


def listen(says: str) -> None:
    """Makes SIGINT and SIGTERM end this process, delayed to the end of a `graceful` block.

    Args:
      says: message about how to continue the work, for the line that is printed.
    """
    global _listener
    listener = _listener = _Listener(says)
    reader, writer = socket.socketpair()
    writer.setblocking(False)

    def wait() -> None:
        while numbers := reader.recv(64):
            for number in numbers:
                if number in SIGNALS:
                    listener.receive(number)

    threading.Thread(target=wait, daemon=True, name="signals").start()
    # First: a signal between the two would be handled without being written.
    signal.set_wakeup_fd(writer.detach(), warn_on_full_buffer=False)
    for number in SIGNALS:  # without a Python handler nothing is written to the socket
        signal.signal(number, _nothing)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_restore_defaults)


def _nothing(number: int, frame: Any) -> None:
    """A handler that does nothing."""


def _restore_defaults() -> None:
    global _listener
    _listener = None
    signal.set_wakeup_fd(-1)
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def graceful() -> Iterator[Callable[[], int | None]]:
    """A function that returns the signal that asked the block to stop, or None.

    The block must call it and end by itself. A second signal ends the process at once; without
    `listen`, it has its previous effect.
    """
    listener = _listener
    if listener is None:
        with _own_handlers() as asked:
            yield asked
        return
    listener.enter()
    try:
        yield lambda: listener.asked
    finally:
        listener.leave()
    if listener.asked is not None:  # it came after the block's last call
        end(exit_code(listener.asked), f"error: {stopped_by(listener.asked)}; {listener.says}\n")


@contextlib.contextmanager
def _own_handlers() -> Iterator[Callable[[], int | None]]:
    received: list[int] = []
    previous: dict[int, Any] = {}

    def handle(number: int, _: Any) -> None:
        received.append(number)
        signal.signal(number, previous[number])

    if threading.current_thread() is threading.main_thread():  # Python allows no handlers elsewhere
        for caught in SIGNALS:
            previous[caught] = signal.signal(caught, handle)
    try:
        yield lambda: received[0] if received else None
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def at_end(function: Callable[[], None]) -> Iterator[None]:
    """Calls a function if the process is ended within the block, where ``finally`` does not run."""
    key = object()
    _last[key] = function
    try:
        yield
    finally:
        _last.pop(key, None)


def leave(code: int) -> NoReturn:
    """Exits with a code; at once if it is that of a signal."""
    if code in map(exit_code, SIGNALS):
        end(code)
    sys.exit(code)


def end(code: int, line: str = "") -> NoReturn:
    """Ends this process at once; an orderly exit would wait for threads that compile."""
    for function in list(_last.values()):
        with contextlib.suppress(Exception):
            function()
    processes = sys.modules.get("multiprocessing")
    for child in processes.active_children() if processes else ():
        child.kill()
    # In a thread: the reader may be stuck, or another thread may hold the stream.
    flushing = threading.Thread(target=_flush, daemon=True)
    flushing.start()
    flushing.join(_FLUSH)
    with contextlib.suppress(OSError):
        bar = "\r\x1b[K" if os.isatty(2) else ""  # clears a progress bar
        os.write(2, f"{bar if line else ''}{line}".encode(errors="backslashreplace"))
    os._exit(code)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
