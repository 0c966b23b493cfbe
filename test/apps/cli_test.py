#!/usr/bin/env python3
"""sentinel-cli against a real server: the session of the README to the letter, its flags and its exit codes.

    cli_test.py [part of a case's name ...]

Runs once on each ring (SENTINEL_IO); the client takes the same one as the server.
"""

import base64
import json
import os
import pathlib
import select
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

from cases import case, expect, expect_equal, run
from server import DEADLINE, IO, Server, Workspace, program

RULE = "-" * 60


class World:
    server = None


def raw(*arguments, stdin=b""):
    """(exit code, standard output, standard error) of one command, as bytes."""
    done = subprocess.run([program("sentinel-cli"), *arguments], input=stdin, capture_output=True, timeout=DEADLINE)
    return done.returncode, done.stdout, done.stderr


def connection():
    return ["-broker", World.server.address, *(["-io", IO] if IO else [])]


def cli(command, *arguments, stdin=b""):
    """Standard output of a command that succeeds without a word on standard error."""
    code, out, err = raw(command, *connection(), *arguments, stdin=stdin)
    expect_equal((code, err), (0, b""), f"exit code and standard error of {command} {arguments}")
    return out.decode()


def fails(code, *arguments, stdin=b""):
    """The one sentence of a command that ends with `code`."""
    found, out, err = raw(*arguments, stdin=stdin)
    expect_equal((found, out), (code, b""), f"exit code and standard output of {arguments}")
    lines = err.decode().splitlines()
    expect(len(lines) == 1 and lines[0].startswith("sentinel-cli: "), f"not one sentence: {lines}")
    return lines[0]


def values(topic, *arguments):
    return cli("consume", "-topic", topic, "-o", "value", *arguments).splitlines()


def records(topic, *arguments):
    return [json.loads(line) for line in cli("consume", "-topic", topic, "-o", "json", *arguments).splitlines()]


def session(dash, topic):
    def flags(*names_and_values):
        return [word if not word.startswith("^") else dash + word[1:] for word in names_and_values]

    code, out, _ = raw("produce", *flags("^broker", World.server.address, "^topic", topic, "^partition", "0",
                                         "^message", "order:12345", "^count", "100"))
    expect_equal((code, out.decode()), (0, f"✓ Produced 100 record(s) to {topic} (offset: 0)\n"), "produce")
    code, out, _ = raw("consume", *flags("^broker", World.server.address, "^topic", topic, "^partition", "0",
                                         "^from-beginning"))
    lines = [f"offset={i} | key=(null) | value=order:12345-{i}" for i in range(100)]
    wanted = [f"Consuming from {topic} (partition 0, offset 0)...", RULE, *lines, RULE, "Consumed 100 message(s)"]
    expect_equal((code, out.decode()), (0, "\n".join(wanted) + "\n"), "consume")


@case
def the_session_of_the_readme_holds_with_one_dash():
    session("-", "orders")


@case
def the_session_of_the_readme_holds_with_two_dashes():
    session("--", "orders2")


@case
def a_value_may_stand_behind_an_equals_sign():
    for dash in "-", "--":
        out = cli("produce", f"{dash}topic=equals", f"{dash}message=a=b")
        expect(out.startswith("✓ Produced 1 record(s) to equals"), out)
    expect_equal(values("equals"), ["a=b", "a=b"], "values")


@case
def lines_of_standard_input_come_back_byte_for_byte():
    text = b"first\n\nwith\ttab and \xff\xfe\x00 bytes\r\n" + b"x" * 1_000_000 + b"\nno newline at the end"
    out = cli("produce", "-topic", "lines", stdin=text)
    expect_equal(out, "✓ Produced 5 record(s) to lines (offset: 0)\n", "produce")
    code, back, _ = raw("consume", *connection(), "-topic", "lines", "-o", "value")
    expect_equal((code, back), (0, text + b"\n"), "consume")


