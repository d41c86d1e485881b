"""A run's directory: its config, its lock, and atomic writes."""

import contextlib
import io
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from aejax import config as config_module
from aejax import parts
from aejax.runtime import files, processes
from aejax.runtime.errors import UserError, printable

fcntl: Any
try:
    import fcntl
except ImportError:
    fcntl = None


_LOCK = "run.lock"
LOGS = "logs"  # output of the processes of a launched run
PARTS = "parts.json"  # files of the user's own parts
_MOST_CONFIG = 1 << 20  # bytes of a config.json
_MOST_SHOWN = 4  # differing keys in an error message


class Workdir:
    """The directory of one run; `create` makes it.

    Args:
      path: the directory.
      config: of the run.

    Raises:
      UserError: the directory has a run with another config, or other files.
    """

    def __init__(self, path: Path, config: ConfigDict):
        self.path = path
        self.config = config
        self._lock: io.FileIO | None = None
        if path.exists() and not path.is_dir():
            raise UserError(f"--workdir={path} is a file; give a directory")
        if not self.has("config.json"):
            # A run killed at the start leaves only the lock and logs.
            if path.is_dir() and not files.is_empty(path, beside={_LOCK, LOGS}):
                raise UserError(
                    f"--workdir={path} holds files and no run (no config.json); use another"
                )
            return
        saved = files.read_object(path / "config.json", _MOST_CONFIG)
        differing = config_module.differences(config, config_module.flattened(saved))
        if differing:
            shown = [
                f"{key}: {repr(theirs)[:80]} there, {repr(ours)[:80]} now"
                for key, (ours, theirs) in list(differing.items())[:_MOST_SHOWN]
            ]
            more = len(differing) - len(shown)
            keys = printable("; ".join([*shown, f"and {more} more"] if more else shown))
            raise UserError(
                f"{path} holds a run with another config ({keys}); use another --workdir, or the"
                " same config to resume that run"
            )

    def create(self) -> None:
        """Creates the directory and locks it until `release`; processes other than the main one
        look whether they can write there.

        Raises:
          UserError: the directory is not writable, or locked by another process.
        """
        with self._explained():
            if processes.is_main():
                self.path.mkdir(parents=True, exist_ok=True)
                self._hold()
            else:
                self._try_to_write()

    def write_config(self) -> None:
        """Writes ``config.json``, and which files the user's own parts are in.

        Raises:
          UserError: the directory is not writable.
        """
        with self._explained():
            self.write_text("config.json", config_module.to_json(self.config))
            if own := parts.outside():
                self.write_text(PARTS, json.dumps(own, indent=1) + "\n")

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(
                f"cannot write to --workdir={self.path} ({error.strerror}); use another"
            ) from None

    def _try_to_write(self) -> None:
        """Fails where this process does not share the directory of the main one."""
        if fcntl is not None and not self.has(_LOCK):
            raise UserError(
                f"--workdir={self.path} is not the directory that process 0 has created; use one"
                " that all processes share"
            )
        tempfile.TemporaryFile(dir=self.path).close()

    def _hold(self) -> None:
        if fcntl is None:  # Windows
            return
        self._lock = files.open_lock(self.path / _LOCK)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            raise UserError(
                f"another process is using the run in {self.path}; wait for it, or use"
                " another --workdir"
            ) from None
        files.remove_temporary(self.path)

    def release(self) -> None:
        """Unlocks the directory; so does the end of the process."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def has(self, name: str) -> bool:
        """Whether a file or folder of that name exists."""
        return os.path.lexists(self.path / name)

    def write_text(self, name: str, text: str) -> None:
        """Writes a file atomically."""
        files.write_text(self.path / name, text)


def read_config(path: Path) -> ConfigDict:
    """The config of a run; executes nothing in its directory.

    Raises:
      UserError: there is no run, it is damaged, or its parts are not registered.
    """
    file = path / "config.json"
    if not os.path.lexists(file):
        raise UserError(f"{path} holds no run: it has no config.json")
    saved = files.read_object(file, _MOST_CONFIG)
    try:
        return config_module.from_saved(saved)
    except UserError as error:
        missing = _missing_parts(path)
        if not missing:
            raise UserError(f"{file}: {error}") from None
    name, where = next(iter(missing.items()))
    raise UserError(
        f"the run in {printable(str(path))} uses the part {printable(name)} from"
        f" {printable(where)}; load that file: --parts=FILE before the command, or"
        " aejax.load(run, parts=FILE)"
    )


def _missing_parts(path: Path) -> dict[str, str]:
    """Files of a run's parts that are not registered, by part."""
    if not os.path.lexists(path / PARTS):
        return {}
    known = parts.outside()
    saved = files.read_object(path / PARTS, _MOST_CONFIG)
    return {str(name): str(file) for name, file in saved.items() if name not in known}
