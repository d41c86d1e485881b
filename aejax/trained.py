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
import json
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import soxr

from aejax import config as config_module
from aejax import representation as representations
from aejax.data import audio_file, names
from aejax.errors import UserError
from aejax.evaluation.evaluate import analyse, apply, bound, in_sound, synthesise
from aejax.models import autoencoder
from aejax.models.blocks import Reach
from aejax.prepare import SPEAKERS, denoises, excerpt_blocks
from aejax.representation import Multichannel, Representation
from aejax.training import checkpoint, losses
from aejax.training.devices import Devices
from aejax.training.loop import abstract_snapshot

# Samples of content in a window at most, unless a frame is longer; memory goes with it.
_MOST_SAMPLES = 2**18

# Gives samples ``[rows, count, *channels]`` from one on, with silence past the end.
Read = Callable[[int, int], np.ndarray]


class Windows(NamedTuple):
    """How a sound of any length is cut up, in latent frames.

    Attributes:
      before, after: of context, at least.
      content: the most that is kept of one window.
      fixed: whether every window has that much content; shorter sounds have shorter ones otherwise.
    """

    before: int
    content: int
    after: int
    fixed: bool

    def over(self, total: int) -> Iterator[tuple[slice, slice]]:
        """For each window, where it lies, and what is kept of it; there may be more than
        ``total``, at the end."""
        content = self.content
        if not self.fixed:  # Not each length by itself: every size is compiled.
            content = min(content, 2 ** math.ceil(math.log2(max(total, 1))))
        size = self.before + content + self.after
        for start in range(0, total, content):
            begin = max(0, start - self.before)
            yield slice(begin, begin + size), slice(start, min(start + content, total))