@case
def a_file_and_each_codec_give_the_same_lines():
    with Workspace("cli-file") as folder:
        path = folder / "lines.txt"
        path.write_bytes(b"".join(b"line %d of a text that compresses\n" % i for i in range(20_000)))
        for codec in "none", "gzip", "snappy", "lz4", "zstd":
            topic = f"codec-{codec}"
            cli("produce", "-topic", topic, "-file", str(path), "-compression", codec)
            expect_equal("\n".join(values(topic)) + "\n", path.read_text(), codec)
    expect("cannot open" in fails(1, "produce", *connection(), "-topic", "t", "-file", "/nonexistent"), "missing file")


@case
def keys_headers_and_null_values_are_kept():
    cli("produce", "-topic", "kept", "-key", "k", "-message", "v", "-header", "a=1", "-header", "a=2")
    cli("produce", "-topic", "kept", "-key", "k", "-null-value")
    cli("produce", "-topic", "kept", "-key-separator", ":", "-null-marker", "NULL", stdin=b"x:NULL\ny:\nz:a:b\n")
    found = [(each["key"], each["value"], each["headers"]) for each in records("kept")]
    headers = [{"key": "a", "value": "1"}, {"key": "a", "value": "2"}]
    expect_equal(found, [("k", "v", headers), ("k", None, []), ("x", None, []), ("y", "", []), ("z", "a:b", [])], "records")
    expect_equal(values("kept", "-key-separator", "=", "-null-marker", "-")[1:3], ["k=-", "x=-"], "markers")


@case
def json_is_valid_whatever_the_bytes():
    value = b'"\\ \x01 \xe2\x82\xac'
    cli("produce", "-topic", "bytes", stdin=value + b"\n\xff\xfe\n")
    text, binary = records("bytes")
    expect_equal(text["value"], value.decode(), "text")
    expect_equal(base64.b64decode(binary["value_base64"]), b"\xff\xfe", "binary")
    expect("value" not in binary, "a binary value stands under one name only")
    lines = cli("consume", "-topic", "bytes").splitlines()
    expect_equal(lines[3], "partition=0 | offset=1 | key=(null) | value=\\xff\\xfe", "text output")


@case
def records_of_a_key_share_a_partition_as_kafka_chooses_it():
    cli("topics", "create", "spread", "-partitions", "7")
    keys = ["21", "foobar", "a-little-bit-long-string", "a-little-bit-longer-string", "abc"]
    # murmur2 of these keys, from the tests of the Java client.
    hashes = [-973932308, -790332482, -985981536, -1486304829, 479470107]
    cli("produce", "-topic", "spread", "-key-separator", ":", stdin="".join(f"{key}:v\n" for key in keys * 2).encode())
    found = {(each["key"], each["partition"]) for each in records("spread")}
    expect_equal(found, {(key, (number & 0x7FFFFFFF) % 7) for key, number in zip(keys, hashes)}, "partitions")
    described = cli("topics", "describe", "spread").splitlines()
    expect_equal(len(described), 8, "lines of describe")
    produced = json.loads(cli("produce", "-topic", "spread", "-message", "m", "-count", "10", "-o", "json"))
    expect_equal(produced["records"], 10, "records in JSON")


@case
def consume_starts_and_stops_where_it_is_told():
    cli("produce", "-topic", "range", "-message", "m", "-count", "10")
    expect_equal(values("range", "-offset", "7"), ["m-7", "m-8", "m-9"], "offset")
    expect_equal(values("range", "-max-messages", "2"), ["m-0", "m-1"], "max-messages")
    expect_equal(values("range", "-offset", "10"), [], "the end")
    message = fails(1, "consume", *connection(), "-topic", "range", "-offset", "11")
    expect("from 0 up to 10" in message, message)


@case
def follow_goes_on_until_interrupted():
    cli("produce", "-topic", "follow", "-message", "before")
    command = [program("sentinel-cli"), "consume", *connection(), "-topic", "follow", "-follow", "-from-beginning", "-o", "value"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as follower:
        expect_equal(read_line(follower), b"before\n", "what was there")
        cli("produce", "-topic", "follow", "-message", "after")
        expect_equal(read_line(follower), b"after\n", "what came")
        follower.send_signal(signal.SIGINT)
        expect_equal(follower.wait(DEADLINE), 0, "exit code after Ctrl-C")


def read_line(process):
    deadline = time.monotonic() + DEADLINE
    line = b""
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))
        expect(ready, f"no line in time, only {line!r}")
        piece = os.read(process.stdout.fileno(), 1)
        expect(piece, f"ended after {line!r}")
        line += piece
    return line


