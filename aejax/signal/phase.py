"""Phase estimation for magnitude spectrograms."""

import dataclasses
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
      num_iterations: number of inverse and forward transforms; 0 only inverts the start.
      momentum: at least 0 and below 1.
      length: samples to return; by default those of `aejax.signal.stft.istft`.
      phase: initial phase in radians.
      key: for a random initial phase; without ``key`` and ``phase`` it is zero.
      return_convergence: whether to return the spectral convergence too.

    Returns:
      float32 ``[..., samples]``, and with ``return_convergence`` also
      ``[..., num_iterations + 1]``: after 0, 1, ... iterations, the spectral convergence
      ``norm(error) / norm(magnitude)`` over frames and bins, before the audio is trimmed to
      ``length``. 0 for silence.

    Raises:
      ValueError: an argument is invalid, see also `stft` and `istft`.
    """
    hop_length, win_length = frame_sizes(n_fft, hop_length, win_length)
    _check(magnitude, n_fft, num_iterations, momentum)
    stft = _Stft(n_fft, hop_length, win_length, window, center, pad_mode)
    samples = stft.samples(magnitude.shape[-2], length)
    spectrum, errors = _iterate(
        stft,
        _with_start(magnitude, phase, key),
        magnitude,
        samples=samples,
        num_iterations=num_iterations,
        momentum=momentum,
        return_convergence=return_convergence,
    )
    audio = stft.inverse(spectrum, samples if length is None else length)
    return audio if errors is None else (audio, errors)


def _check(magnitude: jax.Array, n_fft: int, num_iterations: int, momentum: float) -> None:
    check_real("magnitude", magnitude, ndim=2)
    check_spectrum(magnitude, n_fft)
    check_integer("num_iterations", num_iterations, least=0, most=MOST_ITERATIONS)
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum must be at least 0 and below 1, got {momentum}")


@dataclasses.dataclass(frozen=True)
class _Stft:
    """The transforms of an iteration, on all frames at once: the magnitude is as large."""

    n_fft: int
    hop_length: int
    win_length: int
    window: Window
    center: bool
    pad_mode: PadMode

    def samples(self, frames: int, length: int | None) -> int:
        """The number of samples of the audio in each iteration.

        It is ``length`` if that has the same number of frames: samples after the middle of the last
        frame are then estimated like the others.
        """
        samples = (frames - 1) * self.hop_length + (self.n_fft % 2 if self.center else self.n_fft)
        if length is not None and samples <= length < samples + self.hop_length:
            samples = length
        if samples < 1:
            raise ValueError("a single centred frame has no samples by default; give length")
        return samples

    def __call__(self, audio: jax.Array) -> jax.Array:
        """The spectrum of audio."""
        return stft_then(lambda s: s, audio, **dataclasses.asdict(self), chunked=False)

    def inverse(self, spectrum: jax.Array, length: int) -> jax.Array:
        """Audio of ``length`` samples."""
        sizes = dataclasses.asdict(self)
        del sizes["pad_mode"]
        return inverse(spectrum, **sizes, length=length, chunked=False)


def _iterate(
    stft: _Stft,
    spectrum: jax.Array,
    magnitude: jax.Array,
    *,
    samples: int,
    num_iterations: int,
    momentum: float,
    return_convergence: bool,
) -> tuple[jax.Array, jax.Array | None]:
    """The spectrum after all iterations, and the convergence after each, if asked for."""

    def convergence(audio: jax.Array) -> jax.Array:
        return spectral_convergence(stft(audio), magnitude)

    def iterate(carry: tuple, _: None) -> tuple[tuple, Any]:
        spectrum, previous = carry
        audio = stft.inverse(spectrum, samples)
        error = convergence(audio) if return_convergence else None
        # The paper's c + momentum (c - previous c), with c = stft(istft(spectrum)), computed before
        # the linear transform instead of after it: signals are smaller than spectra.
        ahead = stft(audio + momentum * (audio - previous))
        return (_with_phase_of(ahead, magnitude), audio), error

    silence = jnp.zeros_like(stft.inverse(spectrum, samples))
    (spectrum, _), errors = jax.lax.scan(iterate, (spectrum, silence), length=num_iterations)
    if not return_convergence:
        return spectrum, None
    last = convergence(stft.inverse(spectrum, samples))
    return spectrum, jnp.moveaxis(jnp.concatenate([errors, last[None]]), 0, -1)


def _with_start(magnitude: jax.Array, phase: jax.Array | None, key: jax.Array | None) -> jax.Array:
    if phase is not None and key is not None:
        raise ValueError("phase and key are two different starts; give one of them")
    if phase is not None and phase.shape != magnitude.shape:
        raise ValueError(f"phase has shape {phase.shape}, the magnitude {magnitude.shape}")
    if key is not None:
        if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and key.dtype != jnp.uint32:
            raise ValueError(f"key must be a jax.random.key, got {key.dtype}")
        phase = jax.random.uniform(key, magnitude.shape, magnitude.dtype, -jnp.pi, jnp.pi)
    if phase is None:
        return jax.lax.complex(magnitude, jnp.zeros_like(magnitude))
    phase = phase.astype(magnitude.dtype)
    return jax.lax.complex(magnitude * jnp.cos(phase), magnitude * jnp.sin(phase))


def _with_phase_of(s: jax.Array, magnitude: jax.Array) -> jax.Array:
    """``magnitude`` with the phase of ``s``; zero phase where ``s`` is zero."""
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
