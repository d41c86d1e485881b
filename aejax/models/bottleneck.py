"""Bottlenecks: what happens to the latents between encoder and decoder."""

import flax.linen as nn
from jaxtyping import Array, Float


class Continuous(nn.Module):
    """Latents pass as they are: ``latent_dim`` real numbers per latent frame."""

    def __call__(
        self, z: Float[Array, "batch latent_frames latent_dim"], *, train: bool = False
    ) -> Float[Array, "batch latent_frames latent_dim"]:
        return z


BOTTLENECKS = {"none": Continuous}
