"""Clients of the topic "chaos" that write down all that they do and see: a history for sentinel-check.

Every record's value begins with a number that no other has. Producers are idempotent, wait for all and end when they
do not know what became of a record: the next one is another process. Pollers read with positions of their own, without
groups. A history is JSON, an operation a line; test/support/history_json.cpp has the fields.

librdkafka goes over to a new epoch when a sequence has a hole for it, which it takes for one also when an earlier
request in flight has failed, and then sends again all that is not answered (its issue 4953). A broker can't recognize
these. Such records are noted as `resent`, and second copies of them are taken out of the history: without_copies().
"""

import collections
import itertools
import json
import logging
import random
import threading
import time

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException, TopicPartition

TOPIC = "chaos"
PARTITIONS = 4
SENDERS = 6
WANDERERS = 2
MESSAGE_SECONDS = 60
CATCH_UP_SECONDS = 60
# Of the log's end: what a poller begins with that does not begin with everything.
BACK_MAX = 20_000
# More than a broker takes, unless its topic says so: refused for certain. Only by those that have one record at a time
# on its way, as a hole in the sequence has the others sent again.
OVERSIZE = 1_200_000
OVERSIZE_ONE_IN = 100

CLIENT = {"broker.address.family": "v4", "log_level": 0, "reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 500,
          "socket.connection.setup.timeout.ms": 3000, "socket.timeout.ms": 10_000,
          "topic.metadata.refresh.interval.ms": 5000}
READER = {"group.id": "unused", "enable.auto.commit": False, "enable.auto.offset.store": False,
          "auto.offset.reset": "error", "fetch.wait.max.ms": 100, "fetch.error.backoff.ms": 50,
          "queued.max.messages.kbytes": 8192}
# Answers after which a record is not there, whatever happened before to it. All others leave it open: an earlier try
# may have been written, and only its answer be lost.
REFUSED = {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED,
           KafkaError.INVALID_REQUIRED_ACKS, KafkaError.UNSUPPORTED_VERSION}


class History:
    def __init__(self, path):
        self.file = open(path, "w", encoding="ascii", buffering=1 << 16)
        self.lock = threading.Lock()
        self.processes = itertools.count(1)
        self.counts = collections.Counter()

    def process(self):
        return next(self.processes)

    def add(self, op, process, invoke, result="ok", **fields):
        """An operation that is over now."""
        line = json.dumps({"op": op, "process": process, "invoke": invoke, "complete": time.monotonic_ns(),
                           "result": result, **fields}, separators=(",", ":"))
        with self.lock:
            self.file.write(line + "\n")
            self.counts[op if op != "send" else f"send {result}"] += 1

    def close(self):
        self.file.close()


def without_copies(path, resent, to):
    """Writes a history in which second copies of `resent` values are values of their own; returns how many it has."""
    with open(path, encoding="ascii") as file:
        places = {value: set() for value in resent}
        sends = {}
        for op in map(json.loads, file):
            if op["op"] == "send" and op["values"][0] in resent:
                sends[op["values"][0]] = op
            for partition, offset, value in op.get("records", ()):
                if value in resent:
                    places[value].add((partition, offset))
    aliases, process = {}, 10**6
    for value, found in places.items():
        acknowledged = (sends[value]["partition"], sends[value]["offset"])
        first = acknowledged if acknowledged[1] >= 0 or not found else min(found)
        for place in sorted(found - {first}):
            aliases[place] = 10**12 + len(aliases)
            sends[aliases[place]] = {**sends[value], "process": process + sends[value]["process"], "result": "unknown",
                                     "values": [aliases[place]], "offset": -1}
    with open(path, encoding="ascii") as file, open(to, "w", encoding="ascii") as out:
        for alias in aliases.values():
            out.write(json.dumps(sends[alias]) + "\n")
        for op in map(json.loads, file):
            if "records" in op:
                op["records"] = [[*place, aliases.get(tuple(place), value)] for *place, value in op["records"]]
            out.write(json.dumps(op) + "\n")
    return len(aliases)


