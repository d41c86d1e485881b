"""Additive noise, for robustness or denoising."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict

from aejax import parts, signal
from aejax.augmentations.base import Audio, Augmentation, Example, of_rows
from aejax.augmentations.eq import along_time, filtered
from aejax.parts import anything, augmentations, fraction, key, one_of, pair
from aejax.runtime.errors import UserError
from aejax.signal import fourier


@augmentations.register("noise")
@dataclasses.dataclass(frozen=True)
class Noise(Augmentation):
    """Noise at a random signal-to-noise ratio; with task="denoise", in the input only.

    Noise from a folder is augmented too, with separate draws.

    Attributes:
      task: "reconstruct" or "denoise".
      changes: augmentations that are applied to recorded noise.
    """

    task: str
    changes: tuple[Augmentation, ...]
    kind: str = key("none", one_of("none", "white", "pink", "folder"), "kind of noise")
    path: str = key("", anything, "folder of recorded noise, for kind=folder")
    probability: float = key(0.5, fraction, "probability of adding noise to an excerpt")
    snr_db: tuple[float, float] = key(
        (0.0, 30.0), pair(-100, 200), "dB; lowest and highest signal-to-noise ratio, uniform"
    )

    @classmethod
    def check(cls, config: ConfigDict) -> None:
        """Checks that kind and path match, and that other keys are set only with noise."""
        noise = config.augment.noise
        if (noise.kind == "folder") != bool(noise.path):
            raise UserError(
                f"config.augment.noise.kind={noise.kind!r} and augment.noise.path={noise.path!r} do"
                " not match: kind='folder' needs a path, other kinds have none"
            )
        for name in ("probability", "snr_db"):
            is_on = noise.kind != "none"
            parts.needs(cls, config, f"augment.noise.{name}", "augment.noise.kind", is_on)

    @property
    def is_on(self) -> bool:
        """Whether there is noise."""
        return self.kind != "none"

    def __call__(self, key: jax.Array, example: Example) -> Example:
        """The example with noise in its input."""
        shape_key, level_key = jax.random.split(key)
        noise = example.noise
        if self.kind == "folder":
            assert noise is not None  # read by the loader
            noise = self._changed(shape_key, noise, example.input.shape[1])
        audio = self.add((shape_key, level_key), example.input, example.length, noise)
        if self.task == "denoise":
            return example._replace(input=audio)
        return example.with_target(audio)

    def _changed(self, key: jax.Array, noise: Array, samples: int) -> Array:
        """Augmented noise."""
        position_key, *keys = jax.random.split(key, 1 + len(self.changes))
        rows = noise.shape[0]
        whole = jnp.full((rows,), noise.shape[1], jnp.int32)
        example = Example(noise, noise, whole, jax.random.uniform(position_key, (rows,)))
        for part, part_key in zip(self.changes, keys, strict=True):
            example = part(part_key, example)
        return example.target[:, :samples]

    def add(
        self,
        keys: tuple[jax.Array, jax.Array],
        audio: Audio,
        length: Int[Array, " batch"],
        noise: Audio | None,
        *,
        always: bool = False,
    ) -> Audio:
        """Audio with noise.

        Args:
          keys: random keys of the noise and of its level.
          audio: clean audio.
          length: samples of each row before its clip ends.
          noise: recorded noise; None for white or pink noise.
          always: ignore `probability`.
        """
        shape_key, level_key = keys
        if noise is None:
            noise = coloured_noise(shape_key, audio, pink=self.kind == "pink")
        probability = 1.0 if always else self.probability
        return add_noise(level_key, audio, length, noise, self.snr_db, probability)


def coloured_noise(
    key: jax.Array, audio: Float[Array, "batch samples *channels"], *, pink: bool
) -> Float[Array, "batch samples *channels"]:
    """Gaussian noise of the shape of ``audio``, independent in each channel: white, or pink (3 dB
    less power per octave)."""
    white = jax.random.normal(key, audio.shape, audio.dtype)
    if not pink:
        return white
    spectrum = fourier.rfft(white, axis=1)
    order = jnp.arange(spectrum.shape[1], dtype=audio.dtype)
    amplitude = jnp.where(order > 0, jax.lax.rsqrt(jnp.maximum(order, 1.0)), 0.0)
    return filtered(spectrum, along_time(amplitude[None], audio), audio.shape[1])


def add_noise(
    key: jax.Array,
    audio: Float[Array, "batch samples *channels"],
    length: Int[Array, " batch"],
    noise: Float[Array, "batch samples *channels"],
    snr_db: tuple[float, float],
    probability: float,
) -> Float[Array, "batch samples *channels"]:
    """Audio with noise in random rows, at a signal-to-noise ratio drawn uniformly in dB.

    Noise and the powers of the ratio end where the clip ends (``length``).
    """
    choice_key, level_key = jax.random.split(key)
    rows = (audio.shape[0],)
    chosen = jax.random.bernoulli(choice_key, probability, rows)
    ratio_db = jax.random.uniform(level_key, rows, minval=snr_db[0], maxval=snr_db[1])
    axes = tuple(range(1, audio.ndim))
    noise = signal.until_end(noise, length)
    power = jnp.square(signal.until_end(audio, length)).mean(axes)
    noise_power = jnp.square(noise).mean(axes)
    wanted = power * signal.db_to_power(-ratio_db)
    gain = jnp.sqrt(wanted / jnp.where(noise_power > 0, noise_power, 1.0))
    return audio + of_rows(jnp.where(chosen, gain, 0.0), audio) * noise
