"""Handling of SIGINT and SIGTERM: the process ends at once, or after a `graceful` block.

A thread waits for the signals, which also works while the main thread compiles for minutes. An
exception in the main thread could be lost in an import or a callback of the garbage collector.
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
      hint: how to continue the work, for the message.
      received: the first signal received.
      graceful: number of `graceful` blocks that this process is in.
    """

    def __init__(self, hint: str):
        self.hint = hint
        self.received: int | None = None
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
            if self.received is None:
                self.received, self._since = number, time.monotonic()
                if self.graceful:
                    return
            elif time.monotonic() - self._since < _SAME_KEY:
                return
        end(exit_code(self.received), f"error: {stopped_by(self.received)}; {self.hint}\n")


_listener: _Listener | None = None
_cleanups: dict[object, Callable[[], None]] = {}


def stopped_by(number: int) -> str:
    """A signal's effect, for messages."""
    return "interrupted" if number == signal.SIGINT else "stopped by SIGTERM"


def exit_code(number: int) -> int:
    """The exit code of a program ended by a signal: 130 for SIGINT, 143 for SIGTERM."""
    return 128 + number


def listen(hint: str) -> None:
    """Makes SIGINT and SIGTERM end this process, delayed to the end of a `graceful` block.

    Args:
      hint: how to continue the work, for the printed message.
    """
    global _listener
    listener = _listener = _Listener(hint)
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
    for number in SIGNALS:  # only signals with a Python handler are written to the socket
        signal.signal(number, _ignore)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_restore_defaults)


def _ignore(number: int, frame: Any) -> None:
    """A handler that does nothing."""


def _restore_defaults() -> None:
    global _listener
    _listener = None
    signal.set_wakeup_fd(-1)
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def graceful() -> Iterator[Callable[[], int | None]]:
    """Delays the end of the process; yields a function that returns the signal received, or None.

    The block must call the function and end when it returns a signal. A second signal ends the
    process at once; without `listen`, it has its default effect.
    """
    listener = _listener
    if listener is None:
        with _temporary_handlers() as asked:
            yield asked
        return
    listener.enter()
    try:
        yield lambda: listener.received
    finally:
        listener.leave()
    if listener.received is not None:  # after the block's last call
        message = f"error: {stopped_by(listener.received)}; {listener.hint}\n"
        end(exit_code(listener.received), message)


@contextlib.contextmanager
def _temporary_handlers() -> Iterator[Callable[[], int | None]]:
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
    """Calls a function if `end` ends the process in the block, where ``finally`` does not run."""
    key = object()
    _cleanups[key] = function
    try:
        yield
    finally:
        _cleanups.pop(key, None)


def leave(code: int) -> NoReturn:
    """Exits with a code; immediately if it is the code of a signal."""
    if code in map(exit_code, SIGNALS):
        end(code)
    sys.exit(code)


def end(code: int, line: str = "") -> NoReturn:
    """Ends this process immediately; `sys.exit` would wait for threads that compile."""
    for function in list(_cleanups.values()):
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
