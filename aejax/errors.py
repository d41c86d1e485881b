"""The one kind of error that is the user's to mend, and how errors end a command."""

import sys
from collections.abc import Callable

INTERRUPTED = 130  # exit code, as shells have it


class UserError(Exception):
    """Something outside aejax is wrong: a config, a file, a folder, a device.

    The message is one line that names the thing and the way out; the command line prints it
    without a traceback. Everything else that is raised is a defect of aejax and shows one.
    """


class Interrupted(UserError):
    """The work was asked to stop, and what it has done is saved: nothing goes on after it."""


def plain(text: str) -> str:
    """Any text in characters that a terminal shows on one line."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def exit_code(command: Callable[[], None], *, interrupted: str) -> int:
    """Runs a command; what the user can mend becomes one line. All else keeps its traceback.

    Args:
      command: to run.
      interrupted: what to say after Ctrl-C.

    Returns:
      0, 1 for an error, `INTERRUPTED` after Ctrl-C.
    """
    try:
        command()
    except UserError as error:
        return _fail(str(error))
    except BrokenPipeError:  # `| head` has seen enough
        sys.stderr.close()
        return 0
    except OSError as error:  # a full disk, a folder that may not be entered, a name too long
        return _fail(f"{error.strerror or error}: {error.filename or 'while writing'}")
    except KeyboardInterrupt:
        _fail(f"interrupted; {interrupted}")
        return INTERRUPTED
    return 0


def _fail(message: str) -> int:
    print(f"error: {plain(message)}", file=sys.stderr)
    return 1
