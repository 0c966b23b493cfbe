#!/usr/bin/env python3
"""How long a server with much data takes to its first answer: after a clean stop, and after kill -9 under load.

    opening.py --bin DIR --out DIR [--data DIR] [--gib N] [--rounds N] [--quick]

The caches are dropped before each start (as root; otherwise they stay). The report is printed and written to
OUT/opening.json.
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import time

from measured import Server, run

LOAD = ("--topic", "opening", "--partitions", 100, "--connections", 50, "--batch-records", 64)
LOAD_BEFORE_KILL_BYTES = 256 << 20


def drop_caches():
    os.sync()
    if os.geteuid() == 0:
        pathlib.Path("/proc/sys/vm/drop_caches").write_text("3\n")


class Opening:
    def __init__(self, options):
        self.program = options.bin
        self.store = (options.data or options.out / "data") / "opening"
        self.rounds = options.rounds
        self.gib = options.gib

    def start(self):
        """A started server, and the seconds from exec to its first answer."""
        drop_caches()
        server = Server(self.program / "sentinel-server", self.store, keep=True)
        return server, server.start_ms / 1000

    def kill_under_load(self, server):
        """Kills once so much has been written since the load began."""
        before = server.write_bytes()
        load = subprocess.Popen([str(part) for part in (self.program / "sentinel-load", "--broker", server.broker, *LOAD,
                                                        "--seconds", 600)],
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while server.write_bytes() - before < LOAD_BEFORE_KILL_BYTES:
            if load.poll() is not None:
                raise SystemExit(f"sentinel-load ended with {load.returncode}")
            time.sleep(0.01)
        server.process.kill()
        server.process.wait()
        load.wait()

    def measure(self):
        self.store.parent.mkdir(parents=True, exist_ok=True)
        server = Server(self.program / "sentinel-server", self.store)
        try:
            run(self.program / "sentinel-load", "--broker", server.broker, *LOAD, "--total-mib", int(self.gib * 1024))
            figures = {"gib": self.gib, "clean_s": [], "killed_s": []}
            for _ in range(self.rounds):
                server.stop()
                server, seconds = self.start()
                figures["clean_s"].append(seconds)
            for _ in range(self.rounds):
                self.kill_under_load(server)
                server, seconds = self.start()
                figures["killed_s"].append(seconds)
            return figures
        finally:
            server.stop()
            shutil.rmtree(self.store, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--data", type=pathlib.Path)
    parser.add_argument("--gib", type=float)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 5)
    options.gib = options.gib or (1 if options.quick else 10)
    options.out.mkdir(parents=True, exist_ok=True)
    figures = Opening(options).measure()
    print(f"""
Starting with {options.gib:g} GiB in 100 partitions (medians of {options.rounds} rounds)
  after a clean stop            {statistics.median(figures["clean_s"]):7.2f} s   (target: 1)
  after kill -9 under load      {statistics.median(figures["killed_s"]):7.2f} s   (target: 2)""")
    (options.out / "opening.json").write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
