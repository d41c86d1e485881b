"""Multichannel version of any representation."""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from aejax.representations.base import Count, Limits, Representation


@dataclasses.dataclass(frozen=True)
class Multichannel(Representation):
    """A representation applied to each channel; the bins of all channels are concatenated.

    Attributes:
      inner: representation of one channel.
      channels: number of channels.
    """

    inner: Representation
    channels: int

    @property
    def bins(self) -> int:
        """Features in one frame, of all channels."""
        return self.inner.bins * self.channels

    @property
    def bins_keys(self) -> str:
        """Formula of `bins` in config keys."""
        return f"{self.inner.bins_keys} x {self.channels} channels"

    @property
    def sample_rate(self) -> int:
        """Hz."""
        return self.inner.sample_rate

    @property
    def levels(self) -> bool:
        """Whether bins are levels along frequency."""
        return self.inner.levels

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
        """Unit of the features."""
        return self.inner.unit

    @property
    def exact(self) -> bool:
        """Whether `synthesise` inverts `analyse` exactly."""
        return self.inner.exact

    @property
    def hop_length(self) -> int:
        """Samples from one frame to the next."""
        return self.inner.hop_length

    @property
    def receptive_field(self) -> int:
        """Frames at each edge affected by padding."""
        return self.inner.receptive_field

    @property
    def synthesis_context(self) -> int:
        """Frames at each edge whose audio depends on features beyond."""
        return self.inner.synthesis_context

    def limits(self) -> Limits:
        """The limits of all channels, concatenated."""
        lowest, highest = self.inner.limits()
        return np.tile(lowest, self.channels), np.tile(highest, self.channels)

    def samples(self, frames: int) -> int:
        """Number of samples of an excerpt of ``frames``."""
        return self.inner.samples(frames)

    def frames(self, samples: Count) -> Count:
        """Number of frames of ``samples``."""
        return self.inner.frames(samples)

    def analyse(
        self, audio: Float[Array, "*batch samples channels"]
    ) -> Float[Array, "*batch frames bins"]:
        """Audio to the features of all channels, concatenated."""
        features = self.inner.analyse(jnp.moveaxis(audio, -1, -2))
        return jnp.concatenate(jnp.moveaxis(features, -3, 0), axis=-1)

    def synthesise(
        self, features: Float[Array, "*batch frames bins"]
    ) -> Float[Array, "*batch samples channels"]:
        """Features to audio, each channel separately."""
        return jnp.moveaxis(self.inner.synthesise(self._by_channel(features)), -2, -1)

    def masked(
        self,
        audio: Float[Array, "*batch samples channels"],
        features: Float[Array, "*batch frames bins"],
    ) -> Float[Array, "*batch samples channels"]:
        """Each channel of audio masked by its features."""
        masked = self.inner.masked(jnp.moveaxis(audio, -1, -2), self._by_channel(features))
        return jnp.moveaxis(masked, -2, -1)

    def _by_channel(self, features: Array) -> Array:
        """Features ``[..., channels, frames, bins]``."""
        return jnp.stack(jnp.split(features, self.channels, axis=-1), axis=-3)
