"""Export of a trained model for use without aejax: StableHLO and safetensors."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aejax.config import to_json
from aejax.inference.model import TrainedModel
from aejax.models import autoencoder
from aejax.runtime import files
from aejax.runtime.errors import UserError

PLATFORMS = ("cpu", "cuda")
LEAST = 2  # fewest latent frames of an input
README = """\
This folder was exported from a run of aejax. It works without aejax.

    import jax, jax.export, numpy as np
    from safetensors.numpy import load_file

    weights = load_file("weights.safetensors")
    encoder = jax.export.deserialize(bytearray(open("encoder.stablehlo", "rb").read()))
    decoder = jax.export.deserialize(bytearray(open("decoder.stablehlo", "rb").read()))
    samples = audio.shape[1]                 # of float32 [batch, samples], any number
    blocks = max({least}, -(-samples // {block}))
    padded = np.pad(audio, [(0, 0), (0, {block} * blocks - samples){channels}])
    latents = encoder.call(weights, padded)  # [batch, {block} t] to [batch, t + {extra}, {dim}]
    back = decoder.call(weights, latents)    # [batch, t, {dim}] to [batch, {block} t]
    back = back[:, :samples]

The encoder takes whole blocks of {block} samples, {least} or more: pad the last one with silence
and trim the output, as above. Audio is at {rate} Hz with full scale at 1; for a stereo model it has
a last axis of two channels. Any batch size works, on {platforms}. Required packages: jax,
safetensors and flatbuffers. config.json is the config of the run.
"""


def export(model: TrainedModel, out: Path) -> None:
    """Writes a folder: encoder and decoder as StableHLO, weights as safetensors, the config.

    Args:
      model: the trained model.
      out: a new folder.

    Raises:
      UserError: a package is missing, or the model cannot be exported for any length.
    """
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
    facts = {
        "block": model.block,
        "dim": dim,
        "rate": model.sample_rate,
        "least": LEAST,
        "extra": _extra(model),
        "channels": ", (0, 0)" if channels else "",
        "platforms": " and ".join(PLATFORMS),
    }
    with files.atomic_folder(out) as folder:
        for name, (function, shape) in shapes.items():
            argument = jax.ShapeDtypeStruct(shape, jnp.float32)
            like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), weights)
            exported = jax.export.export(jax.jit(function), platforms=PLATFORMS)(like, argument)
            (folder / f"{name}.stablehlo").write_bytes(exported.serialize())
        # Not by save_file: only the owner may read its files.
        (folder / "weights.safetensors").write_bytes(save(weights))
        (folder / "config.json").write_text(to_json(model.config))
        (folder / "README.txt").write_text(README.format(**facts))


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
