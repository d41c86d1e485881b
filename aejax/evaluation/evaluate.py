"""One evaluator for anything that turns features into features."""

import dataclasses
import functools
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from aejax.errors import UserError
from aejax.evaluation import metrics
from aejax.evaluation.by_clip import ClipErrors
from aejax.representation import Representation, valid_frames

Reconstruct = Callable[[Any, Float[Array, "batch frames bins"]], Float[Array, "batch frames bins"]]


@dataclasses.dataclass(frozen=True)
class Codec:
    """Something to be measured.

    Attributes:
      name: of its row.
      reconstruct: ``reconstruct(variables, features)``, features through its latents and back.
      variables: a pytree of arrays.
      latent_floats_per_second: None for what has no latents.
    """

    name: str
    reconstruct: Reconstruct
    variables: Any
    latent_floats_per_second: float | None


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of the results table: ``results.json`` has these names."""

    name: str
    latent_floats_per_second: float | None
    log_mel_rmse_db: float
    audio_log_mel_rmse_db: float
    explained_variance: float | None
    gain_over_pca_db: float | None = None


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """Measures on the same clips, by the same function, whatever it is given.

    Attributes:
      representation: between audio and features.
      downsampling: frames in a block; a clip's last block counts whole.
      centre: ``[bins]``, dB, near the mean of the features.
      place: puts a batch on the devices.
    """

    representation: Representation
    downsampling: int
    centre: jax.Array
    place: Callable[[Any], dict[str, jax.Array]]

    def features_rmse_db(
        self, reconstruct: Reconstruct, variables: Any, batches: Iterable[Any]
    ) -> float:
        """Log-mel RMSE of what ``reconstruct`` puts out, in dB."""
        total = None
        for batch in batches:
            sums, _, _ = self._sums(reconstruct, variables, batch, audio=False)
            total = metrics.add(total, sums)
        return metrics.log_mel_rmse_db(_something(total))

    def row(self, codec: Codec, batches: Iterable[Any], clips: int) -> tuple[Row, ClipErrors]:
        """All metrics of a codec, but for the gain, which needs another row; and the error of each
        of the ``clips`` that there are in the corpus."""
        total = audio_total = None
        errors = ClipErrors(np.zeros(clips), np.zeros(clips))
        for batch in batches:
            sums, audio_sums, rows = self._sums(
                codec.reconstruct, codec.variables, batch, audio=True
            )
            total, audio_total = metrics.add(total, sums), metrics.add(audio_total, audio_sums)
            there = batch["clip"] >= 0
            for whole, part in zip((errors.frames, errors.squared_error), rows, strict=True):
                np.add.at(whole, batch["clip"][there], part[there])
        total, audio_total = _something(total), _something(audio_total)
        row = Row(
            name=codec.name,
            latent_floats_per_second=codec.latent_floats_per_second,
            log_mel_rmse_db=metrics.log_mel_rmse_db(total),
            audio_log_mel_rmse_db=metrics.log_mel_rmse_db(audio_total),
            explained_variance=metrics.explained_variance(total),
        )
        return row, errors

    def _sums(self, reconstruct: Reconstruct, variables: Any, batch: Any, *, audio: bool) -> Any:
        placed = self.place(batch)
        features = analyse(placed["audio"], representation=self.representation)
        output = apply(variables, features, reconstruct=reconstruct)
        sums = _measure(
            features,
            output,
            placed["length"],
            self.centre,
            representation=self.representation,
            downsampling=self.downsampling,
            audio=audio,
        )
        return jax.device_get(sums)


def _something(total: metrics.ErrorSums | None) -> metrics.ErrorSums:
    if total is None or not total.frames:
        raise UserError("no clip of the split can be read any more; put the audio back")
    return total


# Compiled apart, so that all codecs share the transforms, which take long to compile.


@functools.partial(jax.jit, static_argnames="representation")
def analyse(
    audio: Float[Array, "batch samples *channels"], *, representation: Representation
) -> Float[Array, "batch frames bins"]:
    """`Representation.analyse`, compiled."""
    return representation.analyse(audio)


@functools.partial(jax.jit, static_argnames="representation")
def synthesise(
    features: Float[Array, "batch frames bins"], *, representation: Representation
) -> Float[Array, "batch samples *channels"]:
    """`Representation.synthesise`, compiled."""
    return representation.synthesise(features)


@functools.partial(jax.jit, static_argnames="reconstruct")
def apply(
    variables: Any, features: Float[Array, "batch frames bins"], *, reconstruct: Reconstruct
) -> Float[Array, "batch frames bins"]:
    """`Codec.reconstruct`, compiled."""
    return reconstruct(variables, features)


@functools.partial(jax.jit, static_argnames=("representation", "downsampling", "audio"))
def _measure(
    features: Float[Array, "batch frames bins"],
    output: Float[Array, "batch frames bins"],
    length: Int[Array, " batch"],
    centre: Float[Array, " bins"],
    *,
    representation: Representation,
    downsampling: int,
    audio: bool,
) -> Any:
    mask = valid_frames(representation, length, features.shape[1], downsampling)
    sums = metrics.error_sums(output, features, mask, centre)
    rows = metrics.row_sums(output, features, mask)
    if not audio:
        return sums, None, rows
    heard = representation.analyse(representation.synthesise(output))
    return sums, metrics.error_sums(heard, features, mask, centre), rows


def with_gains(rows: list[Row], reference: str) -> list[Row]:
    """The rows that have latents, with their gain over the row named ``reference``."""
    rmse = next(row.log_mel_rmse_db for row in rows if row.name == reference)
    return [
        row
        if row.latent_floats_per_second is None
        else dataclasses.replace(row, gain_over_pca_db=metrics.gain_db(row.log_mel_rmse_db, rmse))
        for row in rows
    ]


def identity(
    variables: None, features: Float[Array, "batch frames bins"]
) -> Float[Array, "batch frames bins"]:
    """No model at all: what is left is the representation's own loss."""
    del variables
    return features


def autoencode(
    codec: Any, features: Float[Array, "batch frames bins"]
) -> Float[Array, "batch frames bins"]:
    """For a codec that is itself a pytree with ``encode`` and ``decode``, such as PCA."""
    return codec.decode(codec.encode(features))
