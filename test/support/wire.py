"""Raw Kafka frames for tests that must send what no client sends, or see what no client shows."""

import functools
import socket
import struct
import time

from server import DEADLINE, HOST

PRODUCE, FETCH, LIST_OFFSETS, METADATA, API_VERSIONS, CREATE_TOPICS, DELETE_RECORDS = 0, 1, 2, 3, 18, 19, 21
NONE, CORRUPT_MESSAGE, UNKNOWN_TOPIC, UNSUPPORTED_VERSION = 0, 2, 3, 35
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")


def _crc_table():
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_TABLE = _crc_table()


def _crc_extend(crc, data):
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc


@functools.lru_cache(maxsize=4)
def _crc_of_front(front):
    return _crc_extend(0xFFFFFFFF, front)


def crc32c(data):
    """Slow, but the front is remembered: large records that differ at their end cost little."""
    front = max(0, len(data) - 64)
    return _crc_extend(_crc_of_front(bytes(data[:front])), data[front:]) ^ 0xFFFFFFFF


def varint(number):
    number = (number << 1) ^ (number >> 63)
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def string(text):
    data = text.encode()
    return struct.pack(">h", len(data)) + data


def record_batch(values, first_timestamp=None):
    """An uncompressed record batch v2 of keyless records; of now, so that retention leaves it alone."""
    if first_timestamp is None:
        first_timestamp = int(time.time() * 1000)
    records = b""
    for delta, value in enumerate(values):
        body = b"\0" + varint(0) + varint(delta) + varint(-1) + varint(len(value)) + value + varint(0)
        records += varint(len(body)) + body
    checked = struct.pack(">hiqqqhii", 0, len(values) - 1, first_timestamp, first_timestamp,
                          -1, -1, -1, len(values)) + records
    return struct.pack(">qiibI", 0, len(checked) + 9, -1, 2, crc32c(checked)) + checked


def request(key, version, body, correlation=1):
    """A whole frame with a header v1, which is right for all versions that are not flexible."""
    header = struct.pack(">hhi", key, version, correlation) + string("wire")
    return struct.pack(">i", len(header) + len(body)) + header + body


def produce_body(topic, partition, batch, acks=-1):
    return (struct.pack(">hhi", -1, acks, 30_000) + struct.pack(">i", 1) + string(topic) +
            struct.pack(">iii", 1, partition, len(batch)) + batch)


class Reader:
    def __init__(self, data):
        self.data = data
        self.at = 0

    def take(self, layout):
        values = struct.unpack_from(">" + layout, self.data, self.at)
        self.at += struct.calcsize(">" + layout)
        return values if len(values) > 1 else values[0]

    def bytes(self, length):
        self.at += length
        return self.data[self.at - length:self.at]


class Connection:
    def __init__(self, port):
        self.socket = socket.create_connection((HOST, port), DEADLINE)
        self.socket.settimeout(DEADLINE)
        self.correlation = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def receive_exactly(self, length):
        """None when the other side has closed the connection."""
        data = b""
        while len(data) < length:
            try:
                piece = self.socket.recv(length - len(data))
            except ConnectionError:
                return None
            if not piece:
                return None
            data += piece
        return data

    def receive(self):
        """The next response without its size, or None when the connection was closed."""
        size = self.receive_exactly(4)
        return None if size is None else self.receive_exactly(struct.unpack(">i", size)[0])

    def call(self, key, version, body):
        self.start(key, version, body)
        return self.finish()

    def start(self, key, version, body):
        self.correlation += 1
        self.send(request(key, version, body, self.correlation))

    def finish(self):
        """The body of the answer to what was started last."""
        response = self.receive()
        if response is None:
            raise ConnectionError("the server closed the connection")
        reader = Reader(response)
        answered = reader.take("i")
        if answered != self.correlation:
            raise AssertionError(f"answer {answered} to request {self.correlation}")
        return reader

    def create_topic(self, topic, partitions=1):
        body = (struct.pack(">i", 1) + string(topic) + struct.pack(">ihii", partitions, 1, 0, 0) +
                struct.pack(">ib", 30_000, 0))
        reader = self.call(CREATE_TOPICS, 2, body)
        reader.take("ii")
        reader.bytes(reader.take("h"))
        return reader.take("h")

    def produce(self, topic, partition, batch, acks=-1):
        """(error code, base offset)."""
        reader = self.call(PRODUCE, 3, produce_body(topic, partition, batch, acks))
        reader.take("i")
        reader.bytes(reader.take("h"))
        reader.take("ii")
        return reader.take("hq")

    def fetch(self, topic, partition, offset, bytes_max=1 << 20):
        """(error code, high watermark, record batches as stored)."""
        return self.fetch_all(topic, {partition: offset}, bytes_max)[partition]

    def fetch_all(self, topic, offsets, bytes_max, partition_max=None, min_bytes=0, wait_ms=0):
        """By partition what fetch() returns, of all those in `offsets`, in their order."""
        self.start_fetch_all(topic, offsets, bytes_max, partition_max, min_bytes, wait_ms)
        return self.finish_fetch_all()

    def start_fetch_all(self, topic, offsets, bytes_max, partition_max=None, min_bytes=0, wait_ms=0):
        body = struct.pack(">iiiib", -1, wait_ms, min_bytes, bytes_max, 0) + struct.pack(">i", 1) + string(topic)
        body += struct.pack(">i", len(offsets))
        for partition, offset in offsets.items():
            body += struct.pack(">iqi", partition, offset, partition_max or bytes_max)
        self.start(FETCH, 4, body)

    def finish_fetch_all(self):
        reader = self.finish()
        reader.take("ii")
        reader.bytes(reader.take("h"))
        answered = {}
        for _ in range(reader.take("i")):
            partition, error, high_watermark, _, aborted = reader.take("ihqqi")
            reader.bytes(max(0, aborted) * 16)
            answered[partition] = error, high_watermark, reader.bytes(max(0, reader.take("i")))
        return answered

    def delete_records(self, topic, partition, offset):
        """(low watermark, error code)."""
        body = (struct.pack(">i", 1) + string(topic) + struct.pack(">iiq", 1, partition, offset) +
                struct.pack(">i", 30_000))
        reader = self.call(DELETE_RECORDS, 0, body)
        reader.take("ii")
        reader.bytes(reader.take("h"))
        reader.take("ii")
        return reader.take("qh")

    def end_offset(self, topic, partition=0):
        body = struct.pack(">ii", -1, 1) + string(topic) + struct.pack(">iiq", 1, partition, -1)
        reader = self.call(LIST_OFFSETS, 1, body)
        reader.take("i")
        reader.bytes(reader.take("h"))
        reader.take("ii")
        error, _, offset = reader.take("hqq")
        if error != NONE:
            raise AssertionError(f"ListOffsets answered error {error}")
        return offset


def codecs_stored(port, topic, partition=0):
    """Names of the codecs in the first stored batches: what the broker keeps is what was sent."""
    with Connection(port) as connection:
        _, _, batches = connection.fetch(topic, partition, 0)
    found, at = set(), 0
    while at + 61 <= len(batches):
        length, attributes = struct.unpack_from(">i", batches, at + 8)[0], struct.unpack_from(">h", batches, at + 21)[0]
        found.add(CODECS[attributes & 7])
        at += 12 + length
    return found
