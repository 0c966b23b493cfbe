#!/usr/bin/env python3
"""Hostile and broken clients: an error code or a closed connection, and nobody else notices.

All the while a well-behaved client writes, reads back and checks. The server's memory stays bounded
and its log short. Runs on each ring (SENTINEL_IO); the seed of the random bytes is printed.
"""

import pathlib
import random
import select
import socket
import struct
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

import clients
import confluent_kafka
import wire
from cases import case, expect, expect_equal, run
from server import DEADLINE, HOST, Server, Workspace

MIB = 1 << 20
RESIDENT_BYTES_MAX = 384 * MIB
TLS_HELLO = bytes.fromhex("16030100a5010000a10303") + bytes(range(150))
CONNECTION_LIMIT = 1000  # Open at once in one case, below the descriptors of one process.


class World:
    server = None
    bystander = None
    chance = None


class Bystander(threading.Thread):
    """Writes numbered records and reads them back, until it is told to stop."""

    def __init__(self, address):
        super().__init__(name="bystander")
        self.stopping = threading.Event()
        self.failures = []
        self.acked = 0
        self.read = 0
        self.slowest = 0.0
        self.producer = confluent_kafka.Producer({"bootstrap.servers": address, "acks": "all", "linger.ms": 1,
                                                  "enable.idempotence": True, "error_cb": self.failed})
        self.consumer = clients.consumer(address, [("bystander", 0, 0)],
                                         **{"enable.partition.eof": False, "error_cb": self.failed})

    def failed(self, error):
        self.failures.append(str(error))

    def delivered(self, error, _):
        if error is not None:
            self.failed(error)
        self.acked += 1

    def run(self):
        while not self.stopping.is_set() and not self.failures:
            begin, first = time.monotonic(), self.read
            for number in range(first, first + 20):
                self.producer.produce("bystander", b"%d" % number, partition=0, on_delivery=self.delivered)
            if self.producer.flush(DEADLINE):
                self.failures.append("records were not acknowledged")
            while self.read < first + 20 and not self.failures:
                message = self.consumer.poll(DEADLINE)
                if message is None or message.error() is not None:
                    self.failures.append(f"no record after {self.read}: {message and message.error()}")
                elif message.value() != b"%d" % self.read:
                    self.failures.append(f"{message.value()} in place of {self.read}")
                self.read += 1
            if first:  # The first round made the topic, and the clients ask for it at their own pace.
                self.slowest = max(self.slowest, time.monotonic() - begin)
        self.consumer.close()


def expect_all_is_well():
    """The server lives, the bystander gets on and memory is bounded."""
    server, bystander = World.server, World.bystander
    expect(server.running(), "the server runs")
    goal, deadline = bystander.read + 40, time.monotonic() + DEADLINE
    while bystander.read < goal and not bystander.failures:
        expect(time.monotonic() < deadline, "the bystander gets on")
        bystander.join(0.01)
    expect_equal(bystander.failures, [], "failures of the bystander")
    expect(server.resident_bytes() < RESIDENT_BYTES_MAX, f"{server.resident_bytes() // MIB} MiB resident")


def connect():
    return wire.Connection(World.server.bound_port)


def end_of(connection):
    """Ends the sending side and reads until the server has closed; returns what it said."""
    try:
        connection.socket.shutdown(socket.SHUT_WR)
    except OSError:
        return b""  # The server was faster.
    said = b""
    while True:
        try:
            piece = connection.socket.recv(65536)
        except ConnectionError:
            return said
        if not piece:
            return said
        said += piece


def expect_closed(connection):
    """The server closes by itself, without an answer."""
    try:
        expect_equal(connection.socket.recv(65536), b"", "an answer")
    except ConnectionError:
        pass


def send_all(connection, data):
    """Sends what the other side still takes."""
    try:
        connection.send(data)
    except ConnectionError:
        pass


@case
def random_bytes_end_the_connection():
    for _ in range(400):
        with connect() as connection:
            send_all(connection, World.chance.randbytes(World.chance.randrange(1, 3000)))
            end_of(connection)
    expect_all_is_well()


