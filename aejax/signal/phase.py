"""Finding a phase for a magnitude spectrogram that has none."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from aejax.signal.stft import istft, stft


def griffin_lim(
    magnitude: Float[Array, "*batch frames bins"],
    *,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: str = "hann",
    center: bool = True,
    num_iterations: int = 32,
    momentum: float = 0.99,
    length: int | None = None,
    key: jax.Array | None = None,
) -> Float[Array, "*batch samples"]:
    """Audio whose STFT magnitude comes near the one given: the fast Griffin-Lim algorithm.

    Source: Perraudin, Balazs and Sondergaard, "A fast Griffin-Lim algorithm", WASPAA 2013,
    algorithm 1; momentum 0 is Griffin and Lim, 1984.

    Args:
      magnitude: ``[..., frames, n_fft // 2 + 1]``, non-negative.
      n_fft, hop_length, win_length, window, center: as for `aejax.signal.stft.stft`.
      num_iterations: rounds of inverse and forward transform.
      momentum: 0 up to (not including) 1.
      length: samples to return; by default all that the frames cover.
      key: for a random start; without one the start is zero phase.

    Returns:
      float32 ``[..., samples]``.
    """
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum must be 0 up to 1, got {momentum}")
    hop = hop_length or (win_length or n_fft) // 4
    # The whole signal that the frames cover, so that every round has the frames it began with.
    samples = (magnitude.shape[-2] - 1) * hop + (0 if center else n_fft)
    transform = functools.partial(
        stft, n_fft=n_fft, hop_length=hop, win_length=win_length, window=window, center=center
    )
    invert = functools.partial(
        istft, n_fft=n_fft, hop_length=hop, win_length=win_length, window=window, center=center
    )
    tiny = jnp.finfo(jnp.float32).tiny

    def round_trip(carry: tuple[jax.Array, jax.Array], _: None) -> tuple[tuple, None]:
        spectrum, previous = carry
        projected = transform(invert(spectrum, length=samples))
        ahead = projected + momentum * (projected - previous)
        scale = magnitude / jnp.maximum(jnp.abs(ahead), tiny)
        return (jax.lax.complex(ahead.real * scale, ahead.imag * scale), projected), None

    angle = jnp.zeros_like(magnitude)
    if key is not None:
        angle = jax.random.uniform(key, magnitude.shape, magnitude.dtype, -jnp.pi, jnp.pi)
    spectrum = jax.lax.complex(magnitude * jnp.cos(angle), magnitude * jnp.sin(angle))
    start = (spectrum, jnp.zeros_like(spectrum))
    (spectrum, _), _ = jax.lax.scan(round_trip, start, length=num_iterations)
    return invert(spectrum, length=length)
