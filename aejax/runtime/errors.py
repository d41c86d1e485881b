"""Errors that the user can fix, and the exit codes of commands."""

import contextlib
import errno
import os
import signal
import sys
from collections.abc import Callable

from aejax.runtime import stopping

LONGEST = 2000  # characters of a message


class UserError(Exception):
    """An error outside of aejax: in a config, a file, a folder, a device.

    The message is one line with the cause and a remedy; the command line prints it without a
    traceback. All other exceptions are defects of aejax and show one.
    """


class Interrupted(UserError):
    """The work was stopped by a signal, and its progress is saved.

    Args:
      message: one line.
      number: of the signal.
    """

    def __init__(self, message: str, number: int = signal.SIGINT):
        super().__init__(message)
        self.number = number


class DiskFull(UserError):
    """The disk is full; after freeing space the command can be repeated."""


# The system's messages for a full disk, a quota, and a file size limit.
_FULL = [os.strerror(getattr(errno, name)) for name in ("ENOSPC", "EDQUOT", "EFBIG")]


def full_disk_reason(error: BaseException) -> str:
    """The system's message for a full disk in an error of any library; "" for other errors."""
    return next((reason for reason in _FULL if reason in str(error)), "")


def printable(text: str) -> str:
    """A text with control and other unprintable characters escaped, for a terminal."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def exit_code(command: Callable[[], None], *, interrupted: str) -> int:
    """Runs a command and returns its exit code; prints user errors as one line.

    Other exceptions propagate, with a traceback.

    Args:
      command: to run.
      interrupted: message after Ctrl-C.

    Returns:
      0, 1 for an error, 130 after Ctrl-C, 143 after SIGTERM.
    """
    with contextlib.suppress(AttributeError, ValueError):  # the stream is closed or no file
        # Names of files may have characters that the terminal or pipe cannot encode.
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        command()
    except Interrupted as error:
        _fail(str(error))
        return stopping.exit_code(error.number)
    except UserError as error:
        return _fail(str(error))
    except BrokenPipeError:  # the reader (`| head`) has closed the pipe
        sys.stderr.close()
        return 0
    except OSError as error:  # such as no permission, or a name that is too long
        more = "; make room and repeat the command" if full_disk_reason(error) else ""
        return _fail(f"{error.strerror or error}: {error.filename or 'while writing'}{more}")
    except KeyboardInterrupt:
        _fail(f"interrupted; {interrupted}")
        return stopping.exit_code(signal.SIGINT)
    return 0


def _fail(message: str) -> int:
    if message:  # of several processes, the main one says it
        print(f"error: {printable(message)}", file=sys.stderr)
    return 1


def one_line(error: BaseException) -> str:
    """The message for an error, on one line; with its type unless it is a `UserError`."""
    text = printable(" ".join(str(error).split()))[:LONGEST]
    if isinstance(error, UserError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
