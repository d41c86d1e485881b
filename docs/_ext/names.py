"""A Sphinx extension: names in docstrings and signatures become links, and have to exist."""

import pydoc
import re
from typing import Any

from sphinx.util.nodes import make_refnode


def _resolve(app: Any, env: Any, node: Any, shown: Any) -> Any:
    """A link for a name in a docstring or annotation that Sphinx does not find by itself.

    An object may be documented under a shorter name, that of the package which exports it, or a
    docstring may name it without its module. A name without documentation, as of a private helper
    or another library, stands as it is if it exists; if not, Sphinx warns.
    """
    if node.get("refdomain") != "py":
        return None
    target, python = node["reftarget"], env.domains.python_domain
    pieces = target.split(".")
    shorter = [".".join(pieces[:at] + pieces[at + 1 :]) for at in range(1, len(pieces) - 1)]
    longer = [name for name in python.objects if name.endswith(f".{target}")]
    for name in [*shorter, *(longer if len(longer) == 1 else ())]:
        if name in python.objects:
            page, anchor, *_ = python.objects[name]
            return make_refnode(app.builder, node["refdoc"], page, anchor, shown, name)
    around = [node.get("py:module"), node.get("py:class")]
    names = [".".join(filter(None, [*around[:end], target])) for end in range(3)]
    return shown if any(pydoc.locate(name) is not None for name in names) else None


def _signature(*event: Any) -> tuple[str, str] | None:
    """Arrays by their short names, and no factories of fields, which Sphinx cannot read."""
    texts = event[-2:]
    for old, new in _SHOWN.items():
        texts = tuple(text and re.sub(old, new, text) for text in texts)
    return texts


_SHOWN = {
    r"jaxlib\._jax\.Array": "~jax.Array",
    r"(?<!\.)\bndarray": "~numpy.ndarray",
    r"<factory>": "...",
}


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("missing-reference", _resolve)
    app.connect("autodoc-process-signature", _signature)
    return {"parallel_read_safe": True}
