#!/usr/bin/env python3
"""Runs sentinel-storage, which puts our storage engine beside LevelDB and RocksDB, and prints medians and ratios.

    storage_report.py --bin DIR --out DIR [--data DIR] [--rounds N] [--quick]

In each round every engine does the same work, one after the other, each round in another order; a ratio is formed
within one round, to the better of the two peers, and its median is reported. JSON: OUT/storage.json.
"""

import argparse
import json
import pathlib
import shutil
import statistics
import subprocess
import sys

# Work, its name in the program's figures, what it counts, and the target: how many times the better peer's rate, or,
# for a latency, which part of it at most.
WORKS = [
    ("fill, ascending keys", "fillseq", "ops/s", 3),
    ("fill, random keys", "fillrandom", "ops/s", 2.5),
    ("fill, synced, 1 writer", "fillsync 1", "ops/s", 2),
    ("fill, synced, 16 writers", "fillsync 16", "ops/s", 5),
    ("random read, warm", "readrandom", "ops/s", 1.5),
    ("sequential read, warm", "readseq", "ops/s", 1.2),
    ("overwrite, p99.9 of puts", "overwrite p99.9", "us", 0.5),
    ("replay of the log", "replay", "ops/s", 3),
]
# Beside the targets.
MORE = [
    ("overwrite", "overwrite", "ops/s"),
    ("overwrite, p50 of puts", "overwrite p50", "us"),
    ("overwrite, p99 of puts", "overwrite p99", "us"),
    ("overwrite, longest put", "overwrite max", "us"),
]
PEERS = ("leveldb", "rocksdb")
ENGINES = ("sentinel", *PEERS)


def ratio(figures, name, unit):
    best = (min if unit == "us" else max)(figures[peer][name] for peer in PEERS)
    return figures["sentinel"][name] / best


def row(rounds, title, name, unit):
    medians = {engine: statistics.median(figures[engine][name] for figures in rounds) for engine in ENGINES}
    return {"work": title, "unit": unit, **medians,
            "ratio": statistics.median(ratio(figures, name, unit) for figures in rounds)}


def print_row(each, target=None):
    columns = "".join(f"{each[engine]:>12,.1f}" if each["unit"] == "us" else f"{each[engine]:>12,.0f}" for engine in ENGINES)
    verdict = ""
    if target is not None:
        met = each["ratio"] <= target if each["unit"] == "us" else each["ratio"] >= target
        verdict = f"  {'at most ' if each['unit'] == 'us' else ''}{target}, {'met' if met else 'missed'}"
    print(f"  {each['work']:26}{each['unit']:>6}{columns}{each['ratio']:>8.2f}{verdict}")


def run(options):
    entries, synced = (300_000, 1_000) if options.quick else (1_000_000, 3_000)
    data = options.data or options.out / "storage-data"
    data.mkdir(parents=True, exist_ok=True)
    try:
        done = subprocess.run([options.bin / "sentinel-storage", data / "stores", str(options.rounds), str(entries), str(synced)],
                              stdout=subprocess.PIPE, text=True)
    finally:
        shutil.rmtree(data / "stores", ignore_errors=True)
    if done.returncode != 0:
        sys.exit(f"sentinel-storage failed with {done.returncode}")
    return entries, json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--data", type=pathlib.Path)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    options.rounds = options.rounds or (3 if options.quick else 7)
    options.out.mkdir(parents=True, exist_ok=True)
    if not (options.bin / "sentinel-storage").exists():
        sys.exit("sentinel-storage is not built: it needs LevelDB and RocksDB, which scripts/setup.sh perf installs")
    entries, rounds = run(options)
    targets = [{**row(rounds, title, name, unit), "target": target} for title, name, unit, target in WORKS]
    more = [row(rounds, title, name, unit) for title, name, unit in MORE]
    result = {"entries": entries, "targets": targets, "more": more, "rounds": rounds}
    (options.out / "storage.json").write_text(json.dumps(result, indent=1) + "\n")
    print(f"""
{entries:,} entries, keys of 16 bytes, values of 100; medians of {len(rounds)} rounds, ratio to the better peer within a round.
No compression; memtables of 64 MiB (overwriting: 8 MiB), 512 MiB of cache, bloom filters of 10 bits a key for the peers.
Ours runs on one thread, compaction included, and 16 writers are 16 coroutines on it; the peers' writers are threads, and
they compact on threads of their own. A fill without sync leaves the log to be written behind it. Replay begins without
anything in the page cache. A put is timed from the end of the one before it.
""")
    print(f"  {'':26}{'':6}" + "".join(f"{engine:>12}" for engine in ENGINES) + f"{'ratio':>8}  target")
    for each in targets:
        print_row(each, each["target"])
    for each in more:
        print_row(each)
    print(f"\nJSON: {options.out / 'storage.json'}")


if __name__ == "__main__":
    main()
