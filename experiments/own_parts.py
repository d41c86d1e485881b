"""Your own parts: a representation, an encoder, a bottleneck, a loss and an augmentation.

python -m aejax.main --config=experiments/own_parts.py

Copy this file and change it; the parts in aejax are defined in the same way. Each field made by
``key`` is a config key, such as ``--config.model.separable.width=64``, and is printed by
``aejax --parts=own_parts.py parts separable``. Load a run with ``parts="own_parts.py"``. It takes
about 2 CPU-minutes.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from aejax import augmentations, bottlenecks, default, encoders, key, losses, representations
from aejax.augmentations import Augmentation
from aejax.losses import FeatureLoss
from aejax.models.bottlenecks import Bottleneck
from aejax.parts import above, at_least, fraction
from aejax.representations import Representation


@representations.register("hadamard")
@dataclasses.dataclass(frozen=True)
class Hadamard(Representation):
    """Walsh-Hadamard transform of frames that do not overlap: sums and differences of samples."""

    sample_rate: int
    order: int = key(8, at_least(1, 16), "frames have 2**order samples")

    @property
    def hop_length(self) -> int:
        return 2**self.order

    @property
    def bins(self) -> int:
        return self.hop_length

    def analyse(self, audio: jax.Array) -> jax.Array:
        missing = -audio.shape[-1] % self.hop_length
        padded = jnp.pad(audio, [(0, 0)] * (audio.ndim - 1) + [(0, missing)])
        return self._transform(padded.reshape(*audio.shape[:-1], -1, self.hop_length))

    def synthesise(self, features: jax.Array) -> jax.Array:
        return self._transform(features).reshape(*features.shape[:-2], -1)

    def _transform(self, x: jax.Array) -> jax.Array:
        """The transform, which is its inverse too."""
        shape = x.shape
        for _ in range(self.order):
            a, b = jnp.split(x, 2, axis=-1)
            x = jnp.stack([a + b, a - b], axis=-1).reshape(shape) / jnp.sqrt(2.0)
        return x


@encoders.register("separable")
class Separable(nn.Module):
    """Depthwise-separable convolutions over latent frames (Chollet, "Xception", 2017)."""

    out: int  # input channels of the bottleneck, set by aejax
    width: int = key(128, at_least(1), "channels inside")
    depth: int = key(2, at_least(0), "layers")

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = nn.Dense(self.width)(x)
        for _ in range(self.depth):
            y = nn.Conv(self.width, (3,), feature_group_count=self.width)(x)
            x = x + nn.Dense(self.width)(jax.nn.gelu(y))
        return nn.Dense(self.out)(x)


@bottlenecks.register("softsign")
class Softsign(Bottleneck):
    """Latents bounded by softsign: ``z / (1 + |z| / bound)``."""

    bound: float = key(3.0, above(0), "upper bound of magnitudes")
    latent_by_latent = True  # models of several sizes can train in one compiled program

    def __call__(self, z: jax.Array, mask: Any, *, train: bool) -> jax.Array:
        return z / (1 + jnp.abs(z) / self.bound)


@losses.register("huber")
class Huber(FeatureLoss):
    """Huber loss: squared for errors below 1, linear above (Huber, 1964)."""

    def __call__(self, error: jax.Array, mask: jax.Array) -> jax.Array:
        loss = jnp.where(jnp.abs(error) < 1, 0.5 * jnp.square(error), jnp.abs(error) - 0.5)
        return losses.masked_mean(loss, mask)


@augmentations.register("reverse")
@dataclasses.dataclass(frozen=True)
class Reverse(Augmentation):
    """Excerpts played backwards."""

    probability: float = key(0.2, fraction, "probability of playing an excerpt backwards")

    def change(self, random: jax.Array, audio: jax.Array, length: jax.Array) -> jax.Array:
        chosen = jax.random.bernoulli(
            random, self.probability, (len(audio), *[1] * (audio.ndim - 1))
        )
        return jnp.where(chosen, jnp.flip(audio, axis=1), audio)


def get_config() -> ConfigDict:
    config = default()
    config.name = "own_parts"
    config.representation.name = "hadamard"
    config.model.encoder = "separable"
    config.model.bottleneck = "softsign"
    config.loss.huber.weight = 1.0
    return config
