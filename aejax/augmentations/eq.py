"""Random equalisers."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict

from aejax import signal
from aejax.augmentations.base import Audio, Augmentation, Example
from aejax.parts import at_least, augmentations, key
from aejax.runtime.errors import UserError
from aejax.signal import fourier

_COSINES = 6  # terms of the response, up to three periods along the frequency axis


@augmentations.register("eq")
@dataclasses.dataclass(frozen=True)
class EQ(Augmentation):
    """A smooth random equaliser, like another microphone or room."""

    db: float = key(3.0, at_least(0), "dB; standard deviation of the response; 0 is off")
    also_noise = True

    @property
    def is_on(self) -> bool:
        """Whether the response is not flat."""
        return self.db > 0

    def change(self, key: jax.Array, audio: Audio, length: Int[Array, " batch"]) -> Audio:
        """Audio filtered by another equaliser in each row."""
        del length
        return random_eq(key, audio, self.db)


@augmentations.register("input_eq")
@dataclasses.dataclass(frozen=True)
class InputEQ(Augmentation):
    """A smooth random equaliser of the encoder's input; the target is unchanged."""

    db: float = key(0.0, at_least(0), "dB; standard deviation of the response; 0 is off")
    separates = True

    @classmethod
    def check(cls, config: ConfigDict) -> None:
        """Checks that the task is not denoising."""
        if config.task == "denoise" and config.augment.input_eq.db:
            raise UserError(
                f"config.augment.input_eq.db={config.augment.input_eq.db:g} cannot be combined with"
                " task='denoise', where input and target differ by the noise alone"
            )

    @property
    def is_on(self) -> bool:
        """Whether the response is not flat."""
        return self.db > 0

    def __call__(self, key: jax.Array, example: Example) -> Example:
        """The example with an equalised input."""
        audio = signal.until_end(example.input, example.length)
        return example._replace(input=random_eq(key, audio, self.db))


def random_eq(
    key: jax.Array, audio: Float[Array, "batch samples *channels"], eq_db: float
) -> Float[Array, "batch samples *channels"]:
    """Audio filtered by another smooth random response in each row.

    The response in dB is a random cosine series along a logarithmic frequency axis, whose standard
    deviation over draws, averaged over the axis, is ``eq_db``. The filter has zero phase.
    """
    samples = audio.shape[1]
    frequency = jnp.fft.rfftfreq(samples)  # 0 to 0.5 of the sample rate
    position = jnp.log1p(64 * frequency) / jnp.log1p(32.0)  # 0 to 1
    order = jnp.arange(1, _COSINES + 1, dtype=audio.dtype)
    cosines = jnp.cos(jnp.pi * order[:, None] * position[None])
    spread = eq_db * jnp.sqrt(2 / _COSINES)
    response_db = spread * jax.random.normal(key, (audio.shape[0], _COSINES)) @ cosines
    response = along_time(signal.db_to_amplitude(response_db), audio)
    return filtered(fourier.rfft(audio, axis=1), response, samples)


def along_time(response: Float[Array, "rows bins"], audio: Array) -> Array:
    """One response per row, reshaped to broadcast against spectra of ``audio``."""
    return response.reshape(*response.shape, *[1] * (audio.ndim - 2))


def filtered(spectrum: Array, response: Array, samples: int) -> Array:
    """Audio of a spectrum times a real response, without promotion of the response to complex."""
    return fourier.irfft(
        jax.lax.complex(spectrum.real * response, spectrum.imag * response), samples, axis=1
    )
