"""How the C library keeps memory that was freed."""

import ctypes

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
