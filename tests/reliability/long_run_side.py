"""Trains a model for many epochs and prints the memory of the process after each, in MB, as JSON."""

import json
import os
import sys
from pathlib import Path

from rich.console import Console

from metasgcl_tf.config import build_config
from metasgcl_tf.training import train


class Memory(Console):
    """Notes the memory whenever an epoch's line comes."""

    def __init__(self):
        super().__init__(quiet=True)
        self.after_epoch, self.saved = [], 0

    def print(self, *lines, **_):
        if str(lines[0]).startswith("epoch"):
            self.saved += "best so far" in lines[0]
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.after_epoch.append(round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1))


def main(log, model, epochs, run):
    budget = {"epochs": int(epochs), "patience": int(epochs), "learning_rate": 1e-4}
    small = {"hidden_dim": 16, "num_layers": 1, "max_length": 16, "batch_size": 32}
    config = build_config({"data": log, "model": model} | budget | small)
    memory = Memory()
    train(config, run, console=memory)
    print(json.dumps({"after_epoch": memory.after_epoch, "saved": memory.saved}))


if __name__ == "__main__":
    main(*sys.argv[1:])
