"""What networks of encoders and decoders are sized by, and how they are put over blocks of frames.

A network is a Flax module with ``__call__(x, *, train)``, from ``[batch, time, channels]`` to as
many steps of ``out`` channels. As an encoder it takes blocks of frames, each laid out as one
vector; as the decoder that mirrors it, latents. One with ``takes_frames = True`` takes frames as
they are, gives latents, and names its ``decoder``, a module from latents to frames. A
``receptive_field`` is how many steps before and after its own an output depends on.
"""

import dataclasses
import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from aejax import parts
from aejax.models.blocks import Dtype, ReceptiveField, from_blocks, to_blocks
from aejax.parts import at_least, between, encoders, key


class Network(nn.Module):
    """A network with a width and a depth, of which a decoder may have its own.

    Attributes:
      out: channels that come out.
      zero_start: begin as the map to zero.
      dtype: of the arithmetic.
    """

    out: int
    zero_start: bool
    dtype: Dtype = jnp.float32
    width: int = key(384, between(1, 2**16), "channels inside")
    depth: int = key(4, at_least(0, 256), "layers, or residual blocks")
    decoder_width: int = key(0, between(0, 2**16), "of the decoder; 0 is as wide as the encoder")
    decoder_depth: int = key(0, at_least(0, 256), "of the decoder; 0 is as deep as the encoder")
    dropout: float = key(0.1, between(0, 1), "fraction", per_member=True)


@encoders.register("linear")
@dataclasses.dataclass(frozen=True)
class Linear:
    """No network: one matrix over each block, which is what PCA can do."""

    has_network = False


def network(
    name: str,
    model: ConfigDict,
    *,
    is_decoder: bool,
    out: int,
    bins: int,
    dtype: Dtype,
) -> nn.Module | None:
    """The network of that name, over frames; None where there is none.

    Args:
      name: of a part.
      model: ``config.model``.
      is_decoder: whether it is to be the one that mirrors the part.
      out: of an encoder, the channels that the bottleneck takes.
      bins: features in a frame.
      dtype: of the arithmetic.
    """
    part = encoders[name]
    if not has_network(name):
        return None
    takes_frames = getattr(part, "takes_frames", False)
    keys = dict(model[name]) if name in model else {}
    if is_decoder:
        part = getattr(part, "decoder", part)
        out = bins if takes_frames else bins * model.downsampling
        for size in ("width", "depth"):
            keys[size] = keys.get(f"decoder_{size}") or keys.get(size)
    inside = parts.build(
        part,
        keys,
        out=out,
        downsampling=model.downsampling,
        zero_start=model.pca_start,
        dtype=dtype,
    )
    if takes_frames:
        return inside
    return (ToBlocks if is_decoder else OfBlocks)(inside, model.downsampling)


def has_network(name: str) -> bool:
    """Whether there is more to that part than one matrix."""
    return getattr(encoders[name], "has_network", True)


def begins_at_zero(name: str) -> bool:
    """Whether a network of that name can begin as the map to zero by itself."""
    part = encoders[name]
    return not has_network(name) or "zero_start" in {
        field.name for field in dataclasses.fields(part)
    }


def receptive_field_of(module: Any) -> ReceptiveField:
    """Steps before and after its own that an output depends on; without end, if it does not say."""
    return getattr(module, "receptive_field", (math.inf, math.inf))


class OfBlocks(nn.Module):
    """A network over blocks of frames, each laid out as one vector, as an encoder.

    Attributes:
      network: from blocks to as many channels as the bottleneck takes.
      downsampling: frames in a block.
    """

    network: nn.Module
    downsampling: int

    @property
    def receptive_field(self) -> ReceptiveField:
        """In latent frames."""
        return receptive_field_of(self.network)

    def __call__(
        self, x: Float[Array, "batch frames bins"], *, train: bool
    ) -> Float[Array, "batch latent_frames out"]:
        return self.network(to_blocks(x, self.downsampling), train=train)


class ToBlocks(nn.Module):
    """A network from latents to blocks of frames, each laid out as one vector, as a decoder.

    Attributes:
      network: from latents to blocks.
      downsampling: frames in a block.
    """

    network: nn.Module
    downsampling: int

    @property
    def receptive_field(self) -> ReceptiveField:
        """In latent frames."""
        return receptive_field_of(self.network)

    def __call__(
        self, z: Float[Array, "batch latent_frames latent_dim"], *, train: bool
    ) -> Float[Array, "batch frames bins"]:
        return from_blocks(self.network(z, train=train), self.downsampling)
