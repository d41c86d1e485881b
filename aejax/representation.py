"""Representations: pairs of analyse and synthesise, between audio and features."""

import dataclasses
from typing import Protocol, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
from ml_collections import ConfigDict

from aejax import signal
from aejax.errors import UserError

Count = TypeVar("Count", int, jax.Array)


@runtime_checkable
class Representation(Protocol):
    """Audio to features and back, with all sizes known before anything runs."""

    @property
    def bins(self) -> int:
        """Features in one frame."""

    @property
    def frame_rate(self) -> float:
        """Frames per second, Hz."""

    @property
    def fewest_frames(self) -> int:
        """Frames of the shortest excerpt that can be analysed."""

    def samples(self, frames: int) -> int:
        """Samples of the excerpt that has exactly that many frames."""

    def frames(self, samples: Count) -> Count:
        """Frames of a signal of that many samples; for arrays of lengths too."""

    def analyse(self, audio: Float[Array, "..."]) -> Float[Array, "*batch frames bins"]:
        """Audio, ``[..., samples]`` or with its channels behind, to features."""

    def synthesise(self, features: Float[Array, "*batch frames bins"]) -> Float[Array, "..."]:
        """Features to audio."""


@dataclasses.dataclass(frozen=True)
class MelSpectrogram:
    """Log-mel power in dB. Its inverse finds a linear spectrum, then a phase (Griffin-Lim).

    Attributes:
      sample_rate: Hz.
      n_fft, win_length, hop_length: samples.
      n_mels: bins.
      fmin, fmax: Hz.
      floor_db: mel power below this is silence, in dB re 1 (with librosa's scaling, in which a
        full-scale sine of 1 kHz reaches some +30 dB in its bin at ``n_fft`` 1024 and 16 kHz).
      griffin_lim_iterations: rounds of the phase search.
    """

    sample_rate: int
    n_fft: int
    win_length: int
    hop_length: int
    n_mels: int
    fmin: float
    fmax: float
    floor_db: float
    griffin_lim_iterations: int

    @property
    def bins(self) -> int:
        """Features in one frame."""
        return self.n_mels

    @property
    def frame_rate(self) -> float:
        """Frames per second, Hz."""
        return self.sample_rate / self.hop_length

    @property
    def fewest_frames(self) -> int:
        """Frames of the shortest excerpt that can be analysed: it is reflected by half a window."""
        return 2 + self.n_fft // 2 // self.hop_length

    def samples(self, frames: int) -> int:
        """Samples of the excerpt that has exactly that many frames."""
        return (frames - 1) * self.hop_length

    def frames(self, samples: Count) -> Count:
        """Frames of a signal of that many samples."""
        return 1 + samples // self.hop_length

    def analyse(self, audio: Float[Array, "*batch samples"]) -> Float[Array, "*batch frames bins"]:
        """Audio to log-mel power in dB, never below ``floor_db``."""
        mel = signal.mel_spectrogram(
            audio,
            sample_rate=self.sample_rate,
            n_fft=self.n_fft,
            win_length=self.win_length,
            hop_length=self.hop_length,
            n_mels=self.n_mels,
            fmin=self.fmin,
            fmax=self.fmax,
        )
        return signal.power_to_db(mel, floor=10 ** (self.floor_db / 10))

    def synthesise(
        self, features: Float[Array, "*batch frames bins"]
    ) -> Float[Array, "*batch samples"]:
        """Log-mel power in dB to audio; what lies at the floor becomes silence."""
        linear = signal.mel_to_linear(
            signal.db_to_power(features),
            sample_rate=self.sample_rate,
            n_fft=self.n_fft,
            fmin=self.fmin,
            fmax=self.fmax,
            # Not least squares: what counts here is dB, in quiet bands too.
            method="kl",
        )
        audio = signal.griffin_lim(
            jnp.sqrt(linear),
            n_fft=self.n_fft,
            win_length=self.win_length,
            hop_length=self.hop_length,
            num_iterations=self.griffin_lim_iterations,
        )
        assert isinstance(audio, jax.Array)  # and not a pair, which only comes on request
        return audio


@dataclasses.dataclass(frozen=True)
class Multichannel:
    """Any representation, of each channel by itself, their bins side by side.

    Attributes:
      inner: of one channel.
      channels: how many.
    """

    inner: Representation
    channels: int

    @property
    def bins(self) -> int:
        """Features in one frame, of all channels."""
        return self.inner.bins * self.channels

    @property
    def frame_rate(self) -> float:
        """Frames per second, Hz."""
        return self.inner.frame_rate

    @property
    def fewest_frames(self) -> int:
        """Frames of the shortest excerpt that can be analysed."""
        return self.inner.fewest_frames

    def samples(self, frames: int) -> int:
        """Samples of the excerpt that has exactly that many frames."""
        return self.inner.samples(frames)

    def frames(self, samples: Count) -> Count:
        """Frames of a signal of that many samples."""
        return self.inner.frames(samples)

    def analyse(
        self, audio: Float[Array, "*batch samples channels"]
    ) -> Float[Array, "*batch frames bins"]:
        """Audio to the features of the first channel, then those of the next."""
        features = self.inner.analyse(jnp.moveaxis(audio, -1, -2))
        return jnp.concatenate(jnp.moveaxis(features, -3, 0), axis=-1)

    def synthesise(
        self, features: Float[Array, "*batch frames bins"]
    ) -> Float[Array, "*batch samples channels"]:
        """Features to audio, each channel by itself."""
        parts = jnp.stack(jnp.split(features, self.channels, axis=-1), axis=-3)
        return jnp.moveaxis(self.inner.synthesise(parts), -2, -1)


REPRESENTATIONS = {"mel": MelSpectrogram}


def from_config(config: ConfigDict) -> Representation:
    """The representation that a whole experiment's config describes.

    Raises:
      UserError: its numbers do not go together; found by tracing it, before anything runs.
    """
    keys = config.representation.to_dict()
    kind = REPRESENTATIONS[keys.pop("name")]
    keys["fmax"] = keys["fmax"] or config.data.sample_rate / 2
    keys["win_length"] = keys["win_length"] or keys["n_fft"]
    representation: Representation = kind(sample_rate=config.data.sample_rate, **keys)
    try:
        samples = representation.samples(representation.fewest_frames)
        jax.eval_shape(representation.analyse, jax.ShapeDtypeStruct((samples,), jnp.float32))
    except ValueError as error:
        raise UserError(f"config.representation: {error}") from None
    stereo = config.data.channels == "stereo"
    return Multichannel(representation, 2) if stereo else representation


def valid_frames(
    representation: Representation, length: Int[Array, " batch"], frames: int, downsampling: int
) -> Bool[Array, "batch frames"]:
    """Which frames count: those of every block that the clip reaches into.

    Args:
      representation: whose frames they are.
      length: samples of each row before its clip ends; 0 for a row that only fills the batch.
      frames: of each row, whole blocks.
      downsampling: frames in a block.
    """
    covered = jnp.where(length > 0, representation.frames(length), 0)
    blocks = -(-covered // downsampling)
    return jnp.arange(frames)[None] < (blocks * downsampling)[:, None]
