"""The one kind of error that is the user's to mend, and how errors end a command."""

import contextlib
import errno
import os
import signal
import sys
from collections.abc import Callable

_BY_SIGNAL = 128  # exit codes of what a signal ends, as shells have them: 130 for SIGINT


class UserError(Exception):
    """Something outside aejax is wrong: a config, a file, a folder, a device.

    The message is one line that names the thing and the way out; the command line prints it
    without a traceback. Everything else that is raised is a defect of aejax and shows one.
    """


class Interrupted(UserError):
    """The work was asked to stop, and what it has done is saved: nothing goes on after it.

    Args:
      message: one line.
      number: of the signal that asked.
    """

    def __init__(self, message: str, number: int = signal.SIGINT):
        super().__init__(message)
        self.number = number


class DiskFull(UserError):
    """There is no room to write; once there is, the same work can be done."""


# What a disk says that is full, or a quota, or a file that may not be so long.
_FULL = [os.strerror(getattr(errno, name)) for name in ("ENOSPC", "EDQUOT", "EFBIG")]


def no_room(error: BaseException) -> str:
    """What a disk that is used up says in an error of any library; "" where it is another error."""
    return next((reason for reason in _FULL if reason in str(error)), "")


def plain(text: str) -> str:
    """Any text in characters that a terminal shows on one line."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def exit_code(command: Callable[[], None], *, interrupted: str) -> int:
    """Runs a command; what the user can mend becomes one line. All else keeps its traceback.

    Args:
      command: to run.
      interrupted: what to say after Ctrl-C.

    Returns:
      0, 1 for an error, 130 after Ctrl-C, 143 after SIGTERM.
    """
    with contextlib.suppress(AttributeError, ValueError):  # a stream that is closed, or no file
        # Names of files may have what a terminal, or a pipe, has no character for.
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        command()
    except Interrupted as error:
        _fail(str(error))
        return _BY_SIGNAL + error.number
    except UserError as error:
        return _fail(str(error))
    except BrokenPipeError:  # `| head` has seen enough
        sys.stderr.close()
        return 0
    except OSError as error:  # a folder that may not be entered, a name too long
        more = "; make room, and give the same command again" if no_room(error) else ""
        return _fail(f"{error.strerror or error}: {error.filename or 'while writing'}{more}")
    except KeyboardInterrupt:
        _fail(f"interrupted; {interrupted}")
        return _BY_SIGNAL + signal.SIGINT
    return 0


def _fail(message: str) -> int:
    print(f"error: {plain(message)}", file=sys.stderr)
    return 1
