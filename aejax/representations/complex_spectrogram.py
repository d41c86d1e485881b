"""Real and imaginary parts of an STFT."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from aejax import signal
from aejax.parts import above, key, representations
from aejax.representations.base import Limits, STFTRepresentation, radial, symmetric


@representations.register("complex_spectrogram")
@dataclasses.dataclass(frozen=True)
class ComplexSpectrogram(STFTRepresentation):
    """Real and imaginary parts of an STFT with compressed magnitudes, so that quiet bins count too.
    Exactly invertible.

    Source: Ephrat et al., "Looking to listen at the cocktail party", 2018, section 3.1.

    Attributes:
      compression: power that magnitudes are raised to; 1 for none.
    """

    compression: float = key(0.5, above(0, 100), "power that magnitudes are raised to; 1 for none")
    bins_keys = "2 (n_fft / 2 + 1)"

    @property
    def bins(self) -> int:
        """Features in one frame: real parts, then imaginary parts."""
        return 2 * (self.n_fft // 2 + 1)

    def limits(self) -> Limits:
        """The highest magnitude of a bin, compressed."""
        return symmetric(self._highest_magnitude() ** self.compression, self.bins)

    def analyse(self, audio: Float[Array, "*batch samples"]) -> Float[Array, "*batch frames bins"]:
        """Audio to compressed real parts, then imaginary parts."""
        spectrum = signal.stft(
            audio, n_fft=self.n_fft, win_length=self.win_length, hop_length=self.hop_length
        )
        parts = jnp.stack([spectrum.real, spectrum.imag])
        parts = parts * radial(parts, self.compression)
        return jnp.concatenate([parts[0], parts[1]], axis=-1)

    def synthesise(
        self, features: Float[Array, "*batch frames bins"]
    ) -> Float[Array, "*batch samples"]:
        """Features to audio."""
        parts = jnp.stack(jnp.split(features, 2, axis=-1))
        parts = parts * radial(parts, 1 / self.compression)
        return signal.istft(
            jax.lax.complex(parts[0], parts[1]),
            n_fft=self.n_fft,
            win_length=self.win_length,
            hop_length=self.hop_length,
        )

    def _gain(self, noisy: Array, features: Array) -> Array:
        """Projection of the features onto the noisy bin, relative to it; unpredictable phases
        average out."""
        along = sum(a * b for a, b in zip(_halves(features), _halves(noisy), strict=True))
        power = sum(jnp.square(part) for part in _halves(noisy))
        ratio = jnp.clip(along / jnp.maximum(power, 1e-10), 1e-5, 1)
        return jnp.power(ratio, 1 / self.compression)


def _halves(features: Array) -> tuple[Array, Array]:
    """Real and imaginary parts."""
    real, imaginary = jnp.split(features, 2, axis=-1)
    return real, imaginary
