#!/usr/bin/env python3
"""Record batches made by kafka-python, as test vectors: what another implementation writes, we must read.

    /usr/bin/python3 test/golden/make_record_batches.py > test/golden/record_batches.txt

Needs Debian's python3-kafka, python3-lz4, python3-snappy and python3-zstandard. The same input gives the same output.
Text after a `#` at the start of a line is a comment. A batch is

    batch NAME CODEC PRODUCER_ID PRODUCER_EPOCH BASE_SEQUENCE
    record TIMESTAMP KEY VALUE [HEADER_KEY=HEADER_VALUE ...]
    bytes HEX

where a key or value is `-` for null or `x` and hex digits.
"""

import gzip

import kafka
from kafka.record.default_records import DefaultRecordBatchBuilder

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
NOW = 1_700_000_000_000
REPETITIVE = [(NOW + i, b"key-%d" % (i % 7), b"a value that repeats itself " * 3, []) for i in range(15)]

BATCHES = [
    ("one_record", (-1, -1, -1), [(NOW, b"key", b"value", [])]),
    ("nulls_and_empties", (-1, -1, -1), [
        (NOW, None, b"no key", []),
        (NOW + 1, b"no value", None, []),
        (NOW + 2, None, None, []),
        (NOW + 3, b"", b"", []),
    ]),
    ("headers", (-1, -1, -1), [
        (NOW, b"k", b"v", [("trace", b"\x00\x01\xff"), ("empty", b""), ("null", None), ("trace", b"again")]),
        (NOW, b"k", b"v", [("\u00fcml\u00e4ut", "\u2713".encode())]),
        (NOW, b"k", b"v", []),
    ]),
    ("timestamps_out_of_order", (-1, -1, -1), [
        (NOW, None, b"first", []),
        (NOW - 86_400_000, None, b"a day earlier", []),
        (NOW + 86_400_000, None, b"a day later", []),
        (NOW + 5, None, b"last", []),
    ]),
    ("idempotent", (4_000_000_001, 7, 2_147_483_646), [(NOW + i, None, b"%d" % i, []) for i in range(3)]),
    ("long_lengths", (-1, -1, -1), [(NOW, b"k" * 63, b"v" * 8191, []), (NOW, b"k" * 64, b"v" * 8192, [])]),
    ("epoch_time_zero", (-1, -1, -1), [(0, b"k", b"v", [])]),
] + [(f"repetitive_{codec}", (-1, -1, -1), REPETITIVE) for codec in CODECS]


def nullable(value):
    return "-" if value is None else "x" + value.hex()


def build(codec, producer, records):
    producer_id, epoch, sequence = producer
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=CODECS.index(codec), is_transactional=False, producer_id=producer_id,
        producer_epoch=epoch, base_sequence=sequence, batch_size=1 << 20)
    for offset, (timestamp, key, value, headers) in enumerate(records):
        assert builder.append(offset, timestamp, key, value, headers) is not None
    return bytes(builder.build())


def main():
    gzip.time.time = lambda: 0  # gzip stores the time of compression.
    print(f"# Made by test/golden/make_record_batches.py with kafka-python {kafka.__version__}. Do not edit.")
    for name, producer, records in BATCHES:
        codec = name.removeprefix("repetitive_") if name.startswith("repetitive_") else "none"
        print("\nbatch", name, codec, *producer)
        for timestamp, key, value, headers in records:
            fields = [f"x{name.encode().hex()}={nullable(each)}" for name, each in headers]
            print("record", timestamp, nullable(key), nullable(value), *fields)
        print("bytes", build(codec, producer, records).hex())


if __name__ == "__main__":
    main()
