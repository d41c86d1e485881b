"""A run's directory: what is in it, whose it is, and writing to it whole or not at all."""

import io
import json
import os
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from aejax import config as config_module
from aejax import parts
from aejax.runtime import files
from aejax.runtime.errors import UserError, printable

fcntl: Any
try:
    import fcntl
except ImportError:
    fcntl = None


_LOCK = "run.lock"
PARTS = "parts.json"  # where parts that are not aejax's own come from
_MOST_CONFIG = 1 << 20  # bytes of a config.json; larger ones are none of ours
_MOST_SHOWN = 4  # keys that differ, in an error


class Workdir:
    """The directory of one run. Nothing is written before `create`.

    Args:
      path: where.
      config: of the run that wants it.

    Raises:
      UserError: it holds something else: a run of another config, or files that are no run.
    """

    def __init__(self, path: Path, config: ConfigDict):
        self.path = path
        self.config = config
        self._lock: io.FileIO | None = None
        if path.exists() and not path.is_dir():
            raise UserError(f"--workdir={path} is a file; give a directory")
        if not self.has("config.json"):
            # A kill before the first rename leaves no more than the lock.
            if path.is_dir() and not files.is_empty(path, beside={_LOCK}):
                raise UserError(
                    f"--workdir={path} holds files and no run (no config.json); give another"
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
                f"{path} holds a run of another config ({keys}); give another --workdir, or the"
                " same config to go on with that run"
            )

    def create(self) -> None:
        """Makes the directory, holds it until `release`, and writes ``config.json``.

        Raises:
          UserError: it cannot be written, or another process holds it.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._hold()
            self.write_text("config.json", config_module.to_json(self.config))
            if own := parts.outside():
                self.write_text(PARTS, json.dumps(own, indent=1) + "\n")
        except OSError as error:
            raise UserError(
                f"cannot write to --workdir={self.path} ({error.strerror}); give another"
            ) from None

    def _hold(self) -> None:
        if fcntl is None:  # no locks of this kind on this system
            return
        self._lock = files.open_lock(self.path / _LOCK)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            raise UserError(
                f"another process is at work on the run in {self.path}; wait for it, or give"
                " another --workdir"
            ) from None
        files.remove_temporary(self.path)

    def release(self) -> None:
        """Lets others at the directory; so does the end of the process."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def has(self, name: str) -> bool:
        """Whether there is anything of that name."""
        return os.path.lexists(self.path / name)

    def write_text(self, name: str, text: str) -> None:
        """Writes a file, whole or not at all."""
        files.write_text(self.path / name, text)


def read_config(path: Path) -> ConfigDict:
    """The config of a run; nothing in its directory is executed.

    Raises:
      UserError: there is no run, it is damaged, or it was made with parts that are not there.
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
        f"the run in {printable(str(path))} was made with a part of its own, {printable(name)},"
        f" from {printable(where)}; give that file: --parts=FILE before the command, or"
        " aejax.load(run, parts=FILE)"
    )


def _missing_parts(path: Path) -> dict[str, str]:
    """Parts that a run was made with and that nobody has registered, with their files."""
    if not os.path.lexists(path / PARTS):
        return {}
    known = parts.outside()
    saved = files.read_object(path / PARTS, _MOST_CONFIG)
    return {str(name): str(file) for name, file in saved.items() if name not in known}
