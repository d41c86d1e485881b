"""Phase estimation for magnitude spectrograms."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from aejax.signal.arguments import check_integer, check_real, check_spectrum, compiled, frame_sizes
from aejax.signal.stft import PadMode, inverse, power, stft_then
from aejax.signal.stft import magnitude as absolute
from aejax.signal.windows import Window

MOST_ITERATIONS = 10_000  # it converges long before


@compiled("phase", "key")
def griffin_lim(
    magnitude: Float[Array, "*batch frames bins"],
    *,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Window = "hann",
    center: bool = True,
    pad_mode: PadMode = "reflect",
    num_iterations: int = 32,
    momentum: float = 0.99,
    length: int | None = None,
    phase: Float[Array, "*batch frames bins"] | None = None,
    key: jax.Array | None = None,
    return_convergence: bool = False,
) -> (
    Float[Array, "*batch samples"]
    | tuple[Float[Array, "*batch samples"], Float[Array, "*batch rounds"]]
):
    """Audio with approximately the given STFT magnitude, by the fast Griffin-Lim algorithm.

    Source: Perraudin, Balazs and Sondergaard, "A fast Griffin-Lim algorithm", WASPAA 2013,
    algorithm 1; momentum 0 is Griffin and Lim, 1984.

    Args:
      magnitude: ``[..., frames, n_fft // 2 + 1]``, non-negative.
      n_fft, hop_length, win_length, window, center, pad_mode: as for the
        `aejax.signal.stft.stft` of ``magnitude``.
      num_iterations: rounds of inverse and forward transform; 0 only inverts the start.
      momentum: 0 up to (not including) 1.
      length: samples to return; by default all that `aejax.signal.stft.istft` makes.
      phase: initial phase in radians.
      key: for a random initial phase; zero phase without ``key`` and ``phase``.
      return_convergence: whether to return the spectral convergence too.

    Returns:
      float32 ``[..., samples]``, and with ``return_convergence`` also
      ``[..., num_iterations + 1]``: after 0, 1, ... iterations, the spectral convergence
      ``norm(error) / norm(magnitude)`` over frames and bins, before the audio is trimmed to
      ``length``. 0 for silence.

    Raises:
      ValueError: an argument is invalid, or as `stft` and `istft` raise it.
    """
    hop_length, win_length = frame_sizes(n_fft, hop_length, win_length)
    check_real("magnitude", magnitude, ndim=2)
    check_spectrum(magnitude, n_fft)
    check_integer("num_iterations", num_iterations, least=0, most=MOST_ITERATIONS)
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum must be 0 up to 1, got {momentum}")
    sizes: dict[str, Any] = {
        "n_fft": n_fft,
        "hop_length": hop_length,
        "win_length": win_length,
        "window": window,
        "center": center,
    }
    # The number of frames is the same in every round. Where possible so is the number of samples:
    # those after the middle of the last frame are then estimated like the others.
    samples = (magnitude.shape[-2] - 1) * hop_length + (n_fft % 2 if center else n_fft)
    if length is not None and samples <= length < samples + hop_length:
        samples = length
    if samples < 1:
        raise ValueError("from the middle of one frame to itself there is no sample; give length")
    spectrum = _with_start(magnitude, phase, key)

    # The magnitude is as large as all frames, so chunks would save no memory.
    def transform(audio: jax.Array) -> jax.Array:
        return stft_then(lambda s: s, audio, **sizes, pad_mode=pad_mode, chunked=False)

    def invert(spectrum: jax.Array, length: int) -> jax.Array:
        return inverse(spectrum, **sizes, length=length, chunked=False)

    def iterate(carry: tuple, _: None) -> tuple[tuple, Any]:
        spectrum, previous = carry
        audio = invert(spectrum, samples)
        error = convergence(audio) if return_convergence else None
        # The momentum is the paper's, c + momentum (c - previous c) with c = stft(istft(spectrum)),
        # before the transform instead of after it, which is linear: signals are smaller.
        ahead = transform(audio + momentum * (audio - previous))
        return (_with_phase_of(ahead, magnitude), audio), error

    def convergence(audio: jax.Array) -> jax.Array:
        return spectral_convergence(transform(audio), magnitude)

    silence = jnp.zeros_like(invert(spectrum, samples))
    (spectrum, _), errors = jax.lax.scan(iterate, (spectrum, silence), length=num_iterations)
    audio = invert(spectrum, samples if length is None else length)
    if not return_convergence:
        return audio
    last = convergence(invert(spectrum, samples))
    return audio, jnp.moveaxis(jnp.concatenate([errors, last[None]]), 0, -1)


def _with_start(magnitude: jax.Array, phase: jax.Array | None, key: jax.Array | None) -> jax.Array:
    if phase is not None and key is not None:
        raise ValueError("phase and key are two different starts; give one of them")
    if phase is not None and phase.shape != magnitude.shape:
        raise ValueError(f"phase has shape {phase.shape}, the magnitude {magnitude.shape}")
    if key is not None:
        if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and key.dtype != jnp.uint32:
            raise ValueError(f"key must be what jax.random.key makes, got {key.dtype}")
        phase = jax.random.uniform(key, magnitude.shape, magnitude.dtype, -jnp.pi, jnp.pi)
    if phase is None:
        return jax.lax.complex(magnitude, jnp.zeros_like(magnitude))
    phase = phase.astype(magnitude.dtype)
    return jax.lax.complex(magnitude * jnp.cos(phase), magnitude * jnp.sin(phase))


def _with_phase_of(s: jax.Array, magnitude: jax.Array) -> jax.Array:
    """The phase of ``s`` under that magnitude; zero phase where ``s`` is zero and has none."""
    squared = power(s)
    is_zero = squared == 0
    scale = magnitude / jnp.sqrt(jnp.where(is_zero, 1, squared))
    return jax.lax.complex(
        jnp.where(is_zero, magnitude, s.real * scale), jnp.where(is_zero, 0, s.imag * scale)
    )


def spectral_convergence(s: jax.Array, magnitude: jax.Array) -> jax.Array:
    """``norm(|s| - magnitude) / norm(magnitude)`` over frames and bins; 0 for silence."""
    error = jnp.square(absolute(s) - magnitude).sum(axis=(-2, -1))
    total = jnp.square(magnitude).sum(axis=(-2, -1))
    ratio = error / jnp.where(total == 0, 1, total)
    is_zero = ratio == 0
    return jnp.where(is_zero, 0, jnp.sqrt(jnp.where(is_zero, 1, ratio)))
