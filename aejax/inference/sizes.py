"""A finished run's model, and the sizes of its windows."""

import dataclasses
import functools
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
    def most(self) -> np.ndarray:
        """The highest peak limit of each row."""
        return self.ceilings.max(axis=1)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class WindowedModel:
    """A trained autoencoder and its sizes.

    Attributes:
      config: the whole config of its run.
      representation: of audio as features.
      model: the network.
      variables: of the network.
      speakers: names of its decoder's speakers.
      most_samples: of output in a window; smaller in tests.
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
        """Samples from latent frame to latent frame."""
        return self.config.model.downsampling * self.representation.hop_length

    @property
    def segment(self) -> int:
        """Samples for each peak limit of `decode_stream`."""
        hop = self.representation.hop_length
        return hop if hop >= _SHORTEST_SEGMENT else self.block

    @property
    def latent_rate(self) -> float:
        """Latent floats per second."""
        return self.sample_rate / self.block * self.config.model.latent_dim

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
        """Blocks on either side of its own that affect a latent frame."""
        return max(1, self._blocks(self.representation.receptive_field))

    @functools.cached_property
    def _encoding(self) -> Windows:
        return windows(
            self.model.encoder.receptive_field,
            self._blocks(
                max(self.representation.receptive_field, self.representation.fewest_frames)
            ),
            self._excerpt,
            max(1, self.most_samples // self.block),
        )

    @functools.cached_property
    def _decoding(self) -> Windows:
        # One frame more: the last sample of a block is before the next frame.
        return windows(
            self.model.decoder.receptive_field,
            self._blocks(self.representation.synthesis_context + 1),
            self._excerpt,
            max(1, self.most_samples // self.block),
        )

    @functools.cached_property
    def _masking(self) -> Windows:
        # A mask affects overlapping frames only, without Griffin-Lim.
        edge = max(self.representation.receptive_field, self.representation.fewest_frames)
        return windows(
            self.model.decoder.receptive_field,
            self._blocks(edge + 1),
            self._excerpt,
            max(1, self.most_samples // self.block),
        )

    @property
    def denoises(self) -> bool:
        """Whether it was trained to remove noise."""
        return denoises(self.config)

    @property
    def trailing_silence(self) -> tuple[int, int]:
        """Latent frames of trailing silence that encoder and decoder need for results free of edge
        effects."""
        return self._encoding.after, self._decoding.after
