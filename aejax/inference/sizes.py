"""A finished run's model, and how its sounds are cut into windows."""

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

# Samples of content in a window at most, unless a frame is longer; memory goes with it.
_MOST_SAMPLES = 2**18

# Gives samples ``[rows, count, *channels]`` from one on, with silence past the end.
Read = Callable[[int, int], np.ndarray]


# Samples of which the limiter has a peak at least.
_SHORTEST_SEGMENT = 32


class Encoded(NamedTuple):
    """A sound as latents, and how loud it may come back.

    Attributes:
      latents: float32 ``[rows, latent_frames, latent_dim]``, or int32 with an axis of codes last.
      ceilings: of each `TrainedModel.segment`, ``[rows, segments]``; see `aejax.inference.limiter`.
    """

    latents: np.ndarray
    ceilings: np.ndarray

    @property
    def most(self) -> np.ndarray:
        """How loud each row may come back anywhere."""
        return self.ceilings.max(axis=1)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class WindowedModel:
    """A trained autoencoder and its sizes.

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

    @property
    def segment(self) -> int:
        """Samples of which `decode_stream` limits the peak at once."""
        hop = self.representation.hop_length
        return hop if hop >= _SHORTEST_SEGMENT else self.block

    @property
    def latent_rate(self) -> float:
        """Latent floats per second."""
        return self.sample_rate / self.block * self.config.model.latent_dim

    def latent_frames(self, samples: int) -> int:
        """Of a sound of that many samples at `sample_rate`."""
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
        """Blocks beside its own that a latent frame has a part in."""
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
        # A frame more, as the last sample of a block lies before the next frame.
        return windows(
            self.model.decoder.receptive_field,
            self._blocks(self.representation.synthesis_context + 1),
            self._excerpt,
            max(1, self.most_samples // self.block),
        )

    @functools.cached_property
    def _masking(self) -> Windows:
        # Frames that overlap are all that a mask reaches: no phase is searched for.
        edge = max(self.representation.receptive_field, self.representation.fewest_frames)
        return windows(
            self.model.decoder.receptive_field,
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
