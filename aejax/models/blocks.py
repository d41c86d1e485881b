"""Layers of encoders and decoders. Arrays are ``[batch, time, channels]``."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Dtype = Any  # of the arithmetic; parameters are always float32

# Steps of context before and after each output step; infinite if unbounded.
ReceptiveField = tuple[float, float]
NO_CONTEXT: ReceptiveField = (0, 0)

# From this many steps XLA's convolution is faster (up to 3 times, on 2 CPU cores).
_LONG = 512


def to_blocks(
    x: Float[Array, "batch frames bins"], downsampling: int
) -> Float[Array, "batch latent_frames block"]:
    """Blocks of ``downsampling`` frames, each flattened to one vector."""
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
    """``x @ kernel``. On a CPU the gradient of the kernel is one product of flattened arrays.

    For JAX's gradient, XLA transposes both arrays there. With many steps, that takes three times as
    long as the product itself.
    """
    return jnp.matmul(x, kernel, precision=precision)


def _product_forwards(x: Array, kernel: Array, precision: Any) -> tuple[Array, tuple]:
    return product(x, kernel, precision), (x, kernel)


def _product_backwards(precision: Any, saved: tuple, gradient: Array) -> tuple[Array, Array]:
    x, kernel = saved

    def flattened(x: Array, gradient: Array) -> Array:
        flat, flat_gradient = (a.reshape(-1, a.shape[-1]) for a in (x, gradient))
        return jnp.einsum("ni,no->io", flat, flat_gradient, precision=precision)

    def summed(x: Array, gradient: Array) -> Array:
        # Where the batch is not the first axis, flattening would gather it on each device.
        axes = tuple(range(x.ndim - 1))
        return jnp.tensordot(x, gradient, (axes, axes), precision=precision)

    return (
        jnp.matmul(gradient, kernel.T, precision=precision),
        jax.lax.platform_dependent(x, gradient, cpu=flattened, default=summed),
    )


product.defvjp(_product_forwards, _product_backwards)


def add_bias(
    x: Float[Array, "*before channels"], bias: Float[Array, " channels"]
) -> Float[Array, "*before channels"]:
    """``x + bias`` in the precision of ``x``; the bias's gradient is summed in float32."""
    bias = bias.reshape((1,) * (x.ndim - 1) + bias.shape)
    return (x.astype(jnp.float32) + bias).astype(x.dtype)


class Dense(nn.Module):
    """Flax's dense layer, computed by `product`."""

    features: int
    dtype: Dtype = jnp.float32
    precision: Any = None
    kernel_init: Any = nn.linear.default_kernel_init

    @nn.compact
    def __call__(self, x: Float[Array, "*before channels"]) -> Float[Array, "*before out"]:
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x, kernel = (array.astype(self.dtype) for array in (x, kernel))
        return add_bias(product(x, kernel, self.precision), bias)


def last_layer(out: int, *, zero_start: bool, dtype: Dtype) -> Dense:
    """The last dense layer of a network, initialised as the zero map with ``zero_start``."""
    init = nn.initializers.zeros if zero_start else nn.linear.default_kernel_init
    return Dense(out, kernel_init=init, dtype=dtype)


class Dropout(nn.Module):
    """Dropout with the rate as an array in the collection "dropout", so that members of a
    population, which share one compiled program, may have different rates.

    Attributes:
      rate: initial rate; 0 leaves dropout out of the program.
    """

    rate: float

    @nn.compact
    def __call__(self, x: Float[Array, "*shape"], *, train: bool) -> Float[Array, "*shape"]:
        if self.rate == 0:
            return x
        rate = self.variable("dropout", "rate", lambda: jnp.float32(self.rate)).value
        if not train:
            return x
        mask = jax.random.bernoulli(self.make_rng("dropout"), 1 - rate, x.shape)
        return jnp.where(mask, x / (1 - rate).astype(x.dtype), jnp.zeros_like(x))


def same_padding(kernel_size: int, dilation: int = 1) -> tuple[int, int]:
    """Zeros before and after a signal for a convolution with "same" padding."""
    before = kernel_size // 2 * dilation
    return before, (kernel_size - 1) * dilation - before


class Conv1D(nn.Module):
    """Convolution along time with "same" zero padding.

    For few steps it is computed as one matrix product of shifted slices. That is as fast as XLA's
    convolution, and stays fast under ``vmap`` over the weights.
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
        x, kernel = (array.astype(self.dtype) for array in (x, kernel))
        padding = same_padding(self.kernel_size, self.dilation)
        # Symbolic length (export): XLA's convolution.
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
        return add_bias(y, bias)


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
        return x + Dense(x.shape[-1], dtype=self.dtype)(y)