@case
def a_frame_cut_anywhere_is_not_answered():
    frame = wire.request(wire.METADATA, 4, struct.pack(">i", 1) + wire.string("bystander") + b"\0")
    for length in range(len(frame)):
        with connect() as connection:
            connection.send(frame[:length])
            expect_equal(end_of(connection), b"", f"answer to {length} bytes")
    with connect() as connection:
        connection.send(frame)
        expect(connection.receive() is not None, "the whole frame is answered")
    expect_all_is_well()


@case
def impossible_sizes_end_the_connection():
    for size in (-1, -(1 << 31), (1 << 31) - 1, 1 << 30, 0, 1, 7):
        with connect() as connection:
            send_all(connection, struct.pack(">i", size) + b"\0" * (size if 0 <= size < 8 else 0))
            expect_closed(connection)
    expect_all_is_well()


@case
def announced_bytes_that_never_come_take_no_memory():
    before = World.server.resident_bytes()
    connections = [connect() for _ in range(200)]
    for connection in connections:
        send_all(connection, struct.pack(">ihhi", 50_000_000, wire.PRODUCE, 3, 1) + b"\0\4wire" + b"\0" * 1000)
    expect_all_is_well()
    grown = World.server.resident_bytes() - before
    for connection in connections:
        connection.socket.close()
    expect(grown < 64 * MIB, f"{grown // MIB} MiB for requests that did not come")


@case
def other_protocols_end_the_connection():
    for hello in (TLS_HELLO, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n",
                  b"\0\0\0\x10SASL" + b"x" * 12):
        with connect() as connection:
            send_all(connection, hello)
            expect_equal(end_of(connection), b"", f"answer to {hello[:8]}")
    expect_all_is_well()


@case
def garbage_behind_a_valid_header_is_answered_or_ends_the_connection():
    for key in range(0, 95):
        for version in range(0, 14):
            with connect() as connection:
                body = World.chance.randbytes(World.chance.randrange(0, 200))
                send_all(connection, wire.request(key, version, body))
                end_of(connection)
    expect_all_is_well()


@case
def a_changed_byte_anywhere_in_a_request_is_survived():
    frames = [wire.request(wire.PRODUCE, 3, wire.produce_body("flipped", 0, wire.record_batch([b"value"] * 3))),
              wire.request(wire.METADATA, 4, struct.pack(">i", 1) + wire.string("bystander") + b"\0"),
              wire.request(wire.FETCH, 4, struct.pack(">iiiib", -1, 0, 0, MIB, 0) + struct.pack(">i", 1) +
                           wire.string("bystander") + struct.pack(">iiqi", 1, 0, 0, MIB))]
    for frame in frames:
        for at in range(4, len(frame)):
            for value in (0x00, 0x7F, 0x80, 0xFF):
                with connect() as connection:
                    send_all(connection, frame[:at] + bytes([value]) + frame[at + 1:])
                    end_of(connection)
    expect_all_is_well()


@case
def a_count_larger_than_the_frame_takes_no_memory():
    before = World.server.resident_bytes()
    for count in ((1 << 31) - 1, 1 << 24, -2):
        for key, version, front in ((wire.METADATA, 4, b""), (wire.FETCH, 4, struct.pack(">iiiib", -1, 0, 0, MIB, 0)),
                                    (wire.PRODUCE, 3, struct.pack(">hhi", -1, -1, 1000)),
                                    (wire.CREATE_TOPICS, 2, b""), (wire.LIST_OFFSETS, 1, struct.pack(">i", -1))):
            with connect() as connection:
                send_all(connection, wire.request(key, version, front + struct.pack(">i", count)))
                expect_closed(connection)
    grown = World.server.resident_bytes() - before
    expect(grown < 32 * MIB, f"{grown // MIB} MiB for counts without content")
    expect_all_is_well()


@case
def an_unknown_version_of_api_versions_is_told_the_known_ones():
    with connect() as connection:
        # Such a version has a header with tagged fields, and names the client.
        reader = connection.call(wire.API_VERSIONS, 99, b"\0" + b"\5wire" + b"\0021" + b"\0")
        expect_equal(reader.take("h"), wire.UNSUPPORTED_VERSION, "error code")
        known = [reader.take("hhh") for _ in range(reader.take("i"))]
        expect(any(key == wire.API_VERSIONS for key, _, _ in known), f"ApiVersions is among {known}")
        reader = connection.call(wire.API_VERSIONS, 0, b"")  # The connection goes on.
        expect_equal(reader.take("h"), wire.NONE, "error code of a second try")


