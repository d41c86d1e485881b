"""Audio autoencoders in JAX: how few numbers per second describe your audio?"""

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
    from aejax.trained import TrainedModel


def load(path: "str | os.PathLike[str]") -> "TrainedModel":
    """The model of a finished run: see `aejax.trained.load`."""
    if not isinstance(path, str | os.PathLike):
        raise ValueError(f"path must be that of a run's directory, got {type(path).__name__}")
    from aejax import trained  # its parts can be used without all that it needs

    return trained.load(path)
