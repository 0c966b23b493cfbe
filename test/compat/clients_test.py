#!/usr/bin/env python3
"""What one client writes, another one reads: keys, headers, nulls, sizes, timestamps, and topic administration.

Runs on each ring (SENTINEL_IO). Consumers assign partitions themselves.
"""

import json
import os
import pathlib
import select
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

import clients
import confluent_kafka
import kafka
import kafka.admin
import kafka.errors
import wire
from confluent_kafka.admin import AdminClient, NewTopic
from cases import case, expect, expect_equal, run
from server import DEADLINE, Server, Workspace, program

# Recent, so that no retention applies, and far enough from now to be told from the broker's clock.
TIMESTAMP = int(time.time()) * 1000 - 3_600_000
BIG = b"0123456789" * 100_000

# (key, value, headers), as every client can write and show them.
EDGE_RECORDS = [
    (None, b"no key", []),
    (b"key", b"value", []),
    (b"key", None, []),
    (None, None, []),
    (b"", b"", []),
    (b"key", b"", []),
    (b"headers", b"one", [("name", b"value")]),
    (b"headers", b"three", [("same", b"1"), ("same", b"2"), ("empty", b"")]),
    ("schlüssel".encode(), "größe \u2713 \U0001f600".encode(), [("größe", "\u2713".encode())]),
    (b"big", BIG, []),
]


class World:
    server = None


def confluent_producer(**settings):
    return confluent_kafka.Producer({"bootstrap.servers": World.server.address, "acks": "all",
                                     **{name.replace("_", "."): value for name, value in settings.items()}})


def confluent_send(topic, records, partition=0, first_timestamp=TIMESTAMP, **settings):
    """Sends (key, value, headers); returns the offsets acknowledged."""
    outcomes = []
    producer = confluent_producer(**{"message_max_bytes": 1_040_000, **settings})
    for number, (key, value, headers) in enumerate(records):
        producer.produce(topic, value, key, partition, on_delivery=lambda *outcome: outcomes.append(outcome),
                         timestamp=first_timestamp + number, headers=headers)
    expect_equal(producer.flush(DEADLINE), 0, "undelivered records")
    expect_equal([str(error) for error, _ in outcomes if error is not None], [], "failed deliveries")
    return [message.offset() for _, message in outcomes]


def confluent_read(topic, partition=0):
    """All records up to the end as (offset, timestamp, key, value, headers)."""
    return [(message.offset(), message.timestamp()[1], message.key(), message.value(), message.headers() or [])
            for message in clients.messages(World.server.address, topic, partition)]


def kafka_python_send(topic, records, partition=0, **settings):
    producer = kafka.KafkaProducer(bootstrap_servers=World.server.address,
                                   **{"acks": "all", "max_request_size": 1_040_000, **settings})
    futures = [producer.send(topic, value, key, headers, partition, TIMESTAMP + number)
               for number, (key, value, headers) in enumerate(records)]
    producer.flush(DEADLINE)
    offsets = [future.get(DEADLINE).offset for future in futures]
    producer.close()
    return offsets


def kafka_python_read(topic, partition=0):
    consumer = kafka.KafkaConsumer(bootstrap_servers=World.server.address, group_id=None, enable_auto_commit=False)
    place = kafka.TopicPartition(topic, partition)
    consumer.assign([place])
    consumer.seek_to_beginning(place)
    end = consumer.end_offsets([place])[place]
    records, deadline = [], time.monotonic() + DEADLINE
    while consumer.position(place) < end and time.monotonic() < deadline:
        for polled in consumer.poll(timeout_ms=1000).values():
            records += [(each.offset, each.timestamp, each.key, each.value, list(each.headers)) for each in polled]
    expect_equal(consumer.position(place), end, "position at the end")
    consumer.close()
    return records


def command(*arguments, stdin=b"", code=0):
    done = subprocess.run(list(map(str, arguments)), input=stdin, capture_output=True, timeout=DEADLINE)
    expect_equal(done.returncode, code, f"exit code of {arguments[:2]}, which said {done.stderr.decode()!r}")
    return done.stdout


def kcat(*arguments, stdin=b"", code=0):
    return command("kcat", "-b", World.server.address, *arguments, stdin=stdin, code=code)


def cli(verb, *arguments, stdin=b"", code=0):
    return command(program("sentinel-cli"), verb, "--broker", World.server.address, *arguments, stdin=stdin,
                   code=code)


def encoded(text):
    return None if text is None else text.encode()


