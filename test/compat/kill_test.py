#!/usr/bin/env python3
"""kill -9 under load, again and again: every acknowledged record is there, once, in its place.

    kill_test.py [--cycles N] [--seed N]

Producers write numbered records of many sizes, some with idempotence, and live through every kill.
A follower reads along the whole time. At the end the log is read from the start and must show:
offsets without gaps; each acknowledged record with its bytes at its acknowledged offset; for an
idempotent producer each record exactly once and in order; for others acknowledged offsets in the
order of sending (a retry may leave a second copy that was never acknowledged); nothing that nobody
sent; and at each offset what the follower had seen there.

Runs once on each ring (SENTINEL_IO). The seed decides when to kill; it is printed.
"""

import argparse
import pathlib
import random
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

import clients
import confluent_kafka
from confluent_kafka.admin import AdminClient, NewTopic
from cases import expect, expect_equal
from server import DEADLINE, HOST, IO, Failure, Server, Workspace, free_port

TOPIC = "kill"
PARTITIONS = 4
RECORD_BYTES_MAX = 6000
# A client that reconnects fast and gives up only when the test has failed anyway.
PATIENT = {"reconnect.backoff.ms": 5, "reconnect.backoff.max.ms": 50, "socket.connection.setup.timeout.ms": 5000,
           "broker.address.family": "v4", "log_level": 0}


