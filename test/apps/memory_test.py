#!/usr/bin/env python3
"""The ceiling of memory on a real server: beyond it clients wait, and nothing else happens to them."""

import pathlib
import selectors
import struct
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

import wire
from cases import case, expect, expect_equal, run
from server import DEADLINE, Server, Workspace, run_server

MIB = 1 << 20
CEILING = 192
PARTITIONS = 8
BATCH = 900_000


def peak_bytes(server):
    status = pathlib.Path(f"/proc/{server.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


class Pipe:
    """A connection that sends without waiting for answers, and counts answers once it is told to read."""

    def __init__(self, port, data):
        self.connection = wire.Connection(port)
        self.socket = self.connection.socket
        self.socket.setblocking(False)
        self.unsent = memoryview(data)
        self.unread = b""
        self.answers = []
        self.reading = False

    def work(self, events):
        if events & selectors.EVENT_WRITE and self.unsent:
            self.unsent = self.unsent[self.socket.send(self.unsent[:MIB]):]
        if events & selectors.EVENT_READ and self.reading:
            piece = self.socket.recv(MIB)
            expect(piece, "the server closed a connection")
            self.unread += piece
            while len(self.unread) >= 4 and len(self.unread) - 4 >= (size := struct.unpack_from(">i", self.unread)[0]):
                self.answers.append(self.unread[4:4 + size])
                self.unread = self.unread[4 + size:]


def work(pipes, done, seconds=DEADLINE):
    """Lets all pipes work until `done`, or until nothing moves any more if that is None."""
    with selectors.DefaultSelector() as selector:
        for pipe in pipes:
            selector.register(pipe.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, pipe)
        deadline = time.monotonic() + seconds
        while not done():
            expect(time.monotonic() < deadline, "the server does not go on")
            for pipe in pipes:
                wanted = (selectors.EVENT_WRITE if pipe.unsent else 0) | (selectors.EVENT_READ if pipe.reading else 0)
                if wanted and (pipe.socket not in selector.get_map() or selector.get_key(pipe.socket).events != wanted):
                    if pipe.socket in selector.get_map():
                        selector.unregister(pipe.socket)
                    selector.register(pipe.socket, wanted, pipe)
                elif not wanted and pipe.socket in selector.get_map():
                    selector.unregister(pipe.socket)
            for key, events in selector.select(0.1):
                key.data.work(events)


def wait_for_answers(pipes, count):
    """Until answers to so many have begun to arrive, without reading them."""
    with selectors.DefaultSelector() as selector:
        for pipe in pipes:
            selector.register(pipe.socket, selectors.EVENT_READ)
        deadline = time.monotonic() + DEADLINE
        while len(selector.select(0.1)) < count:
            expect(time.monotonic() < deadline, "the server answers too few")


def produce_requests(count, partition):
    batch = wire.record_batch([b"v" * BATCH])
    return wire.request(wire.PRODUCE, 3, wire.produce_body("t", partition, batch)) * count


def fetch_requests(count, offset):
    body = (struct.pack(">iiiib", -1, 0, 0, 50 * MIB, 0) + struct.pack(">i", 1) + wire.string("t") +
            struct.pack(">i", PARTITIONS) +
            b"".join(struct.pack(">iqi", partition, offset, 10 * MIB) for partition in range(PARTITIONS)))
    return wire.request(wire.FETCH, 4, body) * count


@case
def producers_and_slow_readers_stay_below_the_ceiling():
    with Workspace("memory") as folder, Server(folder / "data", "--memory", f"{CEILING}MiB", "--shards", "2") as server:
        with wire.Connection(server.bound_port) as connection:
            connection.create_topic("t", PARTITIONS)
        # 60 producers with 10 requests of 900 KB each at once: three times the ceiling.
        pipes = [Pipe(server.bound_port, produce_requests(10, number % PARTITIONS)) for number in range(60)]
        for pipe in pipes:
            pipe.reading = True
        work(pipes, lambda: all(len(pipe.answers) == 10 for pipe in pipes))
        for answer in (answer for pipe in pipes for answer in pipe.answers):
            expect_equal(struct.unpack_from(">h", answer, 4 + 4 + 2 + 1 + 4 + 4)[0], wire.NONE, "a produce error")
        expect(peak_bytes(server) < CEILING * MIB, f"{peak_bytes(server) // MIB} MiB while producing")
        server.stop()
        server.start()
        # 100 consumers ask for 50 MiB each and do not read the answers.
        readers = [Pipe(server.bound_port, fetch_requests(1, 0)) for _ in range(100)]
        work(readers, lambda: not any(reader.unsent for reader in readers))
        wait_for_answers(readers, 8)
        expect(peak_bytes(server) < CEILING * MIB, f"{peak_bytes(server) // MIB} MiB with slow readers")
        # Once they read, each gets its answers, with as many records as there is memory for.
        for reader in readers:
            reader.reading = True
        work(readers, lambda: all(len(reader.answers) == 1 for reader in readers))
        smallest = min(len(answer) for reader in readers for answer in reader.answers)
        expect(smallest > BATCH, f"an answer of {smallest} bytes has no records")
        expect(peak_bytes(server) < CEILING * MIB, f"{peak_bytes(server) // MIB} MiB at the end")
        server.stop()


def expect_an_ordinary_client_gets_on(port):
    """Records that need memory on their way in and on their way out."""
    with wire.Connection(port) as connection:
        for partition in range(PARTITIONS):
            error, offset = connection.produce("t", partition, wire.record_batch([b"ordinary" * 2000]))
            expect_equal(error, wire.NONE, "a produce error")
            expect_equal(connection.fetch("t", partition, offset)[0], wire.NONE, "a fetch error")


@case
def clients_that_stop_in_the_middle_hold_up_nobody():
    with Workspace("memory") as folder, Server(folder / "data", "--memory", f"{CEILING}MiB", "--shards", "2") as server:
        with wire.Connection(server.bound_port) as connection:
            connection.create_topic("t", PARTITIONS)
            for partition in range(PARTITIONS):
                expect_equal(connection.produce("t", partition, wire.record_batch([b"v" * BATCH]))[0], 0, "produce")
        # Answers of 7 MB that nobody reads; requests of 8 MB of which only the beginning comes, with which a few take
        # all the memory.
        readers = [Pipe(server.bound_port, fetch_requests(8, 0)) for _ in range(60)]
        header = struct.pack(">ihhi", 8 * MIB, wire.PRODUCE, 3, 1) + b"\0\4wire"
        senders = [Pipe(server.bound_port, header + b"\0" * (20_000 if number < 6 else 1000)) for number in range(60)]
        work(readers + senders, lambda: not any(pipe.unsent for pipe in readers + senders))
        wait_for_answers(readers, 2)
        expect_an_ordinary_client_gets_on(server.bound_port)
        expect(peak_bytes(server) < CEILING * MIB, f"{peak_bytes(server) // MIB} MiB")
        expect(server.running(), "the server runs")
        server.stop()


@case
def a_ceiling_that_is_no_ceiling_is_refused():
    with Workspace("memory") as folder:
        for value, what in (("much", "no size"), ("64MiB", "too little"), ("-1", "no size")):
            code, _, errors = run_server("--data", folder / "data", "--port", "0", f"--memory={value}", "--shards", "2")
            expect(code == 2 and what in errors, f"{value}: {code} {errors!r}")


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