def kcat_read(topic, partition=0):
    records = []
    for line in kcat("-C", "-t", topic, "-p", partition, "-o", "beginning", "-e", "-q", "-J").splitlines():
        record = json.loads(line)
        headers = record.get("headers", [])
        records.append((record["offset"], record["ts"], encoded(record["key"]), encoded(record["payload"]),
                        [(name, encoded(value)) for name, value in zip(headers[::2], headers[1::2])]))
    return records


def cli_read(topic, partition=0):
    records = []
    for line in cli("consume", "--topic", topic, "--partition", partition, "--from-beginning", "-o",
                    "json").splitlines():
        record = json.loads(line)
        records.append((record["offset"], record["timestamp"], encoded(record["key"]), encoded(record["value"]),
                        [(each["key"], encoded(each["value"])) for each in record["headers"]]))
    return records


READERS = {"confluent": confluent_read, "kafka-python": kafka_python_read, "kcat": kcat_read,
           "sentinel-cli": cli_read}


def as_read(records):
    return [(number, TIMESTAMP + number, key, value, headers) for number, (key, value, headers) in enumerate(records)]


@case
def every_client_reads_keys_headers_nulls_and_a_megabyte_written_by_confluent_with_every_codec():
    for codec in wire.CODECS:
        topic = f"edge-confluent-{codec}"
        confluent_send(topic, EDGE_RECORDS, compression_type=codec)
        for name, read in READERS.items():
            expect_equal(read(topic), as_read(EDGE_RECORDS), f"{name} of {topic}")


@case
def every_client_reads_keys_headers_nulls_and_a_megabyte_written_by_kafka_python_with_every_codec():
    for codec in wire.CODECS:
        topic = f"edge-python-{codec}"
        # It refuses to write a record that has neither a key nor a value.
        records = [each for each in EDGE_RECORDS if each[:2] != (None, None)]
        kafka_python_send(topic, records, compression_type=None if codec == "none" else codec)
        for name, read in READERS.items():
            expect_equal(read(topic), as_read(records), f"{name} of {topic}")


@case
def a_header_without_a_value_stays_without_one():
    records = [(b"key", b"value", [("null", None), ("empty", b""), ("", b"nameless")])]
    confluent_send("null-header", records)
    for name, read in READERS.items():
        expect_equal(read("null-header"), as_read(records), name)


@case
def every_client_reads_what_kcat_wrote():
    lines = b"k1:v1\n:no key\nk2:\nk3:with:colons\n"
    kcat("-P", "-t", "from-kcat", "-p", 0, "-K:", "-Z", "-H", "a=1", "-H", "b=", stdin=lines)
    for name, read in READERS.items():
        records = [(key, value, headers[0]) for _, _, key, value, headers in read("from-kcat")]
        expect_equal(records, [(b"k1", b"v1", ("a", b"1")), (None, b"no key", ("a", b"1")),
                               (b"k2", None, ("a", b"1")), (b"k3", b"with:colons", ("a", b"1"))], name)


@case
def every_client_reads_what_sentinel_cli_wrote():
    for codec in wire.CODECS:
        topic = f"from-cli-{codec}"
        arguments = ("--topic", topic, "--partition", 0, "--compression", codec, "--header", "a=1")
        cli("produce", *arguments, "--key-separator", ":", stdin="k1:v1\nk2:\nschlüssel:größe\n".encode())
        cli("produce", *arguments, "--message", "no key")
        cli("produce", *arguments, stdin=BIG + b"\n\n")
        wanted = [(b"k1", b"v1"), (b"k2", b""), ("schlüssel".encode(), "größe".encode()), (None, b"no key"),
                  (None, BIG), (None, b"")]
        for name, read in READERS.items():
            records = read(topic)
            expect_equal([(key, value) for _, _, key, value, _ in records], wanted, f"{name} of {topic}")
            expect_equal([headers for *_, headers in records], [[("a", b"1")]] * len(wanted), f"{name}'s headers")


@case
def a_record_above_the_limit_is_refused_and_nothing_is_written():
    confluent_send("too-large", [(None, b"first", [])])
    outcomes = []
    producer = confluent_producer(message_max_bytes=3_000_000)
    producer.produce("too-large", b"x" * 2_000_000, partition=0, on_delivery=lambda *each: outcomes.append(each[0]))
    expect_equal(producer.flush(DEADLINE), 0, "undecided records")
    expect_equal(outcomes[0] and outcomes[0].code(), confluent_kafka.KafkaError.MSG_SIZE_TOO_LARGE, "the error")
    expect_equal(len(confluent_read("too-large")), 1, "records")


