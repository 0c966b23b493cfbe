#!/usr/bin/env python3
"""Retention and compaction under load: what they cost in latency, and whether space stays within the limit.

    limits.py --bin DIR --out DIR [--data DIR] [--rounds N] [--quick]

Two servers take the same load in turns. One has no limits; on the other a topic has retention.bytes and was filled beyond
it, and another is compacted by key. Meanwhile the space of the tables is looked at every second. The report is printed
and written to OUT/limits.json.
"""

import argparse
import json
import pathlib
import shutil
import statistics
import subprocess

from measured import Server, load, run

PARTITIONS = 4
LIMIT_MIB = 128
KEYS = 20_000
RATE = 400
RECORDS = ("--connections", 4, "--record-bytes", 4096, "--batch-records", 4)
BATCH_MIB = 4 * 4096 / 2**20


def create(options, server, topic, *configs):
    flags = [flag for config in configs for flag in ("-config", config)]
    run(options.bin / "sentinel-cli", "topics", "create", topic, "-broker", server.broker, "-partitions", PARTITIONS, *flags)


def fill(options, server, topic, *flags):
    """One and a half times the limit."""
    rate = 10 * RATE
    seconds = 1.5 * PARTITIONS * LIMIT_MIB / (rate * BATCH_MIB)
    load(options.bin, server, topic, f"{seconds:.0f}", "--rate", rate, *RECORDS, *flags)


def table_mib(server):
    """What the tables take on the disk, holes left out."""
    blocks = 0
    for path in server.data.rglob("table-*"):
        try:
            blocks += path.lstat().st_blocks
        except FileNotFoundError:
            continue  # Files come and go.
    return blocks * 512 / 2**20


class Space:
    """Looks at the tables every second while the load runs."""

    def __init__(self, server):
        self.server = server
        self.most = 0

    def during(self, *command):
        process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        while True:
            try:
                _, errors = process.communicate(timeout=1)
                break
            except subprocess.TimeoutExpired:
                self.most = max(self.most, table_mib(self.server))
        if process.returncode != 0:
            raise SystemExit(f"{command[0]} failed: {errors}")


def measure_space(options, server):
    """On a server of its own, so that all tables are the topic's."""
    create(options, server, "log", f"retention.bytes={LIMIT_MIB << 20}")
    fill(options, server, "log")
    space = Space(server)
    space.during(options.bin / "sentinel-load", "--broker", server.broker, "--topic", "log", "--seconds", 4 * options.seconds,
                 "--rate", 4 * RATE, *RECORDS)
    return space.most / (PARTITIONS * LIMIT_MIB)


def measure(options):
    data = (options.data or options.out / "data") / "limits"
    data.mkdir(parents=True, exist_ok=True)
    figures = {}
    server = Server(options.bin / "sentinel-server", data / "space")
    try:
        figures["space_ratio"] = measure_space(options, server)
    finally:
        server.stop()
        shutil.rmtree(server.data)
    plain = Server(options.bin / "sentinel-server", data / "plain")
    limited = Server(options.bin / "sentinel-server", data / "limited")
    rounds = []
    try:
        create(options, plain, "log", "retention.ms=-1")
        create(options, plain, "table", "retention.ms=-1")
        create(options, limited, "log", f"retention.bytes={LIMIT_MIB << 20}")
        create(options, limited, "table", "cleanup.policy=compact")
        for server in (plain, limited):
            fill(options, server, "log")
            fill(options, server, "table", "--keys", KEYS)
        for _ in range(options.rounds):
            each = {}
            for topic, flags in (("log", ()), ("table", ("--keys", KEYS))):
                for name, server in (("plain", plain), ("limited", limited)):
                    figure = load(options.bin, server, topic, options.seconds, "--rate", RATE, *RECORDS, *flags)
                    each[f"{name}_{topic}_p99_us"] = figure["latency_us"]["p99"]
                each[f"{topic}_ratio"] = each[f"limited_{topic}_p99_us"] / each[f"plain_{topic}_p99_us"]
            rounds.append(each)
    finally:
        plain.stop()
        limited.stop()
        shutil.rmtree(data, ignore_errors=True)
    figures["rounds"] = rounds
    figures["medians"] = {key: statistics.median(each[key] for each in rounds) for key in rounds[0]}
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--data", type=pathlib.Path)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    options.rounds = options.rounds or (3 if options.quick else 7)
    options.seconds = 5 if options.quick else 15
    options.out.mkdir(parents=True, exist_ok=True)
    figures = measure(options)
    medians = figures["medians"]
    print(f"""
retention.bytes of {LIMIT_MIB} MiB on {PARTITIONS} partitions, while {4 * RATE * BATCH_MIB:.0f} MiB a second come in
  most space of the tables by the limit   {figures["space_ratio"]:6.2f}          (target: at most 1.10)
Produce of 16 KiB batches, {RATE} a second, open loop, acks=all (medians of {options.rounds} rounds)
  p99 without limits, with retention      {medians["plain_log_p99_us"]:6.0f} us {medians["limited_log_p99_us"]:6.0f} us
  ratio                                   {medians["log_ratio"]:6.2f}          (target: at most 1.5)
  p99 without limits, compacted by key    {medians["plain_table_p99_us"]:6.0f} us {medians["limited_table_p99_us"]:6.0f} us
  ratio                                   {medians["table_ratio"]:6.2f}          (target: at most 1.5)""")
    (options.out / "limits.json").write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
