#!/usr/bin/env python3
"""Bad input and faults: one sentence with the cause and what to do, a distinct exit code, no stack trace."""

import os
import pathlib
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

import clients
import confluent_kafka
import wire
from cases import Skip, case, expect, expect_equal, run
from server import BIN, DEADLINE, HOST, IO, Server, Workspace, run_server

USAGE, PORT_IN_USE, DATA_LOCKED, DATA_UNUSABLE, NEWER_FORMAT, DATA_CORRUPT, DISK_FULL = 2, 10, 11, 12, 13, 14, 15
STORAGE_ERROR = 56
BLOCK = 4096
SECTOR = 512
NOBODY = 65534
IO_FLAGS = ("--io", IO) if IO else ()


def expect_sentence(text, *parts):
    """Exactly one line, which is a sentence of the program and no trace, with all of `parts`."""
    lines = [line for line in text.splitlines() if not re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", line)]
    expect_equal(len(lines), 1, f"lines on standard error in {text!r}")
    expect(lines[0].startswith("sentinel: ") and len(lines[0]) < 400, f"a sentence: {lines[0]!r}")
    for mark in ("assert", "terminate", "Aborted", "Sanitizer", ".cpp:", " at 0x", "#0"):
        expect(mark not in lines[0], f"no trace: {lines[0]!r}")
    for part in parts:
        expect(str(part) in lines[0], f"{part!r} in {lines[0]!r}")


def expect_refused(code, *flags, parts=(), wrapper=()):
    found, out, errors = run_server(*flags, *IO_FLAGS, wrapper=wrapper)
    expect_equal(found, code, f"exit code with {errors!r}")
    expect_sentence(errors, *parts)
    expect("listening" not in out, f"it never listened: {out!r}")


def value_of(number, size=100):
    return b"x" * size + b":%08d" % number


def send(server, count, size=100, topic="faults", first=0):
    """Writes records one by one, each on disk before the next; returns their values."""
    values = [value_of(first + number, size) for number in range(count)]
    with wire.Connection(server.bound_port) as connection:
        connection.create_topic(topic)
        for number, value in enumerate(values):
            expect_equal(connection.produce(topic, 0, wire.record_batch([value])), (0, first + number), "produce")
    return values


def read(server, topic="faults"):
    return clients.values(server.address, topic)


def stores(data):
    return sorted(data.glob("store-*"))


def flip(path, offset, count=1):
    with open(path, "r+b") as file:
        file.seek(offset)
        found = file.read(count)
        file.seek(offset)
        file.write(bytes(byte ^ 0xFF for byte in found))


def written_blocks(path):
    """Indexes of the blocks of a log file that carry its own generation (lsm/block_log.h)."""
    generation = int(re.search(r"(\d+)\.log$", path.name)[1])
    data = path.read_bytes()
    return [at // BLOCK for at in range(0, len(data) - BLOCK + 1, BLOCK)
            if struct.unpack_from(">I", data, at)[0] == generation]


def wal_with_records(data):
    """The log file that holds the most: (path, written blocks)."""
    found = [(path, written_blocks(path)) for store in stores(data) for path in store.glob("wal-*.log")]
    return max(found, key=lambda each: len(each[1]))


class Stopped:
    """A data directory with records, written once and copied for each case that harms it."""

    def __init__(self, folder, name, count, size):
        self.folder = folder
        self.original = folder / name
        server = Server(self.original, "--shards", "1").start()
        self.values = send(server, count, size)
        server.kill9()
        self.copies = 0

    def copy(self):
        self.copies += 1
        target = self.folder / f"{self.original.name}-{self.copies}"
        shutil.copytree(self.original, target)
        return target


class World:
    folder = None
    small = None  # All of it in the log.
    large = None  # Some of it in SSTables.


def start_flags(data):
    return "--port", "0", "--data", data


# What is said on the command line.


@case
def help_and_version_go_to_standard_output():
    code, out, errors = run_server("--help")
    expect_equal((code, errors), (0, ""), "--help")
    for flag in ("--port", "--data", "--shards", "--io", "--advertise", "--auto-create-topics",
                 "--default-partitions", "--log-level", "--config", "--version", "--help"):
        expect(flag in out, f"{flag} is explained")
    for code in range(10, 18):
        expect(str(code) in out, f"exit code {code} is explained")
    code, out, errors = run_server("--version")
    expect_equal((code, errors), (0, ""), "--version")
    expect(re.fullmatch(r"sentinel-server \d+\.\d+\.\d+\S*\n", out), f"a version: {out!r}")
    expect_equal(run_server("-version")[:2], (0, out), "one dash")


@case
def wrong_flags_are_usage_errors():
    data = World.folder / "never"
    for flags, part in ((("--prot", "1"), "--prot"), (("-nonsense",), "nonsense"), (("--port", "65536"), "65536"),
                        (("--port", "many"), "many"), (("--port", "-1"), "-1"), (("--port",), "port"),
                        (("--shards", "0"), "--shards"), (("--io", "magic"), "magic"), (("--data", ""), "--data"),
                        (("--log-level", "loud"), "loud"), (("--default-partitions", "0"), "--default-partitions"),
                        (("--advertise", "host:port"), "--advertise"), (("stray",), "stray"),
                        (("--auto-create-topics", "maybe"), "auto-create-topics"),
                        (("--por", "1"), "--por")):
        code, out, errors = run_server("--data", data, *flags) if "--data" not in flags else run_server(*flags)
        expect_equal((code, out), (USAGE, ""), f"{flags}, which said {errors!r}")
        expect_sentence(errors, part)
    expect(not data.exists(), "nothing was made")


@case
def a_configuration_file_is_read_and_checked():
    good, bad = World.folder / "good.conf", World.folder / "bad.conf"
    data = World.folder / "configured"
    good.write_text("# A comment.\nport = 1\ndefault-partitions = 5\n")
    with Server(data, "--config", str(good)) as server:  # The command line wins over the file.
        send(server, 1)
        producer = confluent_kafka.Producer({"bootstrap.servers": server.address})
        producer.produce("five", b"x")
        producer.flush(DEADLINE)
        expect_equal(len(producer.list_topics("five", DEADLINE).topics["five"].partitions), 5, "partitions")
    bad.write_text("port = 0\ncolour = blue\n")
    expect_refused(USAGE, "--config", bad, parts=["colour"])
    bad.write_text("port = twelve\n")
    expect_refused(USAGE, "--config", bad, parts=["twelve"])
    expect_refused(USAGE, "--config", World.folder / "missing.conf", parts=["missing.conf"])
    expect_refused(USAGE, "--config", World.folder, parts=[World.folder])


# What stands in the way of a start.


@case
def a_port_in_use_is_named():
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        port = other.getsockname()[1]
        expect_refused(PORT_IN_USE, "--port", port, "--data", World.folder / "port", parts=[port, "--port"])
    with Server(World.folder / "port") as server:
        expect_refused(PORT_IN_USE, "--port", server.bound_port, "--data", World.folder / "port-too",
                       parts=[server.bound_port])


@case
def a_data_directory_in_use_is_named_and_left_alone():
    data = World.folder / "locked"
    with Server(data) as server:
        values = send(server, 10)
        expect_refused(DATA_LOCKED, *start_flags(data), parts=[data, "--data"])
        expect_equal(read(server), values, "records of the first server")
    with Server(data) as server:
        expect_equal(read(server), values, "records after the first server")


@case
def a_file_in_place_of_the_data_directory_is_named():
    place = World.folder / "a-file"
    place.write_text("kept")
    expect_refused(DATA_UNUSABLE, *start_flags(place), parts=[place])
    expect_refused(DATA_UNUSABLE, *start_flags(place / "below"), parts=[place])
    expect_equal(place.read_text(), "kept", "the file")


@case
def a_data_directory_that_cannot_be_written_is_named():
    if os.geteuid() != 0:
        place = World.folder / "read-only"
        place.mkdir(mode=0o500)
        expect_refused(DATA_UNUSABLE, *start_flags(place), parts=[place])
        return
    # Root may write everywhere: somebody else tries.
    as_nobody = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    if subprocess.run([*as_nobody, "test", "-x", World.folder], check=False).returncode != 0:
        raise Skip("the scratch directory cannot be entered by others")
    place = World.folder / "read-only"
    place.mkdir(mode=0o755)
    expect_refused(DATA_UNUSABLE, *start_flags(place), parts=[place], wrapper=as_nobody)
    expect_refused(DATA_UNUSABLE, *start_flags(place / "new"), parts=[place], wrapper=as_nobody)
    written = World.small.copy()  # Others may read it, not write it.
    expect_refused(DATA_UNUSABLE, *start_flags(written), parts=[written], wrapper=as_nobody)


@case
def data_of_a_newer_format_is_left_alone():
    data = World.small.copy()
    identity = bytearray((data / "identity").read_bytes())
    version = struct.unpack_from(">I", identity, 8)[0]
    struct.pack_into(">I", identity, 8, version + 1)
    (data / "identity").write_bytes(identity)
    expect_refused(NEWER_FORMAT, *start_flags(data), parts=[data / "identity", version + 1, version])
    expect_equal((data / "identity").read_bytes(), bytes(identity), "the identity")


# Damage: the start stops and names the file.


def expect_damage_found(stopped, data, path, *parts):
    """The start is refused as often as it is tried, and `parts` are named.

    With the file restored from a copy all records are there.
    """
    damaged = path.read_bytes() if path.exists() else None
    for _ in range(2):
        expect_refused(DATA_CORRUPT, *start_flags(data), parts=parts or [path])
    expect_equal(path.read_bytes() if path.exists() else None, damaged, "the damaged file")
    shutil.copyfile(stopped.original / path.relative_to(data), path)
    with Server(data) as server:
        expect_equal(read(server), stopped.values, "records after the file was restored")


@case
def a_damaged_identity_is_found():
    size = (World.small.original / "identity").stat().st_size
    for offset in (0, 12, 16, size - 1):
        data = World.small.copy()
        flip(data / "identity", offset)
        expect_damage_found(World.small, data, data / "identity")
    data = World.small.copy()
    (data / "identity").write_bytes(b"")
    expect_damage_found(World.small, data, data / "identity")
    data = World.small.copy()
    (data / "identity").unlink()
    expect_damage_found(World.small, data, data / "identity", data, "identity")


@case
def a_damaged_manifest_is_found():
    data = World.small.copy()
    manifest = max(stores(data)[0].glob("manifest-*.log"))
    flip(manifest, 100)
    expect_damage_found(World.small, data, manifest)
    data = World.small.copy()
    manifest = max(stores(data)[0].glob("manifest-*.log"))
    manifest.unlink()
    expect_damage_found(World.small, data, manifest, manifest.parent, "manifest")


@case
def damage_in_the_middle_of_the_log_is_found_with_its_offset():
    for part in (0, 0.3, 0.7):
        data = World.small.copy()
        wal, blocks = wal_with_records(data)
        block = blocks[int(part * len(blocks))]
        flip(wal, block * BLOCK + 200, 8)
        expect_damage_found(World.small, data, wal, wal, block * BLOCK)


@case
def a_log_block_lost_in_the_middle_is_damage_and_no_tear():
    data = World.small.copy()
    wal, blocks = wal_with_records(data)
    block = blocks[len(blocks) // 2]
    with open(wal, "r+b") as file:
        file.seek(block * BLOCK)
        file.write(b"\0" * BLOCK)
    expect_damage_found(World.small, data, wal, wal, block * BLOCK)


@case
def a_missing_log_is_found():
    data = World.small.copy()
    wal, _ = wal_with_records(data)
    wal.unlink()
    expect_damage_found(World.small, data, wal)


@case
def a_missing_store_is_found():
    data = World.small.copy()
    shutil.rmtree(stores(data)[0])
    expect_refused(DATA_CORRUPT, *start_flags(data), parts=[stores(World.small.original)[0].name, "missing"])


@case
def a_store_of_another_data_directory_is_found():
    data = World.small.copy()
    for name in ("identity", stores(data)[0].name):
        mixed = World.small.copy()
        here, there = mixed / name, World.large.original / name
        shutil.rmtree(here) if here.is_dir() else here.unlink()
        shutil.copytree(there, here) if there.is_dir() else shutil.copyfile(there, here)
        expect_refused(DATA_CORRUPT, *start_flags(mixed), parts=["another store"])


def verify(data):
    done = subprocess.run([BIN / "sentinel-cli", "verify", "-data", data, *IO_FLAGS], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def dump(*paths):
    done = subprocess.run([BIN / "sentinel-cli", "dump", *paths, *IO_FLAGS], capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


@case
def dump_prints_what_stands_in_files_up_to_the_damage():
    data = World.large.copy()
    for kind, marks in (("manifest-*.log", ("edits of state", "+ log", "+ run")), ("wal-*.log", ("end at offset",)),
                        ("table-*.sst", ("put    group", "end offset"))):
        paths = [path for store in stores(data) for path in store.glob(kind)]
        code, out, errors = dump(*paths)
        expect_equal((code, errors), (0, ""), f"dump of {kind}")
        expect(all(mark in out for mark in marks), f"{marks} in {out[:1000]!r}")
    table = next(path for store in stores(data) for path in store.glob("table-*.sst"))
    flip(table, table.stat().st_size - 1)
    code, _, errors = dump(table)
    expect(code == 1 and str(table) in errors, f"a damaged footer: {errors!r}")
    code, _, errors = dump(data / "nothing")
    expect(code == 1 and "nothing" in errors, f"no file: {errors!r}")
    code, _, errors = dump(next(data.glob("*.*")) if any(data.glob("*.*")) else BIN / "sentinel-cli")
    expect(code == 1, f"no file of a store: {errors!r}")


@case
def verify_finds_damage_without_a_server():
    data = World.large.copy()
    code, said = verify(data)
    expect(code == 0 and "No damage" in said, f"a sound directory: {said!r}")
    before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    table = max((path for store in stores(data) for path in store.glob("table-*.sst")), key=lambda each: each.stat().st_size)
    for offset in (10, table.stat().st_size // 2, table.stat().st_size - 1):
        flip(table, offset)
        code, said = verify(data)
        expect(code == 1 and str(table) in said and "offset" in said, f"a flipped byte at {offset}: {said!r}")
        flip(table, offset)
    expect_equal({path: path.read_bytes() for path in before}, before, "the files")
    code, said = verify(World.folder / "nowhere")
    expect(code == 1 and "no data directory" in said, f"no directory: {said!r}")
    with Server(data):
        code, said = verify(data)
        expect(code == 1 and "in use by another process" in said, f"beside a server: {said!r}")


@case
def a_missing_table_is_found():
    data = World.large.copy()
    table = min(path for store in stores(data) for path in store.glob("table-*.sst"))
    table.unlink()
    expect_damage_found(World.large, data, table)


@case
def a_damaged_table_index_is_found_at_the_start():
    data = World.large.copy()
    table = min(path for store in stores(data) for path in store.glob("table-*.sst"))
    flip(table, table.stat().st_size - 20)
    expect_damage_found(World.large, data, table)


@case
def a_damaged_table_block_is_never_served():
    data = World.large.copy()
    table = min(path for store in stores(data) for path in store.glob("table-*.sst"))
    flip(table, table.stat().st_size // 2, 4)
    server = Server(data).start()
    with wire.Connection(server.bound_port) as connection:
        end, offset, errors = connection.end_offset("faults"), 0, 0
        expect_equal(end, len(World.large.values), "end offset")
        while offset < end:
            error, _, batches = connection.fetch("faults", 0, offset, 4 << 20)
            if error != 0:
                errors += 1
                offset += 1  # A client would stop here; this one looks behind the damage.
                continue
            offset = check_batches(batches, offset)
    expect(errors > 0, "reading the damaged block is an error")
    expect(str(table.name) in server.log(), f"the log names the table: {server.log()!r}")
    server.stop()


def check_batches(batches, offset):
    """Compares single-record batches with what was sent; returns the offset behind them."""
    at = 0
    while at + 12 <= len(batches):
        base, length = struct.unpack_from(">qi", batches, at)
        if at + 12 + length > len(batches):
            break
        expect(World.large.values[base] in batches[at:at + 12 + length], f"bytes of record {base}")
        at, offset = at + 12 + length, base + 1
    expect(at > 0, f"at least one batch at {offset}")
    return offset


# Tears: what a crash leaves of the last, unacknowledged write is cut and counted.


def bytes_cut(server):
    found = re.search(r"cut (\d+) bytes", server.log())
    return int(found[1]) if found else 0


def expect_tail_cut(data, lost):
    server = Server(data).start()
    expect(bytes_cut(server) > 0, f"the cut is logged: {server.log()!r}")
    values = read(server)
    expect_equal(values, World.small.values[:len(values)], "a prefix of what was sent")
    expect(len(World.small.values) - len(values) in lost, f"{len(values)} of {len(World.small.values)} records")
    more = send(server, 5, 3000, first=len(values))
    server.stop()
    with Server(data) as again:
        expect_equal(read(again), values + more, "records after one more start")
        expect_equal(bytes_cut(again), 0, "bytes cut once more")


@case
def a_last_write_that_never_reached_the_disk_is_cut():
    data = World.small.copy()
    wal, blocks = wal_with_records(data)
    with open(wal, "r+b") as file:
        file.seek(blocks[-1] * BLOCK)
        file.write(b"\0" * BLOCK)
    # Whole sectors without a trace of the write look like space that was never written: nothing to count.
    server = Server(data).start()
    expect_equal(read(server), World.small.values[:-1], "all but the last record")
    server.stop()


@case
def a_last_write_of_which_some_sectors_are_missing_is_cut():
    for sectors in ([1], [5], [0], [0, 2, 3]):
        data = World.small.copy()
        wal, blocks = wal_with_records(data)
        with open(wal, "r+b") as file:
            for sector in sectors:
                file.seek(blocks[-1] * BLOCK + sector * SECTOR)
                file.write(b"\0" * SECTOR)
        expect_tail_cut(data, lost=(1,))


@case
def a_truncated_log_is_damage_because_its_space_was_written_beforehand():
    data = World.small.copy()
    wal, blocks = wal_with_records(data)
    os.truncate(wal, blocks[-1] * BLOCK + 3 * SECTOR)
    expect_damage_found(World.small, data, wal)


@case
def a_last_block_that_decayed_is_damage():
    data = World.small.copy()
    wal, blocks = wal_with_records(data)
    flip(wal, blocks[-1] * BLOCK + 300)
    expect_damage_found(World.small, data, wal, wal, blocks[-1] * BLOCK)


# A full disk.


class SmallDisk:
    def __init__(self, place, size):
        self.place = place
        place.mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], check=False,
                          capture_output=True).returncode != 0:
            raise Skip("mounting a small tmpfs needs root")

    def resize(self, size):
        subprocess.run(["mount", "-o", f"remount,size={size}", self.place], check=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        subprocess.run(["umount", "--lazy", self.place], check=True)


@case
def a_disk_too_small_to_start_on_is_named():
    with SmallDisk(World.folder / "tiny", "64k") as disk:
        expect_refused(DISK_FULL, *start_flags(disk.place / "data"), parts=[disk.place / "data", "space"])
        disk.resize("1g")
        with Server(disk.place / "data") as server:
            expect_equal(read(server) if send(server, 3) else None, [value_of(each) for each in range(3)],
                         "records once there is room")


def fill(connection, first):
    """Produces from record `first` on until the broker refuses; the number of the refused one."""
    for number in range(first, first + 2000):
        error, offset = connection.produce("faults", 0, wire.record_batch([value_of(number, 100_000)]))
        if error == STORAGE_ERROR:
            return number
        expect_equal((error, offset), (0, number), "produce")
    raise AssertionError("the disk is never full")


def produce_once_there_is_space(connection, number):
    """The broker looks at its disk about once a second."""
    batch = wire.record_batch([value_of(number, 100_000)])
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        error, offset = connection.produce("faults", 0, batch)
        if error != STORAGE_ERROR:
            return expect_equal((error, offset), (0, number), "produce with space again")
    raise AssertionError("records are refused for good")


@case
def on_a_full_disk_records_are_refused_until_there_is_space():
    # Room for the log's next segment, which is there ahead of its use, and for records beside it.
    with SmallDisk(World.folder / "filling", "128m") as disk:
        server = Server(disk.place / "data", "--shards", "1", errors=World.folder / "filling.log").start()
        with wire.Connection(server.bound_port) as connection:
            connection.create_topic("faults")
            refused = fill(connection, 0)
            expect(refused > 50, f"{refused} records were acknowledged before the disk was full")
            server.wait_for_log("records are refused until there is more")
            # All else goes on.
            expect_equal(connection.fetch("faults", 0, 0)[:2], (0, refused), "a read")
            expect_equal(connection.create_topic("another"), 0, "a new topic")
            disk.resize("200m")
            produce_once_there_is_space(connection, refused)
            refused = fill(connection, refused + 1)
            # Deleting makes room too. What is in memory still is dropped instead of written.
            expect_equal(connection.delete_records("faults", 0, refused), (refused, 0), "deleted records")
            produce_once_there_is_space(connection, refused)
        server.kill9()
        with Server(disk.place / "data") as again:
            values = [message.value() for message in
                      clients.messages(again.address, "faults", **{"auto.offset.reset": "earliest"})]
            expect(values == [value_of(refused, 100_000)], "what was acknowledged and not deleted")


# A clean stop.


@case
def sigterm_stops_cleanly_while_clients_are_connected():
    data = World.folder / "stopped"
    server = Server(data).start()
    values = send(server, 100)
    idle = [socket.create_connection((HOST, server.bound_port)) for _ in range(50)]
    waiting = wire.Connection(server.bound_port)  # In a long poll at the end of the log.
    waiting.send(wire.request(wire.FETCH, 4, struct.pack(">iiiibi", -1, 600_000, 1 << 20, 1 << 20, 0, 1) +
                              wire.string("faults") + struct.pack(">iiqi", 1, 0, 100, 1 << 20)))
    acked = []
    writer = threading.Thread(target=write_until_closed, args=(server.bound_port, len(values), acked))
    writer.start()
    while len(acked) < 100:
        expect(writer.is_alive(), "the writer writes")
    server.stop()
    writer.join()
    for each in idle:
        each.close()
    waiting.socket.close()
    with Server(data) as again:
        found = read(again)
        expect(len(found) >= len(values) + len(acked), f"{len(found)} records, {len(acked)} acknowledged at the end")
        expect_equal(found[:len(values)], values, "the first records")


def write_until_closed(port, first, acked):
    try:
        with wire.Connection(port) as connection:
            while connection.produce("faults", 0, wire.record_batch([b"late"]))[0] == 0:
                acked.append(first + len(acked))
    except (ConnectionError, OSError):
        pass


@case
def sigint_stops_cleanly_too():
    server = Server(World.folder / "interrupted").start()
    server.process.send_signal(signal.SIGINT)
    server.wait(0)


def main():
    with Workspace("faults") as World.folder:
        World.folder.chmod(0o755)
        World.small = Stopped(World.folder, "small", 200, 3000)
        World.large = Stopped(World.folder, "large", 900, 100_000)
        tables = [path for store in stores(World.large.original) for path in store.glob("table-*.sst")]
        expect(tables, "a large store has tables")
        return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
