"""Types of the fields of dataclasses that are pytrees, for readers and type checkers.

At run time they are Any: JAX also puts shapes, shardings and axes in the place of arrays.
"""

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import jax

    Leaf: TypeAlias = jax.Array
    Tree: TypeAlias = dict[str, Any]
else:
    Leaf = Tree = Any
