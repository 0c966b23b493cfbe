"""The servers of a cluster for chaos: they are harmed on purpose, and whatever else ends them is a finding."""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import threading
import time

import confluent_kafka.admin
from cluster import Cluster
from server import HOST, Failure, free_port, program

from forgetful_disk import Disk
from proxy import Proxies

STORAGE_FAILED = 16
# Between a power cut and the kill: until something is being written.
UNDER_WAY_SECONDS = 0.02
# A stop hands leadership over first, for some seconds.
STOP_SECONDS = 30.0
HEALTH_SECONDS = 60.0
# Lines of a server's log that no fault of ours explains.
BAD_LINE = re.compile(r"^\S+ \S+ ERROR |^sentinel: |Sanitizer|runtime error:|assert|terminate called", re.IGNORECASE)
# What a server says of bits that we have flipped.
ROTTED = re.compile(r" ERROR store 0: .* is damaged at offset ")
# Of the log; the first one says whose it is.
BLOCK = 4096
# What a server says of a sync that we made fail.
SYNC_FAILED = re.compile(r"^sentinel: .*Input/output error")


class Node:
    """One server. Between start() and a fault that ends it, it must run."""

    def __init__(self, number, server, problems):
        self.number = number
        self.server = server
        self.problems = problems
        self.disk = None  # One that forgets, where there can be one.
        self.listening = threading.Event()
        self.allowed = ()  # The codes with which it may end.
        self.paused = False
        self.leaving = False  # Told to end.
        self.syncs_failed = False
        self.has_rotted = False
        self.watcher = None

    def start(self):
        """Returns at once: without the others it would not come up."""
        if self.watcher is not None:
            self.watcher.join()
        self.listening.clear()
        self.allowed = ()
        self.paused = self.leaving = False
        with open(self.server.errors, "ab") as errors:
            self.server.process = subprocess.Popen(self.server.command(), stdin=subprocess.DEVNULL,
                                                   stdout=subprocess.PIPE, stderr=errors)
        self.watcher = threading.Thread(target=self._watch, daemon=True)
        self.watcher.start()

    def _watch(self):
        process = self.server.process
        with process.stdout:
            for line in process.stdout:
                if b"listening on port" in line:
                    self.listening.set()
        code = process.wait()
        if code not in self.allowed:
            self.problems.append(f"node {self.number} ended with {code}, expected {list(self.allowed) or 'none'}")

    def running(self):
        return self.server.running()

    def up(self):
        return self.running() and self.listening.is_set() and not self.paused

    def kill(self):
        self.leaving = True
        self.allowed = (*self.allowed, -signal.SIGKILL)
        self.server.process.kill()

    def terminate(self):
        # Whoever has not come up yet has nothing to hand over and leaves at once.
        early = () if self.listening.is_set() else (-signal.SIGTERM,)
        self.leaving = True
        self.allowed = (*self.allowed, 0, *early)
        self.server.process.terminate()

    def pause(self):
        self.paused = True
        self.server.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.paused = False
        self.server.process.send_signal(signal.SIGCONT)

    def wait_until_gone(self, seconds=STOP_SECONDS):
        try:
            self.server.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.problems.append(f"node {self.number} did not end within {seconds:.0f} s of SIGTERM")
            self.kill()
        self.watcher.join()

    def wipe(self):
        shutil.rmtree(self.server.data)
        if self.disk is not None:
            self.disk.sync()

    def rot(self, chance):
        """Flips a few bits in what it has logged last, which it reads when it starts."""
        logs = (pathlib.Path(self.server.data) / "store-0").glob("wal-*")
        written, log = max((len(log.read_bytes().rstrip(b"\0")), log) for log in logs)
        with log.open("r+b") as file:
            for _ in range(chance.randint(1, 3)):
                place = chance.randrange(min(BLOCK, written - 1), written)
                file.seek(place)
                byte = file.read(1)[0]
                file.seek(place)
                file.write(bytes([byte ^ (1 << chance.randrange(8))]))
            file.flush()
            os.fsync(file.fileno())
        self.has_rotted = True

    def cut_power(self, everything):
        """Kills it; returns how much its disk has forgotten: all that was not synced, or only some of it."""
        if self.disk is None:
            self.kill()
            return {}
        self.disk.cut(everything)
        time.sleep(UNDER_WAY_SECONDS)
        self.kill()
        counts = self.disk.fail()
        self.watcher.join()
        return {**counts, **self.disk.forget(everything)}

    def fail_syncs(self):
        """It has to end then."""
        self.syncs_failed = True
        self.allowed = (*self.allowed, STORAGE_FAILED)
        self.disk.harm(fail=True)

    def bad_lines(self):
        lines = self.server.errors.read_text(errors="replace").splitlines() if self.server.errors.exists() else []
        return [f"node {self.number} wrote: {line}" for line in lines if BAD_LINE.search(line) and
                not (self.syncs_failed and SYNC_FAILED.search(line)) and
                not (self.has_rotted and ROTTED.search(line))]


