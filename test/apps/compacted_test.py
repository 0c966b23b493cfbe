#!/usr/bin/env python3
"""A compacted topic on a real server and disk, with real clients: the latest record of each key is left."""

import pathlib
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

import clients
import confluent_kafka
import kafka
import wire
from cases import case, expect, expect_equal, run
from server import DEADLINE, Server, Workspace, program

POLICY_VIOLATION = 44
INVALID_RECORD = 87
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
KEYS = 500
ROUNDS = 20


def create(server, topic, *configs):
    flags = [flag for config in ("cleanup.policy=compact", *configs) for flag in ("-config", config)]
    subprocess.run([program("sentinel-cli"), "topics", "create", topic, "-broker", server.address, *flags],
                   check=True, capture_output=True, timeout=DEADLINE)


def send(server, topic):
    """Writes each key many times, more than a cleaner waits for; the last value of each key, deleted ones apart."""
    expected = {}
    for turn in range(ROUNDS):
        producer = confluent_kafka.Producer({"bootstrap.servers": server.address, "enable.idempotence": True,
                                             "compression.type": CODECS[turn % len(CODECS)], "linger.ms": 20})
        for number in range(KEYS):
            key = b"key-%d" % number
            value = None if turn == ROUNDS - 1 and number % 10 == 0 else b"%d of %d " % (turn, number) * 100
            expected[key] = value
            producer.produce(topic, value, key)
        expect_equal(producer.flush(DEADLINE), 0, "records not acknowledged")
    # The last batch of a log is never compacted: this is it.
    producer.produce(topic, b"end", b"end")
    expect_equal(producer.flush(DEADLINE), 0, "records not acknowledged")
    return {**expected, b"end": b"end"}


def read(server, topic):
    return [(message.offset(), message.key(), message.value())
            for message in clients.messages(server.address, topic)]


def read_when_clean(server, topic, count):
    deadline = time.monotonic() + DEADLINE
    while len(records := read(server, topic)) != count:
        expect(time.monotonic() < deadline, f"{len(records)} records are left, not {count}")
    return records


def read_by_kafka_python(server, topic):
    consumer = kafka.KafkaConsumer(bootstrap_servers=server.address, auto_offset_reset="earliest",
                                   consumer_timeout_ms=int(DEADLINE * 1000))
    place = kafka.TopicPartition(topic, 0)
    consumer.assign([place])
    end = consumer.end_offsets([place])[place]
    records = []
    for record in consumer:
        records.append((record.offset, record.key, record.value))
        if record.offset == end - 1:
            break
    consumer.close()
    return records


@case
def the_latest_record_of_each_key_is_left():
    with Workspace("compacted") as folder, Server(folder / "data") as server:
        create(server, "t", "min.cleanable.dirty.ratio=0.1", "delete.retention.ms=86400000")
        expected = send(server, "t")
        records = read_when_clean(server, "t", len(expected))
        expect_equal({key: value for _, key, value in records}, expected, "the latest records")
        expect_equal([offset for offset, _, _ in records], sorted(offset for offset, _, _ in records), "offsets")
        expect_equal(read_by_kafka_python(server, "t"), records, "what kafka-python reads")
        server.kill9()
        server.start()
        expect_equal(read(server, "t"), records, "the same after kill -9")
        server.stop()
        subprocess.run([program("sentinel-cli"), "verify", "-data", folder / "data"], check=True, capture_output=True)


@case
def what_a_compacted_topic_refuses():
    with Workspace("compacted") as folder, Server(folder / "data") as server:
        create(server, "t")
        with wire.Connection(server.bound_port) as connection:
            expect_equal(connection.produce("t", 0, wire.record_batch([b"without a key"]))[0], INVALID_RECORD,
                         "a record without a key")
            expect_equal(connection.delete_records("t", 0, 0)[1], POLICY_VIOLATION, "DeleteRecords")
        refused = subprocess.run([program("sentinel-cli"), "topics", "create", "u", "-broker", server.address, "-config",
                                  "min.cleanable.dirty.ratio=2"], capture_output=True, timeout=DEADLINE)
        expect(refused.returncode != 0 and b"min.cleanable.dirty.ratio" in refused.stderr, f"{refused.stderr!r}")
        server.stop()


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
