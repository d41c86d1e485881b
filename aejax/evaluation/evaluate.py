"""Evaluation of codecs: functions from features to latents and back."""

import dataclasses
import functools
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from aejax import signal
from aejax.evaluation import metrics
from aejax.evaluation.per_clip_errors import ClipErrors, measure_intervals
from aejax.evaluation.rows import Row
from aejax.prepare import Experiment
from aejax.representations import Representation, valid_frames
from aejax.runtime import processes
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
      bits_per_second: rate of latents that are entropy-coded; None if they are not.
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
    bits_per_second: float | None = None

    def decoded(self, latents: jax.Array, speaker: jax.Array | None) -> jax.Array:
        """Features of latents, compiled; conditioned on the speaker if the codec is."""
        if self.decode_as is None or speaker is None:
            return apply(self.variables, latents, function=self.decode)
        return apply(self.variables, latents, speaker, function=self.decode_as)


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

    @property
    def latent_frame_rate(self) -> float:
        """Latent frames per second."""
        return self.representation.frame_rate / self.downsampling

    def capacity(self, codec: LatentCodec) -> float | None:
        """Bits per second of a codec's codes; None if it has none."""
        sizes = codec.codebook_sizes if codec.codes is not None else None
        return None if sizes is None else metrics.bits_per_second(sizes, self.latent_frame_rate)

    def feature_rmse(self, codec: LatentCodec, batches: Iterable[Any]) -> float:
        """RMSE of the output features, in their unit."""
        total = np.zeros(2)
        for batch in batches:
            sums = self._features(codec, self.device_put(batch))[3]
            total += np.sum(jax.device_get(sums[:2]), 1, dtype=np.float64)
        total = processes.total(total)
        _require_frames(total[0])
        return float(metrics.rmse(*total[:, None])[0])

    def row(self, codec: LatentCodec, batches: Iterable[Any], clips: int) -> tuple[Row, ClipErrors]:
        """All metrics of a codec except gains (see `with_gains`), and errors by clip.

        Args:
          codec: to evaluate.
          batches: batches of the split; of several processes, each has its own rows.
          clips: number of clips in the corpus.
        """
        sums: metrics.Sums | None = None
        is_measured = np.zeros(clips, bool)
        counts: Any = 0
        for batch, (by_row, codes) in parallel_map(
            lambda batch: (batch, self._measure(codec, batch)), batches
        ):
            if sums is None:  # clips of other splits stay untouched and take no memory
                sums = metrics.Sums(*(np.zeros((clips, *x.shape[1:])) for x in by_row))
            is_clip = batch["clip"] >= 0
            for total, part in zip(sums, by_row, strict=True):
                np.add.at(total, batch["clip"][is_clip], part[is_clip])
            is_measured[batch["clip"][is_clip]] = True
            counts = counts + codes
        if sums is not None:
            sums, counts = _of_all_processes(sums, is_measured), processes.total(counts)
        _require_frames(0 if sums is None else sums.frames.sum())
        assert sums is not None
        measures: dict[str, Any] = {
            name: metrics.number(x[0]) for name, x in metrics.measures(sums.total()).items()
        }
        row = Row(
            name=codec.name,
            latent_floats_per_second=codec.latent_floats_per_second,
            bits_per_second=codec.bits_per_second,
            interval_95=measure_intervals(sums) or None,
            **measures,
        )
        if codec.codes is not None:
            code_metrics: Any = metrics.code_metrics(
                counts, codec.codebook_sizes, self.latent_frame_rate
            )
            row = dataclasses.replace(row, **code_metrics)
        return row, ClipErrors(*sums[:2], *sums[4:6])

    def _measure(self, codec: LatentCodec, batch: Any) -> tuple[metrics.Sums, Any]:
        """Sums of each row of a batch, and counts of codes, on the host."""
        placed = self.device_put(batch)
        encoder_input, *measured = self.measure(codec, placed)
        counts: Any = 0
        if codec.codes is not None:
            codes = apply(codec.variables, encoder_input, function=codec.codes)
            counts = self._count(codes, placed["length"], encoder_input, codec)
        sums = metrics.Sums(*jax.device_get(measured))
        if not (self.representation.exact or self.add_noise):  # phases are estimated
            sums = sums._replace(channels=np.zeros_like(sums.channels))
        return sums, counts

    def measure(self, codec: LatentCodec, placed: dict[str, jax.Array]) -> Any:
        """Input features of a batch on the devices, and the sums of each row."""
        noisy_audio, encoder_input, output, feature_sums = self._features(codec, placed)
        audio_sums = _measure_audio(
            placed["audio"],
            noisy_audio,
            output,
            placed["length"],
            representation=self.representation,
            eval_mel=self.eval_mel,
        )
        return encoder_input, *feature_sums, *audio_sums

    def _features(self, codec: LatentCodec, placed: dict[str, jax.Array]) -> Any:
        """Noisy audio (None for reconstruction), input features, output features, error sums."""
        features = analyse(placed["audio"], representation=self.representation)
        noisy_audio, encoder_input = self._input(placed, features)
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

    def _input(self, placed: dict[str, jax.Array], features: jax.Array) -> Any:
        """Noisy audio (None for reconstruction), and the encoder's features."""
        if self.add_noise is None:
            return None, features
        noisy_audio = self.add_noise(placed)
        return noisy_audio, analyse(noisy_audio, representation=self.representation)

    def latents(self, codec: LatentCodec, batch: Any) -> tuple[np.ndarray, np.ndarray]:
        """Latents of a batch, ``[batch, latent_frames, latent_dim]``, and the mask of valid ones,
        ``[batch, latent_frames]``, on the host."""
        placed = self.device_put(batch)
        features = analyse(placed["audio"], representation=self.representation)
        _, encoder_input = self._input(placed, features)
        mask = valid_frames(
            self.representation, placed["length"], features.shape[1], self.downsampling
        )
        latents = latents_of(codec, encoder_input)
        return np.asarray(latents), np.asarray(mask)[:, :: self.downsampling]

    def _count(
        self, codes: jax.Array, length: jax.Array, features: jax.Array, codec: LatentCodec
    ) -> np.ndarray:
        """Number of occurrences of each code, ``[codebooks, entries]``."""
        mask = valid_frames(self.representation, length, features.shape[1], self.downsampling)
        used = np.asarray(codes)[np.asarray(mask[:, :: self.downsampling])]
        size = max(codec.codebook_sizes)
        return np.stack([np.bincount(column, minlength=size) for column in used.T])


def _of_all_processes(sums: metrics.Sums, is_measured: np.ndarray) -> metrics.Sums:
    """The sums of all processes, which exchange those of the clips that they have measured."""
    if processes.count() == 1:
        return sums
    own = np.flatnonzero(is_measured)
    clips = processes.concatenate(own)
    totals = []
    for x in sums:
        total = np.zeros_like(x)
        np.add.at(total, clips, processes.concatenate(x[own]))
        totals.append(total)
    return metrics.Sums(*totals)


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