@case
def each_level_of_acknowledgement_stores_the_records():
    records = [(None, b"%d" % number, []) for number in range(1000)]
    for acks in (0, 1, -1):
        confluent_send(f"acks-confluent-{acks}", records, acks=acks)
        kafka_python_send(f"acks-python-{acks}", records, acks="all" if acks == -1 else acks)
        lines = b"".join(value + b"\n" for _, value, _ in records)
        kcat("-P", "-t", f"acks-kcat-{acks}", "-p", 0, "-X", f"acks={acks}", stdin=lines)
        for client in ("confluent", "python", "kcat"):
            topic = f"acks-{client}-{acks}"
            _wait_for_end(topic, len(records))  # Nobody was told when acks=0 arrived.
            expect_equal([value for _, _, _, value, _ in confluent_read(topic)],
                         [value for _, value, _ in records], topic)


def _wait_for_end(topic, offset):
    deadline = time.monotonic() + DEADLINE
    with wire.Connection(World.server.bound_port) as connection:
        while connection.end_offset(topic) < offset:
            expect(time.monotonic() < deadline, f"{topic} has {connection.end_offset(topic)} of {offset} records")


@case
def an_idempotent_producer_writes_each_record_once():
    records = [(None, b"%d" % number, []) for number in range(20_000)]
    offsets = confluent_send("idempotent", records, enable_idempotence=True, linger_ms=1)
    expect_equal(offsets, list(range(len(records))), "offsets acknowledged")
    expect_equal([value for _, _, _, value, _ in confluent_read("idempotent")], [value for _, value, _ in records],
                 "values")


@case
def records_are_found_by_timestamp():
    step = 10
    records = [(None, b"%d" % number, []) for number in range(100)]
    for number, record in enumerate(records):
        if number % 10 == 0:  # One batch each.
            confluent_send("times", records[number:number + 10], first_timestamp=TIMESTAMP + number * step)
    # Within a batch timestamps ascend by one: record n has TIMESTAMP + (n // 10) * 100 + n % 10.
    questions = {TIMESTAMP - 5: 0, TIMESTAMP: 0, TIMESTAMP + 4: 4, TIMESTAMP + 10: 10, TIMESTAMP + 100: 10,
                 TIMESTAMP + 305: 35, TIMESTAMP + 309: 39, TIMESTAMP + 310: 40, TIMESTAMP + 909: 99}
    confluent = clients.consumer(World.server.address, [])
    python = kafka.KafkaConsumer(bootstrap_servers=World.server.address, group_id=None)
    place = kafka.TopicPartition("times", 0)
    for timestamp, offset in questions.items():
        answer = confluent.offsets_for_times([confluent_kafka.TopicPartition("times", 0, timestamp)], DEADLINE)
        expect_equal(answer[0].offset, offset, f"confluent at {timestamp - TIMESTAMP}")
        expect_equal(python.offsets_for_times({place: timestamp})[place].offset, offset,
                     f"kafka-python at {timestamp - TIMESTAMP}")
        expect_equal(kcat("-Q", "-t", f"times:0:{timestamp}").decode().strip(), f"times [0] offset {offset}", "kcat")
    expect_equal(python.offsets_for_times({place: TIMESTAMP + 910})[place], None, "nothing is that late")
    expect_equal(python.beginning_offsets([place])[place], 0, "beginning")
    expect_equal(python.end_offsets([place])[place], 100, "end")
    expect_equal(confluent.get_watermark_offsets(confluent_kafka.TopicPartition("times", 0), DEADLINE), (0, 100),
                 "watermarks")
    expect_equal(kcat("-C", "-t", "times", "-p", 0, "-o", f"s@{TIMESTAMP + 305}", "-c", 1, "-q"), b"35\n",
                 "kcat from a timestamp")
    confluent.close()
    python.close()


@case
def many_partitions_keep_their_records_apart():
    partitions = 64
    _create("wide", partitions)
    keys = [b"key-%d" % number for number in range(500)]
    producer = confluent_producer(partitioner="murmur2")
    for round_number in range(4):
        for key in keys:
            producer.produce("wide", b"%d" % round_number, key)
    expect_equal(producer.flush(DEADLINE), 0, "undelivered records")
    found = {}
    for partition in range(partitions):
        for _, _, key, value, _ in confluent_read("wide", partition):
            found.setdefault(key, []).append((partition, value))
    expect_equal(len(found), len(keys), "keys")
    for key, places in found.items():
        expect_equal(places, [(places[0][0], b"%d" % each) for each in range(4)], f"places of {key}")


