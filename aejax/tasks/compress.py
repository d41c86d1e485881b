"""Sound to a small file and back, by a trained model."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
from aejax.tasks import container, reconstruct
from aejax.tasks.container import Compressed
from aejax.trained import TrainedModel

# A search for the steps that give a rate looks at so many latent frames, so many times.
_LOOKED_AT, _ROUNDS = 4000, 14
_FINEST, _COARSEST = 2.0**-7, 2.0**7


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
    model = codec.model
    sound = reconstruct.like(source, "-.wav")
    samples = reconstruct.samples_of(sound, model.sample_rate)
    seconds = samples / model.sample_rate
    if codec.statistics is None:
        scale, integers = 1.0, _entries(codec, source, sound, samples, kbps)
        codebooks = integers.shape[2]
    else:
        latents = reconstruct.encode(model, source, sound.channels, samples) + codec.shift
        scale = _scale(codec, latents, kbps)
        integers, codebooks = coding.quantise(latents, codec.statistics.steps * scale), 0
    payload = coding.encode(integers, codec.frame_model(scale, codebooks))
    data = Compressed(
        model.config.name,
        codec.identity,
        sound.sample_rate,
        sound.channels,
        sound.samples,
        codebooks,
        scale,
        payload,
    ).pack()
    with files.replacing(target) as beside:
        beside.write_bytes(data)
    pcm = 2 * sound.samples * sound.channels
    return (
        f"{len(data):,} bytes, {len(data) * 8e-3 / seconds:.2f} kbit/s,"
        f" 1/{pcm / len(data):.0f} of 16-bit PCM"
    )


def _entries(
    codec: Codec, source: Path, sound: Sound, samples: int, kbps: float | None
) -> np.ndarray:
    """Entries of as many codebooks as the rate has room for."""
    model = codec.model
    found = reconstruct.encode(
        model, source, sound.channels, samples, function=autoencoder.codes
    ).astype(np.int32)
    if kbps is None:
        return found
    looked_at = found[:, :_LOOKED_AT]
    for used in range(found.shape[2], 0, -1):
        if _rate(codec, looked_at[..., :used], 1.0, used) <= kbps:
            return found[..., :used]
    raise UserError(f"one codebook of {model.config.name} alone takes more than {kbps:g} kbit/s")


def _scale(codec: Codec, latents: np.ndarray, kbps: float | None) -> float:
    """The finest steps whose rate is not above the one that is wanted."""
    assert codec.statistics is not None
    if codec.fixed is not None:
        if kbps is not None:
            raise UserError(
                f"{codec.model.config.name} was trained for levels of its own; leave out --kbps"
            )
        return codec.fixed
    if kbps is None:
        return 0.1
    steps, looked_at = codec.statistics.steps, latents[:, :_LOOKED_AT]

    def rate(scale: float) -> float:
        return _rate(codec, coding.quantise(looked_at, steps * scale), scale, 0)

    low, high = np.log2(_FINEST), np.log2(_COARSEST)
    if rate(_COARSEST) > kbps:
        raise UserError(f"{codec.model.config.name} cannot do with {kbps:g} kbit/s")
    for _ in range(_ROUNDS):
        middle = (low + high) / 2
        low, high = (low, middle) if rate(2.0**middle) <= kbps else (middle, high)
    return float(2.0**high)


def _rate(codec: Codec, integers: np.ndarray, scale: float, codebooks: int) -> float:
    """kbit/s of all channels."""
    payload = coding.encode(integers, codec.frame_model(scale, codebooks))
    seconds = integers.shape[1] * codec.model.block / codec.model.sample_rate
    return len(payload) * 8e-3 / seconds


def decompress(codec: Codec, source: Path, target: Path) -> str:
    """Writes the sound that a small file stands for.

    Raises:
      UnusableAudio: it is damaged, or no such file.
      UserError: it was made by another model, or the sound cannot be written.
    """
    found, model = container.read(source), codec.model
    known = 0 if codec.statistics is not None else len(model.model.bottleneck.codebook_sizes)
    if found.model != codec.identity:
        ours = model.config.name
        raise UserError(
            f"{source} was made by another model: it needs that of a run called {found.name!r}"
            f" ({found.model.hex()}), and this is one called {ours!r} ({codec.identity.hex()})"
        )
    if not bool(known) <= found.codebooks <= known or found.scale != (codec.fixed or found.scale):
        raise UnusableAudio(f"damaged: {found.codebooks} codebooks, steps of {found.scale:g}")
    wanted = (found.samples, found.sample_rate, found.channels, streams.format_of(target.name))
    sound = streams.checked(target.name, Sound(*wanted))
    rows = sound.channels if model.channels == 1 else 1
    frames = model.latent_frames(reconstruct.samples_of(sound, model.sample_rate))
    width = found.codebooks or model.config.model.latent_dim
    try:
        integers = coding.decode(
            found.payload,
            rows,
            frames,
            width,
            codec.frame_model(found.scale, found.codebooks),
        )
    except coding.DamagedCode as error:
        raise UnusableAudio(f"damaged: {error}") from None
    latents = _latents(codec, integers, found.scale)
    return reconstruct.write(
        reconstruct.decoded(model, latents, sound.channels), model, sound, target
    )


def _latents(codec: Codec, integers: np.ndarray, scale: float) -> np.ndarray:
    if codec.statistics is None:
        function: Any = bound(autoencoder.from_codes, codec.model.model)
        return np.asarray(apply(codec.model.variables, jnp.asarray(integers), function=function))
    found = coding.dequantise(integers, codec.statistics.steps * scale)
    return found - np.float32(codec.shift)
