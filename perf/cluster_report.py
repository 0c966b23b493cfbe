#!/usr/bin/env python3
"""Three Sentinel servers beside three of etcd on this machine, and what many idle partitions cost.

    cluster_report.py --bin DIR --out DIR --etcd FILE --etcd-load FILE [--data DIR] [--rounds N] [--quick]
                      [--only load|idle]

Each round starts one cluster after the other, in turns and on empty directories of one file system, so that only one of
them runs at a time; both sync what they acknowledge. Closed loops of puts of 1 KiB values run against each: one client,
then 64 with a connection and one put under way each. The ratios are formed within a round, and their medians reported.
etcd's clients talk to its leader, which on one machine is faster than spreading them. After that a cluster of Sentinel
is left alone with few and with many partitions of three replicas each. The report is printed and written to
OUT/cluster.json.
"""

import argparse
import json
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import threading
import time
import urllib.request

from measured import START_DEADLINE, load, run

NODES = 3
VALUE_BYTES = 1024
CLIENTS = (1, 64)
# Of Sentinel: partitions, each with a leader of its own, and the clients that write to them. One client that waits for
# each answer gains nothing from many.
TOPICS = {"one": (1, CLIENTS), "three": (NODES, CLIENTS[1:])}
LATENCY_TARGET = 0.5
THROUGHPUT_TARGET = 5
SETTLE_SECONDS = 5
IDLE_PARTITIONS = (10, 1000)
IDLE_WRITE_SECONDS = 3
IDLE_SETTLE_SECONDS = 20
IDLE_CPU_TARGET = 2
BLOCK = b"\x5a" * 4096


def cpu_seconds(pid):
    """What all threads of a process, the kernel's workers for its rings included, have run."""
    nanoseconds = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        try:
            nanoseconds += int((task / "schedstat").read_text().split()[0])
        except (FileNotFoundError, ProcessLookupError):
            continue  # Threads come and go.
    return nanoseconds / 1e9


