"""Compiling: the cache of compiled programs, and how long each took."""

import contextlib
import hashlib
import json
import os
import re
import time
from pathlib import Path
from typing import Any

import jax

from aejax.runtime import files
from aejax.runtime.errors import UserError


def use_cache() -> None:
    """Caches compiled programs on disk, in JAX_COMPILATION_CACHE_DIR if set."""
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        home = files.expand(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
        jax.config.update("jax_compilation_cache_dir", str(home / "aejax" / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def compiled(lowered: jax.stages.Lowered, name: str) -> jax.stages.Compiled:
    """Compiles a program, after a line that says how long that took the last time.

    Args:
      lowered: the program.
      name: in the line, "the step".
    """
    key = _key(lowered)
    before = _seconds().get(key)
    took = "" if before is None else f"; it took {before:.1f} s last time, unless cached"
    print(f"compiling {name}{took}", flush=True)
    begin = time.perf_counter()
    result = lowered.compile()
    seconds = time.perf_counter() - begin
    if before is None or seconds > before / 2:  # otherwise it came from the cache
        _remember(key, round(seconds, 3))
    return result


_FILE, _MOST_BYTES, _MOST_PROGRAMS = "aejax_seconds.json", 1 << 16, 200


def _key(lowered: jax.stages.Lowered) -> str:
    """A hash of a program without its constants, such as the number of training steps."""
    text = re.sub(r"dense<[^>]*>", "", lowered.as_text())
    kind = jax.local_devices()[0].device_kind
    return hashlib.sha256(f"{jax.__version__} {kind} {text}".encode()).hexdigest()[:16]


def _path() -> Path | None:
    """The file of times beside the compiled programs; None without a folder of them."""
    config: Any = jax.config  # its attributes are made when JAX is imported
    folder = config.jax_compilation_cache_dir
    return Path(folder, _FILE) if folder and os.path.isdir(folder) else None


def _seconds() -> dict[str, float]:
    """Seconds by key, oldest first; empty if the file is missing or damaged."""
    path = _path()
    with contextlib.suppress(UserError, OSError):
        if path is not None and path.exists():
            read = files.read_object(path, _MOST_BYTES)
            return {key: float(x) for key, x in read.items() if type(x) in (int, float) and x >= 0}
    return {}


def _remember(key: str, seconds: float) -> None:
    path, known = _path(), _seconds()
    known.pop(key, None)
    newest = list({**known, key: seconds}.items())[-_MOST_PROGRAMS:]
    if path is not None:
        with contextlib.suppress(UserError, OSError):  # a folder that others may write alone
            files.write_text(path, json.dumps(dict(newest), indent=1) + "\n")
