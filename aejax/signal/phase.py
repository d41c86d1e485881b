"""Finding a phase for a magnitude spectrogram that has none."""

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
    transform = {
        "n_fft": n_fft,
        "hop_length": hop_length,
        "win_length": win_length,
        "window": window,
        "center": center,
    }
    tiny = jnp.finfo(jnp.float32).tiny
    # The whole signal that the frames cover, so that every round has the frames it began with.
    hop = hop_length or (win_length or n_fft) // 4
    samples = (magnitude.shape[-2] - 1) * hop + (0 if center else n_fft)

    def invert(spectrum: jax.Array, samples: int | None) -> jax.Array:
        return istft(spectrum, **transform, length=samples)

    def round_trip(carry: tuple[jax.Array, jax.Array], _: None) -> tuple[tuple, None]:
        spectrum, previous = carry
        projected = stft(invert(spectrum, samples), **transform)
        ahead = projected + momentum * (projected - previous)
        phase = ahead / jnp.maximum(jnp.abs(ahead), tiny)
        return (magnitude * phase, projected), None

    angle = jnp.zeros_like(magnitude)
    if key is not None:
        angle = jax.random.uniform(key, magnitude.shape, magnitude.dtype, -jnp.pi, jnp.pi)
    spectrum = magnitude * jnp.exp(1j * angle)
    start = (spectrum, jnp.zeros_like(spectrum))
    (spectrum, _), _ = jax.lax.scan(round_trip, start, length=num_iterations)
    return invert(spectrum, length)
