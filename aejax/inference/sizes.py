"""The sizes of a trained model: rates, latent frames and windows."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from aejax.corpora import denoises
from aejax.inference.windows import Windows, windows
from aejax.models import autoencoder
from aejax.prepare import excerpt_blocks
from aejax.representations import Multichannel, Representation
from aejax.signal.arguments import whole_number

# Most samples of output in a window, unless a frame is longer; memory is proportional to it.
_MOST_SAMPLES = 2**18
_SHORTEST_SEGMENT = 32  # samples for each peak of the limiter

# ``read(start, count)`` returns samples ``[rows, count, *channels]``, with silence past the end.
Read = Callable[[int, int], np.ndarray]


class Encoded(NamedTuple):
    """The latents and peak limits of a sound.

    Attributes:
      latents: float32 ``[rows, latent_frames, latent_dim]``, or int32 with codes on the last axis.
      ceilings: ``[rows, segments]``, the peak limit of each `TrainedModel.segment`; see
        `aejax.inference.limiter`.
    """

    latents: np.ndarray
    ceilings: np.ndarray

    @property
    def highest_ceilings(self) -> np.ndarray:
        """The highest peak limit of each row."""
        return self.ceilings.max(axis=1)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class WindowedModel:
    """A trained autoencoder and its sizes.

    Attributes:
      config: config of the run.
      representation: the conversion between audio and features.
      model: the network.
      variables: variables of the network.
      speakers: names of the decoder's speakers.
      most_samples: most samples of output in a window; smaller in tests.
    """

    config: Any
    representation: Representation
    model: autoencoder.Autoencoder
    variables: Any
    speakers: tuple[str, ...] = ()
    most_samples: int = _MOST_SAMPLES

    @property
    def sample_rate(self) -> int:
        """Sample rate of its training audio and its output, Hz."""
        return self.config.data.sample_rate

    @property
    def channels(self) -> int:
        """Channels that are encoded together, 2 for a stereo model, else 1."""
        return 2 if isinstance(self.representation, Multichannel) else 1

    @property
    def block(self) -> int:
        """Hop of latent frames in samples."""
        return self.config.model.downsampling * self.representation.hop_length

    @property
    def segment(self) -> int:
        """Samples per peak limit of `decode_stream`."""
        hop = self.representation.hop_length
        return hop if hop >= _SHORTEST_SEGMENT else self.block

    @property
    def latent_rate(self) -> float:
        """Latent floats per second."""
        return self.sample_rate / self.block * self.config.model.latent_dim

    @property
    def summary(self) -> str:
        """Its parts and rates, ``mel → conv → 32 latents x 7.8125/s = 250 floats/s, 16 kHz``."""
        config, frame_rate = self.config, self.sample_rate / self.block
        encoder, decoder = config.model.encoder, config.model.decoder or config.model.encoder
        network = encoder if decoder == encoder else f"{encoder}/{decoder}"
        bottleneck = config.model.bottleneck
        parts = [config.representation.name, network, *[bottleneck] * (bottleneck != "none")]
        latents = f"{config.model.latent_dim} latents x {frame_rate:g}/s"
        rates = [f"{' → '.join(parts)} → {latents} = {self.latent_rate:g} floats/s"]
        if sizes := self.model.bottleneck.codebook_sizes:
            rates.append(f"{frame_rate * sum(map(math.log2, sizes)):g} bit/s")
        stereo = " stereo" if self.channels == 2 else ""
        return ", ".join([*rates, f"{self.sample_rate / 1000:g} kHz{stereo}"])

    def latent_frames(self, samples: int) -> int:
        """Number of latent frames of a sound of that many samples at `sample_rate`."""
        samples = whole_number("samples", samples, least=0, most=2**80)
        frames = self.representation.frames(max(samples, 1))
        return -(-frames // self.config.model.downsampling)

    @functools.cached_property
    def _excerpt(self) -> int:
        """Latent frames of a training excerpt."""
        return max(2, excerpt_blocks(self.config, self.representation))

    def _blocks(self, frames: int) -> int:
        return -(-frames // self.config.model.downsampling)

    @property
    def _overlap(self) -> int:
        """Blocks of audio on either side that affect a latent frame."""
        return max(1, self._blocks(self.representation.receptive_field))

    @property
    def _transform_edge(self) -> int:
        """Feature frames at each edge that padding affects."""
        return max(self.representation.receptive_field, self.representation.fewest_frames)

    def _windows(self, network: Any, edge: int) -> Windows:
        """Windows for a network and transforms that affect ``edge`` feature frames at each edge."""
        most = max(1, self.most_samples // self.block)
        return windows(network.receptive_field, self._blocks(edge), self._excerpt, most)

    @functools.cached_property
    def _encoding(self) -> Windows:
        return self._windows(self.model.encoder, self._transform_edge)

    @functools.cached_property
    def _decoding(self) -> Windows:
        # One frame more: the last sample of a block is before the next frame.
        return self._windows(self.model.decoder, self.representation.synthesis_context + 1)

    @functools.cached_property
    def _masking(self) -> Windows:
        # Masking needs no Griffin-Lim, so the edge is that of one transform.
        return self._windows(self.model.decoder, self._transform_edge + 1)

    @property
    def denoises(self) -> bool:
        """Whether the model was trained to remove noise."""
        return denoises(self.config)

    @property
    def trailing_silence(self) -> tuple[int, int]:
        """Latent frames of trailing silence that encoder and decoder need for results free of edge
        effects."""
        return self._encoding.after, self._decoding.after
