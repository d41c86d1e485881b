"""Compression of audio files by a trained model."""

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

from aejax.config import flatten
from aejax.data import streams
from aejax.data.audio_file import UnusableAudio
from aejax.data.streams import Sound
from aejax.evaluation import entropy_coding
from aejax.evaluation.entropy_coding import COARSEST, FINEST
from aejax.evaluation.evaluate import apply, cached_partial
from aejax.inference import container, reconstruct
from aejax.inference.container import Compressed
from aejax.inference.model import Encoded, TrainedModel
from aejax.models import autoencoder
from aejax.runtime import files
from aejax.runtime.errors import UserError
from aejax.signal.arguments import plain_number

_DEFAULT = 0.1


@dataclasses.dataclass(frozen=True, eq=False)
class EntropyCodec:
    """A trained model with the entropy coding of its latents, see `load`.

    Attributes:
      model: the trained model.
      statistics: of its latents; None for codebooks.
      shift: added to latents before rounding.
      fixed: step size that the model was trained for; None if it was trained for none.
    """

    model: TrainedModel
    statistics: entropy_coding.Statistics | None
    shift: float = 0.0
    fixed: float | None = None

    @property
    def codebooks(self) -> int:
        """Number of codebooks of the model; 0 without codebooks."""
        return len(self.model.model.bottleneck.codebook_sizes) if self.statistics is None else 0

    @property
    def scales(self) -> tuple[float, float]:
        """The finest and the coarsest allowed step size."""
        only = 1.0 if self.statistics is None else self.fixed
        return (FINEST, COARSEST) if only is None else (only, only)

    @functools.cached_property
    def identity(self) -> bytes:
        """Hash of all that decoding depends on, 16 bytes."""
        config, digest = flatten(self.model.config), hashlib.sha256()
        prefixes = ("representation.", "model.", "data.sample_rate", "data.channels")
        settings = {key: repr(config[key]) for key in sorted(config) if key.startswith(prefixes)}
        digest.update(json.dumps(settings).encode())
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(self.model.variables)]
        if self.statistics is not None:
            leaves += dataclasses.astuple(self.statistics)
        for leaf in leaves:
            digest.update(f"{leaf.dtype}{leaf.shape}".encode())
            digest.update(np.ascontiguousarray(leaf).tobytes())
        return digest.digest()[:16]

    def frame_model(self, scale: float, codebooks: int) -> Callable[[], entropy_coding.FrameModel]:
        """A function that makes a probability model of the integers in latent frames."""
        if self.statistics is None:
            usage = np.asarray(self.model.variables["codebooks"]["bottleneck"]["ema_usage"])
            return lambda: entropy_coding.Entries(usage[:codebooks])
        statistics = self.statistics
        return lambda: entropy_coding.Predictor(statistics, scale)


def load(model: TrainedModel, run: Path) -> EntropyCodec:
    """The entropy coding of a run's model.

    Raises:
      UserError: the statistics of its latents are missing or damaged.
    """
    bottleneck = model.model.bottleneck
    if "codebooks" in model.variables:
        return EntropyCodec(model, None)
    statistics = entropy_coding.load(
        run / entropy_coding.FILE, "model", model.config.model.latent_dim
    )
    levels = bool(bottleneck.codebook_sizes)
    return EntropyCodec(
        model, statistics, bottleneck.bound if levels else 0.0, 1.0 if levels else None
    )


def compress(codec: EntropyCodec, source: Path, target: Path, kbps: float | None) -> str:
    """Compresses an audio file.

    Args:
      codec: the trained model.
      source: an audio file.
      target: file to write, atomically.
      kbps: maximum kbit/s. None for the rate that the model was trained for, or else for step
        sizes of a tenth of the latents' standard deviation.

    Returns:
      A message with the size of the file, and the model's highest rate if ``kbps`` is above it.

    Raises:
      UnusableAudio, UserError: the file cannot be read, or the model has no such rate.
    """
    if kbps is not None and not plain_number("kbps", kbps) > 0:
        raise ValueError(f"kbps must be above 0, got {kbps!r}")
    model = codec.model
    sound = reconstruct.output_sound(source, "-.wav")
    samples = reconstruct.samples_of(sound, model.sample_rate)
    # At least one latent frame.
    seconds = max(samples, model.block) / model.sample_rate
    function = autoencoder.encode if codec.statistics else autoencoder.codes
    encoded = reconstruct.encode(model, source, sound.channels, samples, function=function)
    encode_payload = _coder(codec, encoded.latents)
    if codec.statistics is None:
        choices = [Precision(1.0, used) for used in range(codec.codebooks, 0, -1)]
        choice, payload = _finest_of(choices, encode_payload, kbps, seconds, model.config.name)
    elif codec.fixed is not None or kbps is None:
        if kbps is not None:
            raise UserError(f"{model.config.name} was trained for a fixed rate; leave out --kbps")
        choice = Precision(codec.fixed or _DEFAULT, 0)
        payload = encode_payload(choice)
    else:
        choice, payload = _finest(encode_payload, kbps, seconds, model.config.name)
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
        np.broadcast_to(encoded.highest_ceilings, sound.channels),
    ).pack()
    with files.atomic_write(target) as file:
        file.write_bytes(data)
    pcm = 2 * sound.samples * sound.channels
    return (
        f"{len(data):,} bytes, {len(data) * 8e-3 / (samples / model.sample_rate):.2f} kbit/s,"
        f" 1/{pcm / len(data):.0f} of 16-bit PCM"
        f"{_unused(codec, choice, kbps, _rounded(payload, seconds))}"
    )


class Precision(NamedTuple):
    """Precision of coded latents: the step size and the number of codebooks."""

    scale: float
    codebooks: int