@case
def all_clients_put_a_key_into_the_same_partition():
    _create("hashed", 7)
    keys = [b"key-%d" % number for number in range(50)]
    confluent = confluent_producer(partitioner="murmur2")
    python = kafka.KafkaProducer(bootstrap_servers=World.server.address, acks="all")
    for key in keys:
        confluent.produce("hashed", b"confluent", key)
        python.send("hashed", b"kafka-python", key)
    confluent.flush(DEADLINE)
    python.close(DEADLINE)
    cli("produce", "--topic", "hashed", "--key-separator", ":",
        stdin=b"".join(key + b":sentinel-cli\n" for key in keys))
    kcat("-P", "-t", "hashed", "-K:", "-X", "topic.partitioner=murmur2",
         stdin=b"".join(key + b":kcat\n" for key in keys))
    found = {}
    for partition in range(7):
        for _, _, key, value, _ in confluent_read("hashed", partition):
            found.setdefault(key, []).append((partition, value))
    for key in keys:
        wanted = [(found[key][0][0], name) for name in (b"confluent", b"kafka-python", b"kcat", b"sentinel-cli")]
        expect_equal(sorted(found[key]), wanted, f"places of {key}")


@case
def keyless_records_spread_over_the_partitions():
    _create("spread", 4)
    cli("produce", "--topic", "spread", stdin=b"".join(b"%d\n" % number for number in range(40_000)))
    counts = [len(confluent_read("spread", partition)) for partition in range(4)]
    expect_equal(sum(counts), 40_000, "records")
    lines = cli("consume", "--topic", "spread", "--from-beginning", "-o", "value").split()
    expect_equal(sorted(map(int, lines)), list(range(40_000)), "what sentinel-cli reads from all partitions")


def _admin():
    return AdminClient({"bootstrap.servers": World.server.address})


def _create(topic, partitions=1):
    admin = _admin()
    admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(DEADLINE)


def _confluent_error(future):
    try:
        future.result(DEADLINE)
    except confluent_kafka.KafkaException as error:
        return error.args[0].code()
    return confluent_kafka.KafkaError.NO_ERROR


@case
def the_confluent_admin_client_creates_and_deletes_topics():
    admin, errors = _admin(), confluent_kafka.KafkaError
    created = admin.create_topics([NewTopic("admin-a", 3, 1), NewTopic("admin-b", 1, 1)])
    expect_equal([_confluent_error(each) for each in created.values()], [0, 0], "creation")
    topics = admin.list_topics(timeout=DEADLINE).topics
    expect_equal((len(topics["admin-a"].partitions), len(topics["admin-b"].partitions)), (3, 1), "partitions")

    def create(*topic, **options):
        return _confluent_error(next(iter(admin.create_topics([NewTopic(*topic)], **options).values())))

    expect_equal(create("admin-a", 1, 1), errors.TOPIC_ALREADY_EXISTS, "creating again")
    expect_equal(create("not/a name", 1, 1), errors.TOPIC_EXCEPTION, "an impossible name")
    expect_equal(create("admin-c", 1, 1, validate_only=True), errors.NO_ERROR, "validation")
    expect("admin-c" not in admin.list_topics(timeout=DEADLINE).topics, "validation creates nothing")
    expect_equal(create("admin-d", 1, 3), errors.INVALID_REPLICATION_FACTOR, "three replicas on one node")
    twice = admin.create_topics([NewTopic("admin-e", 1, 1), NewTopic("admin-e", 2, 1)])
    expect_equal(_confluent_error(twice["admin-e"]), errors.INVALID_REQUEST, "one name twice")

    confluent_send("admin-a", [(None, b"old", [])])
    expect_equal(_confluent_error(admin.delete_topics(["admin-a"])["admin-a"]), 0, "deletion")
    expect("admin-a" not in admin.list_topics(timeout=DEADLINE).topics, "the deleted topic is gone")
    expect_equal(_confluent_error(admin.delete_topics(["admin-a"])["admin-a"]), errors.UNKNOWN_TOPIC_OR_PART,
                 "deleting again")
    expect_equal(create("admin-a", 1, 1), errors.NO_ERROR, "creating what was deleted")
    expect_equal(confluent_read("admin-a"), [], "the new topic is empty")


