"""Loading a finished run."""

import contextlib
import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from aejax import objective, representations
from aejax.inference.model import TrainedModel
from aejax.models import autoencoder
from aejax.prepare import SPEAKERS
from aejax.reporting import run_files
from aejax.representations import Representation
from aejax.runtime import files
from aejax.runtime.devices import Devices
from aejax.runtime.errors import UserError
from aejax.runtime.progress import warn
from aejax.training import checkpoint
from aejax.training.start import abstract_snapshot
from aejax.workdir import read_config

_MOST_BYTES = 1 << 20  # of the file of speakers


def load(path: "str | os.PathLike[str]") -> TrainedModel:
    """The model of a finished run, with its best variables by validation loss.

    Nothing in the directory is executed.

    Args:
      path: directory of the run.

    Raises:
      UserError: the run is missing, unfinished or damaged.
    """
    path = files.expand(path)
    config = read_config(path)
    representation = representations.from_config(config)
    dtype = jnp.dtype(config.train.dtype)
    speakers = _speakers(path) if config.model.speaker_label else ()
    model = autoencoder.from_config(
        config.model, representation.bins, dtype, speakers=len(speakers)
    )
    best = _best(path, config.train.steps, _abstract_snapshot(config, representation, model))
    chosen = min(best.values(), key=lambda candidate: float(candidate.loss))
    return TrainedModel(config, representation, model, chosen.variables, speakers)


def _best(path: Path, last: int, like: checkpoint.Snapshot) -> dict[str, checkpoint.Best]:
    """The best variables of a finished run, from the checkpoint of its last step.

    If that is damaged, from an older checkpoint with the same best variables, if there is one.
    """
    directory, copy = path / "checkpoints", Devices(jax.local_device_count()).copy
    saved, finished = checkpoint.steps(directory), (path / "results.json").exists()
    if last not in saved and not finished:
        raise UserError(f"the run in {path} is not finished; start it again to continue")
    try:
        return checkpoint.read(directory, last, like, copy).best
    except checkpoint.DamagedCheckpoint as error:
        problem = error
    if not finished:
        raise UserError(f"{problem}; start the run again to continue from an older checkpoint")
    measured = run_files.read_results(path).get("best")
    for step in sorted((step for step in saved if step < last), reverse=True):
        with contextlib.suppress(checkpoint.DamagedCheckpoint):
            best = checkpoint.read(directory, step, like, copy).best
            if measured == {name: value.as_json() for name, value in best.items()}:
                warn(f"{problem}; the checkpoint of step {step} has the same best model")
                return best
    raise UserError(
        f"{problem}, and no older checkpoint has the best model; delete"
        f" {path / 'results.json'} and start the run again, to continue from an older checkpoint"
    )


def _speakers(path: Path) -> tuple[str, ...]:
    speakers = files.read_json(path / SPEAKERS, _MOST_BYTES)
    if not isinstance(speakers, list) or not all(isinstance(name, str) for name in speakers):
        raise UserError(f"{path / SPEAKERS} is damaged: it must be a list of names")
    return tuple(speakers)


def _abstract_snapshot(
    config: Any, representation: Representation, model: autoencoder.Autoencoder
) -> checkpoint.Snapshot:
    """The shapes and types in a run's checkpoints."""
    return abstract_snapshot(config, model, objective.from_config(config, representation).weights)
