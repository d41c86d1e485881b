"""A trained model: audio to latents and back, of any length, rate and channel count.

A sound is processed in windows of one size, so that every program is compiled once and memory is
bounded. Windows overlap by the receptive fields of the networks, the transforms and Griffin-Lim.
Only the part that the edges of a window do not affect is used, so the result equals that of a
single window over the whole sound. As in training, silence follows a sound.

Models with an unbounded receptive field use windows of the training length: at least half of it is
context before the output of a recurrent network, and a quarter on either side for attention.
"""

import dataclasses
import functools
import os
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from aejax.data import names
from aejax.evaluation.evaluate import analyse, apply, cached_partial, synthesise, to_audio
from aejax.inference import audio_arguments, limiter, silence
from aejax.inference.rows import by_row, cut, reader, resampled, within
from aejax.inference.sizes import Encoded, Read, WindowedModel
from aejax.models import autoencoder
from aejax.representations import Multichannel
from aejax.signal.arguments import whole_number
from aejax.signal.phase import MOST_ITERATIONS

__all__ = ["Encoded", "Read", "TrainedModel"]

Audio: TypeAlias = np.ndarray | str | os.PathLike[str]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class TrainedModel(WindowedModel):
    """A trained autoencoder, see `aejax.inference.load`; its attributes are `WindowedModel`'s."""

    def __repr__(self) -> str:
        """One line without the weights."""
        return f"<aejax model {self.config.name}: {self.summary}>"

    def with_iterations(self, iterations: int) -> "TrainedModel":
        """A copy with another number of Griffin-Lim iterations.

        Raises:
          ValueError: the model does not use Griffin-Lim, or the number is out of range.
        """
        iterations = whole_number("iterations", iterations, least=1, most=MOST_ITERATIONS)
        outer = self.representation
        inner = outer.inner if isinstance(outer, Multichannel) else outer
        if not hasattr(inner, "griffin_lim_iterations"):
            raise ValueError("the representation is inverted without Griffin-Lim")
        changed: Any = dataclasses.replace(inner, griffin_lim_iterations=iterations)  # type: ignore[type-var]
        if isinstance(outer, Multichannel):
            changed = dataclasses.replace(outer, inner=changed)
        return dataclasses.replace(self, representation=changed)

    def encode(self, audio: Audio, sample_rate: int | None = None) -> np.ndarray:
        """Audio to latents.

        Args:
          audio: float ``[samples]`` or ``[batch, samples]``, full scale at 1; for a stereo model
            with a last axis of two channels. At least one sample. Or the path of an audio file,
            which is read as ``[samples]``, or ``[channels, samples]`` if it has several channels.
          sample_rate: Hz, of an array; by default that of the model. A file has its own.

        Returns:
          float32 ``[latent_frames, latent_dim]`` or ``[batch, latent_frames, latent_dim]``.

        Raises:
          ValueError: ``audio`` is invalid, or a file that cannot be used.
        """
        rows, is_batch, rate = self._sound(audio, sample_rate)
        latents = by_row(lambda row: self._encoded_row(row, rate), rows)
        return latents if is_batch else latents[0]

    def _sound(self, audio: Audio, sample_rate: int | None) -> audio_arguments.Sound:
        return audio_arguments.sound(audio, sample_rate, self.channels, self.sample_rate)

    def _encoded_row(self, row: np.ndarray, rate: int) -> np.ndarray:
        audio = resampled(row, rate, self.sample_rate)
        return self.encode_stream(reader(audio), audio.shape[1]).latents

    def decode(self, latents: np.ndarray, speaker: str | None = None) -> np.ndarray:
        """Latents to audio at `sample_rate`.

        Args:
          latents: ``[latent_frames, latent_dim]`` or ``[batch, latent_frames, latent_dim]``.
          speaker: one of `speakers`, for output in that voice.

        Returns:
          float32 ``[samples]`` or ``[batch, samples]``, `block` samples for each latent frame; for
          a stereo model with a last axis of two channels.

        Raises:
          ValueError: ``latents`` are invalid, or the speaker is unknown.
        """
        rows, is_batch = audio_arguments.latents(latents, self.config.model.latent_dim)
        audio = by_row(lambda row: self._decoded_row(row, speaker), rows)
        return audio if is_batch else audio[0]

    def _decoded_row(self, row: np.ndarray, speaker: str | None) -> np.ndarray:
        audio = np.concatenate(list(self.decode_stream(row, speaker)), axis=1)
        if not np.isfinite(audio).all():
            raise ValueError("the decoded audio is not finite; the latents are too large")
        return audio

    def reconstruct(
        self, audio: Audio, sample_rate: int | None = None, *, speaker: str | None = None
    ) -> np.ndarray:
        """Reconstructed audio of the same length and rate.

        Its peaks are limited to 2 dB above those of the input nearby.

        Args:
          audio, sample_rate: as for `encode`.
          speaker: as for `decode`.

        Returns:
          float32 of the shape of the array or, as `encode` says, of the file.
        """

        def reconstructed(row: np.ndarray) -> np.ndarray:
            encoded = self.encode_stream(reader(row), row.shape[1])
            back = self.decode_stream(encoded.latents, speaker, encoded.ceilings)
            return np.concatenate(list(back), axis=1)

        return self._at_rate(audio, sample_rate, reconstructed)

    def _at_rate(
        self,
        audio: Audio,
        sample_rate: int | None,
        function: Callable[[np.ndarray], np.ndarray],
    ) -> np.ndarray:
        """Applies a function to each row of audio at the model's rate, and resamples back."""
        rows, is_batch, rate = self._sound(audio, sample_rate)

        def of_row(row: np.ndarray) -> np.ndarray:
            source = resampled(row, rate, self.sample_rate)
            back = resampled(function(source), self.sample_rate, rate)
            # Resampling overshoots, in both directions.
            peak = np.minimum(*(np.abs(x).max(keepdims=True) for x in (row, source)))
            most = limiter.ceiling(peak)
            return np.clip(cut(back, 0, row.shape[1]), -most, most)

        back = by_row(of_row, rows)
        return back if is_batch else back[0]

    def encode_stream(
        self, read: Read, samples: int, *, function: Any = autoencoder.encode
    ) -> Encoded:
        """Latents of audio at `sample_rate`, read window by window.

        Args:
          read: returns audio ``[rows, count, *channels]``.
          samples: of the whole sound.
          function: `autoencoder.encode` or, for integers, `autoencoder.codes`.

        Returns:
          Latents and peak limits. Frames of digital silence equal `silence`, or -1 for codes.
        """
        is_codes = function is autoencoder.codes
        mark = np.int32(-1) if is_codes else self.silence
        windows, parts = self._encoding, []
        meter, frames = limiter.PeakMeter(read, self.segment), self.latent_frames(samples)
        for window, output in windows.over(frames):
            audio, count = self._read(meter.read, window), window.stop - window.start
            latents = by_row(lambda row: self._encoded(row, function), audio)
            silent = silence.frames(audio, count, self.block, self._overlap)
            marked = np.where(silent[..., None], mark, latents)
            parts.append(marked[:, within(output, window)])
        # The windows of analysis and of synthesis each spread a sound by half their length.
        half = self.representation.receptive_field * self.representation.hop_length
        spread = 1 + 2 * -(-half // self.segment)
        ceilings = meter.ceilings(frames * self.block // self.segment, spread)
        return Encoded(np.concatenate(parts, axis=1), ceilings)

    def is_silent(self, latents: np.ndarray) -> np.ndarray:
        """Mask of the latent frames that are `silence`, bool ``[rows, latent_frames]``."""
        return np.asarray((latents == self.silence).all(axis=-1))

    def decode_stream(
        self,
        latents: np.ndarray,
        speaker: str | None = None,
        ceilings: np.ndarray | None = None,
    ) -> Iterator[np.ndarray]:
        """Decoded audio in chunks ``[rows, samples, *channels]``.

        Args:
          latents: ``[rows, latent_frames, latent_dim]``.
          speaker: as for `decode`.
          ceilings: peak limits, see `Encoded`; None for no limit.
        """
        number, silent = self._speaker_number(speaker), self.is_silent(latents)

        def chunks() -> Iterator[np.ndarray]:
            for window, output in self._decoding.over(latents.shape[1]):
                audio = by_row(lambda row, at=window: self._synthesised(row, at, number), latents)
                yield self._output(audio, window, output, silent)

        return self._limited(chunks(), ceilings)

    def _limited(
        self, chunks: Iterator[np.ndarray], ceilings: np.ndarray | None
    ) -> Iterator[np.ndarray]:
        return chunks if ceilings is None else limiter.limit(chunks, ceilings, self.segment)

    def denoise(self, audio: Audio, sample_rate: int | None = None) -> np.ndarray:
        """Audio of the same length and rate without its noise; arguments as for `encode`.

        Raises:
          ValueError: the model was not trained to remove noise, or ``audio`` is invalid.
        """
        if not self.denoises:
            raise ValueError(
                f"{self.config.name} was not trained to remove noise; use a run of"
                " experiments/mel_denoise.py"
            )
        return self._at_rate(audio, sample_rate, self._denoised_row)

    def _denoised_row(self, row: np.ndarray) -> np.ndarray:
        encoded = self.encode_stream(reader(row), row.shape[1])
        return np.concatenate(list(self.mask_stream(encoded, reader(row))), axis=1)

    def mask_stream(self, encoded: Encoded, read: Read) -> Iterator[np.ndarray]:
        """Audio masked by its decoded features, in chunks as from `decode_stream`.

        See `aejax.representations.Representation.masked`.

        Args:
          encoded: the sound.
          read: returns its audio ``[rows, count, *channels]``.
        """
        latents, silent = encoded.latents, self.is_silent(encoded.latents)

        def chunks() -> Iterator[np.ndarray]:
            for window, output in self._masking.over(latents.shape[1]):
                audio = by_row(
                    lambda row, row_latents, at=window: self._masked(row, row_latents, at),
                    self._read(read, window),
                    latents,
                )
                yield self._output(audio, window, output, silent)

        return self._limited(chunks(), encoded.ceilings)

    def _read(self, read: Read, window: slice) -> np.ndarray:
        """The audio of the latent frames in a window."""
        frames = (window.stop - window.start) * self.config.model.downsampling
        return read(window.start * self.block, self.representation.samples(frames))

    def _encoded(self, audio: np.ndarray, function: Any = autoencoder.encode) -> np.ndarray:
        features = analyse(jnp.asarray(audio), representation=self.representation)
        return np.asarray(
            apply(self.variables, features, function=cached_partial(function, self.model))
        )

    def _synthesised(self, latents: np.ndarray, window: slice, number: int | None) -> np.ndarray:
        features = self._decoded(latents, window, number)
        return np.asarray(synthesise(features, representation=self.representation))

    def _masked(self, audio: np.ndarray, latents: np.ndarray, window: slice) -> np.ndarray:
        features = self._decoded(latents, window)
        return np.asarray(to_audio(jnp.asarray(audio), features, self.representation))

    def _speaker_number(self, speaker: str | None) -> int | None:
        """The decoder's index of a speaker; None without a speaker."""
        if speaker is None:
            return None
        number = names.index(speaker, self.speakers)
        if number is None:
            raise ValueError(
                f"the model has no speaker {speaker!r}; it has {', '.join(self.speakers)}"
                if self.speakers
                else "the model was not trained with speakers (model.speaker_label)"
            )
        return 1 + number

    def _decoded(self, latents: np.ndarray, window: slice, number: int | None = None) -> jax.Array:
        """Features of the latent frames in a window, with silence after the last of them."""
        inside = latents[:, window]
        missing = window.stop - window.start - inside.shape[1]
        after = np.broadcast_to(self.silence, (len(latents), missing, latents.shape[2]))
        padded = jnp.asarray(np.concatenate([inside, after], axis=1))
        if number is None:
            return apply(
                self.variables, padded, function=cached_partial(autoencoder.decode, self.model)
            )
        speaker = jnp.full(len(latents), number, jnp.int32)
        decode_as = cached_partial(autoencoder.decode_as, self.model)
        return apply(self.variables, padded, speaker, function=decode_as)

    def _output(
        self, audio: np.ndarray, window: slice, output: slice, silent: np.ndarray
    ) -> np.ndarray:
        """The output part of a window's audio, with zeros for ``silent`` latent frames."""
        inside = within(output, window)
        audio = audio[:, inside.start * self.block : inside.stop * self.block]
        return silence.gated(audio, silent, output, self.sample_rate)

    @functools.cached_property
    def silence(self) -> np.ndarray:
        """The latent frame ``[latent_dim]`` that marks digital silence.

        One float32 step above the latents of silence: no sound is encoded to it, so `decode`
        recognises digital silence.
        """
        channels = (self.channels,) if self.channels > 1 else ()
        (window, _), *_ = self._encoding.over(1)

        def read(_: int, count: int) -> np.ndarray:
            return np.zeros((1, count, *channels), np.float32)

        latent = self._encoded(self._read(read, window))[0, self._encoding.before]
        return np.nextafter(latent, np.float32(np.inf))
