"""Random gain."""

import dataclasses

import jax
from jaxtyping import Array, Int

from aejax import signal
from aejax.augmentations.base import Audio, Augmentation, of_rows
from aejax.parts import at_least, augmentations, key


@augmentations.register("gain")
@dataclasses.dataclass(frozen=True)
class Gain(Augmentation):
    """A random gain, uniform in dB."""

    db: float = key(6.0, at_least(0), "dB; largest gain or attenuation; 0 is off")

    @property
    def is_on(self) -> bool:
        """Whether the largest gain is above 0 dB."""
        return self.db > 0

    def change(self, key: jax.Array, audio: Audio, length: Int[Array, " batch"]) -> Audio:
        """Audio with another gain in each row."""
        del length
        gain = jax.random.uniform(key, audio.shape[:1], minval=-self.db, maxval=self.db)
        return audio * of_rows(signal.db_to_amplitude(gain), audio)
