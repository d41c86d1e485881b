"""One evaluator for anything that turns features into features."""

import dataclasses
import functools
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from aejax import signal
from aejax.errors import UserError
from aejax.evaluation import metrics
from aejax.evaluation.by_clip import ClipErrors
from aejax.overlap import overlapped
from aejax.representation import Representation, valid_frames

Encode = Callable[
    [Any, Float[Array, "batch frames bins"]], Float[Array, "batch latent_frames latent_dim"]
]
Decode = Callable[
    [Any, Float[Array, "batch latent_frames latent_dim"]], Float[Array, "batch frames bins"]
]


@dataclasses.dataclass(frozen=True)
class Codec:
    """Something to be measured.

    Attributes:
      name: of its row.
      encode, decode: ``encode(variables, features)`` and ``decode(variables, latents)``. The same
        function objects for the same model, so that what is compiled for them is compiled once.
      variables: a pytree of arrays.
      latent_floats_per_second: None for what has no latents.
      codes: ``codes(variables, features)``, ints ``[batch, latent_frames, codebooks]``, for what
        quantises.
      codebook_sizes: of the codes.
      latent_dim: floats in a latent frame that are its own; behind them `encode` may give zeros, as
        a model that was trained beside larger ones does. None for all.
      decode_as: ``decode_as(variables, latents, speaker)``, for what is told who speaks.
    """

    name: str
    encode: Encode
    decode: Decode
    variables: Any
    latent_floats_per_second: float | None
    codes: Callable[[Any, Any], Any] | None = None
    codebook_sizes: tuple[int, ...] = ()
    latent_dim: int | None = None
    decode_as: Callable[[Any, Any, Any], Any] | None = None

    def decoded(self, latents: jax.Array, speaker: jax.Array | None) -> jax.Array:
        """Features of latents, compiled; told who speaks, if that is of use."""
        if self.decode_as is None or speaker is None:
            return apply(self.variables, latents, function=self.decode)
        return apply(self.variables, latents, speaker, function=self.decode_as)


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of the results table: ``results.json`` has these names."""

    name: str
    latent_floats_per_second: float | None
    feature_rmse: float
    audio_log_mel_rmse_db: float
    si_sdr_db: float | None
    explained_variance: float | None
    bits_per_second: float | None = None
    codebook_utilisation: float | None = None
    perplexity: float | None = None
    bitrate_efficiency: float | None = None
    gain_over_pca_db: float | None = None
    audio_gain_over_pca_db: float | None = None

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "Row":
        """From ``results.json``; what other versions have in it beside is left out."""
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(**{name: row.get(name) for name in names})  # type: ignore[arg-type]


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """Measures on the same clips, by the same function, whatever it is given.

    Attributes:
      representation: between audio and features.
      yardstick: log-mel spectrogram that audio is measured by.
      downsampling: frames in a block; a clip's last block counts whole.
      centre: ``[bins]``, near the mean of the features.
      place: puts a batch on the devices.
      hear: what a codec hears of a placed batch, where that is other than what it is to give back:
        the features that come back are then a mask of it.
    """

    representation: Representation
    yardstick: Representation
    downsampling: int
    centre: jax.Array
    place: Callable[[Any], dict[str, jax.Array]]
    hear: Callable[[dict[str, jax.Array]], jax.Array] | None = None

    def feature_rmse(self, codec: Codec, batches: Iterable[Any]) -> float:
        """RMSE of the features that come back, in their unit."""
        total = None
        for batch in batches:
            sums, _ = self._features(codec, self.place(batch))[3]
            total = metrics.add(total, jax.device_get(sums))
        return metrics.rmse(_something(total))

    def row(self, codec: Codec, batches: Iterable[Any], clips: int) -> tuple[Row, ClipErrors]:
        """All metrics of a codec, but for the gains, which need another row; and the error of each
        of the ``clips`` that there are in the corpus."""
        total = audio_total = None
        errors = ClipErrors(np.zeros(clips), np.zeros(clips))
        ratios: list[np.ndarray] = []
        counts: Any = 0
        for batch, found in overlapped(
            lambda batch: (batch, self._measured(codec, batch)), batches
        ):
            (sums, rows), audio_sums, (si_sdr, audible), codes = found
            total, audio_total = metrics.add(total, sums), metrics.add(audio_total, audio_sums)
            ratios.append(si_sdr[audible])
            counts = counts + codes
            there = batch["clip"] >= 0
            for whole, part in zip((errors.frames, errors.squared_error), rows, strict=True):
                np.add.at(whole, batch["clip"][there], part[there])
        total, audio_total = _something(total), _something(audio_total)
        row = Row(
            name=codec.name,
            latent_floats_per_second=codec.latent_floats_per_second,
            feature_rmse=metrics.rmse(total),
            audio_log_mel_rmse_db=metrics.rmse(audio_total),
            si_sdr_db=self._si_sdr_db(np.concatenate(ratios)),
            explained_variance=metrics.explained_variance(total),
        )
        if codec.codes is not None:
            rate = self.representation.frame_rate / self.downsampling
            costs: Any = metrics.code_metrics(counts, codec.codebook_sizes, rate)
            row = dataclasses.replace(row, **costs)
        return row, errors

    def _measured(self, codec: Codec, batch: Any) -> Any:
        """Of a batch, on the host: sums of the features' errors, of all and of each row; of the
        audio's; SI-SDR of each channel, and whether it has any sound; and how often codes occur."""
        placed = self.place(batch)
        heard, seen, output, of_features = self._features(codec, placed)
        sums, *of_rows = _measure_audio(
            placed["audio"],
            heard,
            output,
            placed["length"],
            representation=self.representation,
            yardstick=self.yardstick,
        )
        counts: Any = 0
        if codec.codes is not None:
            codes = apply(codec.variables, seen, function=codec.codes)
            counts = self._count(codes, placed["length"], seen, codec)
        return jax.device_get((of_features, sums, of_rows, counts))

    def _features(self, codec: Codec, placed: dict[str, jax.Array]) -> Any:
        """What is heard, if it is another audio; what is seen of it; what comes back; errors."""
        features = seen = analyse(placed["audio"], representation=self.representation)
        heard = None if self.hear is None else self.hear(placed)
        if heard is not None:
            seen = analyse(heard, representation=self.representation)
        latents = apply(codec.variables, seen, function=codec.encode)
        output = codec.decoded(latents, placed.get("speaker"))
        return (
            heard,
            seen,
            output,
            _measure_features(
                features,
                output,
                placed["length"],
                self.centre,
                representation=self.representation,
                downsampling=self.downsampling,
            ),
        )

    def _si_sdr_db(self, ratios: np.ndarray) -> float | None:
        """The mean over channels with any sound; None where the phase is made up anyway."""
        if not len(ratios) or not (self.representation.exact or self.hear):
            return None
        return float(ratios.mean(dtype=np.float64))

    def _count(
        self, codes: jax.Array, length: jax.Array, features: jax.Array, codec: Codec
    ) -> np.ndarray:
        """How often each code occurs, ``[codebooks, entries]``."""
        mask = valid_frames(self.representation, length, features.shape[1], self.downsampling)
        used = np.asarray(codes)[np.asarray(mask[:, :: self.downsampling])]
        most = max(codec.codebook_sizes)
        return np.stack([np.bincount(column, minlength=most) for column in used.T])


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


