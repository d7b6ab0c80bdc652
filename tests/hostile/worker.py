"""A process of its own for hostile files: reads each file it is told of, under a limit of memory.

One JSON line in, `[path, columns, k_core, min_rating]`; one out, `[outcome, detail]`: "log", "refused"
(an InputError of one line) or "other", which is a bug.
"""

import json
import re
import resource
import sys
import traceback
from pathlib import Path

import numpy as np

from metasgcl_tf.data.readers import Columns
from metasgcl_tf.data.splitting import leave_one_out
from metasgcl_tf.datasets import load
from metasgcl_tf.errors import InputError

MEMORY = 2**31  # beyond what the process has after its imports
LONGEST_MESSAGE = 2_000


def limit_memory():
    used = int(re.search(r"VmSize:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def check(log):
    """What every log promises, whatever it was read from."""
    assert log.item_index.dtype == np.int32 and log.offsets.dtype == np.int64
    assert log.offsets[0] == 0 and log.offsets[-1] == len(log.item_index) == log.num_interactions > 0
    assert (np.diff(log.offsets) > 0).all() and len(log.offsets) == log.num_users + 1
    assert sorted(set(log.item_index.tolist())) == list(range(1, log.num_items + 1))
    everything = np.arange(1, log.num_items + 1)
    assert (log.item_indices(log.raw_items(everything)) == everything).all()
    assert [log.user_index(raw) for raw in log.users] == list(range(log.num_users))
    leave_one_out(log)


def outcome(path, columns, k_core, min_rating):
    try:
        columns = None if columns is None else Columns(*columns)
        check(load(path, columns=columns, k_core=k_core, min_rating=min_rating))
    except InputError as error:
        message = str(error)
        good = len(message) <= LONGEST_MESSAGE and len(message.splitlines()) == 1
        return ["refused", message[:300]] if good else ["other", f"an odd message: {message!r:.3000}"]
    except BaseException:  # a panic of Polars is one
        return ["other", traceback.format_exc()[-3000:]]
    return ["log", ""]


if __name__ == "__main__":
    limit_memory()
    for line in sys.stdin:
        print(json.dumps(outcome(*json.loads(line))), flush=True)
