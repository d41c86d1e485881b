"""Export of a trained model for use without aejax: StableHLO and safetensors."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aejax.config import to_json
from aejax.inference.model import TrainedModel
from aejax.inference.model_card import UNKNOWN, model_card
from aejax.models import autoencoder
from aejax.runtime import files
from aejax.runtime.errors import UserError

PLATFORMS = ("cpu", "cuda")
LEAST = 2  # fewest latent frames of an input
_LICENSE = re.compile(r"[a-z0-9][a-z0-9.-]*")


def export(model: TrainedModel, run: Path, out: Path, license_name: str = UNKNOWN) -> None:
    """Writes a folder: encoder and decoder as StableHLO, weights as safetensors, the config, and a
    README that is a model card.

    Args:
      model: the trained model.
      run: directory of its run.
      out: a new folder.
      license_name: licence of the weights, as model hubs write it: ``cc-by-4.0``.

    Raises:
      UserError: a package is missing, the licence is no name of one, a file of the run is damaged,
        or the model cannot be exported for any length.
    """
    if not _LICENSE.fullmatch(license_name):
        raise UserError(
            f"--license={license_name} must be a name as model hubs write it, such as cc-by-4.0"
        )
    try:
        import flatbuffers  # noqa: F401  jax.export writes with it
        from safetensors.numpy import save
    except ImportError:
        raise UserError("this needs the extra 'export': pip install 'aejax[export]'") from None
    weights, restore = _flat(model.variables)
    encode, decode = _functions(model, restore)
    batch, count = jax.export.symbolic_shape("b, t", constraints=[f"t >= {LEAST}"])
    channels = (2,) if model.channels == 2 else ()
    dim = model.config.model.latent_dim
    shapes = {
        "encoder": (encode, (batch, model.block * count, *channels)),
        "decoder": (decode, (batch, count, dim)),
    }
    code = {
        "block": model.block,
        "dim": dim,
        "rate": model.sample_rate,
        "least": LEAST,
        "extra": _extra(model),
        "channels": ", (0, 0)" if channels else "",
        "platforms": " and ".join(PLATFORMS),
    }
    card = model_card(model, run, license_name, code)
    with files.atomic_folder(out) as folder:
        for name, (function, shape) in shapes.items():
            argument = jax.ShapeDtypeStruct(shape, jnp.float32)
            like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), weights)
            exported = jax.export.export(jax.jit(function), platforms=PLATFORMS)(like, argument)
            (folder / f"{name}.stablehlo").write_bytes(exported.serialize())
        # Not by save_file: only the owner may read its files.
        (folder / "weights.safetensors").write_bytes(save(weights))
        (folder / "config.json").write_text(to_json(model.config))
        (folder / "README.md").write_text(card, encoding="utf-8")


def _flat(variables: Any) -> tuple[dict[str, np.ndarray], Callable[[Any], Any]]:
    """Arrays by name, and a function that makes variables of such arrays."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(variables)
    names = [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in leaves]
    weights = {name: np.asarray(leaf) for name, (_, leaf) in zip(names, leaves, strict=True)}
    return weights, lambda flat: jax.tree.unflatten(structure, [flat[name] for name in names])


def _extra(model: TrainedModel) -> int:
    """Latent frames beyond one per block: 1 if a frame is centred at the end of audio, else 0."""
    return model.latent_frames(model.block) - 1


def _functions(model: TrainedModel, restore: Callable[[Any], Any]) -> tuple[Callable, Callable]:
    """Encoder and decoder as functions of weights and one array."""
    representation, network = model.representation, model.model
    after_sound, after_latents = model.trailing_silence
    silence, extra = jnp.asarray(model.silence), _extra(model)

    def encode(weights: Any, audio: jax.Array) -> jax.Array:
        count = audio.shape[1] // model.block
        frames = (count + extra + after_sound) * model.config.model.downsampling
        missing = representation.samples(frames) - audio.shape[1]
        padded = jnp.pad(audio, [(0, 0), (0, missing), *[(0, 0)] * (audio.ndim - 2)])
        features = representation.analyse(padded)
        return autoencoder.encode(network, restore(weights), features)[:, : count + extra]

    def decode(weights: Any, latents: jax.Array) -> jax.Array:
        padding = jnp.broadcast_to(silence, (latents.shape[0], after_latents, latents.shape[2]))
        padded = jnp.concatenate([latents, padding], axis=1)
        features = autoencoder.decode(network, restore(weights), padded)
        return representation.synthesise(features)[:, : latents.shape[1] * model.block]

    return encode, decode
