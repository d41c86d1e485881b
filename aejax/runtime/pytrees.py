"""Types of the fields of dataclasses that are pytrees.

They are for readers and type checkers. At run time JAX also puts shapes, shardings and axes where
the arrays are, so there they are Any.
"""

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import jax

    Leaf: TypeAlias = jax.Array
    Tree: TypeAlias = dict[str, Any]
else:
    Leaf = Tree = Any
