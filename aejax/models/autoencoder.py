"""The autoencoder: standardise, encode, squeeze, decode, and back to the features' own unit."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.core import FrozenDict
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from aejax.models.blocks import ConvStack
from aejax.models.bottleneck import BOTTLENECKS
from aejax.models.decoders import Decoder
from aejax.models.encoders import Encoder
from aejax.models.pca import PCA

Variables = dict[str, dict] | FrozenDict[str, dict]


class Autoencoder(nn.Module):
    """Features to latents to features, at one latent frame per ``downsampling`` frames.

    The collection "constants" holds ``mean`` ``[bins]`` and ``scale`` ``[]``, by which features are
    standardised inside. One scale for all bins: a squared error then weighs all bins alike, as the
    metrics and PCA do.
    """

    encoder: nn.Module
    bottleneck: nn.Module
    decoder: nn.Module
    bins: int

    def setup(self) -> None:
        self.mean = self.variable("constants", "mean", jnp.zeros, (self.bins,))
        self.scale = self.variable("constants", "scale", jnp.ones, ())

    def encode(
        self, features: Float[Array, "batch frames bins"], *, train: bool = False
    ) -> Float[Array, "batch latent_frames latent_dim"]:
        """Features to latents; frames must be whole blocks."""
        standardised = (features - self.mean.value[None, None]) / self.scale.value
        return self.bottleneck(self.encoder(standardised, train=train), train=train)

    def decode(
        self, latents: Float[Array, "batch latent_frames latent_dim"], *, train: bool = False
    ) -> Float[Array, "batch frames bins"]:
        """Latents to features."""
        standardised = self.decoder(latents, train=train)
        return standardised * self.scale.value + self.mean.value[None, None]

    def __call__(
        self, features: Float[Array, "batch frames bins"], *, train: bool = False
    ) -> Float[Array, "batch frames bins"]:
        return self.decode(self.encode(features, train=train), train=train)


NONLINEAR = {"linear": None, "conv": ConvStack}


def from_config(config: ConfigDict, bins: int) -> Autoencoder:
    """The autoencoder that ``config.model`` describes, for features of that many bins."""
    kind = NONLINEAR[config.encoder]

    def nonlinear(out: int) -> nn.Module | None:
        sizes = {key: config[key] for key in ("width", "depth", "kernel_size", "dropout")}
        return None if kind is None else kind(out=out, zero_start=config.pca_start, **sizes)

    downsampling, latent_dim = config.downsampling, config.latent_dim
    return Autoencoder(
        encoder=Encoder(downsampling, latent_dim, nonlinear(latent_dim)),
        bottleneck=BOTTLENECKS[config.bottleneck](),
        decoder=Decoder(downsampling, bins, nonlinear(downsampling * bins)),
        bins=bins,
    )


def init(model: Autoencoder, key: jax.Array, downsampling: int) -> Variables:
    """Random variables for a model (under ``jit``: eager initialisation takes seconds)."""
    features = jnp.zeros((1, downsampling, model.bins))
    return jax.jit(model.init)(key, features)


def reconstruct(
    model: Autoencoder,
    variables: Variables,
    features: Float[Array, "batch frames bins"],
    *,
    dropout_key: jax.Array | None = None,
) -> Float[Array, "batch frames bins"]:
    """Features through the latents and back; with a key, as in training, with dropout."""
    rngs = {} if dropout_key is None else {"dropout": dropout_key}
    output = model.apply(variables, features, train=dropout_key is not None, rngs=rngs)
    assert isinstance(output, jax.Array)
    return output


def standardise(variables: Variables, mean: np.ndarray, scale: np.ndarray) -> Variables:
    """The same variables with the constants of these features, ``[bins]`` and ``[]``."""
    constants = {"mean": jnp.asarray(mean, jnp.float32), "scale": jnp.asarray(scale, jnp.float32)}
    return {**variables, "constants": constants}


def start_at_pca(variables: Variables, pca: PCA) -> Variables:
    """The same variables with W and V such that the linear part is that PCA, exactly.

    Together with ``zero_start`` the whole model is then PCA, with latents of unit variance.
    """
    mean = np.asarray(variables["constants"]["mean"], np.float64)
    scale = np.asarray(variables["constants"]["scale"], np.float64)
    offset = np.asarray(pca.mean, np.float64) - np.tile(mean, pca.downsampling)
    components = np.asarray(pca.components, np.float64)
    deviations = np.asarray(pca.deviations, np.float64)
    analysis = components.T / deviations
    encoder = {"kernel": scale * analysis, "bias": -offset @ analysis}
    decoder = {"kernel": deviations[:, None] * components / scale, "bias": offset / scale}
    params = dict(variables["params"])
    for part, linear in (("encoder", encoder), ("decoder", decoder)):
        values = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), linear)
        params[part] = {**params[part], "linear": values}
    return {**variables, "params": params}
