"""Audio autoencoders in JAX: how few numbers per second describe your audio?"""

import importlib
import importlib.util
import os

TYPE_CHECKING = False  # as `typing` has it, whose import takes longer than all of this

# These two deadlock on a CPU when several FFTs are ready at once. pyproject.toml excludes them; an
# environment made some other way gets the flag that avoids it, before JAX first looks for devices.
_jax = importlib.util.find_spec("jax")
_packages = os.path.dirname(os.path.dirname(_jax.origin)) if _jax and _jax.origin else ""
if any(os.path.isdir(f"{_packages}/jax-{bad}.dist-info") for bad in ("0.11.1", "0.11.2")):
    _flag = "--xla_cpu_multi_thread_eigen=false"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_flag}".strip()

if TYPE_CHECKING:
    from typing import Any

    from aejax.inference.model import TrainedModel

# Imported as they are asked for: all of it takes seconds. Packages of the other kinds of parts have
# a `register`, too: `aejax.losses.register`.
_HOMES = {
    "bottlenecks": "aejax.parts",
    "default": "aejax.config",
    "encoders": "aejax.parts",
    "key": "aejax.parts",
    "run": "aejax.experiment",
}


def __getattr__(name: str) -> "Any":
    if name not in _HOMES:
        raise AttributeError(f"module 'aejax' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def load(path: "str | os.PathLike[str]", *, parts: "str | None" = None) -> "TrainedModel":
    """The model of a finished run: see `aejax.inference.load`.

    Args:
      path: of the run's directory.
      parts: a file that registers parts of your own, if the run was made with any.
    """
    if not isinstance(path, str | os.PathLike):
        raise ValueError(f"path must be that of a run's directory, got {type(path).__name__}")
    from aejax import parts as part_registries  # the rest can be used without all that it needs
    from aejax.inference.load import load as load_run

    if parts is not None:
        part_registries.load(parts)
    return load_run(path)
