"""Representations: pairs of analyse and synthesise, between audio and features."""

import dataclasses
import math
from typing import Any, Protocol, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from ml_collections import ConfigDict

from aejax import signal
from aejax.errors import UserError

Count = TypeVar("Count", int, jax.Array)
Limits = tuple[Float[np.ndarray, " bins"], Float[np.ndarray, " bins"]]


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

    @property
    def unit(self) -> str:
        """Of the features: "dB", or "1" for what is a plain number."""

    @property
    def exact(self) -> bool:
        """Whether `synthesise` undoes `analyse`, so that a gradient can go through it to audio."""

    @property
    def hop_length(self) -> int:
        """Samples from one frame to the next."""

    @property
    def reach(self) -> int:
        """Frames at either end of an excerpt that hear that it was cut out there."""

    @property
    def synthesis_reach(self) -> int:
        """Frames' worth of audio at either end of what comes of an excerpt of features that is
        other than if the excerpt had been longer."""

    def limits(self) -> Limits:
        """The lowest and the highest value of each bin in any sound within full scale."""

    def samples(self, frames: int) -> int:
        """Samples of the excerpt that has exactly that many frames."""

    def frames(self, samples: Count) -> Count:
        """Frames of a signal of that many samples; for arrays of lengths too."""

    def analyse(self, audio: Float[Array, "..."]) -> Float[Array, "*batch frames bins"]:
        """Audio, ``[..., samples]`` or with its channels behind, to features."""

    def synthesise(self, features: Float[Array, "*batch frames bins"]) -> Float[Array, "..."]:
        """Features to audio."""

    def masked(
        self, audio: Float[Array, "..."], features: Float[Array, "*batch frames bins"]
    ) -> Float[Array, "..."]:
        """What of audio is in features: every bin of its STFT, with its phase, made no louder than
        they say. Features that know of phases by themselves are just synthesised.

        Args:
          audio: of a whole number of hops, see `samples`.
          features: of as many frames.
        """


class _Transformed:
    """What is undone exactly, frame by frame, without an STFT."""

    def synthesise(self, features: Array) -> Array:
        """Features to audio."""
        raise NotImplementedError

    def masked(self, audio: Array, features: Array) -> Array:
        """The features as audio: they hold all there is."""
        del audio
        return self.synthesise(features)