@functools.partial(jax.jit, static_argnames="function")
def apply(variables: Any, *x: Array, function: Callable[..., Array]) -> Array:
    """One of `Codec`'s functions, compiled."""
    return function(variables, *x)


@functools.cache
def bound(function: Callable[..., Any], *given: Any) -> Callable[..., Any]:
    """A function of a model; the same object for the same model, so that what is compiled for it is
    compiled once, also where several runs share it."""
    return functools.partial(function, *given)


def latents_of(
    codec: Codec, features: Float[Array, "batch frames bins"]
) -> Float[Array, "batch latent_frames latent_dim"]:
    """The codec's own latents of features."""
    latents = apply(codec.variables, features, function=codec.encode)
    return latents[..., : codec.latent_dim]


@functools.partial(jax.jit, static_argnames=("representation", "downsampling"))
def _measure_features(
    features: Float[Array, "batch frames bins"],
    output: Float[Array, "batch frames bins"],
    length: Int[Array, " batch"],
    centre: Float[Array, " bins"],
    *,
    representation: Representation,
    downsampling: int,
) -> Any:
    mask = valid_frames(representation, length, features.shape[1], downsampling)
    sums = metrics.error_sums(output, features, mask, centre)
    return sums, metrics.row_sums(output, features, mask)


@functools.partial(jax.jit, static_argnames=("representation", "yardstick"))
def _measure_audio(
    audio: Float[Array, "batch samples *channels"],
    heard: Float[Array, "batch samples *channels"] | None,
    output: Float[Array, "batch frames bins"],
    length: Int[Array, " batch"],
    *,
    representation: Representation,
    yardstick: Representation,
) -> Any:
    """Sums of the log-mel error; of each channel of each row, SI-SDR in dB, and whether there is
    any sound."""
    back = in_sound(heard, output, representation)[:, : audio.shape[1]]
    audio, length = audio[:, : back.shape[1]], jnp.minimum(length, back.shape[1])
    audio, back = (signal.until_end(x, length) for x in (audio, back))
    features = yardstick.analyse(audio)
    mask = valid_frames(yardstick, length, features.shape[1], 1)
    sums = metrics.error_sums(
        yardstick.analyse(back), features, mask, jnp.zeros(features.shape[-1])
    )
    return sums, *signal.channel_si_sdr(back, audio, length)


@functools.partial(jax.jit, static_argnames="representation")
def in_sound(
    heard: Float[Array, "batch samples *channels"] | None,
    output: Float[Array, "batch frames bins"],
    representation: Representation,
) -> Float[Array, "batch samples *channels"]:
    """What comes back as audio: as a mask of what was heard, if that is given."""
    if heard is None:
        return representation.synthesise(output)
    return representation.masked(heard, output)


def with_gains(rows: list[Row], references: Collection[str]) -> list[Row]:
    """The rows that have latents, with their gains over that of the rows named ``references`` which
    has as many latent floats per second."""
    at_rate = {row.latent_floats_per_second: row for row in rows if row.name in references}

    def with_gain(row: Row) -> Row:
        if row.latent_floats_per_second is None:
            return row
        pca = at_rate[row.latent_floats_per_second]
        return dataclasses.replace(
            row,
            gain_over_pca_db=metrics.gain_db(row.feature_rmse, pca.feature_rmse),
            audio_gain_over_pca_db=metrics.gain_db(
                row.audio_log_mel_rmse_db, pca.audio_log_mel_rmse_db
            ),
        )

    return [with_gain(row) for row in rows]


def identity(variables: None, x: Array) -> Array:
    """No model at all: what is left is the representation's own loss."""
    del variables
    return x


def encode(codec: Any, features: Float[Array, "batch frames bins"]) -> Array:
    """For a codec that is itself a pytree with ``encode`` and ``decode``, such as PCA."""
    return codec.encode(features)


def decode(codec: Any, latents: Float[Array, "batch latent_frames latent_dim"]) -> Array:
    """The other half of `encode`."""
    return codec.decode(latents)