@case
def the_kafka_python_admin_client_creates_and_deletes_topics():
    admin = kafka.admin.KafkaAdminClient(bootstrap_servers=World.server.address)
    admin.create_topics([kafka.admin.NewTopic("python-a", 2, 1)])
    expect("python-a" in admin.list_topics(), "the topic is listed")
    expect_equal(len(admin.describe_topics(["python-a"])[0]["partitions"]), 2, "partitions")
    try:
        admin.create_topics([kafka.admin.NewTopic("python-a", 2, 1)])
        raise AssertionError("a topic was created twice")
    except kafka.errors.TopicAlreadyExistsError:
        pass
    admin.delete_topics(["python-a"])
    expect("python-a" not in admin.list_topics(), "the deleted topic is gone")
    try:
        admin.delete_topics(["python-a"])
        raise AssertionError("a topic was deleted twice")
    except kafka.errors.UnknownTopicOrPartitionError:
        pass
    admin.close()


@case
def kcat_lists_brokers_topics_and_partitions():
    _create("listed", 3)
    text = kcat("-L").decode()
    expect(f" broker 1 at {World.server.address}" in text, f"the broker is listed in {text}")
    expect('topic "listed" with 3 partitions' in text, f"the topic is listed in {text}")
    described = json.loads(kcat("-L", "-J", "-t", "listed"))["topics"][0]["partitions"]
    expect_equal([(each["partition"], each["leader"], [node["id"] for node in each["replicas"]])
                  for each in described], [(number, 1, [1]) for number in range(3)], "partitions")


@case
def sentinel_cli_manages_topics():
    cli("topics", "create", "cli-topic", "--partitions", 3)
    expect("cli-topic" in cli("topics", "list").decode(), "the topic is listed")
    expect_equal(len(_admin().list_topics(timeout=DEADLINE).topics["cli-topic"].partitions), 3, "partitions")
    expect("cli-topic" in cli("topics", "describe", "cli-topic").decode(), "the topic is described")
    cli("topics", "create", "cli-topic", code=1)
    cli("topics", "delete", "cli-topic")
    expect("cli-topic" not in cli("topics", "list").decode(), "the deleted topic is gone")
    cli("topics", "delete", "cli-topic", code=1)


@case
def topics_and_records_survive_a_restart():
    _create("lasting", 3)
    confluent_send("lasting", EDGE_RECORDS, partition=2)
    World.server.stop().start()
    expect_equal(len(_admin().list_topics(timeout=DEADLINE).topics["lasting"].partitions), 3, "partitions")
    expect_equal(confluent_read("lasting", 2), as_read(EDGE_RECORDS), "records")
    confluent_send("lasting", EDGE_RECORDS, partition=2)
    expect_equal([each[0] for each in confluent_read("lasting", 2)], list(range(2 * len(EDGE_RECORDS))), "offsets")


@case
def a_consumer_at_the_end_gets_what_comes_next():
    _create("live")
    follower = subprocess.Popen(
        [program("sentinel-cli"), "consume", "--broker", World.server.address, "--topic", "live",
         "--partition", "0", "--from-beginning", "--follow", "-o", "value"], stdout=subprocess.PIPE)
    consumer = clients.consumer(World.server.address, [("live", 0, 0)],
                                **{"fetch.wait.max.ms": 30_000, "enable.partition.eof": False})
    try:
        for number in range(20):
            confluent_send("live", [(None, b"%d" % number, [])])
            expect_equal(consumer.poll(DEADLINE).value(), b"%d" % number, "what the consumer got")
            ready, _, _ = select.select([follower.stdout], [], [], DEADLINE)
            expect(ready, "sentinel-cli follows")
            expect_equal(os.read(follower.stdout.fileno(), 100), b"%d\n" % number, "what sentinel-cli got")
    finally:
        follower.terminate()
        follower.communicate()
        consumer.close()


@case
def without_automatic_creation_an_unknown_topic_stays_unknown():
    World.server.stop()
    World.server.flags = ["--auto-create-topics", "false"]
    World.server.start()
    outcomes = []
    producer = confluent_producer(topic_metadata_propagation_max_ms=1000)
    producer.produce("never-created", b"x", on_delivery=lambda error, _: outcomes.append(error.code()))
    expect_equal(producer.flush(DEADLINE), 0, "undecided records")
    expect(outcomes[0] in (confluent_kafka.KafkaError.UNKNOWN_TOPIC_OR_PART,
                           confluent_kafka.KafkaError._UNKNOWN_TOPIC), f"the error is {outcomes}")
    expect("never-created" not in _admin().list_topics(timeout=DEADLINE).topics, "nothing was created")


def main():
    with Workspace("clients") as folder:
        with Server(folder / "data") as World.server:
            code = run(sys.argv[1:])
            expect(World.server.running(), "the server runs to the end")
        return code


if __name__ == "__main__":
    sys.exit(main())
