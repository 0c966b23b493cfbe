#!/usr/bin/env python3
"""How long writes to a partition stop when its leader is killed (kill -9), as producers see it.

    failover.py [--kills N] [--partitions N] [--window N]

Three servers, one producer a partition with the defaults of librdkafka for everything that has to do with time. Each
time the leader of the next partition is killed, started again once writes go on, and all replicas have to be in sync
before the next one. The time of a kill is the longest one between two acknowledgements around it. Beside it stands how
soon one of the others answered as the new leader, which is the servers' share of it.

Producers are new for each kill: librdkafka waits longer and longer before it connects to a server again, up to ten
seconds, and forgets that only when ten seconds have passed. Kills every two seconds would measure that.
"""

import argparse
import collections
import pathlib
import statistics
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

import confluent_kafka
import wire
from server import DEADLINE, Failure, Workspace

from nodes import Nodes

TOPIC = "failover"
# Before a kill, and after writes have begun again: what lies around a pause shows that it is one.
STEADY_SECONDS = 0.5
ASK_SECONDS = 0.01


class Producer(threading.Thread):
    """Keeps a few records of one partition on their way, and remembers when they were answered."""

    def __init__(self, bootstrap, partition, window):
        super().__init__(daemon=True)
        self.partition = partition
        self.window = window
        self.open = 0
        self.errors = collections.Counter()
        self.stopping = threading.Event()
        self.answers = []  # (when it was sent, when it was acknowledged)
        self.client = confluent_kafka.Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True,
                                                "log_level": 0})

    def run(self):
        while not self.stopping.is_set():
            if self.open < self.window:
                self.send()
            self.client.poll(0.1 if self.open >= self.window else 0)
        self.client.flush(DEADLINE)

    def send(self):
        sent = time.monotonic()
        self.open += 1
        self.client.produce(TOPIC, b"x" * 100, partition=self.partition,
                            on_delivery=lambda error, _: self.delivered(sent, error))

    def delivered(self, sent, error):
        self.open -= 1
        if error is not None:
            self.errors[error.name()] += 1
        else:
            self.answers.append((sent, time.monotonic()))

    def wait_for_one_sent_after(self, when):
        deadline = time.monotonic() + DEADLINE
        while not self.answers or self.answers[-1][0] < when:
            if time.monotonic() > deadline:
                raise Failure(f"partition {self.partition}: nothing acknowledged for {DEADLINE:.0f} s; {self.errors}")
            time.sleep(0.005)

    def pause_after(self, when):
        """The longest time without an answer since `when`."""
        times = [answered for _, answered in self.answers if answered >= when]
        return max(later - earlier for earlier, later in zip(times, times[1:]))


class Successor(threading.Thread):
    """Asks the other nodes for the end of a partition until one of them leads it."""

    def __init__(self, ports, partition):
        super().__init__(daemon=True)
        self.ports = ports
        self.partition = partition
        self.begin = time.monotonic()
        self.seconds = None

    def run(self):
        connections = {}
        while self.seconds is None and time.monotonic() < self.begin + DEADLINE:
            for port in self.ports:
                try:
                    if port not in connections:
                        connections[port] = wire.Connection(port)
                    connections[port].end_offset(TOPIC, self.partition)
                    self.seconds = time.monotonic() - self.begin
                    break
                except AssertionError:
                    pass  # It does not lead.
                except OSError:
                    connections.pop(port, None)
            time.sleep(ASK_SECONDS)
        for connection in connections.values():
            connection.socket.close()


class Kills:
    """What was measured."""

    def __init__(self, nodes, arguments):
        self.nodes = nodes
        self.arguments = arguments
        self.pauses = []
        self.elections = []
        self.records = 0
        self.errors = collections.Counter()

    def run(self):
        for number in range(self.arguments.kills):
            partition = number % self.arguments.partitions
            producers = [Producer(self.nodes.bootstrap, each, self.arguments.window)
                         for each in range(self.arguments.partitions)]
            for producer in producers:
                producer.start()
            for producer in producers:
                producer.wait_for_one_sent_after(time.monotonic())
            leader = self.kill(partition, producers[partition])
            print(f"kill {number + 1}: node {leader}, leader of partition {partition}: {self.pauses[-1]:.2f} s, "
                  f"new leader after {self.elections[-1]:.2f} s", flush=True)
            self.end(producers)

    def kill(self, partition, producer):
        leader = self.nodes.leader(TOPIC, partition)
        if leader is None:
            raise Failure(f"partition {partition} has no leader although all is well")
        begin = time.monotonic()
        time.sleep(STEADY_SECONDS)
        node = self.nodes[leader]
        node.kill()
        node.watcher.join()
        successor = Successor([port for each, port in self.nodes.cluster.ports.items() if each != leader], partition)
        successor.start()
        producer.wait_for_one_sent_after(time.monotonic())
        successor.join()
        time.sleep(STEADY_SECONDS)
        self.pauses.append(producer.pause_after(begin))
        self.elections.append(successor.seconds)
        node.start()
        self.nodes.wait_until_healthy()
        return leader

    def end(self, producers):
        for producer in producers:
            producer.stopping.set()
        for producer in producers:
            producer.join()
            self.records += len(producer.answers)
            self.errors += producer.errors

    def report(self):
        print("seconds: " + " ".join(f"{pause:.2f}" for pause in sorted(self.pauses)))
        print(f"{len(self.pauses)} kills of a leader, {self.records} records acknowledged, "
              f"errors: {dict(self.errors) or 'none'}")
        for what, values, goal in (("writes stopped for", self.pauses, " (goal: p50 1.5 s, p99 3 s)"),
                                   ("a new leader answered after", self.elections, "")):
            print(f"{what}: p50 {statistics.median(values):.2f} s, p99 {percentile(values, 0.99):.2f} s, "
                  f"max {max(values):.2f} s{goal}")
        return 1 if self.errors else 0


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--window", type=int, default=4, help="records on their way in each partition")
    arguments = parser.parse_args()
    with Workspace("failover") as folder:
        nodes = Nodes(folder / "nodes", proxied=False)
        try:
            nodes.start()
            nodes.create_topic(TOPIC, arguments.partitions)
            kills = Kills(nodes, arguments)
            kills.run()
            nodes.stop()
            found = nodes.problems + [line for node in nodes for line in node.bad_lines()]
            if found:
                raise Failure("\n".join(found))
        finally:
            nodes.close()
    return kills.report()


if __name__ == "__main__":
    sys.exit(main())
