"""A finished run as an object: audio to latents and back, of any length, rate and channel count.

A sound goes through in windows of one size, so that everything is compiled once and memory stays
bounded. Windows overlap by what the networks, the transforms and the search for a phase reach, so
that what is put together is what one window over everything would give: a window has no part in
the result that hears where it was cut. A sound is followed by silence, as it was in training.

What sees without end has windows of one training excerpt. A recurrent network has heard at least
half an excerpt before what it is asked for; attention sees at least a quarter on either side.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

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


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class TrainedModel(WindowedModel):
    """A trained autoencoder: see `aejax.inference.load`.

    Attributes:
      config: of its run, all of it.
      representation: of its audio.
      model: the network.
      variables: of the network.
      speakers: that its decoder knows by name.
      most_samples: of content in a window; for tests of the rest.
    """

    def __repr__(self) -> str:
        """What it is, and not its weights."""
        return (
            f"<TrainedModel {self.config.name}: {self.config.representation.name},"
            f" {self.sample_rate} Hz, {self.latent_rate:g} latent floats/s>"
        )

    def with_iterations(self, iterations: int) -> "TrainedModel":
        """The same, with so many rounds of Griffin-Lim's search for a phase.

        Raises:
          ValueError: it does not search for one, or does not go any number of rounds.
        """
        iterations = whole_number("iterations", iterations, least=1, most=MOST_ITERATIONS)
        own = self.representation
        inner = own.inner if isinstance(own, Multichannel) else own
        if not hasattr(inner, "griffin_lim_iterations"):
            raise ValueError("the way back to audio is exact, without a search for a phase")
        changed: Any = dataclasses.replace(inner, griffin_lim_iterations=iterations)  # type: ignore[type-var]
        if isinstance(own, Multichannel):
            changed = dataclasses.replace(own, inner=changed)
        return dataclasses.replace(self, representation=changed)

    def encode(self, audio: np.ndarray, sample_rate: int | None = None) -> np.ndarray:
        """Audio to latents.

        Args:
          audio: float ``[samples]`` or ``[batch, samples]``, full scale at 1; of a model trained on
            stereo, with an axis of two channels behind. At least one sample.
          sample_rate: Hz, of ``audio``; by default that of the model.

        Returns:
          float32 ``[latent_frames, latent_dim]`` or ``[batch, latent_frames, latent_dim]``.

        Raises:
          ValueError: ``audio`` is not as said.
        """
        rate = audio_arguments.rate(sample_rate, self.sample_rate)
        rows, is_batch = audio_arguments.rows(audio, self.channels)
        latents = by_row(lambda row: self._encoded_row(row, rate), rows)
        return latents if is_batch else latents[0]

    def _encoded_row(self, row: np.ndarray, rate: int) -> np.ndarray:
        audio = resampled(row, rate, self.sample_rate)
        return self.encode_stream(reader(audio), audio.shape[1]).latents

    def decode(self, latents: np.ndarray, speaker: str | None = None) -> np.ndarray:
        """Latents to audio at `sample_rate`.

        Args:
          latents: ``[latent_frames, latent_dim]`` or ``[batch, latent_frames, latent_dim]``.
          speaker: one of `speakers`, in whose voice.

        Returns:
          float32 ``[samples]`` or ``[batch, samples]``, `block` samples for each latent frame; of a
          model trained on stereo with an axis of two channels behind.

        Raises:
          ValueError: ``latents`` are not as said, or nobody is called so.
        """
        rows, is_batch = audio_arguments.latents(latents, self.config.model.latent_dim)
        audio = by_row(lambda row: self._decoded_row(row, speaker), rows)
        return audio if is_batch else audio[0]

    def _decoded_row(self, row: np.ndarray, speaker: str | None) -> np.ndarray:
        audio = np.concatenate(list(self.decode_stream(row, speaker)), axis=1)
        if not np.isfinite(audio).all():
            raise ValueError("latents are so large that they decode to audio that is not finite")
        return audio

    def reconstruct(
        self, audio: np.ndarray, sample_rate: int | None = None, *, speaker: str | None = None
    ) -> np.ndarray:
        """Audio as it comes back: as long, and at the same rate, as it is given, and nowhere more
        than 2 dB louder than the loudest near by; see `encode`, and for ``speaker`` `decode`."""

        def reconstructed(row: np.ndarray) -> np.ndarray:
            encoded = self.encode_stream(reader(row), row.shape[1])
            back = self.decode_stream(encoded.latents, speaker, encoded.ceilings)
            return np.concatenate(list(back), axis=1)

        return self._there_and_back(audio, sample_rate, reconstructed)

    def _there_and_back(
        self,
        audio: np.ndarray,
        sample_rate: int | None,
        function: Callable[[np.ndarray], np.ndarray],
    ) -> np.ndarray:
        """A function of one row of audio at the model's rate, of all rows at their own."""
        rate = audio_arguments.rate(sample_rate, self.sample_rate)
        rows, is_batch = audio_arguments.rows(audio, self.channels)

        def of_row(row: np.ndarray) -> np.ndarray:
            inside = resampled(row, rate, self.sample_rate)
            back = resampled(function(inside), self.sample_rate, rate)
            # Resampling overshoots, on the way there and on the way back.
            peak = np.minimum(*(np.abs(x).max(keepdims=True) for x in (row, inside)))
            most = limiter.ceiling(peak)
            return np.clip(cut(back, 0, row.shape[1]), -most, most)

        back = by_row(of_row, rows)
        return back if is_batch else back[0]

    def encode_stream(
        self, read: Read, samples: int, *, function: Any = autoencoder.encode
    ) -> Encoded:
        """`encode` of what is read window by window, at `sample_rate`.

        Args:
          read: gives audio ``[rows, count, *channels]``.
          samples: of the whole.
          function: `autoencoder.encode` or, for integers, `autoencoder.codes`.

        Returns:
          Latents, of which those of digital silence are `silence`, or -1 where they are codes; and
          how loud the sound may come back.
        """
        is_codes = function is autoencoder.codes
        mark = np.int32(-1) if is_codes else self.silence
        windows, parts = self._encoding, []
        meter, frames = limiter.PeakMeter(read, self.segment), self.latent_frames(samples)
        for window, kept in windows.over(frames):
            audio, count = self._read(meter.read, window), window.stop - window.start
            latents = by_row(lambda row: self._encoded(row, function), audio)
            silent = silence.frames(audio, count, self.block, self._overlap)
            marked = np.where(silent[..., None], mark, latents)
            parts.append(marked[:, within(kept, window)])
        # Windows of analysis and of synthesis: each spreads a sound by half its length.
        half = self.representation.receptive_field * self.representation.hop_length
        spread = 1 + 2 * -(-half // self.segment)
        ceilings = meter.ceilings(frames * self.block // self.segment, spread)
        return Encoded(np.concatenate(parts, axis=1), ceilings)

    def is_silent(self, latents: np.ndarray) -> np.ndarray:
        """Which latent frames ``[rows, latent_frames, latent_dim]`` are `silence`."""
        return np.asarray((latents == self.silence).all(axis=-1))

    def decode_stream(
        self,
        latents: np.ndarray,
        speaker: str | None = None,
        ceilings: np.ndarray | None = None,
    ) -> Iterator[np.ndarray]:
        """`decode`, stretch by stretch: audio ``[rows, samples, *channels]``, one after another.

        Args:
          latents: ``[rows, latent_frames, latent_dim]``.
          speaker: in whose voice.
          ceilings: how loud it may be, if that is known: see `Encoded`.
        """
        number, silent = self._number(speaker), self.is_silent(latents)

        def stretches() -> Iterator[np.ndarray]:
            for window, kept in self._decoding.over(latents.shape[1]):
                audio = by_row(lambda row, at=window: self._synthesised(row, at, number), latents)
                yield self._kept(audio, window, kept, silent)

        return self._limited(stretches(), ceilings)

    def _limited(
        self, stretches: Iterator[np.ndarray], ceilings: np.ndarray | None
    ) -> Iterator[np.ndarray]:
        return stretches if ceilings is None else limiter.limit(stretches, ceilings, self.segment)

    def denoise(self, audio: np.ndarray, sample_rate: int | None = None) -> np.ndarray:
        """Audio without its noise, of a model that was trained to take it away: as long, and at the
        same rate, as it is given; see `encode`.

        Raises:
          ValueError: it was trained for something else, or ``audio`` is not as said.
        """
        if not self.denoises:
            raise ValueError(
                f"{self.config.name} did not learn to take noise away; experiments/mel_denoise.py"
                " does"
            )
        return self._there_and_back(audio, sample_rate, self._denoised_row)

    def _denoised_row(self, row: np.ndarray) -> np.ndarray:
        encoded = self.encode_stream(reader(row), row.shape[1])
        return np.concatenate(list(self.mask_stream(encoded, reader(row))), axis=1)

    def mask_stream(self, encoded: Encoded, read: Read) -> Iterator[np.ndarray]:
        """What of audio is in latents, stretch by stretch, as `decode_stream` gives it: see
        `aejax.representations.Representation.masked`.

        Args:
          encoded: the sound.
          read: gives its audio ``[rows, count, *channels]`` once more.
        """
        latents, silent = encoded.latents, self.is_silent(encoded.latents)

        def stretches() -> Iterator[np.ndarray]:
            for window, kept in self._masking.over(latents.shape[1]):
                audio = by_row(
                    lambda row, of_row, at=window: self._masked(row, of_row, at),
                    self._read(read, window),
                    latents,
                )
                yield self._kept(audio, window, kept, silent)

        return self._limited(stretches(), encoded.ceilings)

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

    def _number(self, speaker: str | None) -> int | None:
        """Of a speaker, as the decoder knows it."""
        if speaker is None:
            return None
        number = names.index(speaker, self.speakers)
        if number is None:
            raise ValueError(
                f"the model knows no speaker {speaker!r}; it knows {', '.join(self.speakers)}"
                if self.speakers
                else "the model was not trained to tell speakers apart (model.speaker_label)"
            )
        return 1 + number

    def _decoded(self, latents: np.ndarray, window: slice, number: int | None = None) -> jax.Array:
        """Features of the latent frames in a window; past the last of them there is silence."""
        given = latents[:, window]
        missing = window.stop - window.start - given.shape[1]
        behind = np.broadcast_to(self.silence, (len(latents), missing, latents.shape[2]))
        filled = jnp.asarray(np.concatenate([given, behind], axis=1))
        if number is None:
            return apply(
                self.variables, filled, function=cached_partial(autoencoder.decode, self.model)
            )
        speaker = jnp.full(len(latents), number, jnp.int32)
        decode_as = cached_partial(autoencoder.decode_as, self.model)
        return apply(self.variables, filled, speaker, function=decode_as)

    def _kept(
        self, audio: np.ndarray, window: slice, kept: slice, silent: np.ndarray
    ) -> np.ndarray:
        """What is kept of a window, digitally silent where all latent frames ``silent`` are."""
        inside = within(kept, window)
        audio = audio[:, inside.start * self.block : inside.stop * self.block]
        return silence.gated(audio, silent, kept, self.sample_rate)

    @functools.cached_property
    def silence(self) -> np.ndarray:
        """The latent frame ``[latent_dim]`` of digital silence.

        It is what silence that follows silence is encoded to, but the next larger float32: so no
        sound has it, and `decode` knows that where it is there was nothing at all.
        """
        channels = (self.channels,) if self.channels > 1 else ()
        (window, _), *_ = self._encoding.over(1)

        def read(_: int, count: int) -> np.ndarray:
            return np.zeros((1, count, *channels), np.float32)

        own = self._encoded(self._read(read, window))[0, self._encoding.before]
        return np.nextafter(own, np.float32(np.inf))