class _Hopped:
    """Sizes of what has its first frame around the first sample, and then one a hop."""

    sample_rate: int
    n_fft: int
    win_length: int
    hop_length: int

    @property
    def frame_rate(self) -> float:
        """Frames per second, Hz."""
        return self.sample_rate / self.hop_length

    @property
    def fewest_frames(self) -> int:
        """Frames of the shortest excerpt that can be analysed: it is reflected by half a window."""
        return 2 + self.n_fft // 2 // self.hop_length

    @property
    def reach(self) -> int:
        """Frames with less than half a window before them."""
        return math.ceil(self.n_fft / 2 / self.hop_length)

    @property
    def synthesis_reach(self) -> int:
        """Frames that have a part in the sample in the middle of one."""
        return self.reach

    def samples(self, frames: int) -> int:
        """Samples of the excerpt that has exactly that many frames."""
        return (frames - 1) * self.hop_length

    def frames(self, samples: Count) -> Count:
        """Frames of a signal of that many samples."""
        return 1 + samples // self.hop_length

    def _highest_magnitude(self) -> float:
        """Of a bin of the STFT of any sound within full scale: the sum of its window."""
        return float(self._window().sum())

    def _window(self) -> np.ndarray:
        return signal.window("hann", self.win_length).astype(np.float64)

    def analyse(self, audio: Array) -> Array:
        """Audio to features."""
        raise NotImplementedError

    def _gain(self, heard: Array, features: Array) -> Array:
        """What each bin of the STFT of heard features is multiplied by, from 0 to 1."""
        raise NotImplementedError

    def masked(
        self,
        audio: Float[Array, "*batch samples"],
        features: Float[Array, "*batch frames bins"],
    ) -> Float[Array, "*batch samples"]:
        """Audio with each bin of its STFT made as soft as features say, if they do.

        Sources: Wang, Narayanan and Wang, "On training targets for supervised speech separation",
        2014, section II.D (the FFT magnitude mask), with 1 as its upper end; of what knows phases,
        Erdogan et al., "Phase-sensitive and recognition-boosted speech separation", 2015,
        section 3 (the truncated phase-sensitive mask).
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
class Waveform(_Transformed):
    """Samples as they are, cut into frames that do not overlap.

    Attributes:
      sample_rate: Hz.
      hop_length: samples in a frame, which are its bins; 1 for a frame a sample.
    """

    sample_rate: int
    hop_length: int
    unit = "1"
    exact = True
    fewest_frames = 1
    reach = synthesis_reach = 0

    @property
    def bins(self) -> int:
        """Features in one frame."""
        return self.hop_length

    @property
    def frame_rate(self) -> float:
        """Frames per second, Hz."""
        return self.sample_rate / self.hop_length

    def limits(self) -> Limits:
        """Full scale."""
        return _symmetric(1.0, self.bins)

    def samples(self, frames: int) -> int:
        """Samples of the excerpt that has exactly that many frames."""
        return frames * self.hop_length

    def frames(self, samples: Count) -> Count:
        """Frames of a signal of that many samples."""
        return -(-samples // self.hop_length)

    def analyse(self, audio: Float[Array, "*batch samples"]) -> Float[Array, "*batch frames bins"]:
        """Audio, filled up with zeros to whole frames, frame by frame."""
        frames = self.frames(audio.shape[-1])
        missing = frames * self.hop_length - audio.shape[-1]
        padded = jnp.pad(audio, [(0, 0)] * (audio.ndim - 1) + [(0, missing)])
        return padded.reshape(*audio.shape[:-1], frames, self.hop_length)

    def synthesise(
        self, features: Float[Array, "*batch frames bins"]
    ) -> Float[Array, "*batch samples"]:
        """Frames one after the other."""
        return features.reshape(*features.shape[:-2], -1)


@dataclasses.dataclass(frozen=True)
class Spectrogram(_Hopped):
    """Log-magnitude STFT in dB. Its inverse finds a phase (Griffin-Lim).

    Attributes:
      sample_rate: Hz.
      n_fft, win_length, hop_length: samples.
      floor_db: power below this is silence, in dB re 1.
      griffin_lim_iterations: rounds of the phase search.
    """

    sample_rate: int
    n_fft: int
    win_length: int
    hop_length: int
    floor_db: float
    griffin_lim_iterations: int
    unit = "dB"
    exact = False

    @property
    def bins(self) -> int:
        """Features in one frame."""
        return self.n_fft // 2 + 1

    @property
    def synthesis_reach(self) -> int:
        """Each round of Griffin-Lim lets frames hear those that they overlap with."""
        return _heard_from(self)

    def limits(self) -> Limits:
        """From the floor to what adds up in one bin."""
        highest = 20 * math.log10(self._highest_magnitude())
        return _above_floor(self.floor_db, np.full(self.bins, highest))

    def analyse(self, audio: Float[Array, "*batch samples"]) -> Float[Array, "*batch frames bins"]:
        """Audio to log-magnitude in dB, never below ``floor_db``."""
        power = signal.spectrogram(
            audio, n_fft=self.n_fft, win_length=self.win_length, hop_length=self.hop_length
        )
        return signal.power_to_db(power, floor=10 ** (self.floor_db / 10))

    def synthesise(
        self, features: Float[Array, "*batch frames bins"]
    ) -> Float[Array, "*batch samples"]:
        """Log-magnitude in dB to audio; what lies at the floor becomes silence."""
        return _heard(self, signal.db_to_power(features))

    def _gain(self, heard: Array, features: Array) -> Array:
        return _softer(features - heard)


@dataclasses.dataclass(frozen=True)
class ComplexSpectrogram(_Hopped):
    """Real and imaginary parts of an STFT whose magnitudes are raised to a power below 1, so that
    quiet bins count too. Exactly invertible.

    Source: Ephrat et al., "Looking to listen at the cocktail party", 2018, section 3.1.

    Attributes:
      sample_rate: Hz.
      n_fft, win_length, hop_length: samples.
      compression: the power, 1 for none.
    """

    sample_rate: int
    n_fft: int
    win_length: int
    hop_length: int
    compression: float
    unit = "1"
    exact = True

    @property
    def bins(self) -> int:
        """Features in one frame: real parts, then imaginary parts."""
        return 2 * (self.n_fft // 2 + 1)

    def limits(self) -> Limits:
        """What adds up in one bin, compressed."""
        return _symmetric(self._highest_magnitude() ** self.compression, self.bins)

    def analyse(self, audio: Float[Array, "*batch samples"]) -> Float[Array, "*batch frames bins"]:
        """Audio to compressed real parts, then imaginary parts."""
        spectrum = signal.stft(
            audio, n_fft=self.n_fft, win_length=self.win_length, hop_length=self.hop_length
        )
        parts = jnp.stack([spectrum.real, spectrum.imag])
        parts = parts * _radial(parts, self.compression)
        return jnp.concatenate([parts[0], parts[1]], axis=-1)

    def synthesise(
        self, features: Float[Array, "*batch frames bins"]
    ) -> Float[Array, "*batch samples"]:
        """Features to audio."""
        parts = jnp.stack(jnp.split(features, 2, axis=-1))
        parts = parts * _radial(parts, 1 / self.compression)
        return signal.istft(
            jax.lax.complex(parts[0], parts[1]),
            n_fft=self.n_fft,
            win_length=self.win_length,
            hop_length=self.hop_length,
        )

    def _gain(self, heard: Array, features: Array) -> Array:
        """What points where the sound that is heard does counts, what points elsewhere does not:
        of a phase that the model cannot know, nothing is left in the mean."""
        along = sum(a * b for a, b in zip(_halves(features), _halves(heard), strict=True))
        power = sum(jnp.square(part) for part in _halves(heard))
        share = jnp.clip(along / jnp.maximum(power, 1e-10), 1e-5, 1)
        return jnp.power(share, 1 / self.compression)


def _halves(features: Array) -> tuple[Array, Array]:
    """Real and imaginary parts."""
    real, imaginary = jnp.split(features, 2, axis=-1)
    return real, imaginary


def _radial(
    parts: Float[Array, "parts *batch frames bins"], power: float
) -> Float[Array, "1 *batch frames bins"]:
    """What parts are multiplied by for their magnitude to be raised to a power; finite, and with
    finite gradients, at 0."""
    squared = jnp.square(parts).sum(0, keepdims=True)
    return jnp.power(jnp.maximum(squared, 1e-20), (power - 1) / 2)


@dataclasses.dataclass(frozen=True)
class MDCT(_Transformed):
    """Modified discrete cosine transform: real, as many numbers as samples, exactly invertible.

    Attributes:
      sample_rate: Hz.
      hop_length: samples, which are its bins; the window is twice as long. Even.
      compression: the power that magnitudes are raised to, sign kept; 1 for none.
    """

    sample_rate: int
    hop_length: int
    compression: float
    unit = "1"
    exact = True
    fewest_frames = 2
    reach = synthesis_reach = 1

    @property
    def bins(self) -> int:
        """Features in one frame."""
        return self.hop_length

    @property
    def frame_rate(self) -> float:
        """Frames per second, Hz."""
        return self.sample_rate / self.hop_length

    def limits(self) -> Limits:
        """What adds up in one bin, compressed."""
        window = signal.window("sine", 2 * self.hop_length).astype(np.float64)
        highest = math.sqrt(2 / self.hop_length) * float(window.sum())
        return _symmetric(highest**self.compression, self.bins)

    def samples(self, frames: int) -> int:
        """Samples of the excerpt that has exactly that many frames."""
        return (frames - 1) * self.hop_length

    def frames(self, samples: Count) -> Count:
        """Frames of a signal of that many samples."""
        return -(-samples // self.hop_length) + 1

    def analyse(self, audio: Float[Array, "*batch samples"]) -> Float[Array, "*batch frames bins"]:
        """Audio to compressed coefficients."""
        return self._powered(signal.mdct(audio, win_length=2 * self.hop_length), self.compression)

    def synthesise(
        self, features: Float[Array, "*batch frames bins"]
    ) -> Float[Array, "*batch samples"]:
        """Features to audio."""
        return signal.imdct(self._powered(features, 1 / self.compression))

    def _powered(self, x: Array, power: float) -> Array:
        return x * _radial(x[None], power)[0]


@dataclasses.dataclass(frozen=True)
class MelSpectrogram(_Hopped):
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
    unit = "dB"
    exact = False

    @property
    def bins(self) -> int:
        """Features in one frame."""
        return self.n_mels

    @property
    def synthesis_reach(self) -> int:
        """Each round of Griffin-Lim lets frames hear those that they overlap with."""
        return _heard_from(self)

    def limits(self) -> Limits:
        """From the floor to what adds up in one band: no more than if each of its bins had all that
        adds up there, and no more than if all energy of a frame were where the band is highest."""
        filters = signal.mel_filterbank(
            sample_rate=self.sample_rate,
            n_fft=self.n_fft,
            n_mels=self.n_mels,
            fmin=self.fmin,
            fmax=self.fmax,
        )
        filters = filters.astype(np.float64)
        # Parseval's theorem, over bins of positive and negative frequency.
        energy = self.n_fft * float(np.square(self._window()).sum())
        highest = np.minimum(
            filters.sum(0) * self._highest_magnitude() ** 2, filters.max(0) * energy
        )
        floor = 10 ** (self.floor_db / 10)
        return _above_floor(self.floor_db, 10 * np.log10(np.maximum(highest, floor)))

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
        return _heard(self, linear)

    def _gain(self, heard: Array, features: Array) -> Array:
        louder = jnp.matmul(features - heard, self._between_bands(), precision="highest")
        return _softer(louder)

    def _between_bands(self) -> np.ndarray:
        """Weights ``[n_mels, bins]`` of a straight line, over Hz, from the centre of each band to
        that of the next."""
        lowest, highest = (float(signal.hz_to_mel(hz)) for hz in (self.fmin, self.fmax))
        mels = np.linspace(lowest, highest, self.n_mels + 2)
        centres = np.asarray(signal.mel_to_hz(mels))[1:-1]
        bins = np.fft.rfftfreq(self.n_fft, 1 / self.sample_rate)
        each = [np.interp(bins, centres, band) for band in np.eye(self.n_mels)]
        return np.asarray(each, np.float32)


def _symmetric(highest: float, bins: int) -> Limits:
    return np.full(bins, -highest), np.full(bins, highest)


def _above_floor(floor: float, highest: np.ndarray) -> Limits:
    return np.full(len(highest), floor), highest


def _softer(louder: Array) -> Array:
    """Gains of what would be so many dB louder, where that is below 0."""
    return signal.db_to_amplitude(jnp.minimum(louder, 0))


def _heard_from(representation: Spectrogram | MelSpectrogram) -> int:
    """Frames from which one is heard, on either side, after the search for a phase."""
    neighbours = math.ceil(representation.n_fft / representation.hop_length) - 1
    return representation.griffin_lim_iterations * neighbours + representation.reach


def _heard(
    representation: Spectrogram | MelSpectrogram, power: Float[Array, "*batch frames bins"]
) -> Float[Array, "*batch samples"]:
    """A power spectrogram with a phase found for it, as audio."""
    audio = signal.griffin_lim(
        jnp.sqrt(power),
        n_fft=representation.n_fft,
        win_length=representation.win_length,
        hop_length=representation.hop_length,
        num_iterations=representation.griffin_lim_iterations,
    )
    assert isinstance(audio, jax.Array)  # and not a pair, which only comes on request
    return audio


YARDSTICK_FLOOR_DB = -60.0


def yardstick(sample_rate: int) -> MelSpectrogram:
    """The log-mel spectrogram by which the audio of all representations is measured: 80 bands of
    windows of 64 ms (the next power of 2 above, in samples, and at least 128, which is what 80
    bands take), a quarter of it apart."""
    n_fft = max(2 ** math.ceil(math.log2(0.064 * sample_rate)), 128)
    return MelSpectrogram(
        sample_rate=sample_rate,
        n_fft=n_fft,
        win_length=n_fft,
        hop_length=n_fft // 4,
        n_mels=80,
        fmin=0.0,
        fmax=sample_rate / 2,
        floor_db=YARDSTICK_FLOOR_DB,
        griffin_lim_iterations=32,
    )


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

    @property
    def unit(self) -> str:
        """Of the features."""
        return self.inner.unit

    @property
    def exact(self) -> bool:
        """Whether `synthesise` undoes `analyse`."""
        return self.inner.exact

    @property
    def hop_length(self) -> int:
        """Samples from one frame to the next."""
        return self.inner.hop_length

    @property
    def reach(self) -> int:
        """Frames at either end that hear a cut."""
        return self.inner.reach

    @property
    def synthesis_reach(self) -> int:
        """Frames' worth of audio at either end that is other for a cut."""
        return self.inner.synthesis_reach

    def limits(self) -> Limits:
        """Those of each channel, one after the other."""
        lowest, highest = self.inner.limits()
        return np.tile(lowest, self.channels), np.tile(highest, self.channels)

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
        return jnp.moveaxis(self.inner.synthesise(self._apart(features)), -2, -1)

    def masked(
        self,
        audio: Float[Array, "*batch samples channels"],
        features: Float[Array, "*batch frames bins"],
    ) -> Float[Array, "*batch samples channels"]:
        """Each channel of audio by the features of its own."""
        masked = self.inner.masked(jnp.moveaxis(audio, -1, -2), self._apart(features))
        return jnp.moveaxis(masked, -2, -1)

    def _apart(self, features: Array) -> Array:
        """Features ``[..., channels, frames, bins]``."""
        return jnp.stack(jnp.split(features, self.channels, axis=-1), axis=-3)


REPRESENTATIONS: dict[str, Any] = {
    "waveform": Waveform,
    "spectrogram": Spectrogram,
    "complex_spectrogram": ComplexSpectrogram,
    "mel": MelSpectrogram,
    "mdct": MDCT,
}


def from_config(config: ConfigDict) -> Representation:
    """The representation that a whole experiment's config describes.

    Raises:
      UserError: its numbers do not go together; found by tracing it, before anything runs.
    """
    keys = config.representation.to_dict() | {"sample_rate": config.data.sample_rate}
    keys["fmax"] = keys["fmax"] or config.data.sample_rate / 2
    keys["win_length"] = keys["win_length"] or keys["n_fft"]
    kind = REPRESENTATIONS[keys["name"]]
    # config.validate has seen to it that the keys it does not take are at their defaults.
    representation = kind(**{field.name: keys[field.name] for field in dataclasses.fields(kind)})
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
