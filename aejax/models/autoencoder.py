"""The autoencoder: standardised features to latents and back."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.core import FrozenDict
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict

from aejax import parts
from aejax.models import encoders
from aejax.models.adversary import Adversary
from aejax.models.blocks import Dtype
from aejax.models.bottlenecks import Bottleneck, Mask
from aejax.models.decoder import Decoder, Speaker
from aejax.models.encoder import Encoder
from aejax.models.pca import PCA

Variables = dict[str, Any] | FrozenDict[str, Any]
Constants = Mapping[str, Array]

_FLOAT32 = jnp.finfo(jnp.float32)


class Autoencoder(nn.Module):
    """Features to latents to features, with one latent frame per ``downsampling`` frames.

    ``__call__`` is for training: it maps standardised features to standardised features. `encode`
    and `decode` are for trained models and take features that are not standardised.

    Variables of the collection "constants":
      mean, scale: ``[bins]`` and ``[]``, for standardisation. All bins share one scale, so that a
        squared error weighs them equally, as the metrics and PCA do.
      lowest, highest: ``[bins]``, range that output features are clipped to, except in training.
    """

    encoder: nn.Module
    bottleneck: Bottleneck
    decoder: nn.Module
    bins: int
    adversary: Adversary | None = None

    def setup(self) -> None:
        self.mean = self.variable("constants", "mean", jnp.zeros, (self.bins,))
        self.scale = self.variable("constants", "scale", jnp.ones, ())
        # No clipping until `with_limits`.
        lowest, highest = (float(x) for x in (_FLOAT32.min, _FLOAT32.max))
        self.lowest = self.variable("constants", "lowest", jnp.full, (self.bins,), lowest)
        self.highest = self.variable("constants", "highest", jnp.full, (self.bins,), highest)

    @property
    def _constants(self) -> Constants:
        return {"mean": self.mean.value, "scale": self.scale.value}

    def before_bottleneck(
        self, features: Float[Array, "batch frames bins"]
    ) -> Float[Array, "batch latent_frames channels"]:
        """Features to the input of the bottleneck."""
        return self.encoder(standardise(features, self._constants))

    def encode(
        self, features: Float[Array, "batch frames bins"]
    ) -> Float[Array, "batch latent_frames latent_dim"]:
        """Features to latents; frames must be whole blocks."""
        return self.bottleneck(self.before_bottleneck(features), None, train=False)

    def encode_first(
        self, features: Float[Array, "batch frames bins"], count: int
    ) -> Float[Array, "batch latent_frames latent_dim"]:
        """Features to latents, with only the first ``count`` latents or codebooks."""
        return self.bottleneck.first(self.before_bottleneck(features), count)

    def codes(
        self, features: Float[Array, "batch frames bins"]
    ) -> Int[Array, "batch latent_frames codes"]:
        """Features to codes of a quantising bottleneck."""
        return self.bottleneck.codes(self.before_bottleneck(features))

    def from_codes(
        self, codes: Int[Array, "batch latent_frames codes"]
    ) -> Float[Array, "batch latent_frames latent_dim"]:
        """Codes of the first codebooks to latents."""
        return self.bottleneck.from_codes(codes)

    def decode(
        self, latents: Float[Array, "batch latent_frames latent_dim"], speaker: Speaker = None
    ) -> Float[Array, "batch frames bins"]:
        """Latents to features, in the voice of each row's speaker."""
        features = unstandardise(self.decoder(latents, speaker), self._constants)
        return jnp.clip(features, self.lowest.value[None, None], self.highest.value[None, None])

    def __call__(
        self,
        x: Float[Array, "batch frames bins"],
        mask: Mask = None,
        speaker: Speaker = None,
        *,
        train: bool = False,
    ) -> tuple[Float[Array, "batch frames bins"], Float[Array, "batch latent_frames latent_dim"]]:
        """Standardised features to standardised output features, and latents.

        Args:
          x: standardised features, whole blocks of frames.
          mask: valid latent frames.
          speaker: of each row.
          train: use dropout, update codebooks, and do not clip (clipping has no gradient).
        """
        latents = self.bottleneck(self.encoder(x, train=train), mask, train=train)
        if self.adversary is not None and (train or self.is_initializing()):
            valid = jnp.ones(latents.shape[:2]) if mask is None else mask.astype(jnp.float32)
            speakers = jnp.zeros(len(latents), jnp.int32) if speaker is None else speaker
            self.sow("losses", "speaker_adversary", self.adversary(latents, valid, speakers))
        output = self.decoder(latents, speaker, train=train)
        if not train:
            limits = (x.value[None, None] for x in (self.lowest, self.highest))
            output = jnp.clip(output, *(standardise(x, self._constants) for x in limits))
        return output, latents