def children_cpu_seconds():
    """Of what was started and waited for: the load generators."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def machine_cpu_seconds():
    """What everything on this machine has run."""
    user, nice, system, _, _, irq, softirq, *_ = map(int, pathlib.Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


class EtcdCluster:
    """Default settings but for names and addresses."""

    def __init__(self, options, data):
        from server import HOST, free_port  # Found where main() says.
        self.options = options
        data.mkdir(parents=True)
        self.addresses = [f"{HOST}:{free_port()}" for _ in range(NODES)]
        peers = [f"http://{HOST}:{free_port()}" for _ in range(NODES)]
        members = ",".join(f"node-{node}={peer}" for node, peer in enumerate(peers))
        self.logs = [data / f"node-{node}.log" for node in range(NODES)]
        self.processes = []
        for node, (address, peer) in enumerate(zip(self.addresses, peers)):
            with open(self.logs[node], "wb") as log:
                self.processes.append(subprocess.Popen(
                    [options.etcd, "--name", f"node-{node}", "--data-dir", data / f"node-{node}",
                     "--listen-client-urls", f"http://{address}", "--advertise-client-urls", f"http://{address}",
                     "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                     "--initial-cluster", members, "--initial-cluster-state", "new"],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT))
        self.pids = [process.pid for process in self.processes]
        self._wait_until_healthy()

    def _wait_until_healthy(self):
        deadline = time.monotonic() + START_DEADLINE
        while not all(map(self._healthy, self.addresses)):
            for process, log in zip(self.processes, self.logs):
                if process.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    sys.exit(f"etcd does not start: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)

    @staticmethod
    def _healthy(address):
        try:
            with urllib.request.urlopen(f"http://{address}/health", timeout=5) as answer:
                return json.load(answer)["health"] == "true"
        except OSError:
            return False

    def load(self, clients):
        figures = json.loads(run(self.options.etcd_load, "-endpoints", ",".join(self.addresses), "-clients", clients,
                                 "-value-bytes", VALUE_BYTES, "-seconds", self.options.seconds, "-prefix", clients))
        return figures["ops_per_second"], figures["latency_us"]

    def stop(self):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait()


class SentinelCluster:
    def __init__(self, options, data):
        from cluster import Cluster  # Found where main() says.
        data.parent.mkdir(parents=True, exist_ok=True)
        self.options = options
        self.data = data
        self.cluster = Cluster(data, NODES)
        try:
            self.cluster.start()
        except BaseException:
            self.stop()
            raise
        self.broker = self.cluster.bootstrap.split(",")[0]
        self.pids = [server.pid for server in self.cluster.servers.values()]
        self.peer_ports = list(self.cluster.peer_ports.values())

    def create(self, topic, partitions):
        began = time.monotonic()
        self._cli("create", topic, "-partitions", partitions, "-replication-factor", NODES, "-timeout", 120)
        return time.monotonic() - began

    def leaders(self, topic):
        """How many nodes lead partitions of the topic."""
        described = json.loads(self._cli("describe", topic, "-output", "json"))
        return len({partition["leader"] for partition in described["partitions"]})

    def _cli(self, action, topic, *flags):
        return run(self.options.bin / "sentinel-cli", "topics", action, topic, "-broker", self.broker, *flags)

    def load(self, topic, clients):
        figures = load(self.options.bin, self, topic, self.options.seconds, "--connections", clients, "--record-bytes",
                       VALUE_BYTES)
        return figures["records_per_second"], figures["latency_us"]

    def traffic(self):
        """What the servers have sent each other so far: bytes, segments with contents (messages), all segments."""
        ports = " or ".join(f"{end} = :{port}" for end in ("sport", "dport") for port in self.peer_ports)
        # Both ends of a connection are on this machine, each with a line of its own.
        lines = run("ss", "--tcp", "--info", "--numeric", "--oneline", "--no-header", "state", "established",
                    f"( {ports} )").splitlines()
        sent = {"bytes": 0, "messages": 0, "segments": 0}
        for line in lines:
            fields = dict(word.split(":", 1) for word in line.split() if word.count(":") == 1)
            for name, field in (("bytes", "bytes_sent"), ("messages", "data_segs_out"), ("segments", "segs_out")):
                sent[name] += int(fields.get(field, 0))
        return {"connections": len(lines) // 2, **sent}

    def stop(self):
        self.cluster.__exit__(*sys.exc_info())


def measured_load(cluster, *arguments):
    """Rate, latencies, and how many cores the servers, the load generator and everything else had meanwhile."""
    def used():
        return sum(map(cpu_seconds, cluster.pids)), children_cpu_seconds(), machine_cpu_seconds()

    before, began = used(), time.monotonic()
    rate, latency_us = cluster.load(*arguments)
    seconds = time.monotonic() - began
    servers, clients, machine = ((after - earlier) / seconds for after, earlier in zip(used(), before))
    return {"ops_per_s": rate, "latency_us": latency_us, "server_cores": servers, "client_cores": clients,
            "other_cores": max(0, machine - servers - clients)}


def load_etcd(options, data):
    cluster = EtcdCluster(options, data)
    try:
        time.sleep(SETTLE_SECONDS)
        return {f"etcd_{clients}": measured_load(cluster, clients) for clients in CLIENTS}
    finally:
        cluster.stop()
        shutil.rmtree(data, ignore_errors=True)


def load_sentinel(options, data):
    cluster = SentinelCluster(options, data)
    try:
        for topic, (partitions, _) in TOPICS.items():
            cluster.create(topic, partitions)
        time.sleep(SETTLE_SECONDS)
        figures = {f"leaders_{topic}": cluster.leaders(topic) for topic in TOPICS}
        for topic, (_, counts) in TOPICS.items():
            figures |= {f"sentinel_{clients}_{topic}": measured_load(cluster, topic, clients) for clients in counts}
        return figures
    finally:
        cluster.stop()
        shutil.rmtree(data, ignore_errors=True)


def append_us(data, files, writes):
    """The median time of a 4 KiB append with fdatasync, when so many files are appended to at the same time."""
    times = []

    def append(path):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for _ in range(writes):
            began = time.monotonic()
            os.write(file, BLOCK)
            os.fdatasync(file)
            times.append(1e6 * (time.monotonic() - began))
        os.close(file)
        path.unlink()

    threads = [threading.Thread(target=append, args=(data / f"append-{i}",)) for i in range(files)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statistics.median(times)


def limits(options, data):
    writes = 200 if options.quick else 1000
    probe = json.loads(run(options.bin / "sentinel-probe", data, writes))
    return {"device_write_us": probe["device_write_p50_us"], "loopback_us": probe["loopback_p50_us"],
            "append_us": append_us(data, 1, writes), "append_three_us": append_us(data, NODES, writes)}


def measure_round(options, data, order):
    before = limits(options, data)
    each = {}
    for cluster in order:
        each |= cluster(options, data / "cluster")
    after = limits(options, data)
    each |= {key: (before[key] + after[key]) / 2 for key in before}
    each["latency_ratio"] = each["sentinel_1_one"]["latency_us"]["p50"] / each["etcd_1"]["latency_us"]["p50"]
    for topic in TOPICS:
        each[f"throughput_ratio_{topic}"] = each[f"sentinel_64_{topic}"]["ops_per_s"] / each["etcd_64"]["ops_per_s"]
    # A put goes to the leader and from there to a follower, and is synced by both at the same time.
    each["limit_us"] = each["device_write_us"] + 2 * each["loopback_us"]
    each["limit_ratio"] = each["sentinel_1_one"]["latency_us"]["p50"] / each["limit_us"]
    return each


def medians_of(rounds):
    """Of everything that is a number, however deep."""
    return {key: medians_of([each[key] for each in rounds]) if isinstance(value, dict)
            else statistics.median(each[key] for each in rounds) for key, value in rounds[0].items()}


def measure_idle(options, data, partitions):
    cluster = SentinelCluster(options, data)
    try:
        created = cluster.create("idle", partitions)
        # Every partition is written to: one that never was could be cheaper than others.
        load(options.bin, cluster, "idle", IDLE_WRITE_SECONDS, "--connections", NODES, "--warmup", 0)
        time.sleep(IDLE_SETTLE_SECONDS)
        cpu, machine, began = [cpu_seconds(pid) for pid in cluster.pids], machine_cpu_seconds(), time.monotonic()
        looks = [cluster.traffic()]
        for second in range(1, options.idle_seconds + 1):
            time.sleep(max(0, began + second - time.monotonic()))
            looks.append(cluster.traffic())
        seconds = time.monotonic() - began
        cpu = [cpu_seconds(pid) - before for pid, before in zip(cluster.pids, cpu)]
        if {look["connections"] for look in looks} != {looks[0]["connections"]}:
            sys.exit("the idle servers have lost a connection: was this machine too busy?")
        return {
            "partitions": partitions,
            "create_s": created,
            "cpu_percent": [100 * used / seconds for used in cpu],
            "other_cores": max(0, (machine_cpu_seconds() - machine - sum(cpu)) / seconds),
            "connections": looks[0]["connections"],
            **{key: [after[key] - before[key] for before, after in zip(looks, looks[1:])]
               for key in ("bytes", "messages", "segments")},
        }
    finally:
        cluster.stop()
        shutil.rmtree(data, ignore_errors=True)


def verdict(ratio, target, at_most):
    met = ratio <= target if at_most else ratio >= target
    return f"{ratio:8.2f}  at {'most' if at_most else 'least'} {target}, {'met' if met else 'missed'}"


def print_load(figures):
    medians = figures["medians"]
    print(f"""
