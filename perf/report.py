#!/usr/bin/env python3
"""Runs sentinel-server, sentinel-load and sentinel-probe in turns and reports medians and ratios.

    report.py --bin DIR --out DIR [--data DIR] [--rounds N] [--quick] [--benchmarks]

Machines are noisy and their disks have moods, so the probe and the load alternate and every ratio is formed within one
round. The report is printed and written to OUT/report.json, the latency curves to OUT/*.svg.
"""

import argparse
import json
import pathlib
import shutil
import statistics
import subprocess
import sys
import time

from measured import Server


class Report:
    def __init__(self, options):
        self.options = options
        self.bin = options.bin
        self.data = options.data or options.out / "data"
        self.seconds = 2 if options.quick else 5
        self.figures = {}

    def probe(self):
        writes = 500 if self.options.quick else 2000
        return json.loads(self.run("sentinel-probe", str(self.data), str(writes)))

    def run(self, name, *arguments):
        done = subprocess.run([self.bin / name, *arguments], capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{name} failed with {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def load(self, server, name, *flags):
        result = self.options.out / f"{name}.json"
        self.run("sentinel-load", "--broker", server.broker, "--topic", name, "--seconds", str(self.seconds), "--warmup",
                 "0.5", "--json", str(result), "--svg", str(self.options.out / f"{name}.svg"), *flags)
        return json.loads(result.read_text())

    def measure(self):
        self.options.out.mkdir(parents=True, exist_ok=True)
        self.data.mkdir(parents=True, exist_ok=True)
        self.measure_start()
        server = Server(self.bin / "sentinel-server", self.data / "server")
        try:
            self.measure_idle(server)
            rounds = [self.round(server) for _ in range(self.options.rounds)]
        finally:
            server.stop()
            shutil.rmtree(self.data, ignore_errors=True)
        self.figures["rounds"] = rounds
        self.figures["medians"] = {key: statistics.median(each[key] for each in rounds) for key in rounds[0]
                                   if isinstance(rounds[0][key], (int, float))}

    def measure_start(self):
        times = []
        for _ in range(self.options.rounds):
            server = Server(self.bin / "sentinel-server", self.data / "start")
            times.append(server.start_ms)
            server.stop()
        self.figures["start_ms"] = statistics.median(times)

    def measure_idle(self, server):
        # At once it still fills the first log segments.
        time.sleep(3 if self.options.quick else 60)
        self.figures["resident_mib"] = server.resident_mib()
        own, kernel = server.wakeups()
        time.sleep(10)
        own_after, kernel_after = server.wakeups()
        self.figures["idle_wakeups_in_10_s"] = own_after - own
        self.figures["idle_kernel_worker_wakeups_in_10_s"] = kernel_after - kernel

    def round(self, server):
        before = self.probe()
        single = self.load(server, "one-record")
        after = self.probe()
        bulk = self.load(server, "throughput", "--batch-records", "1023", "--in-flight", "4")
        steady = self.load(server, "open-loop", "--connections", "8", "--rate", "500")
        device = (before["device_write_p50_us"] + after["device_write_p50_us"]) / 2
        loopback = (before["loopback_p50_us"] + after["loopback_p50_us"]) / 2
        sequential = (before["sequential_mb_per_s"] + after["sequential_mb_per_s"]) / 2
        return {
            "device_write_p50_us": device,
            "loopback_p50_us": loopback,
            "produce_p50_us": single["latency_us"]["p50"],
            "produce_ratio": single["latency_us"]["p50"] / (device + loopback),
            "sequential_mb_per_s": sequential,
            "throughput_mb_per_s": bulk["mb_per_second"],
            "throughput_ratio": bulk["mb_per_second"] / sequential,
            "device_paced_p99_us": max(before["device_paced_p99_us"], after["device_paced_p99_us"]),
            "open_loop_p50_us": steady["latency_us"]["p50"],
            "open_loop_p99_us": steady["latency_us"]["p99"],
            "open_loop_us": steady["latency_us"],
            "produce_us": single["latency_us"],
        }

    def print(self):
        medians, figures = self.figures["medians"], self.figures
        print(f"""
One connection, one 1 KiB record at a time, acks=all (medians of {self.options.rounds} rounds)
  produce p50                    {medians["produce_p50_us"]:9.0f} us
  4 KiB O_DIRECT+O_DSYNC write   {medians["device_write_p50_us"]:9.0f} us
  loopback round trip            {medians["loopback_p50_us"]:9.0f} us
  ratio                          {medians["produce_ratio"]:9.2f}       (target: at most 1.4)
One producer, 1 MiB batches, 4 in flight
  throughput                     {medians["throughput_mb_per_s"]:9.0f} MB/s
  sequential durable writing     {medians["sequential_mb_per_s"]:9.0f} MB/s
  ratio                          {medians["throughput_ratio"]:9.2f}
Open loop, 500 records a second over 8 connections, acks=all, from the moment each was due
  p50                            {medians["open_loop_p50_us"]:9.0f} us
  p99                            {medians["open_loop_p99_us"]:9.0f} us
  4 KiB durable writes, 500/s, p99{medians["device_paced_p99_us"]:8.0f} us
Server
  exec to first ApiVersions      {figures["start_ms"]:9.1f} ms    (target: 20)
  resident after {" 3" if self.options.quick else "60"} s            {figures["resident_mib"]:9.1f} MiB   (target: 20)
  wake-ups in 10 idle seconds    {figures["idle_wakeups_in_10_s"]:9d}       (target: 0)
    of the kernel's workers      {figures["idle_kernel_worker_wakeups_in_10_s"]:9d}       (io_uring keeps one a ring, which looks for work every 5 s)
Latency in us, of the last round""")
        for name, key in (("one at a time", "produce_us"), ("open loop, 500/s", "open_loop_us")):
            values = self.figures["rounds"][-1][key]
            print(f"  {name:18}" + "".join(f"{quantile} {value:.0f}  " for quantile, value in values.items()))

    def benchmarks(self):
        for program in sorted(self.bin.glob("bench_*")):
            out = self.options.out / f"{program.name}.json"
            # What is compared with a peer is run in turns, so that a mood of the machine meets both.
            turns = ["--benchmark_repetitions=5", "--benchmark_enable_random_interleaving=true",
                     "--benchmark_report_aggregates_only=true"] if program.name == "bench_skiplist" else []
            subprocess.run([program, f"--benchmark_out={out}", "--benchmark_out_format=json", *turns], check=True)
        self.print_peers(json.loads((self.options.out / "bench_skiplist.json").read_text()))

    def print_peers(self, result):
        """Our median time by that of each peer; benchmarks are named work/store/order."""
        medians = {tuple(each["run_name"].split("/")): each["cpu_time"] for each in result["benchmarks"]
                   if each.get("aggregate_name") == "median"}
        peers = sorted({store for _, store, _ in medians} - {"sentinel"})
        print("\nSkip list: time by that of a peer (target: at most 0.6)")
        for work, store, order in sorted(medians):
            if store == "sentinel":
                ratios = (f"{peer} {medians[work, store, order] / medians[work, peer, order]:.2f}" for peer in peers)
                print(f"  {work} {order:12}" + "   ".join(ratios))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--data", type=pathlib.Path)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--benchmarks", action="store_true")
    options = parser.parse_args()
    options.rounds = options.rounds or (3 if options.quick else 7)
    report = Report(options)
    report.measure()
    report.print()
    (options.out / "report.json").write_text(json.dumps(report.figures, indent=1) + "\n")
    print(f"\nJSON and pictures: {options.out}")
    if options.benchmarks:
        report.benchmarks()


if __name__ == "__main__":
    main()