def standardise(
    features: Float[Array, "batch frames bins"], constants: Constants
) -> Float[Array, "batch frames bins"]:
    """``(features - mean) / scale``, with the "constants" of a model's variables."""
    return (features - constants["mean"][None, None]) / constants["scale"]


def unstandardise(
    x: Float[Array, "batch frames bins"], constants: Constants
) -> Float[Array, "batch frames bins"]:
    """Inverse of `standardise`."""
    return x * constants["scale"] + constants["mean"][None, None]


def from_config(
    config: ConfigDict, bins: int, dtype: Dtype = jnp.float32, *, speakers: int = 0
) -> Autoencoder:
    """The autoencoder of ``config`` (``model`` of a whole config), for ``bins`` bins per frame and
    a decoder for ``speakers`` speakers."""
    bottleneck = parts.bottlenecks.build(config.bottleneck, config, latent_dim=config.latent_dim)
    decoder = config.decoder or config.encoder
    sizes: dict[str, Any] = {"out": bottleneck.channels, "bins": bins, "dtype": dtype}
    networks = [
        encoders.build_network(name, config, is_decoder=is_decoder, **sizes)
        for name, is_decoder in ((config.encoder, False), (decoder, True))
    ]
    frames = (1, 2 * config.downsampling, bins)
    encoded, latents = ((1, 2, channels) for channels in (bottleneck.channels, config.latent_dim))
    encoders.check_network(config.encoder, networks[0], (frames, encoded))
    encoders.check_network(decoder, networks[1], (latents, frames))
    # Networks without `zero_start` get a further layer, initialised as the zero map.
    zero_layers = [
        config.pca_start and not encoders.begins_at_zero(name) for name in (config.encoder, decoder)
    ]
    linear = [config.pca_start or network is None for network in networks]
    downsampling = config.downsampling
    return Autoencoder(
        encoder=Encoder(downsampling, bottleneck.channels, networks[0], linear[0], zero_layers[0]),
        bottleneck=bottleneck,
        decoder=Decoder(downsampling, bins, networks[1], linear[1], speakers, zero_layers[1]),
        bins=bins,
        adversary=Adversary(speakers, config.adversary) if config.adversary else None,
    )


def init(model: Autoencoder, key: jax.Array, downsampling: int) -> Variables:
    """Random variables of a model. Compiled, since eager initialisation takes seconds."""
    x = jnp.zeros((1, downsampling, model.bins))
    # It runs once, so compile quickly rather than well.
    options = {"xla_backend_optimization_level": 0}
    variables = jax.jit(model.init, compiler_options=options)(key, x)
    return without_losses(variables)


def without_losses(variables: Variables) -> Variables:
    """Variables without the collection "losses"."""
    return {name: value for name, value in variables.items() if name != "losses"}


def encode(
    model: Autoencoder, variables: Variables, features: Float[Array, "batch frames bins"]
) -> Float[Array, "batch latent_frames latent_dim"]:
    """Features to latents, in inference mode."""
    return _array(model.apply(variables, features, method="encode"))


def before_bottleneck(
    model: Autoencoder, variables: Variables, features: Float[Array, "batch frames bins"]
) -> Float[Array, "batch latent_frames channels"]:
    """Features to the input of the bottleneck."""
    return _array(model.apply(variables, features, method="before_bottleneck"))


def encode_first(
    model: Autoencoder,
    count: int,
    variables: Variables,
    features: Float[Array, "batch frames bins"],
) -> Float[Array, "batch latent_frames latent_dim"]:
    """`encode` with only the first ``count`` latents or codebooks."""
    return _array(model.apply(variables, features, count, method="encode_first"))


def decode(
    model: Autoencoder,
    variables: Variables,
    latents: Float[Array, "batch latent_frames latent_dim"],
) -> Float[Array, "batch frames bins"]:
    """Latents to features, in inference mode."""
    return _array(model.apply(variables, latents, method="decode"))


