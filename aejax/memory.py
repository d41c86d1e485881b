"""How the C library keeps memory that was freed, and how much several processes may have."""

import ctypes
import os

# Of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8


def keep_freed() -> None:
    """Has large blocks reused, where the C library is glibc; to be called before JAX is used.

    A compiled step takes some 100 MB and frees them at its end. glibc gives such blocks back to the
    system, and the next step pays for each page anew when it is first touched. Kept in one heap
    they are there.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return  # another C library, whose ways are its own
    for option, value in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_ARENA_MAX, 1)):
        mallopt(option, value)


# Set for processes that share a machine: what part of its free memory is theirs.
SHARE_OF_MEMORY = "AEJAX_SHARE_OF_MEMORY"


def share_of_memory() -> float:
    """What part of the free memory this process may have."""
    return float(os.environ.get(SHARE_OF_MEMORY, 1))
