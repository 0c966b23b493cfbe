#!/usr/bin/env python3
"""Three real servers: clients go on through kills and restarts, disks are lost, and wrong starts are refused."""

import pathlib
import shutil
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

import clients
import confluent_kafka
import confluent_kafka.admin
from cases import case, expect, expect_equal, run
from clients import values
from cluster import Cluster
from server import DEADLINE, HOST, Workspace, free_port, program, run_server

NOT_IN_CLUSTER = 18
TOPIC = "orders"
PARTITIONS = 3


def cli(*arguments, broker):
    return subprocess.run([program("sentinel-cli"), *arguments, "--broker", broker], capture_output=True, text=True,
                          timeout=DEADLINE, check=False)


def create_topic(cluster, replicas=3):
    admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": cluster.bootstrap})
    topic = confluent_kafka.admin.NewTopic(TOPIC, PARTITIONS, replicas)
    admin.create_topics([topic])[TOPIC].result(DEADLINE)


def wait_until_healthy(cluster, node=1):
    """All nodes are there, and all partitions have all their replicas."""
    deadline = time.monotonic() + DEADLINE
    while True:
        done = cli("cluster", "status", broker=f"{HOST}:{cluster.ports[node]}")
        if done.returncode == 0:
            return done.stdout
        expect(time.monotonic() < deadline, f"not healthy: {done.stdout}{done.stderr}")
        time.sleep(0.1)


class Load:
    """An idempotent producer that must never see an error, and what it was told."""

    def __init__(self, cluster):
        self.producer = confluent_kafka.Producer({
            "bootstrap.servers": cluster.bootstrap, "enable.idempotence": True, "linger.ms": 1,
            "message.timeout.ms": 60_000, "broker.address.family": "v4", "reconnect.backoff.max.ms": 500})
        self.sent = 0
        self.acked = 0
        self.errors = []
        self.pad = b""

    def _delivered(self, error, _):
        if error is not None:
            self.errors.append(str(error))
        else:
            self.acked += 1

    def send(self, count):
        for _ in range(count):
            self.producer.produce(TOPIC, b"%d%b" % (self.sent, self.pad), partition=self.sent % PARTITIONS,
                                  on_delivery=self._delivered)
            self.sent += 1
            self.producer.poll(0)

    def send_until(self, done):
        while not done():
            self.send(20)
            self.producer.poll(0.005)

    def check(self, cluster):
        """All were acknowledged, and each stands in the log once and in order."""
        left = self.producer.flush(DEADLINE)
        expect_equal((left, self.errors, self.acked), (0, [], self.sent), "left, errors, acknowledged")
        for partition in range(PARTITIONS):
            wanted = [b"%d%b" % (number, self.pad) for number in range(self.sent) if number % PARTITIONS == partition]
            expect_equal(values(cluster.bootstrap, TOPIC, partition), wanted, f"partition {partition}")


@case
def three_servers_are_a_cluster_for_any_client():
    with Workspace("cluster") as folder, Cluster(folder) as cluster:
        broker = f"{HOST}:{cluster.ports[2]}"
        done = cli("topics", "create", TOPIC, "--partitions", str(PARTITIONS), broker=broker)
        expect_equal((done.returncode, done.stderr), (0, ""), "creating a topic through another node")
        text = wait_until_healthy(cluster)
        expect("3 nodes" in text and "3 partitions: all replicas are there" in text, text)
        expect_equal(text.count("leads 1 of 3 partitions"), 3, f"balanced leaders in {text}")
        for number in cluster.ids:
            done = cli("produce", "--topic", TOPIC, "--key", "k", "--message", f"m{number}",
                       broker=f"{HOST}:{cluster.ports[number]}")
            expect_equal(done.returncode, 0, done.stderr)
        done = cli("consume", "--topic", TOPIC, "--from-beginning", "-o", "value", broker=broker)
        expect_equal(done.stdout.splitlines(), ["m1", "m2", "m3"], "records of one key, in order")