Three nodes on this machine beside three of {figures["etcd_version"]}, all with real syncs; closed loops of puts of
{VALUE_BYTES} bytes (medians of {len(figures["rounds"])} rounds; ratio of p50 or of puts/s within a round)
                              p50 us    p99 us    puts/s  cores: servers  clients  others   ratio  target""")
    for clients in CLIENTS:
        print("one client" if clients == 1 else f"{clients} clients, one put under way each")
        rows = [("etcd", f"etcd_{clients}", "")]
        for topic, (partitions, counts) in TOPICS.items():
            if clients not in counts:
                continue
            title = "1 partition" if partitions == 1 else f"{partitions} partitions"
            ratio = (verdict(medians["latency_ratio"], LATENCY_TARGET, True) if clients == 1 else
                     verdict(medians[f"throughput_ratio_{topic}"], THROUGHPUT_TARGET, False))
            rows.append((f"sentinel, {title}", f"sentinel_{clients}_{topic}", ratio))
        for title, key, ratio in rows:
            each = medians[key]
            latency = each["latency_us"]
            print(f"  {title:24}{latency['p50']:10,.0f}{latency['p99']:10,.0f}{each['ops_per_s']:10,.0f}"
                  f"{each['server_cores']:16.2f}{each['client_cores']:9.2f}{each['other_cores']:8.2f}{ratio}")
    print(f"""The {NODES} partitions were led by {medians["leaders_three"]:.0f} nodes. The machine in the same rounds
  4 KiB O_DIRECT+O_DSYNC write   {medians["device_write_us"]:9.0f} us
  4 KiB append with fdatasync    {medians["append_us"]:9.0f} us
    in three files at once       {medians["append_three_us"]:9.0f} us
  loopback round trip            {medians["loopback_us"]:9.0f} us
  a write and two round trips    {medians["limit_us"]:9.0f} us
    p50 of one client by that    {medians["limit_ratio"]:9.2f}""")


def print_idle(figures):
    idle = figures["idle"]

    def line(title, values, form, target=""):
        print(f"  {title:33}" + "".join(f"{value:{form}}" for value in values) + target)

    print(f"""
