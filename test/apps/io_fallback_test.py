#!/usr/bin/env python3
"""Where io_uring is forbidden the server starts by itself on epoll and threads, and says so once.

The ring is chosen here, so the environment's choice does not count.
"""

import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

import wire
from cases import case, expect, expect_equal, run
from server import DEADLINE, Server, Workspace, program, run_server

NO_IO_BACKEND = 17


class World:
    folder = None


def forbidding():
    return [program("sentinel-no-uring")]


def fallback_lines(server):
    return [line for line in server.log().splitlines() if "io_uring" in line]


def expect_kcat_works(server, topic="fallback"):
    text = b"".join(b"line %d\n" % number for number in range(10_000))
    subprocess.run(["kcat", "-P", "-b", server.address, "-t", topic, "-p", "0", "-z", "lz4"], input=text, check=True,
                   timeout=DEADLINE)
    read = subprocess.run(["kcat", "-C", "-b", server.address, "-t", topic, "-p", "0", "-o", "beginning", "-e", "-q"],
                          capture_output=True, check=True, timeout=DEADLINE)
    expect(read.stdout == text, "what came back is what was sent")


@case
def a_server_that_may_not_use_io_uring_starts_on_asio_and_says_so_in_one_line():
    data = World.folder / "forbidden"
    with Server(data, wrapper=forbidding(), io="") as server:
        expect_equal(len(fallback_lines(server)), 1, f"lines about it in {server.log()!r}")
        expect_kcat_works(server)
        server.kill9()
        server.start()
        expect_equal(len(fallback_lines(server)), 1, f"lines about it in {server.log()!r}")
        with wire.Connection(server.bound_port) as connection:
            expect_equal(connection.end_offset("fallback"), 10_000, "end offset after kill -9")


@case
def asking_for_io_uring_where_it_is_forbidden_is_refused_in_one_sentence():
    code, out, errors = run_server("--port", "0", "--data", World.folder / "refused", "--io", "uring",
                                   wrapper=forbidding())
    expect_equal(code, NO_IO_BACKEND, f"exit code with {errors!r}")
    expect_equal(errors.count("\n"), 1, f"lines in {errors!r}")
    expect("io_uring" in errors and "--io" in errors, f"cause and way out in {errors!r}")
    expect("listening" not in out, "it never listened")
    expect(not (World.folder / "refused").exists(), "nothing was made")


@case
def a_server_told_to_use_asio_does_so_without_a_word():
    with Server(World.folder / "asio", io="asio") as server:
        expect_equal(fallback_lines(server), [], "lines about it")
        maps = pathlib.Path(f"/proc/{server.pid}/fd")
        expect(not any("io_uring" in str(each.readlink()) for each in maps.iterdir()), "it has no io_uring")
        expect_kcat_works(server)


@case
def data_written_on_one_ring_is_read_on_the_other():
    data = World.folder / "both"
    with Server(data, io="auto") as server:
        expect_kcat_works(server, "first")
    with Server(data, io="asio") as server:
        expect_kcat_works(server, "second")
        with wire.Connection(server.bound_port) as connection:
            expect_equal(connection.end_offset("first"), 10_000, "end offset")
    with Server(data, io="auto") as server:
        with wire.Connection(server.bound_port) as connection:
            expect_equal(connection.end_offset("second"), 10_000, "end offset")


def main():
    with Workspace("fallback") as World.folder:
        return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
