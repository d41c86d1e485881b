"""What encoders and decoders are built of. Arrays are ``[batch, time, channels]``."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# What has to be exact is computed in full float32, also where an accelerator's default is less.
EXACT = jax.lax.Precision.HIGHEST
matmul = functools.partial(jnp.matmul, precision=EXACT)

Dtype = Any  # of the arithmetic inside; parameters are float32 always

# Steps before and after its own that something put out depends on; infinite where there is no end.
ReceptiveField = tuple[float, float]
NO_CONTEXT: ReceptiveField = (0, 0)

# Steps from which the library's convolution is the faster one (2 CPU cores; up to 3 times).
_LONG = 512


def to_blocks(
    x: Float[Array, "batch frames bins"], downsampling: int
) -> Float[Array, "batch latent_frames block"]:
    """Cuts frames into blocks of ``downsampling``, each laid out as one vector."""
    batch, frames, bins = x.shape
    return x.reshape(batch, frames // downsampling, downsampling * bins)


def from_blocks(
    x: Float[Array, "batch latent_frames block"], downsampling: int
) -> Float[Array, "batch frames bins"]:
    """Inverse of `to_blocks`."""
    batch, latent_frames, block = x.shape
    return x.reshape(batch, latent_frames * downsampling, block // downsampling)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def product(
    x: Float[Array, "*before channels"],
    kernel: Float[Array, "channels out"],
    precision: Any = None,
) -> Float[Array, "*before out"]:
    """``x @ kernel``, whose gradient by the kernel is one product of flat arrays.

    The one that JAX derives is the same product, but XLA turns both arrays in memory for it on a
    CPU: with many steps that takes three times as long as the product itself.
    """
    return jnp.matmul(x, kernel, precision=precision)


def _product_forwards(x: Array, kernel: Array, precision: Any) -> tuple[Array, tuple]:
    return product(x, kernel, precision), (x, kernel)


def _product_backwards(precision: Any, saved: tuple, gradient: Array) -> tuple[Array, Array]:
    x, kernel = saved
    flat, flat_gradient = (a.reshape(-1, a.shape[-1]) for a in (x, gradient))
    return (
        jnp.matmul(gradient, kernel.T, precision=precision),
        jnp.einsum("ni,no->io", flat, flat_gradient, precision=precision),
    )


product.defvjp(_product_forwards, _product_backwards)


def _dot_general(x: Array, kernel: Array, dimensions: Any, precision: Any = None) -> Array:
    assert dimensions == (((x.ndim - 1,), (0,)), ((), ()))
    return product(x, kernel, precision)


def dense(features: int, **given: Any) -> nn.Dense:
    """flax's dense layer, by `product`."""
    return nn.Dense(features, dot_general=_dot_general, **given)


def last_layer(out: int, *, zero_start: bool, dtype: Dtype) -> nn.Dense:
    """The dense layer that a network ends in; with ``zero_start`` it begins as the map to zero."""
    init = nn.initializers.zeros if zero_start else nn.linear.default_kernel_init
    return dense(out, kernel_init=init, dtype=dtype)


class Dropout(nn.Module):
    """flax's dropout, with a rate that is an array, in the collection "dropout": members of a
    population may each have their own in one compiled program.

    Attributes:
      rate: that it begins with; at 0 there is no dropout at all.
    """

    rate: float

    @nn.compact
    def __call__(self, x: Float[Array, "*shape"], *, train: bool) -> Float[Array, "*shape"]:
        if self.rate == 0:
            return x
        rate = self.variable("dropout", "rate", lambda: jnp.float32(self.rate)).value
        if not train:
            return x
        kept = jax.random.bernoulli(self.make_rng("dropout"), 1 - rate, x.shape)
        return jnp.where(kept, x / (1 - rate).astype(x.dtype), jnp.zeros_like(x))


def same_padding(kernel_size: int, dilation: int = 1) -> tuple[int, int]:
    """Zeros before and after a signal for a convolution to put out as many steps."""
    before = kernel_size // 2 * dilation
    return before, (kernel_size - 1) * dilation - before


class Conv1D(nn.Module):
    """Convolution along time, "same" length, zeros beyond the ends.

    Short signals are lowered as shifted slices and one matrix product: as fast as the library's
    convolution there (few steps, many channels), and it stays so under ``vmap`` over the weights.
    """

    features: int
    kernel_size: int
    dilation: int = 1
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "batch time channels"]) -> Float[Array, "batch time out"]:
        steps, channels = x.shape[-2:]
        shape = (self.kernel_size, channels, self.features)
        kernel = self.param("kernel", nn.linear.default_kernel_init, shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x, kernel, bias = (array.astype(self.dtype) for array in (x, kernel, bias))
        padding = same_padding(self.kernel_size, self.dilation)
        # Of a length that is left open, for export, nobody knows; the library's is never bad.
        if not isinstance(steps, int) or steps >= _LONG:
            y = jax.lax.conv_general_dilated(
                x,
                kernel,
                window_strides=(1,),
                padding=[padding],
                rhs_dilation=(self.dilation,),
                dimension_numbers=("NWC", "WIO", "NWC"),
            )
        else:
            padded = jnp.pad(x, ((0, 0), padding, (0, 0)))
            starts = range(0, sum(padding) + 1, self.dilation)
            slices = [padded[:, i : i + steps] for i in starts]
            y = product(jnp.concatenate(slices, axis=-1), kernel.reshape(-1, self.features))
        return y + bias[None, None]


class ResidualBlock(nn.Module):
    """``x + dense(dropout(gelu(conv(norm(x)))))``."""

    kernel_size: int
    dropout: float
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch time channels"], *, train: bool
    ) -> Float[Array, "batch time channels"]:
        y = nn.LayerNorm(dtype=self.dtype)(x)
        y = jax.nn.gelu(Conv1D(x.shape[-1], self.kernel_size, dtype=self.dtype)(y))
        y = Dropout(self.dropout)(y, train=train)
        return x + dense(x.shape[-1], dtype=self.dtype)(y)