def value_of(producer, number):
    """The bytes of a record, which name it: a reader can tell whether they are right."""
    name = b"%s:%d:" % (producer.encode(), number)
    size = (number * 7919 + len(name)) % RECORD_BYTES_MAX
    return (name + b"%d " % (number * 31) * (size // 4 + 1))[:max(size, len(name))]


def name_of(value):
    producer, number, _ = value.split(b":", 2)
    return producer.decode(), int(number)


class Acknowledged:
    """A count that the killer waits on."""

    def __init__(self):
        self.count = 0
        self.changed = threading.Condition()

    def add(self):
        with self.changed:
            self.count += 1
            self.changed.notify_all()

    def wait_for(self, count):
        with self.changed:
            if not self.changed.wait_for(lambda: self.count >= count, DEADLINE):
                raise Failure(f"{self.count} records acknowledged after {DEADLINE:.0f} s, {count} expected")


class Producer(threading.Thread):
    """Sends numbered records until it is told to stop, then waits until all are acknowledged."""

    def __init__(self, name, address, total, **settings):
        super().__init__(name=name)
        self.idempotent = settings.get("enable.idempotence", False)
        self.total = total
        self.stopping = threading.Event()
        self.sent = 0
        self.acked = []  # (partition, offset, number) in the order of the answers.
        self.failures = []
        self.client = confluent_kafka.Producer({
            "bootstrap.servers": address, "acks": "all", "linger.ms": 1, "message.timeout.ms": 0,
            "retry.backoff.ms": 5, "queue.buffering.max.messages": 400, "error_cb": self.failed, **PATIENT,
            **settings})

    def failed(self, error):
        if error.fatal():
            self.failures.append(str(error))

    def delivered(self, number):
        def answered(error, message):
            if error is not None:
                self.failures.append(f"{self.name}:{number}: {error}")
                return
            self.acked.append((message.partition(), message.offset(), number))
            self.total.add()
        return answered

    def abandon(self):
        """The test has failed: what is queued will not be answered."""
        self.stopping.set()
        self.client.purge()

    def run(self):
        while not self.stopping.is_set() and not self.failures:
            try:
                self.client.produce(TOPIC, value_of(self.name, self.sent), partition=self.sent % PARTITIONS,
                                    on_delivery=self.delivered(self.sent))
                self.sent += 1
                self.client.poll(0)
            except BufferError:
                self.client.poll(0.05)
        left = self.client.flush(2 * DEADLINE)
        if left:
            self.failures.append(f"{self.name}: {left} records were never answered")


class Follower(threading.Thread):
    """Reads along; what it has seen at an offset must be there for good."""

    def __init__(self, address):
        super().__init__(name="follower")
        self.stopping = threading.Event()
        self.seen = {}
        self.contradictions = []
        self.client = clients.consumer(address, [(TOPIC, each, 0) for each in range(PARTITIONS)], **PATIENT, **{
            "auto.offset.reset": "error", "fetch.wait.max.ms": 50, "fetch.error.backoff.ms": 5,
            "enable.partition.eof": False})

    def run(self):
        while not self.stopping.is_set():
            for message in self.client.consume(1000, 0.1):
                if message.error() is None:
                    self.seen[(message.partition(), message.offset())] = name_of(message.value())
                elif message.error().code() == confluent_kafka.KafkaError._AUTO_OFFSET_RESET:
                    self.contradictions.append(f"an offset it had read up to is gone: {message.error()}")
                    return
        self.client.close()


def read_all(address):
    """Per partition the values from offset 0 to the end; offsets must have no gap."""
    log = [[] for _ in range(PARTITIONS)]
    for partition, found in enumerate(log):
        for message in clients.messages(address, TOPIC, partition):
            expect_equal(message.offset(), len(found), f"offset in partition {partition}")
            found.append(message.value())
    return log


def check(log, producers, follower):
    places = {}
    for partition, values in enumerate(log):
        for offset, value in enumerate(values):
            producer, number = name_of(value)
            expect_equal(value, value_of(producer, number), f"bytes at {partition}/{offset}")
            expect_equal(number % PARTITIONS, partition, f"the partition of {producer}:{number}")
            places.setdefault((producer, number), []).append(offset)
    for producer in producers:
        check_producer(producer, log, places)
    sent = sum(each.sent for each in producers)
    expect_equal(len(places), sent, "different records in the log")
    for (partition, offset), name in follower.seen.items():
        expect(offset < len(log[partition]), f"the follower saw {name} at {partition}/{offset}, which is gone")
        expect_equal(name_of(log[partition][offset]), name, f"what the follower saw at {partition}/{offset}")


def check_producer(producer, log, places):
    acked_once = set()
    last = {}
    for partition, offset, number in producer.acked:
        name = (producer.name, number)
        expect(name not in acked_once, f"{name} was acknowledged twice")
        acked_once.add(name)
        expect(name in places, f"acknowledged {name} is not in the log")
        if offset < 0:
            # The answer to a retry that the broker had already stored may name no offset.
            expect(producer.idempotent, f"{name} was acknowledged without an offset")
            continue
        expect(offset < len(log[partition]), f"{name} was acknowledged beyond the end, at {partition}/{offset}")
        expect_equal(name_of(log[partition][offset]), name, f"the record acknowledged at {partition}/{offset}")
        last_offset, last_number = last.get(partition, (-1, -1))
        expect(last_offset < offset and last_number < number,
               f"{name} at {offset} was acknowledged behind {last_number} at {last_offset}")
        last[partition] = (offset, number)
    expect_equal(len(acked_once), producer.sent, f"records of {producer.name} acknowledged")
    if not producer.idempotent:
        return
    for partition, values in enumerate(log):
        numbers = [number for name, number in map(name_of, values) if name == producer.name]
        expect_equal(numbers, list(range(partition, producer.sent, PARTITIONS)),
                     f"records of idempotent {producer.name} in partition {partition}")


def one_cycle(server, total, chance):
    """Lets the load run for a while and kills, now and then also a server that is still starting."""
    total.wait_for(total.count + chance.randrange(1, 1200))
    server.kill9()
    kills = 1
    if chance.random() < 0.2:
        server.start_and_kill9(chance.randrange(1, 3))
        kills = 2
    server.start()
    return kills


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--cycles", type=int, default=30)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}, {arguments.cycles} cycles, --io {IO or 'auto'}", flush=True)
    chance = random.Random(arguments.seed)
    begin, total, kills = time.monotonic(), Acknowledged(), 0
    with Workspace("kill") as folder, Server(folder / "data", port=free_port()) as server:
        address = f"{HOST}:{server.bound_port}"
        admin = AdminClient({"bootstrap.servers": address})
        admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)])[TOPIC].result(DEADLINE)
        producers = [Producer("idempotent-a", address, total, **{"enable.idempotence": True}),
                     Producer("idempotent-b", address, total, **{"enable.idempotence": True,
                                                                 "compression.type": "lz4"}),
                     Producer("plain-a", address, total, **{"max.in.flight": 1}),
                     Producer("plain-b", address, total, **{"max.in.flight": 1, "compression.type": "zstd"})]
        follower = Follower(address)
        for thread in (*producers, follower):
            thread.start()
        try:
            while kills < arguments.cycles:
                kills += one_cycle(server, total, chance)
                expect_equal([text for each in producers for text in each.failures], [], "failures")
        except BaseException:
            for each in producers:
                each.abandon()
            raise
        finally:
            for each in producers:
                each.stopping.set()
            for each in producers:
                each.join()
            follower.stopping.set()
            follower.join()
        expect_equal([text for each in producers for text in each.failures], [], "failures")
        expect_equal(follower.contradictions, [], "contradictions")
        log = read_all(address)
        check(log, producers, follower)
    records = sum(map(len, log))
    print(f"{kills} kills, {total.count} records acknowledged, {records} in the log "
          f"({records - sum(each.sent for each in producers)} second copies from retries without idempotence), "
          f"{len(follower.seen)} seen by the follower, {time.monotonic() - begin:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