@case
def a_producer_sees_no_error_while_each_node_is_killed_in_turn():
    with Workspace("cluster") as folder, Cluster(folder) as cluster:
        create_topic(cluster)
        load = Load(cluster)
        for node in cluster.ids:
            load.send(200)
            cluster.servers[node].kill9()
            before = load.acked
            load.send_until(lambda before=before: load.acked > before + 300)
            cluster.start(node)
            wait_until_healthy(cluster)
        load.check(cluster)


@case
def a_rolling_restart_is_not_seen_either():
    with Workspace("cluster") as folder, Cluster(folder) as cluster:
        create_topic(cluster)
        load = Load(cluster)
        for node in cluster.ids:
            load.send(200)
            cluster.servers[node].stop()
            before = load.acked
            load.send_until(lambda before=before: load.acked > before + 300)
            cluster.start(node)
            wait_until_healthy(cluster)
        load.check(cluster)


@case
def all_of_it_is_there_after_all_were_killed():
    with Workspace("cluster") as folder, Cluster(folder) as cluster:
        create_topic(cluster)
        load = Load(cluster)
        load.send(1000)
        load.producer.flush(DEADLINE)
        for server in cluster.servers.values():
            server.kill9()
        cluster.start()
        load.send(100)
        load.check(cluster)


def load_then_kill(cluster, node):
    """2000 records, all of them acknowledged, before the node is killed."""
    create_topic(cluster)
    load = Load(cluster)
    load.send(2000)
    load.producer.flush(DEADLINE)
    cluster.servers[node].kill9()
    return load


@case
def a_node_that_lost_its_disk_gets_everything_from_the_others():
    with Workspace("cluster") as folder, Cluster(folder) as cluster:
        load = load_then_kill(cluster, 3)
        shutil.rmtree(folder / "node-3")
        cluster.start(3)
        expect("joining as a new member" in cluster.servers[3].log(), "it is a new member")
        wait_until_healthy(cluster)
        # With another node gone the one with the new disk has to vote and to keep what is written.
        cluster.servers[1].kill9()
        load.send(500)
        load.check(cluster)


def flip(path, offsets):
    with path.open("r+b") as file:
        for offset in offsets:
            file.seek(offset)
            byte = file.read(1)
            file.seek(offset)
            file.write(bytes([byte[0] ^ 0x40]))


def wait_for(what, done):
    deadline = time.monotonic() + DEADLINE
    while not done():
        expect(time.monotonic() < deadline, f"never: {what}")
        time.sleep(0.1)


@case
def a_store_that_has_rotted_is_made_anew():
    with Workspace("cluster") as folder, Cluster(folder) as cluster:
        load = load_then_kill(cluster, 3)
        store = folder / "node-3" / "store-0"
        log = max(store.glob("wal-*"), key=lambda path: sum(path.read_bytes()[:1 << 20]))
        flip(log, [4096 + 100])
        cluster.start(3)
        text = cluster.servers[3].log()
        expect(f"store 0: {log} is damaged at offset" in text, f"what is damaged in {text}")
        wait_until_healthy(cluster)
        wait_for("what was damaged goes", lambda: not list(store.parent.glob("damaged-*")))
        # It has to vote, and to keep what is written.
        cluster.servers[1].kill9()
        load.send(500)
        load.check(cluster)


def forget_last_blocks(store, count):
    """As a drive does that says it has written what it has not."""
    logs = [log for log in sorted(store.glob("wal-*")) if log.read_bytes().strip(b"\0")]
    data = logs[-1].read_bytes().rstrip(b"\0")
    end = (len(data) + 4095) // 4096 * 4096
    begin = max(4096, end - count * 4096)
    with logs[-1].open("r+b") as file:
        file.seek(begin)
        file.write(bytes(end - begin))


@case
def a_drive_that_forgets_what_was_acknowledged_is_noticed():
    with Workspace("cluster") as folder, Cluster(folder) as cluster:
        create_topic(cluster)
        load = Load(cluster)
        for _ in range(50):
            load.send(20)
            load.producer.flush(DEADLINE)
        cluster.servers[3].kill9()
        forget_last_blocks(folder / "node-3" / "store-0", 12)
        cluster.start(3)
        wait_for("the node says so", lambda: "has acknowledged more" in cluster.servers[3].log())
        wait_for("its store is made anew", lambda: "has everything again" in cluster.servers[3].log())
        wait_until_healthy(cluster)
        cluster.servers[1].kill9()
        load.send(500)
        load.check(cluster)


