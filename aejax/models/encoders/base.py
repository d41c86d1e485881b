"""Networks of encoders and decoders, and their application to blocks of frames.

A network is a Flax module with ``__call__(x, *, train)``, from ``[batch, time, channels]`` to
``[batch, time, out]``. In an encoder, each input step is a flattened block of frames; in a decoder,
a latent frame. A network with ``takes_frames = True`` takes single frames, returns latents, and has
an attribute ``decoder``: a module from latents to frames. ``receptive_field`` is the number of
steps before and after an output step that it depends on.
"""

import dataclasses
import functools
import inspect
import math
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from aejax import parts
from aejax.models.blocks import Dtype, ReceptiveField, from_blocks, to_blocks
from aejax.parts import at_least, between, encoders, key
from aejax.runtime.errors import UserError

Shape = tuple[int, int, int]


class Network(nn.Module):
    """A network with a width and a depth, which may differ in the decoder.

    Attributes:
      out: output channels.
      zero_start: whether it is initialised as the zero map.
      dtype: of the arithmetic.
    """

    part_name: ClassVar[str]  # set by `register`
    out: int
    zero_start: bool
    dtype: Dtype = jnp.float32
    width: int = key(384, between(1, 2**16), "hidden channels")
    depth: int = key(4, at_least(0, 256), "layers, or residual blocks")
    decoder_width: int = key(0, between(0, 2**16), "width of the decoder; 0: that of the encoder")
    decoder_depth: int = key(0, at_least(0, 256), "depth of the decoder; 0: that of the encoder")
    dropout: float = key(0.1, between(0, 1), "dropout rate", per_member=True)


@encoders.register("linear")
@dataclasses.dataclass(frozen=True)
class Linear:
    """No network: one linear map of each block, as expressive as PCA."""

    has_network = False


def build_network(
    name: str,
    model: ConfigDict,
    *,
    is_decoder: bool,
    out: int,
    bins: int,
    dtype: Dtype,
) -> nn.Module | None:
    """The network of a part, from frames to latents or back; None for a linear part.

    Args:
      name: name of the part.
      model: ``config.model``.
      is_decoder: whether to build the mirror of the encoder.
      out: output channels of an encoder.
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
    module = parts.build(
        part,
        keys,
        out=out,
        downsampling=model.downsampling,
        zero_start=model.pca_start,
        dtype=dtype,
    )
    if takes_frames:
        return module
    return (BlockDecoder if is_decoder else BlockEncoder)(module, model.downsampling)


def has_network(name: str) -> bool:
    """Whether a part has a network; otherwise it is one linear map."""
    return getattr(encoders[name], "has_network", True)


def begins_at_zero(name: str) -> bool:
    """Whether a part is linear, or its network has a `zero_start`."""
    part = encoders[name]
    return not has_network(name) or "zero_start" in {
        field.name for field in dataclasses.fields(part)
    }


def receptive_field_of(module: Any) -> ReceptiveField:
    """The receptive field of a network, unbounded by default."""
    return getattr(module, "receptive_field", (math.inf, math.inf))


def check_network(name: str, network: nn.Module | None, shapes: tuple[Shape, Shape]) -> None:
    """Traces the network of a part from outside aejax, before anything is fitted.

    Args:
      name: of the part.
      network: of the part.
      shapes: ``[batch, time, channels]`` of its input and of its output.

    Raises:
      UserError: naming the part and what its ``__call__`` must take or return.
    """
    if f"model.{name}" not in parts.outside() or network is None:
        return
    before, after = shapes
    if isinstance(network, BlockNetwork):
        blocks = [(b, t // network.downsampling, c * network.downsampling) for b, t, c in shapes]
        is_encoder = isinstance(network, BlockEncoder)
        before, after = (blocks[0], after) if is_encoder else (before, blocks[1])
        network = network.network
    if "train" not in inspect.signature(type(network).__call__).parameters:
        raise UserError(f"the encoder {name!r} must have __call__(self, x, *, train)")
    x = jax.ShapeDtypeStruct(before, jnp.float32)
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    init = functools.partial(network.init_with_output, train=False)
    output = jax.eval_shape(lambda x: init(keys, x)[0], x)
    if getattr(output, "shape", None) != after:
        raise UserError(
            f"the encoder {name!r} must return [batch, time, out], here {list(after)} for an input"
            f" of {list(before)}, not {list(getattr(output, 'shape', ()))}"
        )


class BlockNetwork(nn.Module):
    """A network applied to flattened blocks of frames.

    Attributes:
      network: from blocks to latents, or back.
      downsampling: frames in a block.
    """

    network: nn.Module
    downsampling: int

    @property
    def receptive_field(self) -> ReceptiveField:
        """In latent frames."""
        return receptive_field_of(self.network)


class BlockEncoder(BlockNetwork):
    """Frames to latents."""

    def __call__(
        self, x: Float[Array, "batch frames bins"], *, train: bool
    ) -> Float[Array, "batch latent_frames out"]:
        return self.network(to_blocks(x, self.downsampling), train=train)


class BlockDecoder(BlockNetwork):
    """Latents to frames."""

    def __call__(
        self, z: Float[Array, "batch latent_frames latent_dim"], *, train: bool
    ) -> Float[Array, "batch frames bins"]:
        return from_blocks(self.network(z, train=train), self.downsampling)
