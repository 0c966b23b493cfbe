#!/usr/bin/env python3
"""A data directory moves to a machine with another number of cores: nothing in it depends on how many shards made it."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

import wire
from cases import case, expect_equal, run
from server import Server, Workspace

PARTITIONS = 5


def produce(connection, number):
    for partition in range(PARTITIONS):
        batch = wire.record_batch([b"record %d of partition %d" % (number, partition)])
        expect_equal(connection.produce("t", partition, batch), (wire.NONE, number), f"partition {partition}")


def contents(connection):
    return {partition: connection.fetch("t", partition, 0)[2] for partition in range(PARTITIONS)}


@case
def records_stay_where_they_are_whatever_the_number_of_shards():
    with Workspace("shards") as folder:
        seen = None
        for number, shards in enumerate((2, 1, 3, 2, 8)):
            server = Server(folder / "data", "--shards", str(shards)).start()
            with wire.Connection(server.bound_port) as connection:
                if number == 0:
                    connection.create_topic("t", PARTITIONS)
                else:
                    expect_equal(contents(connection), seen, f"what {shards} shards find")
                produce(connection, number)
                seen = contents(connection)
            # In turns, so that logs are replayed on other shards too.
            if number % 2 == 0:
                server.kill9()
            else:
                server.stop()


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