def windows(reach: Reach, edge: int, excerpt: int, most: int) -> Windows:
    """Windows for what reaches so far.

    Args:
      reach: of a network, in latent frames.
      edge: latent frames at either end that hear a cut, apart from the network.
      excerpt: latent frames of a training excerpt.
      most: latent frames of content.
    """
    endless = [math.isinf(steps) for steps in reach]
    given = excerpt // 2 // max(sum(endless), 1)
    before, after = (
        (given if forever else int(steps)) + edge
        for forever, steps in zip(endless, reach, strict=True)
    )
    if not any(endless):
        return Windows(before, most, after, fixed=False)
    content = max(1, min(most, excerpt - sum(endless) * given))
    return Windows(before, content, after, fixed=True)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class TrainedModel:
    """A trained autoencoder: see `load`.

    Attributes:
      config: of its run, all of it.
      representation: of its audio.
      model: the network.
      variables: of the network.
      speakers: that its decoder knows by name.
      most_samples: of content in a window; for tests of the rest.
    """

    config: Any
    representation: Representation
    model: autoencoder.Autoencoder
    variables: Any
    speakers: tuple[str, ...] = ()
    most_samples: int = _MOST_SAMPLES

    def __repr__(self) -> str:
        """What it is, and not its weights."""
        return (
            f"<TrainedModel {self.config.name}: {self.config.representation.name},"
            f" {self.sample_rate} Hz, {self.latent_rate:g} latent floats/s>"
        )

    @property
    def sample_rate(self) -> int:
        """Hz, of the audio that it was trained on and puts out."""
        return self.config.data.sample_rate

    @property
    def channels(self) -> int:
        """Of the audio that goes into it at once."""
        return 2 if isinstance(self.representation, Multichannel) else 1

    @property
    def block(self) -> int:
        """Samples that a latent frame stands for."""
        return self.config.model.downsampling * self.representation.hop_length

    def with_iterations(self, iterations: int) -> "TrainedModel":
        """The same, with so many rounds of Griffin-Lim's search for a phase.

        Raises:
          ValueError: it does not search for one, or does not go any number of rounds.
        """
        if iterations < 1:
            raise ValueError(f"there are {iterations} rounds; at least 1 is needed")
        own = self.representation
        inner = own.inner if isinstance(own, Multichannel) else own
        if not hasattr(inner, "griffin_lim_iterations"):
            raise ValueError("the way back to audio is exact, without a search for a phase")
        changed: Any = dataclasses.replace(inner, griffin_lim_iterations=iterations)  # type: ignore[type-var]
        if isinstance(own, Multichannel):
            changed = dataclasses.replace(own, inner=changed)
        return dataclasses.replace(self, representation=changed)

    @property
    def latent_rate(self) -> float:
        """Latent floats per second."""
        return self.sample_rate / self.block * self.config.model.latent_dim

    def latent_frames(self, samples: int) -> int:
        """Of a sound of that many samples at `sample_rate`."""
        frames = self.representation.frames(max(samples, 1))
        return -(-frames // self.config.model.downsampling)

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
        rows, one = self._rows(audio)
        rows = _resampled(rows, self._rate(sample_rate), self.sample_rate)
        latents = self.encode_stream(lambda start, count: _cut(rows, start, count), rows.shape[1])
        return latents[0] if one else latents

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
        latents = np.asarray(latents)
        dim = self.config.model.latent_dim
        if latents.ndim not in (2, 3) or latents.shape[-1] != dim or not latents.shape[-2]:
            raise ValueError(
                f"latents must be [latent_frames, {dim}] or [batch, latent_frames, {dim}], not"
                f" {list(latents.shape)}"
            )
        rows = latents.reshape(-1, *latents.shape[-2:]).astype(np.float32)
        audio = np.concatenate(list(self.decode_stream(rows, speaker)), axis=1)
        return audio[0] if latents.ndim == 2 else audio

    def reconstruct(
        self, audio: np.ndarray, sample_rate: int | None = None, *, speaker: str | None = None
    ) -> np.ndarray:
        """Audio as it comes back: as long, and at the same rate, as it is given; see `encode`, and
        for ``speaker`` `decode`."""
        rows, one = self._rows(audio)
        rate = self._rate(sample_rate)
        back = self.decode(self.encode(rows, rate), speaker)
        back = _cut(_resampled(back, self.sample_rate, rate), 0, rows.shape[1])
        return back[0] if one else back

    def _rate(self, sample_rate: int | None) -> int:
        if sample_rate is None:
            return self.sample_rate
        if sample_rate <= 0:
            raise ValueError(f"sample_rate={sample_rate} must be above 0")
        return sample_rate

    def encode_stream(
        self, read: Read, samples: int, *, function: Any = autoencoder.encode
    ) -> np.ndarray:
        """`encode` of what is read window by window, at `sample_rate`.

        Args:
          read: gives audio ``[rows, count, *channels]``.
          samples: of the whole.
          function: `autoencoder.encode` or, for integers, `autoencoder.codes`.

        Returns:
          float32 ``[rows, latent_frames, latent_dim]``, or int32 with an axis of codes last.
        """
        found = [
            self._encoded(read, window, function)[:, _within(kept, window)]
            for window, kept in self._encoding.over(self.latent_frames(samples))
        ]
        return np.concatenate(found, axis=1)

    def decode_stream(
        self, latents: np.ndarray, speaker: str | None = None
    ) -> Iterator[np.ndarray]:
        """`decode`, stretch by stretch: audio ``[rows, samples, *channels]``, one after another.

        Args:
          latents: ``[rows, latent_frames, latent_dim]``.
          speaker: in whose voice.
        """
        number = self._number(speaker)
        for window, kept in self._decoding.over(latents.shape[1]):
            features = self._decoded(latents, window, number)
            audio = np.asarray(synthesise(features, representation=self.representation))
            yield self._kept(audio, window, kept)

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
        rows, one = self._rows(audio)
        rate = self._rate(sample_rate)
        heard = _resampled(rows, rate, self.sample_rate)

        def read(start: int, count: int) -> np.ndarray:
            return _cut(heard, start, count)

        latents = self.encode_stream(read, heard.shape[1])
        clean = np.concatenate(list(self.mask_stream(latents, read)), axis=1)
        back = _cut(_resampled(clean, self.sample_rate, rate), 0, rows.shape[1])
        return back[0] if one else back

    def mask_stream(self, latents: np.ndarray, read: Read) -> Iterator[np.ndarray]:
        """What of audio is in latents, stretch by stretch, as `decode_stream` gives it: see
        `aejax.representation.Representation.masked`.

        Args:
          latents: ``[rows, latent_frames, latent_dim]``.
          read: gives the audio ``[rows, count, *channels]``.
        """
        for window, kept in self._masking.over(latents.shape[1]):
            features = self._decoded(latents, window)
            audio = jnp.asarray(self._read(read, window))
            yield self._kept(
                np.asarray(in_sound(audio, features, self.representation)), window, kept
            )

    def _read(self, read: Read, window: slice) -> np.ndarray:
        """The audio of the latent frames in a window."""
        frames = (window.stop - window.start) * self.config.model.downsampling
        return read(window.start * self.block, self.representation.samples(frames))

    def _encoded(self, read: Read, window: slice, function: Any = autoencoder.encode) -> np.ndarray:
        audio = jnp.asarray(self._read(read, window))
        features = analyse(audio, representation=self.representation)
        return np.asarray(apply(self.variables, features, function=bound(function, self.model)))

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
        silence = np.broadcast_to(self.silence, (len(latents), missing, latents.shape[2]))
        filled = jnp.asarray(np.concatenate([given, silence], axis=1))
        if number is None:
            return apply(self.variables, filled, function=bound(autoencoder.decode, self.model))
        speaker = jnp.full(len(latents), number, jnp.int32)
        decode_as = bound(autoencoder.decode_as, self.model)
        return apply(self.variables, filled, speaker, function=decode_as)

    def _kept(self, audio: np.ndarray, window: slice, kept: slice) -> np.ndarray:
        inside = _within(kept, window)
        return audio[:, inside.start * self.block : inside.stop * self.block]

    @functools.cached_property
    def _excerpt(self) -> int:
        """Latent frames of a training excerpt."""
        return max(2, excerpt_blocks(self.config, self.representation))

    def _blocks(self, frames: int) -> int:
        return -(-frames // self.config.model.downsampling)

    @functools.cached_property
    def _encoding(self) -> Windows:
        return windows(
            self.model.encoder.reach,
            self._blocks(max(self.representation.reach, self.representation.fewest_frames)),
            self._excerpt,
            max(1, self.most_samples // self.block),
        )

    @functools.cached_property
    def _decoding(self) -> Windows:
        # A frame more, as the last sample of a block lies before the next frame.
        return windows(
            self.model.decoder.reach,
            self._blocks(self.representation.synthesis_reach + 1),
            self._excerpt,
            max(1, self.most_samples // self.block),
        )

    @functools.cached_property
    def _masking(self) -> Windows:
        # Frames that overlap are all that a mask reaches: no phase is searched for.
        edge = max(self.representation.reach, self.representation.fewest_frames)
        return windows(
            self.model.decoder.reach,
            self._blocks(edge + 1),
            self._excerpt,
            max(1, self.most_samples // self.block),
        )

    @property
    def denoises(self) -> bool:
        """Whether it was trained to take noise away."""
        return denoises(self.config)

    @property
    def behind(self) -> tuple[int, int]:
        """Latent frames of silence behind a sound, and behind latents, from which on more of it
        makes no difference."""
        return self._encoding.after, self._decoding.after

    @functools.cached_property
    def silence(self) -> np.ndarray:
        """The latent frame ``[latent_dim]`` of silence that follows silence."""
        channels = (self.channels,) if self.channels > 1 else ()
        (window, _), *_ = self._encoding.over(1)

        def read(_: int, count: int) -> np.ndarray:
            return np.zeros((1, count, *channels), np.float32)

        return self._encoded(read, window)[0, self._encoding.before]

    def _rows(self, audio: np.ndarray) -> tuple[np.ndarray, bool]:
        """As float32 with an axis of rows, and whether there was none."""
        audio = np.asarray(audio)
        shape = "[samples]" if self.channels == 1 else "[samples, 2]"
        own = 1 if self.channels == 1 else 2
        good = audio.ndim in (own, own + 1) and audio.size > 0
        if not good or (own == 2 and audio.shape[-1] != 2):
            raise ValueError(
                f"audio must be {shape}, or that with an axis of a batch before, and have a sample"
                f" at least; it is {list(audio.shape)}"
            )
        if not np.issubdtype(audio.dtype, np.floating):
            raise ValueError(f"audio must be of floats, full scale at 1; it is of {audio.dtype}")
        if not np.isfinite(audio).all():
            raise ValueError("audio has samples that are not finite")
        one = audio.ndim == own
        return (audio[None] if one else audio).astype(np.float32), one


def _within(kept: slice, window: slice) -> slice:
    return slice(kept.start - window.start, kept.stop - window.start)


def _cut(rows: np.ndarray, start: int, count: int) -> np.ndarray:
    """Samples of each row, with silence past the end."""
    found = rows[:, start : start + count]
    missing = count - found.shape[1]
    if not missing:
        return found
    return np.pad(found, [(0, 0), (0, missing), *[(0, 0)] * (found.ndim - 2)])


def _resampled(rows: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """Every row and channel at another rate."""
    if rate == wanted:
        return rows
    columns = np.moveaxis(rows, 1, 0).reshape(rows.shape[1], -1)
    changed = soxr.resample(columns, rate, wanted, "HQ")
    length = audio_file.resampled_length(rows.shape[1], rate, wanted)
    changed = audio_file.cut(changed, 0, length)
    return np.moveaxis(changed.reshape(length, len(rows), *rows.shape[2:]), 0, 1)


# Bytes of a config.json; larger ones are none of ours.
_MOST_CONFIG = 1 << 20


def load(path: "str | os.PathLike[str]") -> TrainedModel:
    """The model of a finished run, with the variables that were best on validation.

    Reads numbers and texts; nothing in the directory is executed.

    Args:
      path: of the run's directory.

    Raises:
      UserError: there is no finished run, or it is damaged.
    """
    path = Path(path)
    config = _config(path)
    representation = representations.from_config(config)
    dtype = jnp.dtype(config.train.dtype)
    speakers = _speakers(path) if config.model.speaker_label else ()
    model = autoencoder.from_config(
        config.model, representation.bins, dtype, speakers=len(speakers)
    )
    directory = path / "checkpoints"
    newest = max(checkpoint.steps(directory), default=-1)
    if newest < config.train.steps:
        raise UserError(f"the run in {path} is not finished; start it again to go on with it")
    like = _abstract_snapshot(config, representation, model)
    copied = Devices(jax.local_device_count()).copied
    try:
        best = checkpoint.read(directory, newest, like, copied).best
    except (ValueError, KeyError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"the checkpoint in {directory} cannot be read: {reason}") from None
    chosen = min(best.values(), key=lambda candidate: float(candidate.loss))
    return TrainedModel(config, representation, model, chosen.variables, speakers)


def _text(file: Path, missing: str) -> str:
    try:
        if file.stat().st_size > _MOST_CONFIG:
            raise UserError(f"{file} is too large to be one of a run")
        return file.read_text()
    except (OSError, ValueError):
        raise UserError(missing) from None


def _speakers(path: Path) -> tuple[str, ...]:
    file = path / SPEAKERS
    try:
        found = json.loads(_text(file, f"{file} is missing; without it nobody can be named"))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise UserError(f"{file} is damaged: it has to be a list of names")
    return tuple(found)


def _config(path: Path) -> Any:
    file = path / "config.json"
    text = _text(file, f"{path} holds no run: no config.json that can be read")
    try:
        return config_module.from_json(text)
    except UserError as error:
        raise UserError(f"{file}: {error}") from None


def _abstract_snapshot(
    config: Any, representation: Representation, model: autoencoder.Autoencoder
) -> checkpoint.Snapshot:
    """The shapes of what a run of that config saves."""
    return abstract_snapshot(config, model, losses.from_config(config, representation).weights)
