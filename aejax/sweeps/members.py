"""Several trainings in one compiled step: members that differ in what is an array.

A member may have values of its own of keys that are arrays in the step (``per_member``), and
latents of its own. Those of fewer latents are padded with zeros to the size of the largest
(`pad_to`): a latent whose weights are zero on both sides stays at zero and has no gradient, so that
a padded model is the same model, and with `unpad` it is what it would have become alone.
"""

from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from aejax import parts
from aejax.config import flatten, keys

# There are these in every program, whatever their values.
_ALWAYS = ("seed", "train.learning_rate", "train.weight_decay")


def shared(config: ConfigDict) -> dict[str, Any]:
    """What members of one population have in common: keys of the config with their values, but for
    those whose value is an array in the step, or that mean nothing to it."""
    free = {"name"}
    about = {full: key for full, _, key in keys()}
    if parts.bottlenecks[config.model.bottleneck].latent_by_latent:
        free.add("model.latent_dim")
    # Whether there is any is another program.
    common: dict[str, Any] = {}
    for full, value in flatten(config).items():
        if full in free or full.startswith("evaluate."):
            continue
        if about[full].per_member:
            value = bool(value) if full not in _ALWAYS else None
        common[full] = value
    return common


def pad_to(tree: Any, like: Any) -> Any:
    """Arrays with zeros behind their ends, in the shapes of ``like``.

    Args:
      tree: a pytree of arrays.
      like: the same of arrays, or of what has a shape, each axis at least as long.
    """

    def one(leaf: jax.Array, wanted: Any) -> jax.Array:
        more = [(0, there - here) for here, there in zip(leaf.shape, wanted.shape, strict=True)]
        return jnp.pad(leaf, more) if any(after for _, after in more) else leaf

    return jax.tree.map(one, tree, like)


def unpad(tree: Any, like: Any) -> Any:
    """Inverse of `pad_to`: of each array what ``like`` has room for."""

    def one(leaf: jax.Array, wanted: Any) -> jax.Array:
        return leaf if leaf.shape == wanted.shape else leaf[tuple(map(slice, wanted.shape))]

    return jax.tree.map(one, tree, like)


def repeated(tree: Any, count: int) -> Any:
    """The shapes of ``count`` such trees along a new first axis."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((count, *x.shape), x.dtype), tree)
