"""Classes that are pytrees, and types of the fields of dataclasses that are."""

from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

# For readers and type checkers. At run time they are Any: JAX also puts shapes, shardings and axes
# in the place of arrays.
if TYPE_CHECKING:
    import jax

    Leaf: TypeAlias = jax.Array
    Tree: TypeAlias = dict[str, Any]
else:
    Leaf = Tree = Any


Class = TypeVar("Class")


def of_arrays(cls: type[Class]) -> type[Class]:
    """Registers a class whose attributes are numbers and arrays as a pytree."""

    import jax

    def flatten(instance: Class) -> tuple[list[Any], tuple[str, ...]]:
        return list(vars(instance).values()), tuple(vars(instance))

    def unflatten(names: tuple[str, ...], values: Any) -> Class:
        instance = cls.__new__(cls)
        vars(instance).update(zip(names, values, strict=True))
        return instance

    jax.tree_util.register_pytree_node(cls, flatten, unflatten)
    return cls
