"""The autoencoder: standardise, encode, squeeze, decode, and back to the features' own unit."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.core import FrozenDict
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict

from aejax.models.adversary import Adversary
from aejax.models.blocks import MLP, ConvStack, Dtype
from aejax.models.bottleneck import FSQ, VAE, Bottleneck, Mask, Noise, Ordered, Tanh
from aejax.models.decoders import Decoder, Speaker, ToBlocks
from aejax.models.encoders import Encoder, MaskEncoder, OfBlocks
from aejax.models.pca import PCA
from aejax.models.recurrent import RecurrentDecoder, RecurrentEncoder
from aejax.models.transformer import Transformer
from aejax.models.vector_quantizer import RVQ
from aejax.models.wave_conv import WaveDecoder, WaveEncoder

Variables = dict[str, Any] | FrozenDict[str, Any]


_FLOAT32 = jnp.finfo(jnp.float32)


class Autoencoder(nn.Module):
    """Features to latents to features, at one latent frame per ``downsampling`` frames.

    The collection "constants" holds ``mean`` ``[bins]`` and ``scale`` ``[]``, by which features are
    standardised inside. One scale for all bins: a squared error then weighs all bins alike, as the
    metrics and PCA do. It also holds ``lowest`` and ``highest`` ``[bins]``: in use, though not in
    training, no feature that comes back lies beyond them.
    """

    encoder: nn.Module
    bottleneck: Bottleneck
    decoder: nn.Module
    bins: int
    adversary: Adversary | None = None

    def setup(self) -> None:
        self.mean = self.variable("constants", "mean", jnp.zeros, (self.bins,))
        self.scale = self.variable("constants", "scale", jnp.ones, ())
        # Until `limit`, no bound but that of the type.
        lowest, highest = (float(x) for x in (_FLOAT32.min, _FLOAT32.max))
        self.lowest = self.variable("constants", "lowest", jnp.full, (self.bins,), lowest)
        self.highest = self.variable("constants", "highest", jnp.full, (self.bins,), highest)

    def before_bottleneck(
        self, features: Float[Array, "batch frames bins"], *, train: bool = False
    ) -> Float[Array, "batch latent_frames channels"]:
        """Features to what the bottleneck takes."""
        standardised = (features - self.mean.value[None, None]) / self.scale.value
        return self.encoder(standardised, train=train)

    def encode(
        self, features: Float[Array, "batch frames bins"], mask: Mask = None, *, train: bool = False
    ) -> Float[Array, "batch latent_frames latent_dim"]:
        """Features to latents; frames must be whole blocks. ``mask``: latent frames that count."""
        return self.bottleneck(self.before_bottleneck(features, train=train), mask, train=train)

    def encode_first(
        self, features: Float[Array, "batch frames bins"], kept: int
    ) -> Float[Array, "batch latent_frames latent_dim"]:
        """Features to latents by the first ``kept`` alone: of the latents, or of the codebooks."""
        return self.bottleneck.first(self.before_bottleneck(features), kept)

    def codes(
        self, features: Float[Array, "batch frames bins"]
    ) -> Int[Array, "batch latent_frames codes"]:
        """Features to the codes that stand for their latents, where the bottleneck quantises."""
        return self.bottleneck.codes(self.before_bottleneck(features))

    def from_codes(
        self, codes: Int[Array, "batch latent_frames codes"]
    ) -> Float[Array, "batch latent_frames latent_dim"]:
        """The latents that the first so many codes stand for."""
        return self.bottleneck.from_codes(codes)

    def decode(
        self,
        latents: Float[Array, "batch latent_frames latent_dim"],
        speaker: Speaker = None,
        *,
        train: bool = False,
    ) -> Float[Array, "batch frames bins"]:
        """Latents to features, in the voices of speakers."""
        standardised = self.decoder(latents, speaker, train=train)
        features = standardised * self.scale.value + self.mean.value[None, None]
        if train:  # where what lies beyond must have a gradient that leads back
            return features
        return jnp.clip(features, self.lowest.value[None, None], self.highest.value[None, None])

    def __call__(
        self,
        features: Float[Array, "batch frames bins"],
        mask: Mask = None,
        speaker: Speaker = None,
        *,
        train: bool = False,
    ) -> tuple[Float[Array, "batch frames bins"], Float[Array, "batch latent_frames latent_dim"]]:
        """What comes back of the features, and their latents."""
        latents = self.encode(features, mask, train=train)
        if self.adversary is not None and (train or self.is_initializing()):
            counted = jnp.ones(latents.shape[:2]) if mask is None else mask.astype(jnp.float32)
            who = jnp.zeros(len(latents), jnp.int32) if speaker is None else speaker
            self.sow("losses", "told_apart", self.adversary(latents, counted, who))
        return self.decode(latents, speaker, train=train), latents


class Sizes(NamedTuple):
    """What networks are sized by, beside ``config.model``.

    Attributes:
      bins: features in a frame.
      channels: that the bottleneck takes of a block.
      dtype: of the arithmetic inside.
    """

    bins: int
    channels: int
    dtype: Dtype


Networks = tuple[nn.Module | None, nn.Module | None]


def decoder_of(config: ConfigDict) -> ConfigDict:
    """``config.model`` as the decoder has it."""
    config = ConfigDict(config)
    config.width = config.decoder_width or config.width
    config.depth = config.decoder_depth or config.depth
    return config


def _blockwise(kind: Any, *keys: str) -> Callable[[ConfigDict, Sizes], Networks]:
    """Encoder and decoder of a network over blocks, which takes these keys of ``config.model``."""

    def build(config: ConfigDict, sizes: Sizes) -> Networks:
        def network(config: ConfigDict, out: int) -> nn.Module:
            given = {key: config[key] for key in ("width", "depth", "dropout", *keys)}
            return kind(out=out, zero_start=config.pca_start, dtype=sizes.dtype, **given)

        block = config.downsampling * sizes.bins
        return (
            OfBlocks(network(config, sizes.channels), config.downsampling),
            ToBlocks(network(decoder_of(config), block), config.downsampling),
        )

    return build


def _mask(config: ConfigDict, sizes: Sizes) -> Networks:
    """Convolutions over blocks, from which comes a gain for each complex bin; no decoder."""
    gains = sizes._replace(channels=config.downsampling * sizes.bins // 2)
    return NETWORKS["conv"](config, gains)[0], None


def _recurrent(config: ConfigDict, sizes: Sizes) -> Networks:
    def given(config: ConfigDict) -> dict[str, Any]:
        keys = ("downsampling", "width", "depth", "dropout", "cut")
        given = {key: config[key] for key in keys}
        return given | {
            "kind": config.encoder,
            "zero_start": config.pca_start,
            "dtype": sizes.dtype,
        }

    return (
        RecurrentEncoder(out=sizes.channels, **given(config)),
        RecurrentDecoder(out=sizes.bins, **given(decoder_of(config))),
    )


def _wave_conv(config: ConfigDict, sizes: Sizes) -> Networks:
    given = {
        "strides": tuple(config.strides),
        "dropout": config.dropout,
        "zero_start": config.pca_start,
        "dtype": sizes.dtype,
    }
    return (
        WaveEncoder(out=sizes.channels, width=config.width, **given),
        WaveDecoder(bins=sizes.bins, width=decoder_of(config).width, **given),
    )


NETWORKS: dict[str, Callable[[ConfigDict, Sizes], Networks]] = {
    "linear": lambda config, sizes: (None, None),
    "mlp": _blockwise(MLP),
    "conv": _blockwise(ConvStack, "kernel_size"),
    "mask": _mask,
    "lstm": _recurrent,
    "gru": _recurrent,
    "transformer": _blockwise(Transformer, "heads"),
    "wave_conv": _wave_conv,
}

BOTTLENECKS: dict[str, Any] = {
    "none": Bottleneck,
    "tanh": Tanh,
    "noise": Noise,
    "vae": VAE,
    "ordered": Ordered,
    "fsq": FSQ,
    "vq": RVQ,
    "rvq": RVQ,
}


def from_config(
    config: ConfigDict, bins: int, dtype: Dtype = jnp.float32, *, speakers: int = 0
) -> Autoencoder:
    """The autoencoder that ``config.model`` describes, for features of that many bins, whose
    decoder knows so many speakers."""
    bottleneck = BOTTLENECKS[config.bottleneck](
        latent_dim=config.latent_dim, **_bottleneck_keys(config)
    )
    network, decoder = NETWORKS[config.encoder](config, Sizes(bins, bottleneck.channels, dtype))
    linear = config.pca_start or decoder is None
    downsampling = config.downsampling
    encoder: nn.Module = Encoder(downsampling, bottleneck.channels, network, linear)
    if config.encoder == "mask":
        assert network is not None
        encoder = MaskEncoder(downsampling, bottleneck.channels, network)
    return Autoencoder(
        encoder=encoder,
        bottleneck=bottleneck,
        decoder=Decoder(downsampling, bins, decoder, linear, speakers),
        bins=bins,
        adversary=Adversary(speakers, config.adversary) if config.adversary else None,
    )


def _bottleneck_keys(config: ConfigDict) -> dict[str, Any]:
    """``config.model.<bottleneck>``, where it has keys of its own."""
    keys = config.get(config.bottleneck, ConfigDict()).to_dict()
    if config.bottleneck == "vq":
        keys["num_quantizers"], keys["quantizer_dropout"] = 1, 0.0
    if "levels" in keys:
        keys["levels"] = tuple(keys["levels"])
    return keys


def init(model: Autoencoder, key: jax.Array, downsampling: int) -> Variables:
    """Random variables for a model (under ``jit``: eager initialisation takes seconds)."""
    features = jnp.zeros((1, downsampling, model.bins))
    # It runs once: better compiled quickly than well.
    quickly = {"xla_backend_optimization_level": 0}
    variables = jax.jit(model.init, compiler_options=quickly)(key, features)
    return without_losses(variables)


def without_losses(variables: Variables) -> Variables:
    """The variables that `init` of a model gives, without the losses that it sows on the way."""
    return {name: value for name, value in variables.items() if name != "losses"}


def encode(
    model: Autoencoder, variables: Variables, features: Float[Array, "batch frames bins"]
) -> Float[Array, "batch latent_frames latent_dim"]:
    """Features to latents, as in use and not in training."""
    return _array(model.apply(variables, features, method="encode"))


def before_bottleneck(
    model: Autoencoder, variables: Variables, features: Float[Array, "batch frames bins"]
) -> Float[Array, "batch latent_frames channels"]:
    """Features to what the bottleneck takes."""
    return _array(model.apply(variables, features, method="before_bottleneck"))


def encode_first(
    model: Autoencoder,
    kept: int,
    variables: Variables,
    features: Float[Array, "batch frames bins"],
) -> Float[Array, "batch latent_frames latent_dim"]:
    """`encode` by the first ``kept`` latents, or codebooks, alone."""
    return _array(model.apply(variables, features, kept, method="encode_first"))


def decode(
    model: Autoencoder,
    variables: Variables,
    latents: Float[Array, "batch latent_frames latent_dim"],
) -> Float[Array, "batch frames bins"]:
    """Latents to features, as in use and not in training."""
    return _array(model.apply(variables, latents, method="decode"))


def decode_as(
    model: Autoencoder,
    variables: Variables,
    latents: Float[Array, "batch latent_frames latent_dim"],
    speaker: Speaker,
) -> Float[Array, "batch frames bins"]:
    """`decode` in the voices of speakers."""
    return _array(model.apply(variables, latents, speaker, method="decode"))


def codes(
    model: Autoencoder, variables: Variables, features: Float[Array, "batch frames bins"]
) -> Int[Array, "batch latent_frames codes"]:
    """Features to codes, of a model whose bottleneck quantises."""
    return _array(model.apply(variables, features, method="codes"))


def first_codes(
    model: Autoencoder,
    kept: int,
    variables: Variables,
    features: Float[Array, "batch frames bins"],
) -> Int[Array, "batch latent_frames codes"]:
    """`codes` of the first ``kept`` codebooks alone."""
    return codes(model, variables, features)[..., :kept]


def from_codes(
    model: Autoencoder,
    variables: Variables,
    codes: Int[Array, "batch latent_frames codes"],
) -> Float[Array, "batch latent_frames latent_dim"]:
    """The latents that `codes` or `first_codes` stand for, where those are entries of codebooks."""
    return _array(model.apply(variables, codes, method="from_codes"))


def _array(output: Any) -> jax.Array:
    assert isinstance(output, jax.Array)
    return output


class Output(NamedTuple):
    """What a model makes of features.

    Attributes:
      features: as they come back.
      latents: on the way.
      losses: that the bottleneck adds, by name, ``[]`` each; and, in training, that of an
        adversary.
      codebooks: the collection of that name, as it is after this batch.
    """

    features: Float[Array, "batch frames bins"]
    latents: Float[Array, "batch latent_frames latent_dim"]
    losses: dict[str, Float[Array, ""]]
    codebooks: dict[str, Array]


def forward(
    model: Autoencoder,
    variables: Variables,
    features: Float[Array, "batch frames bins"],
    mask: Mask,
    *,
    train: bool,
    key: jax.Array | None,
    speaker: Speaker = None,
) -> Output:
    """Features through the latents and back; with a key, through random ones, where the bottleneck
    makes them so; with ``train``, with dropout too, and codebooks that move; in the voices of
    speakers, where the decoder is told."""
    rngs = {}
    if key is not None:
        dropout_key, latents_key = jax.random.split(key)
        rngs = {"dropout": dropout_key, "latents": latents_key}
    (output, latents), changed = model.apply(
        variables,
        features,
        mask,
        speaker,
        train=train,
        rngs=rngs,
        mutable=["losses", "codebooks"],
    )
    found = changed.get("losses", {})
    losses = dict(found.get("bottleneck", {}))
    if "told_apart" in found:
        (losses["adversary"],) = found["told_apart"]
    return Output(output, latents, losses, changed.get("codebooks", {}))


def standardise(variables: Variables, mean: np.ndarray, scale: np.ndarray) -> Variables:
    """The same variables with the constants of these features, ``[bins]`` and ``[]``."""
    return _with_constants(variables, mean=mean, scale=scale)


def limit(
    variables: Variables, lowest: jax.Array | np.ndarray, highest: jax.Array | np.ndarray
) -> Variables:
    """The same variables with the range of the features that come back, ``[bins]`` each."""
    return _with_constants(variables, lowest=lowest, highest=highest)


def _with_constants(variables: Variables, **constants: jax.Array | np.ndarray) -> Variables:
    # Copies: the step is free to write over the arrays of its state.
    arrays = {name: jnp.array(value, jnp.float32) for name, value in constants.items()}
    return {**variables, "constants": {**variables["constants"], **arrays}}


def start_at_pca(model: Autoencoder, variables: Variables, pca: PCA) -> Variables:
    """The same variables with W and V such that the linear part is that PCA, exactly.

    Together with ``zero_start`` the whole model is then PCA but for what the bottleneck does, with
    latents of unit variance; or, where the bottleneck is not ``whitened``, of one scale for all.
    """
    mean = np.asarray(variables["constants"]["mean"], np.float64)
    scale = np.asarray(variables["constants"]["scale"], np.float64)
    offset = np.asarray(pca.mean, np.float64) - np.tile(mean, pca.downsampling)
    components = np.asarray(pca.components, np.float64)
    deviations = np.asarray(pca.deviations, np.float64)
    input_mean, rows = (np.asarray(x, np.float64) for x in pca.encoder)
    input_offset = input_mean - np.tile(mean, pca.downsampling)
    if not model.bottleneck.whitened:
        deviations = np.full_like(deviations, np.sqrt(np.square(deviations).mean()))
    analysis = rows.T / deviations
    encoder = {"kernel": scale * analysis, "bias": -input_offset @ analysis}
    # What the bottleneck takes beyond the latents themselves begins at zero.
    more = model.bottleneck.channels - len(components)
    encoder = {
        name: np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, more)]) for name, x in encoder.items()
    }
    decoder = {"kernel": deviations[:, None] * components / scale, "bias": offset / scale}
    params = dict(variables["params"])
    for part, linear in (("encoder", encoder), ("decoder", decoder)):
        values = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), linear)
        params[part] = {**params[part], "linear": values}
    return {**variables, "params": params}
