"""Sound to a small file and back, by a trained model."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from aejax import coding
from aejax.config import flatten
from aejax.data import streams
from aejax.data.audio_file import UnusableAudio
from aejax.data.streams import Sound
from aejax.errors import UserError
from aejax.evaluation.evaluate import apply, bound
from aejax.models import autoencoder
from aejax.runtime import files
from aejax.signal.arguments import plain_number
from aejax.tasks import container, reconstruct
from aejax.tasks.container import Compressed
from aejax.trained import Encoded, TrainedModel

# A search for the steps that give a rate ends after so many rounds, or at this share of it.
_ROUNDS, _NEAR = 14, 0.98
_FINEST, _COARSEST = 2.0**-7, 2.0**7
_DEFAULT = 0.1


@dataclasses.dataclass(frozen=True, eq=False)
class Codec:
    """A trained model, and how its latents are coded: see `load`.

    Attributes:
      model: trained.
      statistics: of its latents; None where they are entries of codebooks.
      shift: added to latents before they are rounded.
      fixed: the size of the steps, where the model was trained for one.
    """

    model: TrainedModel
    statistics: coding.Statistics | None
    shift: float = 0.0
    fixed: float | None = None

    @property
    def codebooks(self) -> int:
        """Of the model; 0 where latents are real numbers or levels."""
        return len(self.model.model.bottleneck.codebook_sizes) if self.statistics is None else 0

    @property
    def scales(self) -> tuple[float, float]:
        """The finest and the coarsest steps that it can have."""
        only = 1.0 if self.statistics is None else self.fixed
        return (_FINEST, _COARSEST) if only is None else (only, only)

    @functools.cached_property
    def identity(self) -> bytes:
        """Of all that decoding depends on, 16 bytes."""
        config, found = flatten(self.model.config), hashlib.sha256()
        rooms = ("representation.", "model.", "data.sample_rate", "data.channels")
        kept = {key: repr(config[key]) for key in sorted(config) if key.startswith(rooms)}
        found.update(json.dumps(kept).encode())
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(self.model.variables)]
        if self.statistics is not None:
            leaves += dataclasses.astuple(self.statistics)
        for leaf in leaves:
            found.update(f"{leaf.dtype}{leaf.shape}".encode())
            found.update(np.ascontiguousarray(leaf).tobytes())
        return found.digest()[:16]

    def frame_model(self, scale: float, codebooks: int) -> Callable[[], coding.FrameModel]:
        """What makes a model of the integers of latent frames."""
        if self.statistics is None:
            share = np.asarray(self.model.variables["codebooks"]["bottleneck"]["share"])
            return lambda: coding.Entries(share[:codebooks])
        statistics = self.statistics
        return lambda: coding.Predictor(statistics, scale)


def load(model: TrainedModel, run: Path) -> Codec:
    """How latents of a run's model are coded.

    Raises:
      UserError: what was learnt about them is missing or damaged.
    """
    kind = model.model.bottleneck
    if "codebooks" in model.variables:
        return Codec(model, None)
    statistics = coding.load(run / coding.FILE, "model", model.config.model.latent_dim)
    levels = bool(kind.codebook_sizes)
    return Codec(model, statistics, kind.bound if levels else 0.0, 1.0 if levels else None)


def compress(codec: Codec, source: Path, target: Path, kbps: float | None) -> str:
    """Writes a sound as a small file.

    Args:
      codec: of the model.
      source: an audio file.
      target: to write, whole or not at all.
      kbps: kbit/s at most; None for what the model was trained for, or, where it was trained for no
        rate, steps of a tenth of what latents vary by.

    Returns:
      How large it is.

    Raises:
      UnusableAudio, UserError: the file cannot be read, or the model has no such rate.
    """
    if kbps is not None and not plain_number("kbps", kbps) > 0:
        raise ValueError(f"kbps must be above 0, got {kbps!r}")
    model = codec.model
    sound = reconstruct.like(source, "-.wav")
    samples = reconstruct.samples_of(sound, model.sample_rate)
    # What is shorter than a latent frame counts as one.
    seconds = max(samples, model.block) / model.sample_rate
    function = autoencoder.encode if codec.statistics else autoencoder.codes
    encoded = reconstruct.encode(model, source, sound.channels, samples, function=function)
    coded = _coder(codec, encoded.latents)
    if codec.statistics is None:
        choices = [Choice(1.0, used) for used in range(codec.codebooks, 0, -1)]
        choice, payload = _finest_of(choices, coded, kbps, seconds, model.config.name)
    elif codec.fixed is not None or kbps is None:
        if kbps is not None:
            raise UserError(
                f"{model.config.name} was trained for levels of its own; leave out --kbps"
            )
        choice = Choice(codec.fixed or _DEFAULT, 0)
        payload = coded(choice)
    else:
        choice, payload = _finest(coded, kbps, seconds, model.config.name)
    data = Compressed(
        model.config.name,
        codec.identity,
        sound.sample_rate,
        sound.channels,
        sound.samples,
        choice.codebooks,
        choice.scale,
        payload.data,
        payload.has_silence,
        np.broadcast_to(encoded.most, sound.channels),
    ).pack()
    with files.replacing(target) as beside:
        beside.write_bytes(data)
    pcm = 2 * sound.samples * sound.channels
    return (
        f"{len(data):,} bytes, {len(data) * 8e-3 / (samples / model.sample_rate):.2f} kbit/s,"
        f" 1/{pcm / len(data):.0f} of 16-bit PCM"
    )


class Choice(NamedTuple):
    """How finely latents are coded: the size of the steps, and how many codebooks are used."""

    scale: float
    codebooks: int


class Payload(NamedTuple):
    """Coded latents, and whether they say which latent frames are digital silence."""

    data: bytes
    has_silence: bool


Coder = Callable[[Choice], Payload]


def _coder(codec: Codec, latents: np.ndarray) -> Coder:
    """Codes latents, or codes, as finely as it is told."""
    if codec.statistics is None:
        silent = latents[..., 0] < 0
    else:
        silent, latents = codec.model.is_silent(latents), latents + np.float32(codec.shift)
    marks = silent if silent.any() else None

    def coded(choice: Choice) -> Payload:
        if codec.statistics is None:
            integers = latents[..., : choice.codebooks].astype(np.int32)
        else:
            integers = coding.quantise(latents, codec.statistics.steps * choice.scale)
        frames = codec.frame_model(choice.scale, choice.codebooks)
        return Payload(coding.encode(integers, frames, marks), marks is not None)

    return coded


def _finest_of(
    choices: Sequence[Choice], coded: Coder, kbps: float | None, seconds: float, name: str
) -> tuple[Choice, Payload]:
    """The first of the choices, which become coarser, whose rate is not above the one wanted."""
    for choice in choices:
        payload = coded(choice)
        if kbps is None or _kbps(payload, seconds) <= kbps:
            return choice, payload
    raise _too_low(name, kbps, payload, seconds)


def _finest(coded: Coder, kbps: float, seconds: float, name: str) -> tuple[Choice, Payload]:
    """The finest steps whose rate, of the whole sound, is not above the one wanted.

    The rate falls by nearly the same for every doubling of the steps, so the next guess lies on the
    line between the nearest two.
    """
    coarse, fine = np.log2(_COARSEST), np.log2(_FINEST)
    best = Choice(_COARSEST, 0), coded(Choice(_COARSEST, 0))
    low = _kbps(best[1], seconds)
    if low > kbps:
        raise _too_low(name, kbps, best[1], seconds)
    finest = Choice(_FINEST, 0)
    payload = coded(finest)
    high = _kbps(payload, seconds)
    if high <= kbps:
        return finest, payload
    for _ in range(_ROUNDS):
        if low >= _NEAR * kbps:
            break
        share = np.clip((kbps - low) / (high - low), 0.1, 0.9)
        guess = Choice(float(2.0 ** (coarse + share * (fine - coarse))), 0)
        payload = coded(guess)
        rate = _kbps(payload, seconds)
        if rate <= kbps:
            best, coarse, low = (guess, payload), np.log2(guess.scale), rate
        else:
            fine, high = np.log2(guess.scale), rate
    return best


def _kbps(payload: Payload, seconds: float) -> float:
    """Of all channels."""
    return len(payload.data) * 8e-3 / seconds


def _too_low(name: str, kbps: float | None, payload: Payload, seconds: float) -> UserError:
    lowest = np.ceil(100 * _kbps(payload, seconds)) / 100
    return UserError(
        f"{name} cannot do with {kbps:g} kbit/s; the lowest for this sound is {lowest:g}"
    )


def decompress(codec: Codec, source: Path, target: Path) -> str:
    """Writes the sound that a small file stands for.

    Raises:
      UnusableAudio: it is damaged, or no such file.
      UserError: it was made by another model, or the sound cannot be written.
    """
    found, model = container.read(source), codec.model
    known = codec.codebooks
    if found.model != codec.identity:
        ours = model.config.name
        raise UserError(
            f"{source} was made by another model: it needs that of a run called {found.name!r}"
            f" ({found.model.hex()}), and this is one called {ours!r} ({codec.identity.hex()})"
        )
    finest, coarsest = codec.scales
    if not bool(known) <= found.codebooks <= known or not finest <= found.scale <= coarsest:
        raise UnusableAudio(f"damaged: {found.codebooks} codebooks, steps of {found.scale:g}")
    wanted = (found.samples, found.sample_rate, found.channels, streams.format_of(target.name))
    sound = streams.checked(target.name, Sound(*wanted))
    rows = sound.channels if model.channels == 1 else 1
    frames = model.latent_frames(reconstruct.samples_of(sound, model.sample_rate))
    width = found.codebooks or model.config.model.latent_dim
    try:
        integers, silent = coding.decode(
            found.payload,
            rows,
            frames,
            width,
            codec.frame_model(found.scale, found.codebooks),
            has_silence=found.has_silence,
        )
    except coding.DamagedCode as error:
        raise UnusableAudio(f"damaged: {error}") from None
    latents = np.where(silent[..., None], model.silence, _latents(codec, integers, found.scale))
    segments = frames * model.block // model.segment
    own = found.ceilings if model.channels == 1 else found.ceilings.max(keepdims=True)
    encoded = Encoded(latents, np.tile(own[:, None], segments))
    back = reconstruct.decoded(model, encoded, sound.channels)
    return reconstruct.write(back, model, sound, target, encoded.most)


def _latents(codec: Codec, integers: np.ndarray, scale: float) -> np.ndarray:
    if codec.statistics is None:
        function: Any = bound(autoencoder.from_codes, codec.model.model)
        return np.asarray(apply(codec.model.variables, jnp.asarray(integers), function=function))
    found = coding.dequantise(integers, codec.statistics.steps * scale)
    return found - np.float32(codec.shift)
