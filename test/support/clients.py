"""What several tests do with the confluent client."""

import time

import confluent_kafka
from server import DEADLINE

# librdkafka wants a group name even where no group is used; without commits closing waits for nobody.
_ALONE = {"group.id": "unused", "enable.auto.commit": False, "enable.partition.eof": True, "fetch.wait.max.ms": 20,
          "broker.address.family": "v4"}


def consumer(address, places, **settings):
    """A consumer of `places`: (topic, partition, offset)."""
    made = confluent_kafka.Consumer({"bootstrap.servers": address, **_ALONE, **settings})
    made.assign([confluent_kafka.TopicPartition(*place) for place in places])
    return made


def messages(address, topic, partition=0, **settings):
    """Yields the messages of a partition from offset 0 to its end."""
    reader = consumer(address, [(topic, partition, 0)], **settings)
    try:
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline:
            for message in reader.consume(1000, 0.05):
                if message.error() is None:
                    yield message
                    deadline = time.monotonic() + DEADLINE
                elif message.error().code() == confluent_kafka.KafkaError._PARTITION_EOF:
                    return
                else:
                    raise AssertionError(f"{topic}/{partition}: {message.error()}")
    finally:
        reader.close()
    raise AssertionError(f"{topic}/{partition} has no end")


def values(address, topic, partition=0):
    return [message.value() for message in messages(address, topic, partition)]
