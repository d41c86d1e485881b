"""What the tests of launchers run in other processes."""

import os
import signal
import sys
import time
from pathlib import Path

from aejax.runtime.errors import UserError


def note(folder, name, seconds=0.0):
    """Writes when it began and when it ended."""
    Path(folder, f"{name}.began").write_text(str(time.time()))
    print(f"{name} prints")
    print(f"{name} complains", file=sys.stderr)
    time.sleep(seconds)
    Path(folder, f"{name}.ended").write_text(str(time.time()))


def refuse():
    raise UserError("it is\nthe user's to mend")


def fail():
    raise ValueError("a defect\nin two lines")


def leave():
    sys.exit(3)


def crash():
    os._exit(4)


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def wait(folder, name):
    """Until it is asked to end, which it then says."""
    Path(folder, f"{name}.began").write_text(str(os.getpid()))
    try:
        time.sleep(600)
    finally:
        Path(folder, f"{name}.saved").write_text("")


def _lose():
    raise ValueError("lost on the way")


class Lost:
    """What can be pickled and not unpickled."""

    def __reduce__(self):
        return _lose, ()
