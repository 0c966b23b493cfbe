#!/usr/bin/env python3
"""Hours of work for one server at a fixed rate, with retention and compaction at work: fails on drift.

    soak.py --bin DIR --data DIR [--seconds N] [--rate N]

The time is cut into windows. In each a topic with retention.bytes and one compacted by key take the same load, half the
window each, and memory, descriptors, files, their space and the latency are written down. The first quarter of the
windows warms up. Of the rest, the median of the last third must not exceed that of the first third by more than the
bounds below. What was sent last must be readable at the end, after a restart.
"""

import argparse
import pathlib
import shutil
import statistics
import subprocess
import sys

from measured import Server, load, run

PARTITIONS = 4
LIMIT_MIB = 16
KEYS = 5_000
RECORDS = ("--connections", 4, "--record-bytes", 1024, "--batch-records", 8)
WINDOWS = 24

# Name, factor and slack: a later figure may be `factor` times an earlier one and `slack` more.
BOUNDS = (
    ("resident MiB", 1.15, 16),
    ("descriptors", 1.25, 8),
    ("files", 1.25, 8),
    ("stored MiB", 1.15, 32),
    # A device that others share stalls for tens of milliseconds now and then; what drifts goes beyond that.
    ("p50 us", 3.0, 5_000),
    ("p99 us", 4.0, 250_000),
)


def create(options, server):
    for topic, config in (("log", f"retention.bytes={LIMIT_MIB << 20}"), ("table", "cleanup.policy=compact")):
        run(options.bin / "sentinel-cli", "topics", "create", topic, "-broker", server.broker, "-partitions", PARTITIONS,
            "-config", config)


def window(options, server, seconds):
    flags = ("--rate", options.rate, "--warmup", 0, *RECORDS)
    log = load(options.bin, server, "log", seconds / 2, *flags)
    table = load(options.bin, server, "table", seconds / 2, "--keys", KEYS, *flags)
    return {
        "resident MiB": server.resident_mib(),
        "descriptors": server.descriptors(),
        "files": server.files(),
        "stored MiB": server.stored_mib(),
        "p50 us": max(log["latency_us"]["p50"], table["latency_us"]["p50"]),
        "p99 us": max(log["latency_us"]["p99"], table["latency_us"]["p99"]),
    }


def drift(windows):
    """Sentences about what grew."""
    steady = windows[len(windows) // 4:]
    third = len(steady) // 3
    found = []
    for name, factor, slack in BOUNDS:
        early = statistics.median(each[name] for each in steady[:third])
        late = statistics.median(each[name] for each in steady[-third:])
        print(f"{name:13} early {early:10.1f}   late {late:10.1f}   at most {factor * early + slack:10.1f}")
        if late > factor * early + slack:
            found.append(f"{name} went from {early:.1f} to {late:.1f}")
    return found


def check_contents(options, data):
    """After a stop nothing is damaged, and after a start the last record is there."""
    run(options.bin / "sentinel-cli", "verify", "-data", data)
    server = Server(options.bin / "sentinel-server", data, keep=True)
    try:
        subprocess.run([options.bin / "sentinel-cli", "produce", "-broker", server.broker, "-topic", "log", "-partition", "0"],
                       input=b"the last record\n", check=True, capture_output=True)
        out = run(options.bin / "sentinel-cli", "consume", "-broker", server.broker, "-topic", "log", "-partition", "0",
                  "-from-beginning", "-output", "value")
        if not out.endswith("the last record\n"):
            sys.exit("soak: the last record can't be read")
    finally:
        server.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--seconds", type=int, default=3600)
    parser.add_argument("--rate", type=int, default=500, help="batches of 8 KiB a second")
    options = parser.parse_args()
    options.data.mkdir(parents=True, exist_ok=True)
    data = options.data / "soak"
    server = Server(options.bin / "sentinel-server", data, "--memory", "256MiB")
    windows = []
    try:
        create(options, server)
        for number in range(WINDOWS):
            windows.append(window(options, server, options.seconds / WINDOWS))
            print(f"window {number + 1:2} of {WINDOWS}: " + "  ".join(f"{name} {value:.0f}" for name, value in windows[-1].items()),
                  flush=True)
    finally:
        server.stop()
    found = drift(windows)
    check_contents(options, data)
    shutil.rmtree(data, ignore_errors=True)
    if found:
        sys.exit("soak: " + "; ".join(found))
    print("soak: no drift")


if __name__ == "__main__":
    main()
