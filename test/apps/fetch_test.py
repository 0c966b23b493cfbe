#!/usr/bin/env python3
"""What a fetch of several partitions returns when its limits do not allow for all: partitions of one topic live on
different shards, which a client knows nothing of."""

import contextlib
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

import wire
from cases import case, expect, expect_equal, run
from server import Server, Workspace

PARTITIONS = 6
MIB = 1 << 20
# Far longer than a test may take: an answer that waits for it is one that never comes.
LONG_MS = 600_000


def fill(connection, topic, partitions, batches=8, bytes_each=MIB // 2):
    for partition in partitions:
        for number in range(batches):
            batch = wire.record_batch([bytes([number]) * bytes_each])
            expect_equal(connection.produce(topic, partition, batch)[0], wire.NONE, "produce")


@contextlib.contextmanager
def two_shards():
    """A connection to a server with two shards, on which neighbouring partitions live in turn."""
    with Workspace("fetch") as folder, Server(folder / "data", "--shards", "2") as server:
        with wire.Connection(server.bound_port) as connection:
            connection.server = server
            yield connection


def from_start(partitions=range(PARTITIONS)):
    return {partition: 0 for partition in partitions}


@case
def partitions_of_all_shards_get_their_share():
    with two_shards() as connection:
        connection.create_topic("t", PARTITIONS)
        fill(connection, "t", range(PARTITIONS))
        answers = connection.fetch_all("t", from_start(), bytes_max=4 * MIB, partition_max=4 * MIB)
        sizes = {partition: len(batches) for partition, (_, _, batches) in answers.items()}
        expect(sum(sizes.values()) <= 4 * MIB, f"the limit holds: {sizes}")
        for parity in (0, 1):
            served = sum(size for partition, size in sizes.items() if partition % 2 == parity)
            expect(served >= MIB, f"each shard's partitions get about half: {sizes}")


@case
def one_large_batch_comes_whatever_shard_it_is_on():
    with two_shards() as connection:
        for partition in (0, 1):
            topic = f"t{partition}"
            connection.create_topic(topic, 2)
            fill(connection, topic, [partition], batches=2)
            answers = connection.fetch_all(topic, from_start(range(2)), bytes_max=1000, wait_ms=LONG_MS, min_bytes=1)
            size = len(answers[partition][2])
            expect(MIB // 2 < size < MIB, f"one whole batch of partition {partition}, not {size} bytes")


@case
def what_the_limits_hold_back_is_not_waited_for():
    with two_shards() as connection:
        connection.create_topic("t", PARTITIONS)
        fill(connection, "t", [0])
        # A share of the limit would be less than what is asked for at least; there is enough on one shard.
        answers = connection.fetch_all("t", from_start(), bytes_max=3 * MIB, min_bytes=2 * MIB, wait_ms=LONG_MS)
        expect(len(answers[0][2]) > 2 * MIB, f"{len(answers[0][2])} bytes of what is there")
        # There never are as many bytes as asked for below the limit, but more records than fit.
        answers = connection.fetch_all("t", from_start(), bytes_max=MIB, min_bytes=2 * MIB, wait_ms=LONG_MS)
        expect(len(answers[0][2]) > MIB // 2, f"{len(answers[0][2])} bytes within the limit")


@case
def a_fetch_waits_for_records_on_every_shard():
    with two_shards() as connection:
        for partition in (0, 1):
            topic = f"t{partition}"
            connection.create_topic(topic, 2)
            with wire.Connection(connection.server.bound_port) as waiting:
                waiting.start_fetch_all(topic, from_start(range(2)), MIB, min_bytes=1, wait_ms=LONG_MS)
                fill(connection, topic, [partition], batches=1, bytes_each=100)
                answers = waiting.finish_fetch_all()
                expect(answers[partition][2], f"the record of partition {partition}")


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
