"""Audio autoencoders in JAX: how few numbers per second describe your audio?"""

import importlib
import importlib.util
import os

TYPE_CHECKING = False  # `typing` takes longer to import than this whole module

# JAX 0.11.1 and 0.11.2 deadlock on a CPU when several FFTs run at once. pyproject.toml excludes
# them. Where they are installed anyway, this flag avoids the deadlock; JAX reads it at start-up.
_jax = importlib.util.find_spec("jax")
_packages = os.path.dirname(os.path.dirname(_jax.origin)) if _jax and _jax.origin else ""
if any(os.path.isdir(f"{_packages}/jax-{bad}.dist-info") for bad in ("0.11.1", "0.11.2")):
    _flag = "--xla_cpu_multi_thread_eigen=false"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_flag}".strip()

if TYPE_CHECKING:
    from typing import Any

    from aejax.inference.model import TrainedModel

# Module of each public name. They are imported on first use, since importing all takes seconds.
# Other kinds of parts are registered by their packages: `aejax.losses.register`.
_MODULES = {
    "bottlenecks": "aejax.parts",
    "default": "aejax.config",
    "encoders": "aejax.parts",
    "key": "aejax.parts",
    "run": "aejax.experiment",
}


def __getattr__(name: str) -> "Any":
    if name == "config":  # aejax.config.override
        return importlib.import_module("aejax.config")
    if name not in _MODULES:
        raise AttributeError(f"module 'aejax' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def load(path: "str | os.PathLike[str]", *, parts: "str | None" = None) -> "TrainedModel":
    """The trained model of a finished run, with its best variables by validation loss.

    Nothing in the run's directory is executed.

    Args:
      path: the run's directory: ``runs/mel_conv``.
      parts: a file that registers your own parts, if the run uses any. It is executed.

    Returns:
      A `TrainedModel`. Audio is an array ``[samples]`` or ``[batch, samples]`` or the path of a
      file; arrays have full scale at 1, and by default the rate of the model.

      - ``model.encode(audio, sample_rate)``: latents ``[latent_frames, latent_dim]``;
      - ``model.decode(latents)``: audio at ``model.sample_rate``;
      - ``model.reconstruct(audio, sample_rate)``: both, at the length and rate of the audio;
      - ``model.denoise(audio, sample_rate)``: without noise, if it was trained to remove noise;
      - ``model.sample_rate`` (Hz), ``channels``, ``block`` (samples per latent frame),
        ``latent_rate`` (floats/s), ``speakers``, ``config``; ``help(model)`` has the rest.

    Raises:
      UserError: the run is missing, unfinished or damaged, or needs a file of ``parts``.
      ValueError: ``path`` is no path.

    Example::

        model = aejax.load("runs/mel_conv")
        latents = model.encode("song.flac")  # [latent_frames, latent_dim] for each channel
        audio = model.reconstruct("song.flac")  # [channels, samples] at the rate of the file
    """
    if not isinstance(path, str | os.PathLike):
        raise ValueError(f"path must be a run's directory, got {type(path).__name__}")
    from aejax import parts as part_registries  # here, as these imports take seconds
    from aejax.inference.load import load as load_run

    if parts is not None:
        part_registries.load(parts)
    return load_run(path)
