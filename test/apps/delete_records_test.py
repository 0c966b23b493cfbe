#!/usr/bin/env python3
"""DeleteRecords on a real server and disk: the start moves, for every client and for good."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

import clients
import wire
from cases import case, expect_equal, run
from server import Server, Workspace

OFFSET_OUT_OF_RANGE = 1


def produce(connection, topic, first, count):
    for number in range(first, first + count):
        connection.produce(topic, 0, wire.record_batch([b"value-%d" % number, b"other-%d" % number]))


def values(server):
    return [message.value() for message in
            clients.messages(server.address, "t", **{"auto.offset.reset": "earliest"})]


@case
def what_is_deleted_is_gone_for_good():
    with Workspace("delete-records") as folder, Server(folder / "data") as server:
        with wire.Connection(server.bound_port) as connection:
            connection.create_topic("t")
            produce(connection, "t", 0, 10)
            expect_equal(connection.delete_records("t", 0, 7), (7, wire.NONE), "an offset inside a batch")
            expect_equal(connection.delete_records("t", 0, 3), (7, wire.NONE), "an offset below the start")
            expect_equal(connection.delete_records("t", 0, 21)[1], OFFSET_OUT_OF_RANGE, "beyond the end")
            expect_equal(connection.delete_records("t", 5, 1)[1], wire.UNKNOWN_TOPIC, "an unknown partition")
            expect_equal(connection.fetch("t", 0, 6)[0], OFFSET_OUT_OF_RANGE, "a read below the start")
            expect_equal(connection.fetch("t", 0, 7)[0], wire.NONE, "a read at the start")
        first = values(server)[0]
        expect_equal(first, b"other-3", "what a consumer from the beginning gets first")
        server.kill9()
        server.start()
        expect_equal(values(server)[0], b"other-3", "the same after kill -9")
        with wire.Connection(server.bound_port) as connection:
            expect_equal(connection.delete_records("t", 0, -1), (20, wire.NONE), "everything")
            produce(connection, "t", 10, 1)
        server.stop()
        server.start()
        expect_equal(values(server), [b"value-10", b"other-10"], "what came later")
        server.stop()


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
