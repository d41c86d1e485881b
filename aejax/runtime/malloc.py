"""Settings of the C library's allocator, and the fraction of memory for each process."""

import ctypes
import os

# From glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8


def keep_freed() -> None:
    """Makes glibc reuse large freed blocks; to be called before JAX is used.

    A compiled step allocates some 100 MB and frees them at its end. By default glibc returns such
    blocks to the system, and the next step pays for page faults again.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return  # another C library
    for option, value in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_ARENA_MAX, 1)):
        mallopt(option, value)


# Environment variable of processes that share a machine: their fraction of its free memory.
SHARE_OF_MEMORY = "AEJAX_SHARE_OF_MEMORY"


def share_of_memory() -> float:
    """The fraction of the free memory that this process may use."""
    return float(os.environ.get(SHARE_OF_MEMORY, 1))