Idle, three replicas each, all written to before: {figures["idle_seconds"]} s after {IDLE_SETTLE_SECONDS} s of rest""")
    line("partitions", [each["partitions"] for each in idle], "12")
    line("creating them, s", [each["create_s"] for each in idle], "12.2f")
    for node in range(NODES):
        line(f"node {node + 1}, % of a core", [each["cpu_percent"][node] for each in idle], "12.2f",
             f"  (target: under {IDLE_CPU_TARGET})")
    line("cores that others had meanwhile", [each["other_cores"] for each in idle], "12.2f")
    line("connections among them", [each["connections"] for each in idle], "12")
    # A node that is not given the processor for a second has its partitions look for another leader; the median second
    # tells what goes on all the time.
    medians = [statistics.median(each["bytes"]) for each in idle]
    growth = f"  ratio {medians[-1] / medians[0]:.2f} (target: 1, does not grow)"
    line("bytes/s on them, median second", medians, "12.0f", growth)
    line("bytes in the busiest second", [max(each["bytes"]) for each in idle], "12.0f")
    line("messages/s, median second", [statistics.median(each["messages"]) for each in idle], "12.0f")
    line("segments/s, with acknowledgments", [statistics.median(each["segments"]) for each in idle], "12.0f")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--etcd", type=pathlib.Path, required=True, help="etcd's server")
    parser.add_argument("--etcd-load", type=pathlib.Path, required=True, help="what perf/etcd_load builds")
    parser.add_argument("--data", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=("load", "idle"))
    options = parser.parse_args()
    options.seconds = 4 if options.quick else 10
    options.idle_seconds = 10 if options.quick else 20
    options.out.mkdir(parents=True, exist_ok=True)
    # Those of the tests know how to start a cluster; what they start is beside --bin.
    os.environ["SENTINEL_BIN"] = str(options.bin)
    sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "test" / "support"))
    data = (options.data or options.out / "data") / "cluster"
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True)
    figures = {}
    try:
        if options.only != "idle":
            version = run(options.etcd, "--version").splitlines()[0]
            figures["etcd_version"] = version.replace("Version: ", "")
            order = [load_etcd, load_sentinel]
            figures["rounds"] = [measure_round(options, data, order[::-1] if turn % 2 else order)
                                 for turn in range(options.rounds)]
            figures["medians"] = medians_of(figures["rounds"])
            print_load(figures)
        if options.only != "load":
            figures["idle_seconds"] = options.idle_seconds
            figures["idle"] = [measure_idle(options, data / "idle", partitions) for partitions in IDLE_PARTITIONS]
            print_idle(figures)
    finally:
        shutil.rmtree(data, ignore_errors=True)
    (options.out / "cluster.json").write_text(json.dumps(figures, indent=1) + "\n")
    print(f"\nJSON: {options.out / 'cluster.json'}")


if __name__ == "__main__":
    main()