@case
def rot_that_shows_while_a_node_runs_is_made_up_for():
    with Workspace("cluster") as folder, Cluster(folder, 3, "--memory", "256M") as cluster:
        create_topic(cluster)
        load = Load(cluster)
        load.pad = b" " * 20_000
        load.send(3000)
        load.producer.flush(DEADLINE)
        cluster.servers[3].stop()
        tables = list((folder / "node-3" / "store-0").glob("table-*.sst"))
        expect(tables, "there is no table yet")
        for table in tables:
            # Of the records only: the controller's state, at an end, is read before anything is served. No block is
            # larger than a batch.
            flip(table, range(2_000_000, table.stat().st_size - 2_000_000, 40_000))
        cluster.start(3)
        # Readers meet it where the node leads.
        wait_for("all lead again", lambda: wait_until_healthy(cluster).count("leads 1 of 3 partitions") == 3)
        for partition in range(PARTITIONS):
            values(cluster.bootstrap, TOPIC, partition)
        wait_for("it opens its directory anew", lambda: "opening the data directory anew" in cluster.servers[3].log())
        wait_until_healthy(cluster)
        load.check(cluster)


@case
def a_server_that_does_not_belong_is_refused_in_one_sentence():
    with Workspace("cluster") as folder, Cluster(folder) as cluster:

        def refused(server, *parts):
            code, _, errors = run_server(*server.command()[1:])
            expect_equal((code, errors.count("sentinel: ")), (NOT_IN_CLUSTER, 1), f"refusal in {errors!r}")
            for part in parts:
                expect(part in errors, f"{part!r} in {errors!r}")

        # A second server with the number of one that runs.
        other = cluster.server(2, data=folder / "other")
        cluster.peer_ports[2], kept = free_port(), cluster.peer_ports[2]
        other.flags[other.flags.index("--peers") + 1] = cluster.peers(2)
        cluster.peer_ports[2] = kept
        other.port = 0
        refused(other, "another server runs as node 2", "--node-id")
        # Another node's data directory.
        cluster.servers[3].stop()
        shutil.copytree(folder / "node-3", folder / "copy")
        moved = cluster.server(3, data=folder / "copy")
        moved.flags[moved.flags.index("--node-id") + 1] = "2"
        refused(moved, "belongs to node 3")
        # A copy of a directory that has been used since.
        cluster.start(3)
        cluster.servers[3].stop()
        cluster.start(3)
        cluster.servers[3].stop()
        refused(cluster.server(3, data=folder / "copy"), "old copy", "--data")
        cluster.start(3)
        wait_until_healthy(cluster)


@case
def a_disk_of_another_cluster_is_refused():
    with Workspace("cluster") as folder:
        with Cluster(folder / "a") as first, Cluster(folder / "b") as second:
            second.servers[3].stop()
            stranger = first.server(3, data=folder / "b" / "node-3")
            first.servers[3].stop()
            code, _, errors = run_server(*stranger.command()[1:])
            expect_equal(code, NOT_IN_CLUSTER, f"exit code with {errors!r}")
            expect("belongs to cluster" in errors, errors)
            first.start(3)
            second.start(3)


def done_by(broker, *arguments):
    done = cli(*arguments, broker=broker)
    expect_equal((done.returncode, done.stderr), (0, ""), f"{arguments} said {done.stdout!r}")
    return done.stdout


