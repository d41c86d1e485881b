"""Evaluation of codecs: functions from features to latents and back."""

import dataclasses
import functools
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from aejax import signal
from aejax.evaluation import metrics
from aejax.evaluation.per_clip_errors import ClipErrors, gain_intervals, measure_intervals
from aejax.prepare import Experiment
from aejax.representations import Representation, valid_frames
from aejax.runtime.errors import UserError
from aejax.runtime.parallel import parallel_map

Encode = Callable[
    [Any, Float[Array, "batch frames bins"]], Float[Array, "batch latent_frames latent_dim"]
]
Decode = Callable[
    [Any, Float[Array, "batch latent_frames latent_dim"]], Float[Array, "batch frames bins"]
]


@dataclasses.dataclass(frozen=True)
class LatentCodec:
    """A codec to evaluate.

    Attributes:
      name: name of its row.
      encode, decode: ``encode(variables, features)`` and ``decode(variables, latents)``. Use the
        same function objects for the same model, so that they are compiled once.
      variables: a pytree of arrays.
      latent_floats_per_second: None for a codec without latents.
      codes: ``codes(variables, features)``, integers ``[batch, latent_frames, codebooks]``, for a
        quantising codec.
      codebook_sizes: sizes of the codebooks.
      latent_dim: floats in a latent frame without padding, which a population adds; None for all.
      decode_as: ``decode_as(variables, latents, speaker)``, for a speaker-conditioned decoder.
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
        """Features of latents, compiled; conditioned on the speaker if the codec is."""
        if self.decode_as is None or speaker is None:
            return apply(self.variables, latents, function=self.decode)
        return apply(self.variables, latents, speaker, function=self.decode_as)


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of the results table, with the field names of ``results.json``.

    ``interval_95`` has ``[low, high]`` of the other fields that are means over clips.
    """

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
    interval_95: Mapping[str, list[float]] | None = None

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "Row":
        """A row of ``results.json``; ignores unknown fields, from other versions."""
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(**{name: row.get(name) for name in names})  # type: ignore[arg-type]


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """Evaluates codecs on batches of clips.

    Attributes:
      representation: between audio and features.
      eval_mel: reference mel of the audio metric.
      downsampling: frames in a block; all frames of a clip's last block are valid.
      centre: ``[bins]``, approximate mean of the features.
      device_put: puts a batch on the devices.
      add_noise: for denoising, a function from a batch on the devices to its noisy audio, which the
        output features mask; None for reconstruction.
    """

    representation: Representation
    eval_mel: Representation
    downsampling: int
    centre: jax.Array
    device_put: Callable[[Any], dict[str, jax.Array]]
    add_noise: Callable[[dict[str, jax.Array]], jax.Array] | None = None

    @classmethod
    def of(cls, experiment: Experiment, mean: np.ndarray) -> "Evaluator":
        """The evaluator of an experiment; ``mean`` ``[bins]``: of the features."""
        return cls(
            representation=experiment.representation,
            eval_mel=experiment.eval_mel,
            downsampling=experiment.downsampling,
            centre=experiment.devices.copy(jnp.asarray(mean, jnp.float32)),
            device_put=experiment.device_put,
            add_noise=experiment.add_noise,
        )

    def feature_rmse(self, codec: LatentCodec, batches: Iterable[Any]) -> float:
        """RMSE of the output features, in their unit."""
        total = np.zeros(2)
        for batch in batches:
            sums = self._features(codec, self.device_put(batch))[3]
            total += np.sum(jax.device_get(sums[:2]), 1, dtype=np.float64)
        _require_frames(total[0])
        return float(metrics.rmse(*total[:, None])[0])

    def row(self, codec: LatentCodec, batches: Iterable[Any], clips: int) -> tuple[Row, ClipErrors]:
        """All metrics of a codec except gains (see `with_gains`), and errors by clip.

        Args:
          codec: to evaluate.
          batches: batches of the split.
          clips: number of clips in the corpus.
        """
        sums: metrics.Sums | None = None
        counts: Any = 0
        for batch, (by_row, codes) in parallel_map(
            lambda batch: (batch, self._measure(codec, batch)), batches
        ):
            if sums is None:  # clips of other splits stay untouched and take no memory
                sums = metrics.Sums(*(np.zeros((clips, *x.shape[1:])) for x in by_row))
            is_clip = batch["clip"] >= 0
            for total, part in zip(sums, by_row, strict=True):
                np.add.at(total, batch["clip"][is_clip], part[is_clip])
            counts = counts + codes
        _require_frames(0 if sums is None else sums.frames.sum())
        assert sums is not None
        row = Row(
            name=codec.name,
            latent_floats_per_second=codec.latent_floats_per_second,
            **{name: metrics.number(x[0]) for name, x in metrics.measures(sums.total()).items()},
            interval_95=measure_intervals(sums) or None,
        )
        if codec.codes is not None:
            rate = self.representation.frame_rate / self.downsampling
            code_metrics: Any = metrics.code_metrics(counts, codec.codebook_sizes, rate)
            row = dataclasses.replace(row, **code_metrics)
        return row, ClipErrors(*sums[:2], *sums[4:6])

    def _measure(self, codec: LatentCodec, batch: Any) -> tuple[metrics.Sums, Any]:
        """Sums of each row of a batch, and counts of codes, on the host."""
        placed = self.device_put(batch)
        noisy_audio, encoder_input, output, feature_sums = self._features(codec, placed)
        audio_sums = _measure_audio(
            placed["audio"],
            noisy_audio,
            output,
            placed["length"],
            representation=self.representation,
            eval_mel=self.eval_mel,
        )
        counts: Any = 0
        if codec.codes is not None:
            codes = apply(codec.variables, encoder_input, function=codec.codes)
            counts = self._count(codes, placed["length"], encoder_input, codec)
        sums = metrics.Sums(*jax.device_get((*feature_sums, *audio_sums)))
        if not (self.representation.exact or self.add_noise):  # phases are estimated
            sums = sums._replace(channels=np.zeros_like(sums.channels))
        return sums, counts

    def _features(self, codec: LatentCodec, placed: dict[str, jax.Array]) -> Any:
        """Noisy audio (None for reconstruction), input features, output features, error sums."""
        features = encoder_input = analyse(placed["audio"], representation=self.representation)
        noisy_audio = None if self.add_noise is None else self.add_noise(placed)
        if noisy_audio is not None:
            encoder_input = analyse(noisy_audio, representation=self.representation)
        latents = apply(codec.variables, encoder_input, function=codec.encode)
        output = codec.decoded(latents, placed.get("speaker"))
        return (
            noisy_audio,
            encoder_input,
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

    def _count(
        self, codes: jax.Array, length: jax.Array, features: jax.Array, codec: LatentCodec
    ) -> np.ndarray:
        """Number of occurrences of each code, ``[codebooks, entries]``."""
        mask = valid_frames(self.representation, length, features.shape[1], self.downsampling)
        used = np.asarray(codes)[np.asarray(mask[:, :: self.downsampling])]
        size = max(codec.codebook_sizes)
        return np.stack([np.bincount(column, minlength=size) for column in used.T])


def _require_frames(frames: float) -> None:
    if not frames:
        raise UserError("no clip of this split is readable; restore the files")


# Compiled separately, so that all codecs share the transforms, which compile slowly.


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
    """``function(variables, *x)`` for a function of `LatentCodec`, compiled."""
    return function(variables, *x)


@functools.cache
def cached_partial(function: Callable[..., Any], *arguments: Any) -> Callable[..., Any]:
    """`functools.partial`, cached: equal arguments give the same object, which is compiled once."""
    return functools.partial(function, *arguments)


def latents_of(
    codec: LatentCodec, features: Float[Array, "batch frames bins"]
) -> Float[Array, "batch latent_frames latent_dim"]:
    """Latents of features, without the padding of a population."""
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
    errors = metrics.squared_errors(output, features, mask)
    return *errors, *metrics.values(features, mask, centre)


@functools.partial(jax.jit, static_argnames=("representation", "eval_mel"))
def _measure_audio(
    audio: Float[Array, "batch samples *channels"],
    noisy_audio: Float[Array, "batch samples *channels"] | None,
    output: Float[Array, "batch frames bins"],
    length: Int[Array, " batch"],
    *,
    representation: Representation,
    eval_mel: Representation,
) -> Any:
    """The sums of `metrics.Sums` that are about audio, of each row."""
    decoded = to_audio(noisy_audio, output, representation)[:, : audio.shape[1]]
    audio, length = audio[:, : decoded.shape[1]], jnp.minimum(length, decoded.shape[1])
    audio, decoded = (signal.until_end(x, length) for x in (audio, decoded))
    features = eval_mel.analyse(audio)
    mask = valid_frames(eval_mel, length, features.shape[1], 1)
    errors = metrics.squared_errors(eval_mel.analyse(decoded), features, mask)
    si_sdr, audible = (
        x.reshape(len(length), -1) for x in signal.channel_si_sdr(decoded, audio, length)
    )
    return *errors, audible.sum(1), jnp.where(audible, si_sdr, 0).sum(1)


@functools.partial(jax.jit, static_argnames="representation")
def to_audio(
    noisy_audio: Float[Array, "batch samples *channels"] | None,
    output: Float[Array, "batch frames bins"],
    representation: Representation,
) -> Float[Array, "batch samples *channels"]:
    """Audio of output features: synthesised, or the noisy audio masked by them."""
    if noisy_audio is None:
        return representation.synthesise(output)
    return representation.masked(noisy_audio, output)


def with_gains(
    measured: Collection[tuple[Row, ClipErrors]], references: Collection[str]
) -> list[Row]:
    """The rows with gains over the reference row of the same latent floats per second.

    Args:
      measured: all rows with their errors by clip; those without latents are unchanged.
      references: names of the reference rows.
    """
    at_rate = {
        row.latent_floats_per_second: (row, errors)
        for row, errors in measured
        if row.name in references
    }

    def with_gain(row: Row, errors: ClipErrors) -> Row:
        if row.latent_floats_per_second is None:
            return row
        pca, pca_errors = at_rate[row.latent_floats_per_second]
        (gains,) = gain_intervals([errors], pca_errors)
        return dataclasses.replace(
            row,
            gain_over_pca_db=metrics.gain_db(row.feature_rmse, pca.feature_rmse),
            audio_gain_over_pca_db=metrics.gain_db(
                row.audio_log_mel_rmse_db, pca.audio_log_mel_rmse_db
            ),
            interval_95={**(row.interval_95 or {}), **gains} or None,
        )

    return [with_gain(row, errors) for row, errors in measured]


def identity(variables: None, x: Array) -> Array:
    """``x``: encoder and decoder of the row without a model."""
    del variables
    return x


def encode(codec: Any, features: Float[Array, "batch frames bins"]) -> Array:
    """``codec.encode(features)``, for codecs that are pytrees, such as PCA."""
    return codec.encode(features)


def decode(codec: Any, latents: Float[Array, "batch latent_frames latent_dim"]) -> Array:
    """``codec.decode(latents)``, see `encode`."""
    return codec.decode(latents)
