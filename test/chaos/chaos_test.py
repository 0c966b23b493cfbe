#!/usr/bin/env python3
"""Three real servers under faults drawn from a seed: nothing acknowledged is lost, doubled, reordered or misread.

    chaos_test.py [--seconds N] [--seed N] [--plain-disk] [--quiet]

Processes are killed, stopped and paused, the links between them and to their clients are cut, delayed and reset, one
disk is lost, and where the machine allows it, disks forget what was not synced, are slow, and fail to sync. Then all of
it is healed, everything is read once more, and sentinel-check judges what the clients have seen. A run also fails when
a server ends by itself or writes an error, when a reader does not get on, and when the cluster isn't healthy a minute
after the last fault. The seed is printed first and gives the same faults again.
"""

import argparse
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

from server import Failure, program, scratch

import forgetful_disk
import nemesis
from nodes import Nodes
from workload import PARTITIONS, TOPIC, History, Workload, without_copies

LONG_SECONDS = 600
PROGRESS_SECONDS = 5.0


class Run:
    def __init__(self, arguments):
        self.seed = arguments.seed
        self.seconds = arguments.seconds
        self.quiet = arguments.quiet
        self.stall = arguments.stall
        self.no_forgetting = "not wanted" if arguments.plain_disk else forgetful_disk.unavailable()
        self.begin = time.monotonic()
        self.folder = scratch("chaos")
        self.findings = []
        self.stop = threading.Event()

    def say(self, text):
        if not self.quiet:
            print(f"{time.monotonic() - self.begin:7.1f} s  {text}", flush=True)

    def run(self):
        """The findings, which are empty when all is well."""
        self.history = History(self.folder / "history.jsonl")
        self.nodes = Nodes(self.folder / "nodes", forgetful=self.no_forgetting is None)
        try:
            self.nodes.start()
            self.nodes.create_topic(TOPIC, PARTITIONS)
            self.workload = Workload(self.nodes.bootstrap, self.history, self.folder / "clients.log", self.seed)
            self.harm()
            self.nodes.stop()
            self.check_disks()
        except Failure as failure:
            self.findings.append(str(failure))
        finally:
            self.nodes.close()
            self.history.close()
        self.findings += self.nodes.problems
        self.findings += [line for node in self.nodes for line in node.bad_lines()]
        if hasattr(self, "workload"):
            self.check_history()
            self.check_progress()
        return self.findings

    def harm(self):
        profile = nemesis.LONG if self.seconds >= LONG_SECONDS else nemesis.SHORT
        faults = nemesis.plan(self.seed, self.seconds, list(self.nodes.nodes), PARTITIONS, profile)
        self.nemesis = nemesis.Nemesis(self.nodes, TOPIC, faults, self.say)
        self.workload.start()
        watcher = threading.Thread(target=self.watch, daemon=True)
        watcher.start()
        try:
            self.nemesis.run(self.seconds, self.stop)
            self.say("heal")
            self.nemesis.heal()
            self.healing = self.nodes.wait_until_healthy()
            self.say(f"healthy after {self.healing:.1f} s")
            self.workload.finish()
        except Failure:
            self.workload.abandon()
            raise
        finally:
            self.stop.set()
            watcher.join()
            self.findings += self.workload.problems

    def watch(self):
        """Says how it goes, and ends the faults early when something has already been found."""
        before = 0
        while not self.stop.wait(PROGRESS_SECONDS):
            count = self.workload.progress.count
            self.say(f"{count} acknowledged, {(count - before) / PROGRESS_SECONDS:.0f} a second")
            before = count
            if self.nodes.problems or self.workload.problems:
                self.stop.set()

    def check_disks(self):
        for node in self.nodes:
            done = subprocess.run([program("sentinel-cli"), "verify", "--data", node.server.data], capture_output=True,
                                  text=True, check=False)
            if done.returncode != 0:
                self.findings.append(f"verify of node {node.number}: {done.stdout}{done.stderr}")

    def check_history(self):
        path = self.folder / "history.jsonl"
        resent = self.workload.resent
        if resent:
            copies = without_copies(path, resent, self.folder / "history-without-copies.jsonl")
            path = self.folder / "history-without-copies.jsonl"
            print(f"{len(resent)} records sent again by clients of a new epoch, {copies} of them stand there twice")
        done = subprocess.run([program("sentinel-check"), path], capture_output=True, text=True, check=False)
        print(done.stdout.rstrip())
        if done.returncode != 0:
            self.findings.append(f"sentinel-check ended with {done.returncode}: {done.stdout}{done.stderr}")

    def check_progress(self):
        longest = max((gap for gap, _ in self.workload.progress.longest.values()), default=0) / 1e9
        if self.stall is not None and longest > self.stall:
            self.findings.append(f"a partition took no writes for {longest:.1f} s")

    def report(self):
        def listed(counter):
            return ", ".join(f"{name} {count}" for name, count in sorted(counter.items()) if count) or "none"

        print(f"operations: {listed(self.history.counts)}")
        if hasattr(self, "nemesis"):
            print(f"faults: {listed(self.nemesis.counts)}")
            print(f"left out, as their target had another fault: {listed(self.nemesis.left_out)}")
            if self.no_forgetting is None:
                print(f"not synced at power cuts: {listed(self.nemesis.forgotten)}")
            else:
                print(f"skipped: forgetting disk ({self.no_forgetting})")
            print(f"errors that clients saw: {listed(self.workload.errors)}")
            longest = self.workload.progress.longest
            for place in sorted(longest, key=lambda place: -1 if place is None else place):
                gap, began = longest[place]
                name = "of all" if place is None else f"of partition {place}"
                print(f"longest time between acknowledged writes {name}: {gap / 1e9:.2f} s, "
                      f"from {began / 1e9 - self.begin:.1f} s on")
        if hasattr(self, "healing"):
            print(f"healthy {self.healing:.1f} s after the last fault")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--plain-disk", action="store_true", help="without disks that forget what was not synced")
    parser.add_argument("--quiet", action="store_true", help="no lines while it runs")
    parser.add_argument("--stall", type=float, metavar="N", help="fail when a partition takes no writes for N seconds")
    parser.add_argument("--keep", action="store_true", help="the history and the logs also when nothing is found")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}, {arguments.seconds:g} seconds", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to end"))
    run = Run(arguments)
    findings = run.run()
    run.report()
    if not findings and not arguments.keep:
        shutil.rmtree(run.folder)
        return 0
    print(f"history: {run.folder}/history.jsonl, logs of producers: {run.folder}/clients.log, of servers: "
          f"{run.folder}/nodes/*.log")
    if not findings:
        return 0
    for finding in findings:
        print(f"FOUND {finding}")
    print(f"again: {sys.argv[0]} --seconds {arguments.seconds:g} --seed {arguments.seed}"
          f"{' --plain-disk' if arguments.plain_disk else ''}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
