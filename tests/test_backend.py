"""What the package asks of the process it runs in."""

import platform
import subprocess
import sys

import pytest

TOUCH_AGAIN = """
import ctypes, os, resource
from metasgcl_tf import backend
libc = ctypes.CDLL(None)
libc.malloc.restype, size = ctypes.c_void_p, 16 * 2**20
libc.memset.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t)
libc.free.argtypes = (ctypes.c_void_p,)

def faults():
    backend.keep_freed_memory()
    touch()
    return touch()

def touch():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = libc.malloc(size)
    libc.memset(block, 1, size)
    libc.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

chosen = faults()
del os.environ["MALLOC_MMAP_THRESHOLD_"]
backend.keep_freed_memory.cache_clear()
print(chosen, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc, whose allocator it is about")
def test_freed_memory_serves_the_next_step_unless_the_user_has_chosen(monkeypatch):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "1000000")
    found = subprocess.run([sys.executable, "-c", TOUCH_AGAIN], capture_output=True, text=True, check=True)
    pages = 16 * 2**20 // 4096  # the block's, each of which the system would have to clear anew
    chosen, by_default = map(int, found.stdout.split())
    assert chosen > pages / 2 and by_default < pages / 10