class Progress:
    """When records were acknowledged: how many, and the longest time without any."""

    def __init__(self):
        self.count = 0
        self.last = {}  # Of each partition, and of all as None.
        self.longest = {}  # (nanoseconds, when it began)
        self.ends = [0] * PARTITIONS

    def acknowledged(self, partition, offset):
        now = time.monotonic_ns()
        self.count += 1
        for place in (partition, None):
            before = self.last.setdefault(place, now)
            self.longest[place] = max(self.longest.get(place, (0, now)), (now - before, before))
            self.last[place] = now
        if offset >= 0:
            self.ends[partition] = max(self.ends[partition], offset + 1)


class Producing:
    """One producer, until it is told to stop or does not know what became of a record."""

    def __init__(self, workload, chance):
        self.workload = workload
        self.chance = chance
        self.process = workload.history.process()
        # One that writes to all waits for the slowest of them; one that writes to one shows how that one does.
        self.partitions = chance.choice((list(range(PARTITIONS)), [chance.randrange(PARTITIONS)]))
        self.window = chance.choice((1, 1, *range(2, 17)))
        self.pause = 1 / chance.uniform(40, 250)
        self.until = time.monotonic() + chance.uniform(5, 60)
        self.open = {}  # value: (partition, when it was sent, whether it is too large)
        self.over = False
        self.client = confluent_kafka.Producer({
            "bootstrap.servers": workload.bootstrap, "enable.idempotence": True, "acks": "all",
            "message.timeout.ms": MESSAGE_SECONDS * 1000, "linger.ms": chance.choice((0, 1, 5)),
            "max.in.flight": chance.randrange(1, 6), "retry.backoff.ms": chance.choice((10, 100)),
            "compression.type": chance.choice(("none", "none", "lz4", "zstd")), "message.max.bytes": 2 * OVERSIZE,
            "request.timeout.ms": 5000, "error_cb": self.failed, "client.id": f"process-{self.process}", **CLIENT,
            "log_level": 7, "debug": "eos"}, logger=self)

    def run(self, stopping):
        next_at = time.monotonic()
        while not self.over and not stopping.is_set() and time.monotonic() < self.until:
            left = next_at - time.monotonic()
            if left > 0 or len(self.open) >= self.window:
                self.serve(self.client.poll, min(max(left, 0.001), 0.05))
                continue
            self.send()
            # What it was late is not made up for.
            next_at = max(next_at, time.monotonic() - self.pause) + self.pause
        self.end()

    def send(self):
        value = next(self.workload.values)
        partition = self.chance.choice(self.partitions)
        oversize = self.window == 1 and self.chance.randrange(OVERSIZE_ONE_IN) == 0
        size = OVERSIZE if oversize else int(10 ** self.chance.uniform(0, 3.3))
        # Half of it does not get smaller by compression.
        padding = self.chance.randbytes(size // 2) + b"." * (size - size // 2)
        invoke = time.monotonic_ns()
        self.open[value] = (partition, invoke, oversize)
        try:
            self.client.produce(TOPIC, b"%d " % value + padding, partition=partition,
                                on_delivery=lambda error, message: self.delivered(value, error, message))
        except (BufferError, KafkaException) as refused:
            # It was never taken.
            del self.open[value]
            self.write(value, partition, invoke, "fail")
            self.workload.errors[f"produce(): {type(refused).__name__}"] += 1
            self.serve(self.client.poll, 0.05)

    def delivered(self, value, error, message):
        partition, invoke, oversize = self.open.pop(value)
        if error is None:
            found = message.offset()
            # The answer to a second try may have none.
            offset = -1 if found is None or found < 0 else found
            self.write(value, partition, invoke, "ok", offset)
            self.workload.progress.acknowledged(partition, offset)
            return
        too_large = oversize and error.code() == KafkaError.MSG_SIZE_TOO_LARGE
        if too_large or error.code() in REFUSED:
            self.write(value, partition, invoke, "fail")
        else:
            self.write(value, partition, invoke, "unknown")
            self.over = True
        if not oversize:
            self.workload.errors[f"send: {error.name()}"] += 1

    def write(self, value, partition, invoke, result, offset=-1):
        self.workload.history.add("send", self.process, invoke, result, partition=partition, values=[value],
                                  offset=offset)

    def log(self, level, form, *arguments):
        """What librdkafka says, in the order of its answers."""
        text = form % arguments
        self.workload.log.log(level, text)
        if "state change Assigned -> " in text:
            # All that isn't answered now will be sent again.
            self.workload.resent.update(self.open)
        elif "Beginning partition drain in state Assigned" in text:
            self.workload.errors[f"new epoch: {text.rsplit(': ', 1)[-1]}"] += 1

    def serve(self, call, seconds):
        try:
            call(seconds)
        except KafkaException as failure:  # So it says what is fatal, whatever error_cb is.
            self.failed(failure.args[0])

    def failed(self, error):
        """All that befalls a producer here is hidden by its retries, or a record's own error."""
        if error.fatal() and not self.over:
            self.workload.problems.append(f"producer {self.process} was told what is fatal: {error.str()}")
            self.over = True

    def end(self):
        """Waits for the answers, unless one has shown that there is no point in it."""
        deadline = time.monotonic() + MESSAGE_SECONDS + 5
        while self.open and not self.over and time.monotonic() < deadline:
            self.serve(self.client.poll, 0.1)
        if self.open:
            self.client.purge()
            self.serve(self.client.flush, 1)
        for value, (partition, invoke, _) in list(self.open.items()):
            self.write(value, partition, invoke, "unknown")
            self.workload.errors["send: never answered"] += 1
        self.open.clear()


class Reading:
    """One consumer with positions of its own."""

    def __init__(self, workload, positions, final=False):
        self.workload = workload
        self.process = workload.history.process()
        self.positions = dict(positions)
        self.marks = {"final": True} if final else {}
        self.gone = False
        self.client = confluent_kafka.Consumer({"bootstrap.servers": workload.bootstrap, **READER, **CLIENT})
        invoke = time.monotonic_ns()
        self.client.assign([TopicPartition(TOPIC, *place) for place in self.positions.items()])
        workload.history.add("assign", self.process, invoke, partitions=list(map(list, self.positions.items())))

    def poll(self):
        """Whether anything came."""
        invoke = time.monotonic_ns()
        records = []
        for message in self.client.consume(500, 0.1):
            if message.error() is None:
                value = int(message.value().split(b" ", 1)[0])
                records.append([message.partition(), message.offset(), value])
                self.positions[message.partition()] = message.offset() + 1
            else:
                self.failed(message.error())
        if records:
            self.workload.history.add("poll", self.process, invoke, records=records, **self.marks)
        return bool(records)

    def failed(self, error):
        self.workload.errors[f"poll: {error.name()}"] += 1
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            self.workload.problems.append(f"process {self.process} at {self.positions}: what it had read up to is "
                                          f"gone: {error.str()}")
            self.gone = True

    def behind(self, ends):
        return {partition: (at, ends[partition]) for partition, at in self.positions.items() if at < ends[partition]}

    def close(self):
        self.client.close()


def _log_to(path):
    log = logging.getLogger(f"clients {path}")
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s.%(msecs)03d %(message)s", "%Y-%m-%d %H:%M:%S"))
    handler.formatter.converter = time.gmtime  # As the servers do.
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    log.propagate = False
    return log


class Workload:
    def __init__(self, bootstrap, history, log, seed):
        self.log = _log_to(log)  # What producers say of their sequences.
        self.bootstrap = bootstrap
        self.history = history
        self.values = itertools.count()
        self.resent = set()
        self.progress = Progress()
        self.errors = collections.Counter()
        self.problems = []
        self.sending_is_over = threading.Event()
        self.asking_is_over = threading.Event()
        self.goal = None  # Where the log ends, once nothing is added any more.
        self.goal_by = None
        chances = [random.Random(f"{seed}-{number}") for number in range(SENDERS + WANDERERS)]
        self.senders = [self._thread(self._send, chance) for chance in chances[:SENDERS]]
        self.readers = [self._thread(self._follow), *(self._thread(self._wander, each) for each in chances[SENDERS:])]
        self.asker = self._thread(self._ask)

    def _thread(self, function, *arguments):
        """What ends a thread by an exception is a problem of the run."""
        def guarded():
            try:
                function(*arguments)
            except Exception as failure:
                self.problems.append(f"a client's thread ended: {failure!r}")
        return threading.Thread(target=guarded, daemon=True)

    def start(self):
        for thread in (*self.senders, *self.readers, self.asker):
            thread.start()

    def _send(self, chance):
        while not self.sending_is_over.is_set():
            Producing(self, chance).run(self.sending_is_over)

    def _follow(self):
        """One reader from the beginning to the end."""
        reading = Reading(self, [(partition, 0) for partition in range(PARTITIONS)])
        while not self._finished(reading):
            reading.poll()
        reading.close()

    def _wander(self, chance):
        """Readers that begin anew somewhere, again and again; the last one goes to the end."""
        while True:
            partitions = chance.sample(range(PARTITIONS), chance.randrange(1, PARTITIONS + 1))
            ends = list(self.progress.ends)
            places = [(each, max(0, ends[each] - chance.randrange(BACK_MAX))) for each in partitions]
            reading = Reading(self, places)
            until = time.monotonic() + chance.uniform(3, 20)
            while not self._finished(reading) and (self.goal is not None or time.monotonic() < until):
                reading.poll()
            finished = self._finished(reading)
            reading.close()
            if finished:
                return

    def _finished(self, reading):
        if reading.gone:
            return True
        if self.goal is None:
            return False
        behind = reading.behind(self.goal)
        if behind and time.monotonic() > self.goal_by:
            self.problems.append(f"reader {reading.process} did not get on within {CATCH_UP_SECONDS} s: it is at "
                                 f"(position, end) {behind}")
        return not behind or time.monotonic() > self.goal_by

    def _ask(self):
        chance = random.Random(0)
        client = confluent_kafka.Consumer({"bootstrap.servers": self.bootstrap, **READER, **CLIENT})
        process = self.history.process()
        while not self.asking_is_over.wait(chance.uniform(0.02, 0.3)):
            self._end(client, process, chance.randrange(PARTITIONS), 3)
        client.close()

    def _end(self, client, process, partition, seconds):
        """Asks where a partition ends."""
        invoke = time.monotonic_ns()
        try:
            _, end = client.get_watermark_offsets(TopicPartition(TOPIC, partition), timeout=seconds, cached=False)
        except KafkaException as failure:
            self.errors[f"end: {failure.args[0].name()}"] += 1
            return None
        self.history.add("end", process, invoke, partition=partition, offset=end)
        return end

    def finish(self):
        """Once all faults are over: waits for what is under way and reads everything once more."""
        self.sending_is_over.set()
        for thread in self.senders:
            thread.join()
        self.asking_is_over.set()
        self.asker.join()
        ends = self._final_ends()
        if None in ends:
            self.problems.append(f"ListOffsets is not answered after all faults are over: {ends}")
            ends = [0] * PARTITIONS
        self.goal_by = time.monotonic() + CATCH_UP_SECONDS
        self.goal = ends
        for thread in self.readers:
            thread.join()
        self._read_all(ends)

    def abandon(self):
        """The run has failed: nothing is waited for."""
        self.goal_by = 0
        self.goal = [1 << 62] * PARTITIONS
        self.sending_is_over.set()
        self.asking_is_over.set()

    def _final_ends(self):
        client = confluent_kafka.Consumer({"bootstrap.servers": self.bootstrap, **READER, **CLIENT})
        process = self.history.process()
        ends = [self._end(client, process, partition, 20) for partition in range(PARTITIONS)]
        client.close()
        return ends

    def _read_all(self, ends):
        reading = Reading(self, [(partition, 0) for partition in range(PARTITIONS)], final=True)
        by = time.monotonic() + CATCH_UP_SECONDS
        while reading.behind(ends) and time.monotonic() < by and not reading.gone:
            if reading.poll():
                by = time.monotonic() + CATCH_UP_SECONDS
        if reading.behind(ends):
            self.problems.append(f"the final reader stopped at (position, end) {reading.behind(ends)}")
        reading.close()
        for partition, end in enumerate(ends):
            self.history.add("final_end", reading.process, time.monotonic_ns(), partition=partition, offset=end)