def decode_as(
    model: Autoencoder,
    variables: Variables,
    latents: Float[Array, "batch latent_frames latent_dim"],
    speaker: Speaker,
) -> Float[Array, "batch frames bins"]:
    """`decode` in the voice of each row's speaker."""
    return _array(model.apply(variables, latents, speaker, method="decode"))


def codes(
    model: Autoencoder, variables: Variables, features: Float[Array, "batch frames bins"]
) -> Int[Array, "batch latent_frames codes"]:
    """Features to codes of a quantising bottleneck."""
    return _array(model.apply(variables, features, method="codes"))


def first_codes(
    model: Autoencoder,
    count: int,
    variables: Variables,
    features: Float[Array, "batch frames bins"],
) -> Int[Array, "batch latent_frames codes"]:
    """`codes` of the first ``count`` codebooks."""
    return codes(model, variables, features)[..., :count]


def from_codes(
    model: Autoencoder,
    variables: Variables,
    codes: Int[Array, "batch latent_frames codes"],
) -> Float[Array, "batch latent_frames latent_dim"]:
    """Codes of `codes` or `first_codes` to latents, for bottlenecks with learnt codebooks."""
    return _array(model.apply(variables, codes, method="from_codes"))


def _array(output: Any) -> jax.Array:
    assert isinstance(output, jax.Array)
    return output


class Output(NamedTuple):
    """Outputs of a model's forward pass.

    Attributes:
      features: output features, standardised.
      latents: latents of the input.
      losses: losses of the bottleneck, by name, ``[]`` each; in training also of the adversary.
      codebooks: the updated collection "codebooks".
    """

    features: Float[Array, "batch frames bins"]
    latents: Float[Array, "batch latent_frames latent_dim"]
    losses: dict[str, Float[Array, ""]]
    codebooks: dict[str, Array]


def forward(
    model: Autoencoder,
    variables: Variables,
    x: Float[Array, "batch frames bins"],
    mask: Mask,
    *,
    train: bool,
    key: jax.Array | None,
    speaker: Speaker = None,
) -> Output:
    """Forward pass of a model on standardised features.

    With ``key``, a stochastic bottleneck samples latents. With ``train``, there is dropout too, and
    codebooks are updated. ``speaker`` is for a speaker-conditioned decoder.
    """
    rngs = {}
    if key is not None:
        dropout_key, latents_key = jax.random.split(key)
        rngs = {"dropout": dropout_key, "latents": latents_key}
    (output, latents), updates = model.apply(
        variables,
        x,
        mask,
        speaker,
        train=train,
        rngs=rngs,
        mutable=["losses", "codebooks"],
    )
    sown = updates.get("losses", {})
    losses = dict(sown.get("bottleneck", {}))
    if "speaker_adversary" in sown:
        (losses["adversary"],) = sown["speaker_adversary"]
    return Output(output, latents, losses, updates.get("codebooks", {}))


def with_statistics(variables: Variables, mean: np.ndarray, scale: np.ndarray) -> Variables:
    """The variables with the mean ``[bins]`` and scale ``[]`` of features."""
    return _with_constants(variables, mean=mean, scale=scale)


def with_limits(
    variables: Variables, lowest: jax.Array | np.ndarray, highest: jax.Array | np.ndarray
) -> Variables:
    """The variables with the range of output features, ``[bins]`` each."""
    return _with_constants(variables, lowest=lowest, highest=highest)


def _with_constants(variables: Variables, **constants: jax.Array | np.ndarray) -> Variables:
    # Copies: the training step donates the arrays of its state.
    arrays = {name: jnp.array(value, jnp.float32) for name, value in constants.items()}
    return {**variables, "constants": {**variables["constants"], **arrays}}


def start_at_pca(model: Autoencoder, variables: Variables, pca: PCA) -> Variables:
    """The variables with the linear part of encoder and decoder set to ``pca``.

    With networks that start at zero, the model then equals PCA, except for the bottleneck. Latents
    are whitened if the bottleneck is ``whitened``; otherwise they have one common scale.
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
    # The bottleneck's inputs beyond the latents start at zero.
    extra = model.bottleneck.channels - len(components)
    encoder = {
        name: np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, extra)]) for name, x in encoder.items()
    }
    decoder = {"kernel": deviations[:, None] * components / scale, "bias": offset / scale}
    params = dict(variables["params"])
    for part, linear in (("encoder", encoder), ("decoder", decoder)):
        values = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), linear)
        params[part] = {**params[part], "linear": values}
    return {**variables, "params": params}
