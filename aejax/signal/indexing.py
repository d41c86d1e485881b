"""Reading and adding rows by their index.

A TPU is slow at single rows: there, these are products with a one-hot matrix, of the same values.
"""

import jax
from jaxtyping import Array, Float, Int

from aejax.signal.products import matmul

# Most rows of a one-hot product; reading single rows is faster than reading more.
_MOST_ROWS = 2**13


def take(
    rows: Float[Array, "rows width"], index: Int[Array, "*shape"]
) -> Float[Array, "*shape width"]:
    """``rows[index]``."""
    if len(rows) > _MOST_ROWS:
        return rows[index]
    return jax.lax.platform_dependent(
        rows,
        index,
        tpu=lambda rows, index: matmul(jax.nn.one_hot(index, len(rows), dtype=rows.dtype), rows),
        default=lambda rows, index: rows[index],
    )


def segment_sum(
    values: Float[Array, " count *width"], index: Int[Array, " count"], segments: int
) -> Float[Array, " segments *width"]:
    """The sum of the values of each index."""

    def by_product(values: Array, index: Array) -> Array:
        return matmul(jax.nn.one_hot(index, segments, axis=0, dtype=values.dtype), values)

    def by_index(values: Array, index: Array) -> Array:
        return jax.ops.segment_sum(values, index, segments)

    if segments > _MOST_ROWS:
        return by_index(values, index)
    return jax.lax.platform_dependent(values, index, tpu=by_product, default=by_index)
