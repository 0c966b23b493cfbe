#!/usr/bin/env python3
"""Measures how fast one consumer reads cold data, beside what the device itself reads, in the same run.

    cold_read.py --bin DIR --out DIR [--data DIR] [--gib N] [--partitions N] [--rounds N] [--shape NAME...] [--keep]

Writes through the broker, stops it, and then in each round and for each shape of consumer: drops the caches, reads files
of the store with sentinel-probe, starts the server, consumes everything from the start, and probes again. The ratio is
formed with the mean of the two probes. `sum(read_bytes)` of the server says how often a byte came from the device.
"""

import argparse
import json
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys

from measured import Server

GIB = 1 << 30
# Beside the records: keys, checksums, log segments, and what a file system wants for itself.
SPARE_BYTES = 2 * GIB
OVERHEAD = 1.05
PROBE_MIB = 4096

# What a consumer asks for at a time; all are one process that reads every partition from the earliest offset on.
SHAPES = {
    # Several requests under way, each for one partition.
    "pipelined": ["--connections", "2", "--in-flight", "4"],
    # One request under way, for all partitions, as common clients do.
    "one-fetch": ["--connections", "1", "--in-flight", "1", "--fetch-partitions", "1000"],
}


class ColdRead:
    def __init__(self, options):
        self.options = options
        self.data = options.data or options.out / "cold-read"
        self.store = self.data / "server"
        self.rounds = []
        self.amplification = None  # Not known with --reuse.

    def check_space(self):
        needed = int(self.options.gib * GIB * OVERHEAD) + SPARE_BYTES
        free = shutil.disk_usage(self.data).free
        if free < needed:
            sys.exit(f"cold-read of {self.options.gib} GiB needs {needed / GIB:.1f} GiB of disk under {self.data}, "
                     f"which has {free / GIB:.1f} GiB free: use --gib or --data")

    def run(self):
        self.options.out.mkdir(parents=True, exist_ok=True)
        self.data.mkdir(parents=True, exist_ok=True)
        if not self.options.reuse:
            self.check_space()
        if os.geteuid() != 0:
            print("Not root: caches are dropped file by file with posix_fadvise instead of drop_caches.")
        try:
            if not self.options.reuse:
                self.write()
            for _ in range(self.options.rounds):
                for shape in self.options.shape:
                    self.rounds.append(self.read(shape))
                    self.print_round(self.rounds[-1])
        finally:
            if not self.options.keep:
                shutil.rmtree(self.store, ignore_errors=True)
        self.print_summary()
        out = self.options.out / "cold-read.json"
        out.write_text(json.dumps({"write_amplification": self.amplification, "rounds": self.rounds}, indent=1) + "\n")
        print(f"JSON: {out}")

    def program(self, name, *arguments):
        done = subprocess.run([self.options.bin / name, *map(str, arguments)], capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{name} failed with {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def write(self):
        server = Server(self.options.bin / "sentinel-server", self.store)
        try:
            start_bytes = server.write_bytes()
            result = self.options.out / "cold-write.json"
            self.program("sentinel-load", "--broker", server.broker, "--topic", "cold", "--partitions",
                         self.options.partitions, "--connections", self.options.partitions, "--batch-records", 64,
                         "--total-mib", int(self.options.gib * 1024), "--json", result)
            device_bytes = server.write_bytes() - start_bytes
        finally:
            server.stop()
        written = json.loads(result.read_text())
        self.amplification = device_bytes / (self.options.gib * GIB)
        print(f"Wrote {self.options.gib:g} GiB over {self.options.partitions} partitions in {written['seconds']:.0f} s, "
              f"{written['mb_per_second']:.0f} MB/s; {self.amplification:.3f} bytes to the device per byte (target: at most 2.1)")

    def tables(self):
        return sorted(self.store.rglob("*.sst"), key=lambda path: path.name)

    def drop_caches(self):
        for path in self.tables():
            file = os.open(path, os.O_RDONLY)
            os.fsync(file)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(file)
        if os.geteuid() == 0:
            os.sync()
            pathlib.Path("/proc/sys/vm/drop_caches").write_text("3\n")

    def probe(self, files):
        return json.loads(self.program("sentinel-probe", "--read", PROBE_MIB, *files))["read_mb_per_s"]

    def read(self, shape):
        tables = self.tables()
        self.drop_caches()
        before = self.probe(tables)
        self.drop_caches()
        server = Server(self.options.bin / "sentinel-server", self.store, keep=True)
        try:
            start_bytes = server.read_bytes()
            server_cpu, load_cpu = server.cpu_seconds(), children_cpu()
            result = self.options.out / f"cold-{shape}.json"
            self.program("sentinel-load", "--broker", server.broker, "--topic", "cold", "--consume", *SHAPES[shape],
                         "--json", result)
            consumed = json.loads(result.read_text())
            consumed["start_device_bytes"] = start_bytes
            consumed["device_bytes"] = server.read_bytes() - start_bytes
            consumed["server_cpu_seconds"] = server.cpu_seconds() - server_cpu
            consumed["load_cpu_seconds"] = children_cpu() - load_cpu
            consumed["server_peak_mib"] = server.peak_mib()
        finally:
            server.stop()
        after = self.probe(tables[::-1])
        device = (before + after) / 2
        return {"shape": shape, "device_before_mb_per_s": before, "device_after_mb_per_s": after,
                "ratio": consumed["mb_per_second"] / device,
                "device_bytes_per_byte": consumed["device_bytes"] / consumed["bytes"], **consumed}

    @staticmethod
    def print_round(each):
        print(f"{each['shape']:10} {each['mb_per_second']:7.0f} MB/s; device {each['device_before_mb_per_s']:5.0f} before, "
              f"{each['device_after_mb_per_s']:5.0f} after: ratio {each['ratio']:.2f}; "
              f"{each['device_bytes_per_byte']:.3f} bytes from the device per byte consumed; opening "
              f"{each['open_seconds']:.2f} s; CPU s: server {each['server_cpu_seconds']:.1f}, "
              f"consumer {each['load_cpu_seconds']:.1f}; server's peak {each['server_peak_mib']:.0f} MiB", flush=True)

    def print_summary(self):
        print(f"\nCold read of {self.options.gib:g} GiB over {self.options.partitions} partitions "
              f"(medians of {self.options.rounds} rounds)")
        for shape in self.options.shape:
            rounds = [each for each in self.rounds if each["shape"] == shape]
            ratio = statistics.median(each["ratio"] for each in rounds)
            speed = statistics.median(each["mb_per_second"] for each in rounds)
            again = statistics.median(each["device_bytes_per_byte"] for each in rounds)
            print(f"  {shape:12} {speed:7.0f} MB/s   {ratio:5.2f} of the device (target: at least 0.85)   "
                  f"{again:.3f} bytes read per byte consumed")


def children_cpu():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--data", type=pathlib.Path)
    parser.add_argument("--gib", type=float, default=32)
    parser.add_argument("--partitions", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--shape", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--keep", action="store_true", help="leave the data for --reuse")
    parser.add_argument("--reuse", action="store_true", help="read what an earlier --keep left")
    ColdRead(parser.parse_args()).run()


if __name__ == "__main__":
    main()
