#!/usr/bin/env python3
"""A real text goes through the broker and comes back byte for byte, by every client and every codec.

    roundtrip_test.py [--megabytes N] [part of a case's name ...]

Runs once on each ring (SENTINEL_IO); on asio, which is the fallback, with a smaller text.
"""

import argparse
import hashlib
import pathlib
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

import clients
import confluent_kafka
import corpus
import kafka
import wire
from cases import case, expect, expect_equal, run
from server import DEADLINE, IO, Server, Workspace, program

CODECS = wire.CODECS
RECORD_BYTES = {"confluent": 4096, "kafka-python": 16384}


class Text:
    def __init__(self, path):
        self.path = path
        self.bytes = path.stat().st_size
        self.sha256 = hashlib.sha256(path.read_bytes()).hexdigest()


class World:
    server = None
    text = None


def pipe_in(command, path):
    with open(path, "rb") as text:
        done = subprocess.run(command, stdin=text, capture_output=True, timeout=5 * DEADLINE)
    expect_equal(done.returncode, 0, f"{command[0]}'s exit code, with {done.stderr.decode()!r}")


def pipe_out(command):
    digest = hashlib.sha256()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        while piece := process.stdout.read(1 << 20):
            digest.update(piece)
    expect_equal(process.returncode, 0, f"{command[0]}'s exit code")
    return digest.hexdigest()


# `record_end` is what a client's records lack of the text: the clients that take lines store them
# without the newline, the others store chunks of whole lines. A reader is told what to put back.


class Kcat:
    record_end = b"\n"

    def produce(self, topic, codec, text):
        compression = [] if codec == "none" else ["-z", codec]
        pipe_in(["kcat", "-P", "-b", World.server.address, "-t", topic, "-p", "0", *compression,
                 "-X", "acks=all"], text.path)

    def consume(self, topic, record_end=record_end):
        return pipe_out(["kcat", "-C", "-b", World.server.address, "-t", topic, "-p", "0", "-o", "beginning",
                         "-e", "-q", "-f", "%s\n" if record_end else "%s"])


class Cli:
    record_end = b"\n"

    def produce(self, topic, codec, text):
        pipe_in([program("sentinel-cli"), "produce", "--broker", World.server.address, "--topic", topic,
                 "--partition", "0", "--compression", codec], text.path)

    def consume(self, topic, record_end=record_end):
        expect_equal(record_end, b"\n", "what sentinel-cli puts behind a value")
        return pipe_out([program("sentinel-cli"), "consume", "--broker", World.server.address, "--topic", topic,
                         "--partition", "0", "--from-beginning", "-o", "value"])


class Confluent:
    record_end = b""

    def produce(self, topic, codec, text):
        failures = []
        producer = confluent_kafka.Producer({"bootstrap.servers": World.server.address, "acks": "all",
                                             "compression.type": codec, "linger.ms": 20})

        def delivered(error, _):
            if error is not None:
                failures.append(error)

        for record in corpus.chunks(text.path, RECORD_BYTES["confluent"]):
            while True:
                try:
                    producer.produce(topic, record, partition=0, on_delivery=delivered)
                    break
                except BufferError:
                    producer.poll(0.1)
            producer.poll(0)
        expect_equal(producer.flush(5 * DEADLINE), 0, "undelivered records")
        expect_equal(failures, [], "failed deliveries")

    def consume(self, topic, record_end=record_end):
        digest = hashlib.sha256()
        for message in clients.messages(World.server.address, topic):
            digest.update(message.value() + record_end)
        return digest.hexdigest()


class KafkaPython:
    record_end = b""

    def produce(self, topic, codec, text):
        producer = kafka.KafkaProducer(bootstrap_servers=World.server.address, acks="all", linger_ms=20,
                                       compression_type=None if codec == "none" else codec)
        futures = [producer.send(topic, record, partition=0)
                   for record in corpus.chunks(text.path, RECORD_BYTES["kafka-python"])]
        producer.flush(5 * DEADLINE)
        for number, future in enumerate(futures):
            expect_equal(future.get(DEADLINE).offset, number, "the offset acknowledged")
        producer.close()

    def consume(self, topic, record_end=record_end):
        consumer = kafka.KafkaConsumer(bootstrap_servers=World.server.address, group_id=None,
                                       enable_auto_commit=False)
        partition = kafka.TopicPartition(topic, 0)
        consumer.assign([partition])
        consumer.seek_to_beginning(partition)
        end = consumer.end_offsets([partition])[partition]
        digest, deadline = hashlib.sha256(), time.monotonic() + 5 * DEADLINE
        while consumer.position(partition) < end and time.monotonic() < deadline:
            for records in consumer.poll(timeout_ms=1000).values():
                for record in records:
                    digest.update(record.value + record_end)
        expect_equal(consumer.position(partition), end, "the position at the end")
        consumer.close()
        return digest.hexdigest()


CLIENTS = {"kcat": Kcat(), "sentinel-cli": Cli(), "confluent": Confluent(), "kafka-python": KafkaPython()}


def round_trip(client, codec):
    text, topic = World.text, f"{client}-{codec}"
    begin = time.monotonic()
    CLIENTS[client].produce(topic, codec, text)
    produced = time.monotonic()
    sha256 = CLIENTS[client].consume(topic)
    consumed = time.monotonic()
    print(f"     {client:12} {codec:6} {text.bytes / 1e6:5.1f} MB, "
          f"in {produced - begin:.1f} s, out {consumed - produced:.1f} s", flush=True)
    expect_equal(sha256, text.sha256, "sha256 of what came back")
    stored = wire.codecs_stored(World.server.bound_port, topic)
    # A client sends what does not shrink as it is; the broker stores what it gets.
    expect(codec in stored and stored <= {codec, "none"}, f"{codec} among the stored codecs {stored}")


@case
def kcat_carries_a_text_with_every_codec():
    for codec in CODECS:
        round_trip("kcat", codec)


@case
def sentinel_cli_carries_a_text_with_every_codec():
    for codec in CODECS:
        round_trip("sentinel-cli", codec)


@case
def the_confluent_client_carries_a_text_with_every_codec():
    for codec in CODECS:
        round_trip("confluent", codec)


@case
def kafka_python_carries_a_text_with_every_codec():
    for codec in CODECS:
        round_trip("kafka-python", codec)


@case
def each_client_reads_what_another_client_wrote():
    for writer, reader in (("kcat", "sentinel-cli"), ("sentinel-cli", "confluent"),
                           ("confluent", "kafka-python"), ("kafka-python", "kcat")):
        for codec in CODECS:
            sha256 = CLIENTS[reader].consume(f"{writer}-{codec}", CLIENTS[writer].record_end)
            expect_equal(sha256, World.text.sha256, f"{reader} of what {writer} wrote with {codec}")


@case
def the_text_is_still_there_after_a_restart():
    World.server.stop()
    World.server.start()
    for codec in CODECS:
        expect_equal(CLIENTS["kcat"].consume(f"kcat-{codec}"), World.text.sha256, "sha256")
    expect(World.server.running(), "the server runs")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--megabytes", type=int, default=5 if IO == "asio" else 50)
    parser.add_argument("cases", nargs="*")
    arguments = parser.parse_args()
    with Workspace("roundtrip") as folder:
        corpus.build(folder / "text", arguments.megabytes << 20)
        World.text = Text(folder / "text")
        print(f"a text of {World.text.bytes} bytes, --io {IO or 'auto'}")
        with Server(folder / "data") as World.server:
            code = run(arguments.cases)
            expect(World.server.running(), "the server runs to the end")
        return code


if __name__ == "__main__":
    sys.exit(main())