class Nodes:
    """The servers of a cluster. With `proxied`, they reach each other, and their clients reach them, through proxies.

    The links are called "1-2" (what node 1 connects to) and "client-1".
    """

    def __init__(self, folder, size=3, proxied=True, forgetful=False):
        self.problems = []
        self.admin = self.links = None
        links = {}
        if proxied:
            links = self._with_links(folder, size)
        else:
            self.cluster = Cluster(folder, size)
            self.bootstrap = self.cluster.bootstrap
        self.nodes = {number: Node(number, server, self.problems) for number, server in self.cluster.servers.items()}
        if proxied:
            self.links = Proxies(links)
        if forgetful:
            for node in self:
                node.disk = Disk(folder / f"disk-{node.number}", folder / f"below-{node.number}")
                node.server.data = node.disk.point / "data"

    def _with_links(self, folder, size):
        """Makes the cluster with another address for each link: {name: (port, port of the node that it leads to)}."""
        numbers = range(1, size + 1)
        names = [f"{node}-{other}" for node in numbers for other in numbers if node != other]
        names += [f"client-{node}" for node in numbers]
        while True:
            ports = {name: free_port() for name in names}
            # The ports as default: the function is called before a later round could give it others.
            self.cluster = Cluster(folder, size,
                                   addresses=lambda node, other, at=ports: f"{HOST}:{at[f'{node}-{other}']}")
            taken = [*ports.values(), *self.cluster.ports.values(), *self.cluster.peer_ports.values()]
            if len(set(taken)) == len(taken):
                break
        for node, server in self.cluster.servers.items():
            server.flags += ["--advertise", f"{HOST}:{ports[f'client-{node}']}"]
        self.bootstrap = ",".join(f"{HOST}:{ports[f'client-{node}']}" for node in numbers)
        to = {**{f"client-{node}": self.cluster.ports[node] for node in numbers},
              **{name: self.cluster.peer_ports[int(name[-1])] for name in names if not name.startswith("client")}}
        return {name: (ports[name], to[name]) for name in names}

    def __iter__(self):
        return iter(self.nodes.values())

    def __getitem__(self, number):
        return self.nodes[number]

    def start(self):
        for node in self:
            node.start()
        self.wait_until_healthy()
        self.admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0,
                                                        "broker.address.family": "v4"})

    def create_topic(self, name, partitions):
        topic = confluent_kafka.admin.NewTopic(name, partitions, len(self.nodes))
        self.admin.create_topics([topic])[name].result(HEALTH_SECONDS)
        self.wait_until_healthy()

    def status(self, number):
        """Whether a node says that all is well, and what it says."""
        try:
            done = subprocess.run([program("sentinel-cli"), "cluster", "status", "--broker",
                                   f"{HOST}:{self.cluster.ports[number]}"],
                                  capture_output=True, text=True, timeout=HEALTH_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            return False, "no answer"
        return done.returncode == 0, done.stdout + done.stderr

    def healthy(self):
        return all(node.up() for node in self) and all(self.status(node.number)[0] for node in self)

    def wait_until_healthy(self):
        """Returns the seconds that it took."""
        begin = time.monotonic()
        while True:
            if self.healthy():
                return time.monotonic() - begin
            ended = [problem for problem in self.problems if "ended with" in problem]
            if ended or time.monotonic() - begin > HEALTH_SECONDS:
                said = "".join(f"\nnode {node.number}{'' if node.up() else ' (not up)'}: {self.status(node.number)[1]}"
                               for node in self)
                raise Failure(f"not healthy after {time.monotonic() - begin:.0f} s: {ended}{said}")
            time.sleep(0.1)

    def leader(self, topic, partition):
        """The number of the node that leads, as far as clients know; None when nobody says."""
        try:
            found = self.admin.list_topics(topic, timeout=1).topics[topic].partitions[partition].leader
        except (KeyError, confluent_kafka.KafkaException):
            return None
        return found if found in self.nodes else None

    def controller(self):
        try:
            found = self.admin.list_topics(timeout=1).controller_id
        except confluent_kafka.KafkaException:
            return None
        return found if found in self.nodes else None

    def stop(self):
        """SIGTERM to all, as in an ordinary life."""
        for node in self:
            if node.running():
                node.terminate()
        for node in self:
            node.wait_until_gone()

    def close(self):
        """For whatever way a test ends."""
        for node in self:
            if node.running():
                node.kill()
            if node.watcher is not None:
                node.watcher.join()
            if node.disk is not None:
                node.disk.close()
        if self.links is not None:
            self.links.close()