@case
def an_unsupported_version_of_anything_else_ends_the_connection():
    for key, version in ((wire.METADATA, 99), (wire.FETCH, 3), (wire.FETCH, -1), (wire.LIST_OFFSETS, 0), (999, 0),
                         (-1, 0)):
        with connect() as connection:
            send_all(connection, wire.request(key, version, b""))
            expect_closed(connection)
    expect_all_is_well()


@case
def a_request_may_come_byte_by_byte():
    frame = wire.request(wire.PRODUCE, 3, wire.produce_body("slow", 0, wire.record_batch([b"value"])))
    with connect() as connection:
        expect_equal(connection.create_topic("slow"), 0, "creation")
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in frame:
            connection.send(bytes([byte]))
        expect(connection.receive() is not None, "it is answered")
        expect_equal(connection.end_offset("slow"), 1, "end offset")


@case
def thousands_of_connections_come_and_go():
    before = World.server.descriptors()
    for number in range(5000):
        with socket.create_connection((HOST, World.server.bound_port), DEADLINE) as each:
            if number % 3 == 0:
                each.sendall(b"\0\0\0\x20part")
            if number % 2 == 0:  # Closed by a reset.
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    held = [socket.create_connection((HOST, World.server.bound_port), DEADLINE) for _ in range(CONNECTION_LIMIT // 2)]
    expect_all_is_well()
    for each in held:
        each.close()
    deadline = time.monotonic() + DEADLINE
    while World.server.descriptors() > before + 8:
        expect(time.monotonic() < deadline, f"{World.server.descriptors()} descriptors, {before} before")
        World.bystander.join(0.02)
    expect_all_is_well()


@case
def a_client_that_reads_nothing_holds_back_only_itself():
    with connect() as connection:
        connection.create_topic("large")
        for _ in range(8):
            expect_equal(connection.produce("large", 0, wire.record_batch([b"x" * 900_000]))[0], 0, "produce")
    before = World.server.resident_bytes()
    fetch = wire.request(wire.FETCH, 4, struct.pack(">iiiib", -1, 0, 0, 8 * MIB, 0) + struct.pack(">i", 1) +
                         wire.string("large") + struct.pack(">iiqi", 1, 0, 0, 8 * MIB))
    greedy = [connect() for _ in range(20)]
    for connection in greedy:
        connection.socket.setblocking(False)
    deadline = time.monotonic() + DEADLINE
    while True:  # Each asks for as much as the server lets it ask.
        _, writable, _ = select.select([], [each.socket for each in greedy], [], 0.5)
        if not writable:
            break
        expect(time.monotonic() < deadline, "the server stops reading from who does not read")
        for each in writable:
            try:
                each.send(fetch * 100)
            except BlockingIOError:
                pass
    grown = World.server.resident_bytes() - before
    expect_all_is_well()
    for connection in greedy:
        connection.socket.close()
    expect(grown < 20 * 12 * MIB, f"{grown // MIB} MiB for twenty clients that do not read")
    expect_all_is_well()


@case
def answers_to_pipelined_requests_keep_their_order():
    with connect() as connection:
        connection.create_topic("pipelined")
        frames = b""
        for number in range(500):
            if number % 2:
                frames += wire.request(wire.METADATA, 4, struct.pack(">ib", 0, 0), number)
            else:
                frames += wire.request(wire.PRODUCE, 3, wire.produce_body(
                    "pipelined", 0, wire.record_batch([b"%d" % number])), number)
        connection.send(frames)
        for number in range(500):
            expect_equal(struct.unpack_from(">i", connection.receive())[0], number, "correlation id")
        expect_equal(connection.end_offset("pipelined"), 250, "end offset")


def batch_with(patches, values=(b"one", b"two"), fix_crc=True):
    batch = bytearray(wire.record_batch(list(values)))
    for layout, offset, value in patches:
        struct.pack_into(layout, batch, offset, value)
    if fix_crc:
        struct.pack_into(">I", batch, 17, wire.crc32c(bytes(batch[21:])))
    return bytes(batch)


@case
def a_wrong_checksum_is_refused_and_nothing_is_written():
    with connect() as connection:
        connection.create_topic("checked")
        expect_equal(connection.produce("checked", 0, wire.record_batch([b"good"])), (0, 0), "a good batch")
        good = wire.record_batch([b"value"])
        for at in range(17, len(good)):  # From the checksum to the last byte.
            bad = good[:at] + bytes([good[at] ^ 0x10]) + good[at + 1:]
            expect_equal(connection.produce("checked", 0, bad)[0], wire.CORRUPT_MESSAGE, f"byte {at} changed")
        expect_equal(connection.end_offset("checked"), 1, "end offset")
        expect_equal(connection.fetch("checked", 0, 0)[1], 1, "high watermark")
        expect_equal(connection.produce("checked", 0, good), (0, 1), "the next good batch")
    expect_all_is_well()


@case
def a_batch_that_contradicts_itself_is_refused_and_nothing_is_written():
    with connect() as connection:
        connection.create_topic("contradictory")
        whole = wire.record_batch([b"one", b"two"])
        bad = {
            "more records than there are": batch_with([(">i", 57, 3), (">i", 23, 2)]),
            "fewer records than there are": batch_with([(">i", 57, 1), (">i", 23, 0)]),
            "a count that does not fit the offsets": batch_with([(">i", 57, 1 << 30)]),
            "a negative count": batch_with([(">i", 57, -1)]),
            "no records": batch_with([(">i", 57, 0)]),
            "a last offset below zero": batch_with([(">i", 23, -1)]),
            "an unknown codec": batch_with([(">h", 21, 7)]),
            "a control batch": batch_with([(">h", 21, 0x20)]),
            "magic 1": batch_with([(">b", 16, 1)]),
            "magic 3": batch_with([(">b", 16, 3)]),
            "a length beyond the end": batch_with([(">i", 8, len(whole))]),
            "a negative length": batch_with([(">i", 8, -1)], fix_crc=False),
            "half a batch": whole[:len(whole) // 2],
            "a batch and a half": whole + whole[:20],
            "nothing": b"",
        }
        for name, batch in bad.items():
            error, _ = connection.produce("contradictory", 0, batch)
            if name != "nothing":
                expect(error != wire.NONE, f"{name} is refused")
            expect_equal(connection.end_offset("contradictory"), 0, f"end offset after {name}")
        expect_equal(connection.produce("contradictory", 0, whole), (0, 0), "a good batch")
    expect_all_is_well()


@case
def many_bad_clients_make_few_log_lines():
    lines, begin = World.server.log().count("\n"), time.monotonic()
    for _ in range(2000):
        with connect() as connection:
            send_all(connection, struct.pack(">i", -1))
            expect_closed(connection)
    seconds = time.monotonic() - begin
    found = World.server.log().count("\n") - lines
    allowed = 2 + 2 * World.shards * (seconds + 2)
    expect(found <= allowed, f"{found} lines in {seconds:.1f} s for 2000 bad clients")
    expect("suppressed" in World.server.log(), "what was left out is counted")
    for line in World.server.log().splitlines():
        expect(len(line) < 500, f"a line is short: {line[:600]!r}")


def main():
    seed = int(time.time_ns() & 0xFFFFFFFF)
    World.chance, World.shards = random.Random(seed), 2
    print(f"seed {seed}")
    with Workspace("hostile") as folder:
        with Server(folder / "data", "--shards", str(World.shards)) as World.server:
            World.bystander = Bystander(World.server.address)
            World.bystander.start()
            try:
                code = run(sys.argv[1:])
            finally:
                World.bystander.stopping.set()
                World.bystander.join()
            expect_equal(World.bystander.failures, [], "failures of the bystander")
            print(f"the bystander wrote and read {World.bystander.read} records, the slowest twenty took "
                  f"{World.bystander.slowest * 1000:.0f} ms; {World.server.resident_bytes() // MIB} MiB resident")
        return code


if __name__ == "__main__":
    sys.exit(main())