@case
def a_reader_that_leaves_ends_consume_quietly():
    cli("produce", "-topic", "pipe", "-message", "m" * 1000, "-count", "5000")
    command = [program("sentinel-cli"), "consume", *connection(), "-topic", "pipe", "-o", "value"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.read(10)
        process.stdout.close()
        expect_equal(process.stderr.read(), b"", "standard error")
        expect_equal(process.wait(DEADLINE), 0, "exit code")


@case
def topics_are_created_listed_and_deleted():
    expect_equal(cli("topics", "create", "made", "-partitions", "3"), "✓ Created topic made (3 partitions)\n", "create")
    expect("TOPIC_ALREADY_EXISTS" in fails(1, "topics", "create", "made", *connection()), "created twice")
    expect(any(line.split() == ["made", "3"] for line in cli("topics", "list").splitlines()), "it is listed")
    expect_equal(json.loads(cli("topics", "describe", "--topic", "made", "-o", "json"))["topic"], "made", "describe")
    expect_equal(cli("topics", "delete", "made"), "✓ Deleted topic made\n", "delete")
    expect("made" not in cli("topics", "list"), "it is gone")
    expect("there is no topic made" in fails(1, "consume", *connection(), "-topic", "made"), "consume")
    fails(1, "topics", "delete", "made", *connection())


@case
def a_record_above_the_limit_is_explained():
    message = fails(1, "produce", *connection(), "-topic", "large", stdin=b"x" * 2_000_000)
    expect("max.message.bytes" in message and "large/0" in message, message)


@case
def wrong_usage_is_one_sentence_and_exit_code_2():
    for arguments in (["produce", "-bogus", "1"], ["consume", "--bogus"], ["bogus"], [], ["--bogus"], ["topics"],
                      ["produce", "-message", "m"], ["consume", "-topic", "t", "-offset", "x"],
                      ["produce", "-topic", "t", "-message", "m", "stray"], ["consume", "-topic", "t", "-o", "xml"],
                      ["produce", "-topic", "t", "-message", "m", "-compression", "rar"],
                      ["produce", "-topic", "t", "-message", "m", "-header", "novalue"]):
        message = fails(2, *arguments)
        expect(message.endswith("--help"), message)


@case
def help_and_version_are_there():
    for arguments in (["--help"], ["-help"], ["help"], ["produce", "--help"], ["consume", "-help"], ["topics", "--help"]):
        code, out, _ = raw(*arguments)
        expect(code == 0 and b"sentinel-cli" in out, f"{arguments}: {out!r}")
    code, out, _ = raw("--version")
    expect(code == 0 and out.startswith(b"sentinel-cli "), f"{out!r}")


@case
def no_broker_is_exit_code_3():
    message = fails(3, "topics", "list", "-broker", "127.0.0.1:1")
    expect("127.0.0.1:1" in message, message)


@case
def a_broker_that_goes_away_is_exit_code_3_within_the_timeout():
    cli("produce", "-topic", "gone", "-message", "m")
    follower = subprocess.Popen([program("sentinel-cli"), "consume", *connection(), "-topic", "gone", "-follow",
                                 "-from-beginning", "-timeout", "1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while b"value=m" not in read_line(follower):
        pass
    World.server.kill9()
    try:
        out, err = follower.communicate(timeout=DEADLINE)
    finally:
        World.server.start()
    expect_equal(follower.returncode, 3, f"exit code with {err!r}")
    expect(b"is the broker running there?" in err, f"what to do: {err!r}")


@case
def records_survive_a_kill_of_the_server():
    cli("produce", "-topic", "durable", "-message", "m", "-count", "100")
    World.server.kill9().start()
    expect_equal(values("durable"), [f"m-{i}" for i in range(100)], "values")


def main():
    with Workspace("cli") as folder, Server(folder / "data") as World.server:
        return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