@case
def servers_come_and_go_under_load():
    with Workspace("cluster") as folder, Cluster(folder) as cluster:
        broker = f"{HOST}:{cluster.ports[1]}"
        create_topic(cluster)
        load = Load(cluster)
        load.send(500)
        done = cli("cluster", "drain", "3", broker=broker)
        expect("3 replicas" in done.stderr and "add one first" in done.stderr, done.stderr)
        done = cli("cluster", "add", "4", broker=broker)
        expect("node 4 is not there" in done.stderr, done.stderr)

        cluster.add_node(4)
        load.send(200)
        expect("has its share" in done_by(broker, "cluster", "add", "4"), "what add says")
        text = wait_until_healthy(cluster)
        expect("node 4 |" in text and "of 0 partitions" not in text, text)

        load.send_until(lambda: load.acked > 600)
        expect("cluster remove 2" in done_by(broker, "cluster", "drain", "2"), "what drain says")
        done = cli("cluster", "remove", "2", broker=broker)
        expect("still runs" in done.stderr, done.stderr)
        cluster.servers[2].stop()
        done_by(broker, "cluster", "remove", "2")
        text = wait_until_healthy(cluster)
        expect("3 nodes" in text and "node 2" not in text, text)
        code, _, errors = run_server(*cluster.servers[2].command()[1:])
        expect_equal(code, NOT_IN_CLUSTER, f"exit code with {errors!r}")
        expect("has been removed" in errors, errors)

        # The controller votes elsewhere now: one more may go.
        load.send(200)
        cluster.servers[3].kill9()
        before = load.acked
        load.send_until(lambda: load.acked > before + 100)
        cluster.start(3)
        del cluster.servers[2]
        load.check(cluster)


@case
def kafkas_own_tools_move_and_grow_topics():
    with Workspace("cluster") as folder, Cluster(folder) as cluster:
        create_topic(cluster)
        admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": cluster.bootstrap})
        grown = admin.create_partitions([confluent_kafka.admin.NewPartitions(TOPIC, PARTITIONS + 2)])
        grown[TOPIC].result(DEADLINE)
        wait_until_healthy(cluster)
        expect_equal(len(admin.list_topics(TOPIC, timeout=DEADLINE).topics[TOPIC].partitions), PARTITIONS + 2,
                     "partitions")
        again = admin.create_partitions([confluent_kafka.admin.NewPartitions(TOPIC, 2)])
        try:
            again[TOPIC].result(DEADLINE)
            expect(False, "fewer partitions were accepted")
        except confluent_kafka.KafkaException as refused:
            expect_equal(refused.args[0].name(), "INVALID_PARTITIONS", "why fewer are refused")
        done_by(f"{HOST}:{cluster.ports[2]}", "topics", "grow", TOPIC, "--partitions", "6")
        text = wait_until_healthy(cluster)
        expect("6 partitions: all replicas are there" in text, text)


def leader_of(cluster, topic):
    admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": cluster.bootstrap})
    return admin.list_topics(topic, timeout=DEADLINE).topics[topic].partitions[0].leader


@case
def a_replica_that_was_sent_a_cleaned_log_knows_what_is_left():
    """It must not take for surplus what was cleaned away before it came."""
    keys = [b"key-%d" % number for number in range(20)]
    with Workspace("cluster") as folder, Cluster(folder) as cluster:
        broker = f"{HOST}:{cluster.ports[1]}"
        done_by(broker, "topics", "create", "t", "--config", "cleanup.policy=compact,delete",
                "--config", "retention.bytes=8000000", "--config", "min.cleanable.dirty.ratio=0.1")
        wait_until_healthy(cluster)
        late = leader_of(cluster, "t")
        cluster.servers[late].stop()
        producer = confluent_kafka.Producer({"bootstrap.servers": cluster.bootstrap, "enable.idempotence": True,
                                             "linger.ms": 20, "broker.address.family": "v4"})
        # Less than the limit at a time, and more than that altogether.
        for turn in range(3):
            for number in range(50 * len(keys)):
                producer.produce("t", b"%d" % turn * 5_000, keys[number % len(keys)])
            producer.produce("t", b"end", b"end")
            expect_equal(producer.flush(DEADLINE), 0, "records not acknowledged")
            wait_for("a clean log", lambda: len(values(cluster.bootstrap, "t", 0)) < 15 * len(keys))
        cluster.start(late)
        wait_until_healthy(cluster)
        wait_for("its leadership", lambda: leader_of(cluster, "t") == late)
        for number in range(50):
            producer.produce("t", b"%d" % number, b"end")
            expect_equal(producer.flush(DEADLINE), 0, "records not acknowledged")
        left = {message.key() for message in clients.messages(cluster.bootstrap, "t")}
        expect_equal(left, {*keys, b"end"}, "keys of which the latest record is left")


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
