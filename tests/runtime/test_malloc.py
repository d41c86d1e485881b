import platform
import subprocess
import sys

import pytest

# Bytes that are taken and given back twice: how many pages are new the second time?
PROGRAM = """
import ctypes, resource, sys
from aejax.runtime import malloc
if sys.argv[1] == "keep":
    malloc.keep_freed()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
def touch(size):
    block = libc.malloc(size)
    libc.memset(block, 1, size)
    libc.free(block)
touch(1 << 26)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
touch(1 << 26)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_what_was_freed_is_there_again():
    faults = {
        how: int(subprocess.check_output([sys.executable, "-c", PROGRAM, how]))
        for how in ("keep", "plain")
    }
    assert faults["keep"] < 10 < faults["plain"]
