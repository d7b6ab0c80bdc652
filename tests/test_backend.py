"""What the package asks of the process it runs in."""

import platform
import subprocess
import sys

import pytest

TOUCH_AGAIN = """
import ctypes, os, resource
import polars as pl
from metasgcl_tf import backend
from metasgcl_tf.data import interactions, pipelines, splitting
libc = ctypes.CDLL(None)
libc.malloc.restype, size = ctypes.c_void_p, 16 * 2**20
libc.memset.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t)
libc.free.argtypes = (ctypes.c_void_p,)

def faults(count):
    backend.keep_freed_memory()
    touch(count)
    return touch(count)

def touch(count):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [libc.malloc(size) for _ in range(count)]
    for block in blocks:
        libc.memset(block, 1, size)
    for block in blocks:
        libc.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

chosen = faults(1)
del os.environ["MALLOC_MMAP_THRESHOLD_"]
backend.keep_freed_memory.cache_clear()
by_default = faults(1)
frame = pl.DataFrame({"user": ["u"] * 6, "item": list("abcdef"), "time": range(6)})
split = splitting.leave_one_out(interactions.prepare_log(frame, k_core=1))
assert sum(1 for batch in pipelines.next_item(split, max_length=4, batch_size=2))
print(chosen, by_default, faults(20))  # more than the heap has by now
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc, whose allocator it is about")
def test_freed_memory_serves_the_next_step_unless_the_user_has_chosen(monkeypatch):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "1000000")
    found = subprocess.run([sys.executable, "-c", TOUCH_AGAIN], capture_output=True, text=True, check=True)
    pages = 16 * 2**20 // 4096  # a block's, each of which the system would have to clear anew
    chosen, by_default, after_an_epoch = map(int, found.stdout.split())
    assert chosen > pages / 2 and by_default < pages / 10
    assert after_an_epoch < 2 * pages, "tf.data has set the mmap threshold"
