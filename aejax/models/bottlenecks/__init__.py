"""Bottlenecks, which constrain latents between encoder and decoder; one file each."""

from aejax.models.bottlenecks.base import Bottleneck, Identity, Mask
from aejax.models.bottlenecks.fsq import FSQ
from aejax.models.bottlenecks.noise import Noise
from aejax.models.bottlenecks.ordered import Ordered
from aejax.models.bottlenecks.tanh import Tanh
from aejax.models.bottlenecks.vae import VAE
from aejax.models.bottlenecks.vector_quantizer import RVQ, VQ, VectorQuantizer
from aejax.parts import bottlenecks

register = bottlenecks.register

__all__ = [
    "FSQ",
    "RVQ",
    "VAE",
    "VQ",
    "Bottleneck",
    "Identity",
    "Mask",
    "Noise",
    "Ordered",
    "Tanh",
    "VectorQuantizer",
]
