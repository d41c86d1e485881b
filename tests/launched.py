"""What the tests of launchers run in other processes."""

import os
import signal
import sys
import time
from pathlib import Path

from aejax.runtime import stopping
from aejax.runtime.errors import Interrupted, UserError


def note(folder, name, seconds=0.0):
    """Writes when it began and when it ended."""
    Path(folder, f"{name}.began").write_text(str(time.time()))
    print(f"{name} prints")
    print(f"{name} complains", file=sys.stderr)
    time.sleep(seconds)
    Path(folder, f"{name}.ended").write_text(str(time.time()))


def join(folder, wanted):
    """Writes who and how many it is, when all have joined; process ``wanted`` fails."""
    from aejax.runtime import processes

    names = processes.gather(str(os.getpid()).encode())
    count, devices = processes.count(), os.environ.get("JAX_LOCAL_DEVICE_IDS", "")
    Path(folder, f"{processes.index()}.joined").write_text(f"{len(set(names))} {count} {devices}")
    print(f"process {processes.index()} prints", flush=True)
    if processes.index() == wanted:
        raise UserError(f"process {wanted}: it is the user's to mend")


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
    """Waits to be stopped, and saves then, as a training does."""
    with stopping.graceful() as asked_to_stop:
        Path(folder, f"{name}.began").write_text(str(os.getpid()))
        while not asked_to_stop():
            time.sleep(0.05)
        Path(folder, f"{name}.saved").write_text("")
        raise Interrupted("saved")


def stay(folder, name):
    """Does not stop when it is told to."""
    with stopping.graceful():
        Path(folder, f"{name}.began").write_text(str(os.getpid()))
        time.sleep(600)


def _lose():
    raise ValueError("lost on the way")


class Lost:
    """What can be pickled and not unpickled."""

    def __reduce__(self):
        return _lose, ()
