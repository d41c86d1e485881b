"""The base classes of representations: from audio to features and back."""

import dataclasses
import math
from typing import Any, ClassVar, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from ml_collections import ConfigDict

from aejax import signal
from aejax.parts import at_least, between, key
from aejax.runtime.errors import UserError

Count = TypeVar("Count", int, jax.Array)
Limits = tuple[Float[np.ndarray, " bins"], Float[np.ndarray, " bins"]]
_FLOAT32 = float(np.finfo(np.float32).max)


class Representation:
    """Base class: audio to features and back.

    A representation is a frozen dataclass with ``sample_rate`` and ``hop_length`` that defines
    ``bins``, `analyse` and `synthesise`. The other defaults suit frames without overlap.

    Attributes:
      sample_rate: Hz.
      hop_length: samples from one frame to the next.
      unit: unit of the features: "dB", or "1" for plain numbers.
      exact: whether `synthesise` inverts `analyse` exactly, as losses of audio need.
      fewest_frames: frames of the shortest excerpt that can be analysed.
      receptive_field: frames at each edge of an excerpt affected by padding.
      synthesis_context: frames at each edge of an excerpt whose audio depends on features beyond.
      levels: whether bins are levels along frequency.

    Attributes have the type Any, since subclasses define them as fields or as properties.
    """

    part_name: ClassVar[str]  # set by `register`
    sample_rate: Any
    hop_length: Any
    unit: Any = "1"
    exact: Any = True
    fewest_frames: Any = 1
    receptive_field: Any = 0
    synthesis_context: Any = 0
    levels: Any = False

    @property
    def bins(self) -> int:
        """Features in one frame."""
        raise NotImplementedError

    bins_keys: Any = "bins"  # formula of `bins` in config keys, for messages

    @property
    def frame_rate(self) -> float:
        """Frames per second, Hz."""
        return self.sample_rate / self.hop_length

    @classmethod
    def check(cls, config: ConfigDict) -> None:
        """Raises UserError for incompatible keys."""

    def limits(self) -> Limits:
        """The lowest and highest possible value of each bin, for audio within full scale."""
        return symmetric(_FLOAT32, self.bins)

    def samples(self, frames: int) -> int:
        """Number of samples of an excerpt of ``frames``, the inverse of `frames`."""
        return frames * self.hop_length

    def frames(self, samples: Count) -> Count:
        """Number of frames of ``samples``; also for arrays."""
        return -(-samples // self.hop_length)

    def analyse(self, audio: Float[Array, "..."]) -> Float[Array, "*batch frames bins"]:
        """Audio, ``[..., samples]`` or ``[..., samples, channels]``, to features."""
        raise NotImplementedError

    def synthesise(self, features: Float[Array, "*batch frames bins"]) -> Float[Array, "..."]:
        """Features to audio."""
        raise NotImplementedError

    def masked(
        self, audio: Float[Array, "..."], features: Float[Array, "*batch frames bins"]
    ) -> Float[Array, "..."]:
        """Noisy audio masked by denoised features: the STFT keeps its phase, and its bins are
        attenuated to the level of the features. Without a mask, the default: `synthesise`.

        Args:
          audio: noisy audio of a length from `samples`.
          features: denoised features of as many frames.
        """
        del audio
        return self.synthesise(features)


def symmetric(highest: float, bins: int) -> Limits:
    """Limits from ``-highest`` to ``highest`` in every bin."""
    return np.full(bins, -highest), np.full(bins, highest)


def radial(
    parts: Float[Array, "parts *batch frames bins"], power: float
) -> Float[Array, "1 *batch frames bins"]:
    """Factor of real and imaginary parts that raises their magnitude to a power. At 0 it is finite
    and has finite gradients."""
    squared = jnp.square(parts).sum(0, keepdims=True)
    return jnp.power(jnp.maximum(squared, 1e-20), (power - 1) / 2)


@dataclasses.dataclass(frozen=True)
class STFTRepresentation(Representation):
    """Features of an STFT whose first frame is centred on the first sample.

    Attributes:
      sample_rate: Hz.
      n_fft, win_length, hop_length: samples; a ``win_length`` of 0 is ``n_fft``.
    """

    sample_rate: int
    n_fft: int = key(1024, between(16, 2**20), "samples per transform")
    win_length: int = key(0, at_least(0), "samples per window; 0 is n_fft")
    hop_length: int = key(256, at_least(1, 2**19), "samples from one frame to the next")

    def __post_init__(self) -> None:
        object.__setattr__(self, "win_length", self.win_length or self.n_fft)

    @classmethod
    def check(cls, config: ConfigDict) -> None:
        """An even transform, a window within it, and an overlap of at least half a window."""
        name = cls.part_name
        own, prefix = config.representation[name], f"config.representation.{name}"
        if own.n_fft % 2:
            raise UserError(f"{prefix}.n_fft={own.n_fft} must be even")
        if own.win_length > own.n_fft:
            raise UserError(
                f"{prefix}.win_length={own.win_length} must be at most n_fft={own.n_fft}"
            )
        longest = "win_length" if own.win_length else "n_fft"
        if own.hop_length > own[longest] // 2:
            raise UserError(
                f"{prefix}.hop_length={own.hop_length} must be at most half of"
                f" {longest}={own[longest]}, or synthesised audio has gaps"
            )

    @property
    def fewest_frames(self) -> int:
        """Frames of the shortest excerpt with enough samples for reflection padding."""
        return 2 + self.n_fft // 2 // self.hop_length

    @property
    def receptive_field(self) -> int:
        """Frames at each edge affected by padding: their windows reach beyond the edge."""
        return math.ceil(self.n_fft / 2 / self.hop_length)

    @property
    def synthesis_context(self) -> int:
        """Frames on either side of a sample whose windows overlap it."""
        return self.receptive_field

    def samples(self, frames: int) -> int:
        """Number of samples of an excerpt of ``frames``."""
        return (frames - 1) * self.hop_length

    def frames(self, samples: Count) -> Count:
        """Number of frames of ``samples``."""
        return 1 + samples // self.hop_length

    def _window(self) -> np.ndarray:
        return signal.window("hann", self.win_length).astype(np.float64)

    def _highest_magnitude(self) -> float:
        """The highest possible magnitude of an STFT bin, for audio within full scale: the window's
        sum."""
        return float(self._window().sum())

    def _gain(self, noisy: Array, features: Array) -> Array:
        """Mask of the noisy STFT, from 0 to 1."""
        raise NotImplementedError

    def masked(
        self,
        audio: Float[Array, "*batch samples"],
        features: Float[Array, "*batch frames bins"],
    ) -> Float[Array, "*batch samples"]:
        """Audio with each bin of its STFT attenuated to the level of the features.

        Sources: Wang, Narayanan and Wang, "On training targets for supervised speech separation",
        2014, section II.D (the FFT magnitude mask), at most 1; for complex features, Erdogan et
        al., "Phase-sensitive and recognition-boosted speech separation", 2015, section 3 (the
        truncated phase-sensitive mask).
        """
        spectrum = signal.stft(
            audio, n_fft=self.n_fft, win_length=self.win_length, hop_length=self.hop_length
        )
        gain = self._gain(self.analyse(audio), features)
        return signal.istft(
            jax.lax.complex(spectrum.real * gain, spectrum.imag * gain),
            n_fft=self.n_fft,
            win_length=self.win_length,
            hop_length=self.hop_length,
        )


@dataclasses.dataclass(frozen=True)
class LevelRepresentation(STFTRepresentation):
    """Levels in dB, without phases; synthesis estimates these (Griffin-Lim).

    Attributes:
      sample_rate, n_fft, win_length, hop_length: see `STFTRepresentation`.
      floor_db: dB re 1; power below this counts as silence.
      griffin_lim_iterations: iterations of Griffin-Lim.
    """

    floor_db: float = key(-60.0, between(-300, 100), "dB; power below this counts as silence")
    griffin_lim_iterations: int = key(
        32, at_least(1, 10_000), "iterations of Griffin-Lim, which estimates phases"
    )
    unit = "dB"
    exact = False
    levels = True

    @property
    def synthesis_context(self) -> int:
        """Frames of context: each iteration of Griffin-Lim adds those that overlap with a frame."""
        neighbours = math.ceil(self.n_fft / self.hop_length) - 1
        return self.griffin_lim_iterations * neighbours + self.receptive_field

    def _limits(self, highest: np.ndarray) -> Limits:
        """Limits from the floor to ``highest``."""
        return np.full(len(highest), self.floor_db), highest

    def _attenuation(self, gain_db: Array) -> Array:
        """Amplitude factor of a gain in dB, at most 1."""
        return signal.db_to_amplitude(jnp.minimum(gain_db, 0))

    def _from_power(
        self, power: Float[Array, "*batch frames bins"]
    ) -> Float[Array, "*batch samples"]:
        """Audio of a power spectrogram, with phases by Griffin-Lim."""
        audio = signal.griffin_lim(
            jnp.sqrt(power),
            n_fft=self.n_fft,
            win_length=self.win_length,
            hop_length=self.hop_length,
            num_iterations=self.griffin_lim_iterations,
        )
        assert isinstance(audio, jax.Array)
        return audio


def valid_frames(
    representation: Representation, length: Int[Array, " batch"], frames: int, downsampling: int
) -> Bool[Array, "batch frames"]:
    """Mask of valid frames: all frames of each block in which the clip has samples.

    Args:
      representation: of the frames.
      length: samples of each row before its clip ends; 0 for a padding row.
      frames: frames of each row, whole blocks.
      downsampling: frames in a block.
    """
    covered = jnp.where(length > 0, representation.frames(length), 0)
    blocks = -(-covered // downsampling)
    return jnp.arange(frames)[None] < (blocks * downsampling)[:, None]


def analyse_blocks(
    representation: Representation,
    audio: Float[Array, "batch samples *channels"],
    length: Int[Array, " batch"],
    downsampling: int,
) -> tuple[
    Float[Array, "batch frames bins"],
    Bool[Array, "batch frames"],
    Bool[Array, "batch latent_frames"],
]:
    """Features of audio, and masks of valid frames and of valid blocks."""
    features = representation.analyse(audio)
    frame_mask = valid_frames(representation, length, features.shape[1], downsampling)
    return features, frame_mask, frame_mask[:, ::downsampling]
