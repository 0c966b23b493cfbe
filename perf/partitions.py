#!/usr/bin/env python3
"""Many partitions on one node: how long they take to make, what they cost while idle, and what they do to latency.

    partitions.py --bin DIR --out DIR [--data DIR] [--rounds N] [--partitions N] [--quick]

Each round loads a topic of 100 partitions and one of many at the same rate, in turns, all partitions one after the
other. The report is printed and written to OUT/partitions.json.
"""

import argparse
import json
import pathlib
import shutil
import statistics
import time

from measured import Server, load, run

FEW = 100
RATE = 1000


def measure(options):
    data = (options.data or options.out / "data") / "partitions"
    data.mkdir(parents=True, exist_ok=True)
    server = Server(options.bin / "sentinel-server", data / "server")
    figures = {"partitions": options.partitions}
    try:
        def create(topic, partitions):
            began = time.monotonic()
            run(options.bin / "sentinel-cli", "topics", "create", topic, "-broker", server.broker, "-partitions", partitions)
            return time.monotonic() - began

        create("few", FEW)
        before = server.resident_mib()
        figures["create_s"] = create("many", options.partitions)
        figures["idle_kib"] = (server.resident_mib() - before) * 1024 / options.partitions
        flags = ("--connections", 4, "--rate", RATE, "--record-bytes", 1024)
        # Each partition is opened, and everything flushed by a restart, before what they keep is measured.
        load(options.bin, server, "many", max(5, 2 * options.partitions // RATE), *flags)
        rounds = []
        for _ in range(options.rounds):
            few = load(options.bin, server, "few", options.seconds, *flags)
            many = load(options.bin, server, "many", options.seconds, *flags)
            rounds.append({"few_p50_us": few["latency_us"]["p50"], "few_p99_us": few["latency_us"]["p99"],
                           "many_p50_us": many["latency_us"]["p50"], "many_p99_us": many["latency_us"]["p99"],
                           "p99_ratio": many["latency_us"]["p99"] / few["latency_us"]["p99"]})
        figures["rounds"] = rounds
        figures["medians"] = {key: statistics.median(each[key] for each in rounds) for key in rounds[0]}
        figures["resident_mib"] = server.resident_mib()
    finally:
        server.stop()
        shutil.rmtree(data, ignore_errors=True)
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--data", type=pathlib.Path)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--partitions", type=int, default=10_000)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    options.rounds = options.rounds or (3 if options.quick else 7)
    options.seconds = 5 if options.quick else 15
    options.out.mkdir(parents=True, exist_ok=True)
    figures = measure(options)
    medians = figures["medians"]
    print(f"""
{options.partitions} partitions on one node (medians of {options.rounds} rounds)
  creating them                 {figures["create_s"]:9.2f} s      (target: 5)
  memory of an idle one         {figures["idle_kib"]:9.2f} KiB    (target: at most 4)
  resident with all of them used{figures["resident_mib"]:9.0f} MiB
Produce of 1 KiB records, {RATE} a second, open loop, acks=all
  p50, p99 over {FEW} partitions {medians["few_p50_us"]:9.0f} us {medians["few_p99_us"]:9.0f} us
  p50, p99 over {options.partitions:<10}    {medians["many_p50_us"]:9.0f} us {medians["many_p99_us"]:9.0f} us
  ratio of p99                  {medians["p99_ratio"]:9.2f}        (target: at most 2)""")
    (options.out / "partitions.json").write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