class Payload(NamedTuple):
    """Coded latents, and whether they mark digital silence."""

    data: bytes
    has_silence: bool


Coder = Callable[[Precision], Payload]


def _coder(codec: EntropyCodec, latents: np.ndarray) -> Coder:
    """A function that encodes these latents (or codes) at a given precision."""
    if codec.statistics is None:
        silent = latents[..., 0] < 0
    else:
        silent, latents = codec.model.is_silent(latents), latents + np.float32(codec.shift)
    marks = silent if silent.any() else None

    def encode_payload(choice: Precision) -> Payload:
        if codec.statistics is None:
            integers = latents[..., : choice.codebooks].astype(np.int32)
        else:
            integers = entropy_coding.quantise(latents, codec.statistics.steps * choice.scale)
        frames = codec.frame_model(choice.scale, choice.codebooks)
        return Payload(entropy_coding.encode(integers, frames, marks), marks is not None)

    return encode_payload


def _finest_of(
    choices: Sequence[Precision],
    encode_payload: Coder,
    kbps: float | None,
    seconds: float,
    name: str,
) -> tuple[Precision, Payload]:
    """The first of the choices, from fine to coarse, with a rate of at most ``kbps``."""
    for choice in choices:
        payload = encode_payload(choice)
        if kbps is None or _kbps(payload, seconds) <= kbps:
            return choice, payload
    raise _too_low(name, kbps, payload, seconds)


def _finest(
    encode_payload: Coder, kbps: float, seconds: float, name: str
) -> tuple[Precision, Payload]:
    """The finest step size with a rate of at most ``kbps``."""
    accepted: list[Payload] = []

    def rate(scale: float) -> float:
        payload = encode_payload(Precision(scale, 0))
        if _kbps(payload, seconds) <= kbps or not accepted:  # finer than all before
            accepted[:] = [payload]
        return _kbps(payload, seconds)

    scale = entropy_coding.finest_scale(rate, kbps)
    if scale is None:
        raise _too_low(name, kbps, accepted[0], seconds)
    return Precision(scale, 0), accepted[0]


def _kbps(payload: Payload, seconds: float) -> float:
    """Bit rate of all channels together."""
    return len(payload.data) * 8e-3 / seconds


def _rounded(payload: Payload, seconds: float) -> float:
    """The least rate in hundredths of a kbit/s that allows a payload."""
    return float(np.ceil(100 * _kbps(payload, seconds)) / 100)


def _unused(codec: EntropyCodec, choice: Precision, kbps: float | None, rate: float) -> str:
    """What to say of a rate above that of the finest choice; "" for others."""
    finest = Precision(1.0, codec.codebooks) if codec.codebooks else Precision(FINEST, 0)
    if kbps is None or choice != finest or rate >= kbps:
        return ""
    return (
        f"; {codec.model.config.name} cannot use {kbps:g} kbit/s, the highest for this sound is"
        f" {rate:g}"
    )


def _too_low(name: str, kbps: float | None, payload: Payload, seconds: float) -> UserError:
    lowest = _rounded(payload, seconds)
    return UserError(
        f"{name} needs more than {kbps:g} kbit/s; the lowest for this sound is {lowest:g}"
    )


def decompress(codec: EntropyCodec, source: Path, target: Path) -> str:
    """Decompresses a file of `compress` to audio.

    Raises:
      UnusableAudio: the file is damaged, or not written by `compress`.
      UserError: it was compressed with another model, or the audio cannot be written.
    """
    compressed, model = container.read(source), codec.model
    if compressed.model != codec.identity:
        raise UserError(
            f"{source} was compressed with another model: it needs the run {compressed.name!r}"
            f" ({compressed.model.hex()}), not {model.config.name!r} ({codec.identity.hex()})"
        )
    finest, coarsest = codec.scales
    fewest = 1 if codec.codebooks else 0
    if (
        not fewest <= compressed.codebooks <= codec.codebooks
        or not finest <= compressed.scale <= coarsest
    ):
        raise UnusableAudio(
            f"damaged: {compressed.codebooks} codebooks, steps of {compressed.scale:g}"
        )
    sound = streams.checked(
        target.name,
        Sound(
            compressed.samples,
            compressed.sample_rate,
            compressed.channels,
            streams.format_of(target.name),
        ),
    )
    rows = sound.channels if model.channels == 1 else 1
    frames = model.latent_frames(reconstruct.samples_of(sound, model.sample_rate))
    width = compressed.codebooks or model.config.model.latent_dim
    try:
        integers, silent = entropy_coding.decode(
            compressed.payload,
            rows,
            frames,
            width,
            codec.frame_model(compressed.scale, compressed.codebooks),
            has_silence=compressed.has_silence,
        )
    except entropy_coding.DamagedCode as error:
        raise UnusableAudio(f"damaged: {error}") from None
    latents = np.where(
        silent[..., None], model.silence, _latents(codec, integers, compressed.scale)
    )
    segments = frames * model.block // model.segment
    ceilings = compressed.ceilings
    if model.channels != 1:
        ceilings = ceilings.max(keepdims=True)
    encoded = Encoded(latents, np.tile(ceilings[:, None], segments))
    audio = reconstruct.decoded(model, encoded, sound.channels)
    return reconstruct.write(audio, model, sound, target, encoded.highest_ceilings)


def _latents(codec: EntropyCodec, integers: np.ndarray, scale: float) -> np.ndarray:
    if codec.statistics is None:
        function: Any = cached_partial(autoencoder.from_codes, codec.model.model)
        return np.asarray(apply(codec.model.variables, jnp.asarray(integers), function=function))
    shifted = entropy_coding.dequantise(integers, codec.statistics.steps * scale)
    return shifted - np.float32(codec.shift)
