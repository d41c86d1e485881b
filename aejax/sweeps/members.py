"""Members of a population: their shared config, and arrays padded to one shape.

Members may differ in config keys whose values are arrays in the compiled step (``per_member``), and
in the number of latents. Models with fewer latents are padded with zeros to the largest (`pad_to`):
a latent with zero weights on both sides stays zero and has no gradient. A padded model is therefore
trained exactly as it would be alone, and `unpad` removes the padding.
"""

from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from aejax import parts
from aejax.config import flatten, keys

# Keys that are inputs of every compiled step, even if their values are zero.
_ALWAYS = ("seed", "train.learning_rate", "train.weight_decay")


def compiled_config(config: ConfigDict) -> dict[str, Any]:
    """The part of a config that the compiled step depends on; members of a population share it.

    Keys whose values are arrays in the step (``per_member``) count only as zero or not zero.
    """
    ignored = {"name"}
    about = {full: key for full, _, key in keys()}
    if parts.bottlenecks[config.model.bottleneck].latent_by_latent:
        ignored.add("model.latent_dim")
    compiled: dict[str, Any] = {}
    for full, value in flatten(config).items():
        if full in ignored or full.startswith(("evaluate.", "log.")):
            continue
        if about[full].per_member:
            value = bool(value) if full not in _ALWAYS else None
        compiled[full] = value
    return compiled


def pad_to(tree: Any, like: Any) -> Any:
    """Arrays padded with zeros at their ends to the shapes of ``like``.

    Args:
      tree: a pytree of arrays.
      like: a pytree of the same structure; leaves have a ``shape``, no axis shorter than in
        ``tree``.
    """

    def pad(leaf: jax.Array, target: Any) -> jax.Array:
        widths = [(0, new - old) for old, new in zip(leaf.shape, target.shape, strict=True)]
        return jnp.pad(leaf, widths) if any(after for _, after in widths) else leaf

    return jax.tree.map(pad, tree, like)


def unpad(tree: Any, like: Any) -> Any:
    """The inverse of `pad_to`: arrays cut to the shapes of ``like``."""

    def cut(leaf: jax.Array, target: Any) -> jax.Array:
        return leaf if leaf.shape == target.shape else leaf[tuple(map(slice, target.shape))]

    return jax.tree.map(cut, tree, like)


def repeated(tree: Any, count: int) -> Any:
    """The shapes of ``count`` copies of a pytree, stacked along a new first axis."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((count, *x.shape), x.dtype), tree)
