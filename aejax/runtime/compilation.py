"""The cache of compiled programs."""

import os

import jax

from aejax.runtime import files


def use_cache() -> None:
    """Caches compiled programs on disk, in JAX_COMPILATION_CACHE_DIR if set."""
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        home = files.expand(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
        jax.config.update("jax_compilation_cache_dir", str(home / "aejax" / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
