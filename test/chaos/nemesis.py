"""Faults, drawn from a seed, for nodes and their links.

The plan is drawn before anything runs, so that a seed gives the same faults at the same times again; only who leads,
and with it whom a fault for "the leader" hits, is found out when it is due. Faults overlap: a link has all conditions
that any of them gives it, and a process has one fault at a time.
"""

import collections
import heapq
import itertools
import random
import time

from nodes import STOP_SECONDS
from proxy import merge

QUIET_SHARE = 0.25
FLAP_SECONDS = 0.1
# Windows, and how long a fault lasts: for a minute, in which much must happen, and for hours.
SHORT = {"window": (3.0, 6.0), "lasts": (0.3, 4.0)}
LONG = {"window": (20.0, 60.0), "lasts": (0.5, 20.0)}
PROCESS_KINDS = ("kill", "terminate", "pause", "kill all")
# Where there is no disk that forgets, a power cut is a kill and the others are left out.
DISK_KINDS = ("power cut", "power cut of all", "slow disk", "sync error")
NETWORK_KINDS = ("isolate", "cut one way", "cut between two", "deaf", "mute", "delay", "slow", "dribble", "reset",
                 "refuse", "flap")
CLIENT_KINDS = ("client cut", "client reset", "client delay", "client refused")
# Drawn from; what stands there twice comes twice as often.
KINDS = (*PROCESS_KINDS, *PROCESS_KINDS, *DISK_KINDS, *DISK_KINDS, *NETWORK_KINDS, *CLIENT_KINDS)
# Faults of one node, which may be meant for whoever leads at the moment.
FOR_ANYBODY = ("kill", "terminate", "pause", "power cut", "slow disk", "sync error", "isolate", "deaf", "mute",
               "client cut")
HOLD = {"hold": True}

Fault = collections.namedtuple("Fault", "at kind lasts target other amount")


def plan(seed, seconds, nodes, partitions, profile):
    """All faults of a run, in order."""
    chance = random.Random(seed)
    faults, windows, at = [], [], 1.0
    while at < seconds:
        length = min(chance.uniform(*profile["window"]), seconds - at)
        windows.append((at, length))
        at += length
    # One disk is lost in a run, and only once: the others must have everything. So they must when bits decay.
    wiped = chance.randrange(len(windows)) if chance.random() < 0.7 else None
    rotten = chance.sample(range(len(windows)), max(1, len(windows) // 12))
    for number, (at, length) in enumerate(windows):
        quiet = chance.random() < QUIET_SHARE
        if number == wiped:
            faults.append(Fault(at, "wipe", chance.uniform(0.2, 2.0), chance.choice(nodes), None, length))
        elif number in rotten:
            faults.append(Fault(at, "rot", chance.uniform(0.2, 2.0), chance.choice(nodes), chance.random(), length))
        elif not quiet:
            faults += _window(chance, at, length, nodes, partitions, profile)
    return sorted(faults, key=lambda fault: fault.at)


def _window(chance, at, length, nodes, partitions, profile):
    # A few kinds at a time: what is left out lets others show what they do.
    kinds = chance.sample(KINDS, chance.choice((1, 2, 2, 3, 3, 4)))
    rounds = max(1, round(length / 10))
    return [_fault(chance, at + chance.uniform(0, length), kind, nodes, partitions, profile)
            for kind in kinds for _ in range(rounds)]


def _fault(chance, at, kind, nodes, partitions, profile):
    lasts = chance.uniform(*profile["lasts"])
    if kind == "pause":
        # Many short ones and a few that outlast every timeout.
        lasts = 0.1 * 100 ** chance.random()
    target, other = chance.sample(nodes, 2)
    amount = chance.random()
    named = chance.random()
    if kind in FOR_ANYBODY:
        if named < 0.4:
            target = f"leader of {chance.randrange(partitions)}"
        elif named < 0.5:
            target = "controller"
    return Fault(at, kind, lasts, target, other, amount)


class Nemesis:
    def __init__(self, nodes, topic, faults, say):
        self.nodes = nodes
        self.topic = topic
        self.faults = faults
        self.say = say
        self.counts = collections.Counter()
        self.left_out = collections.Counter()
        self.events = []  # (when, order, function, arguments)
        self.order = itertools.count()
        self.conditions = {}  # Of each fault that goes on: {(link, direction): condition}
        self.busy = set()  # Nodes whose process has a fault.
        self.wiped = None
        self.forgotten = collections.Counter()  # By disks.

    def run(self, seconds, stop):
        """Carries the plan out; ends early when `stop`, an event, is set."""
        self.begin = time.monotonic()
        for fault in self.faults:
            self._at(fault.at, self._start, fault)
        while not stop.is_set():
            now = time.monotonic() - self.begin
            if now >= seconds:
                return
            due = self.events[0][0] if self.events else seconds
            if due > now:
                stop.wait(min(due, seconds) - now)
                continue
            _, _, function, arguments = heapq.heappop(self.events)
            function(*arguments)

    def heal(self):
        """Ends everything that goes on, and starts whoever is down."""
        self.events.clear()
        self.conditions.clear()
        self.nodes.links.pass_all()
        for node in self.nodes:
            if node.paused and node.running():
                node.resume()
        for node in self.nodes:
            if node.disk is not None:
                node.disk.harm()
            if node.running() and node.leaving:
                node.wait_until_gone()
            if not node.running():
                node.start()
        self.busy.clear()

    def _at(self, when, function, *arguments):
        heapq.heappush(self.events, (when, next(self.order), function, arguments))

    def _in(self, seconds, function, *arguments):
        self._at(time.monotonic() - self.begin + seconds, function, *arguments)

    def _start(self, fault):
        if fault.kind in NETWORK_KINDS or fault.kind in CLIENT_KINDS:
            done = self._network(fault)
        else:
            done = getattr(self, "_" + fault.kind.replace(" ", "_"))(fault)
        if done:
            self.counts[fault.kind] += 1
        else:
            self.left_out[fault.kind] += 1

    def _tell(self, fault, what):
        self.say(f"{what} for {fault.lasts:.1f} s")

    def _target(self, fault):
        """The number of the node that is meant, and what to call it."""
        if isinstance(fault.target, int):
            return fault.target, f"node {fault.target}"
        if fault.target == "controller":
            found = self.nodes.controller()
        else:
            found = self.nodes.leader(self.topic, int(fault.target.split()[-1]))
        # When nobody says who leads, it hits anybody.
        return found or fault.other, f"node {found or fault.other} ({fault.target if found else 'no leader known'})"

    # Processes and disks.

    def _victim(self, fault, what):
        """The node that gets the fault for as long as it lasts; None when it has one."""
        number, name = self._target(fault)
        node = self.nodes[number]
        if number in self.busy or not node.running():
            return None
        self._tell(fault, f"{what} {name}")
        self.busy.add(number)
        return node

    def _kill(self, fault):
        node = self._victim(fault, "kill -9")
        if node is None:
            return False
        node.kill()
        self._restart_in(fault.lasts, node)
        return True

    def _terminate(self, fault):
        node = self._victim(fault, "SIGTERM")
        if node is None:
            return False
        node.terminate()
        self._restart_in(fault.lasts, node)
        return True

    def _pause(self, fault):
        node = self._victim(fault, "pause")
        if node is None:
            return False
        node.pause()
        self._in(fault.lasts, self._resume, node)
        return True

    def _resume(self, node):
        node.resume()
        self.busy.discard(node.number)

    def _kill_all(self, fault, what="kill -9", power=False):
        chosen = [node for node in self.nodes if node.number not in self.busy and node.running()]
        if len(chosen) < len(self.nodes.nodes):
            return False
        self._tell(fault, f"{what} all")
        for node in chosen:
            self.busy.add(node.number)
            if power:
                self._cut_power(node, fault)
            else:
                node.kill()
        for node in chosen:
            self._restart_in(min(fault.lasts, 2.0) + 0.3 * node.number * fault.amount, node)
        return True

    def _power_cut(self, fault):
        node = self._victim(fault, "power cut of")
        if node is None:
            return False
        self._cut_power(node, fault)
        self._restart_in(fault.lasts, node)
        return True

    def _power_cut_of_all(self, fault):
        return self._kill_all(fault, "power cut of", power=True)

    def _cut_power(self, node, fault):
        self.forgotten.update(node.cut_power(everything=fault.amount < 0.4))

    def _slow_disk(self, fault):
        number, name = self._target(fault)
        node = self.nodes[number]
        if node.disk is None or number in self.busy:
            return False
        delay = 0.01 * 100 ** fault.amount
        self._tell(fault, f"{delay * 1000:.0f} ms for each sync of {name}")
        node.disk.harm(delay=delay)
        self.busy.add(number)
        self._in(fault.lasts, self._end_of_slow_disk, node)
        return True

    def _end_of_slow_disk(self, node):
        node.disk.harm()
        self.busy.discard(node.number)

    def _sync_error(self, fault):
        if self.nodes[1].disk is None:
            return False
        node = self._victim(fault, "failing syncs of")
        if node is None:
            return False
        node.fail_syncs()
        self._in(fault.lasts, self._end_of_sync_error, node, fault)
        return True

    def _end_of_sync_error(self, node, fault):
        """What it wrote last is not there when it comes back."""
        node.disk.harm()
        if node.running():
            self._cut_power(node, fault)  # It had nothing to sync.
        else:
            self.forgotten.update(node.disk.forget(everything=fault.amount < 0.4))
        self._restart_in(0, node)

    def _restart_in(self, seconds, node):
        self._in(seconds, self._restart, node, time.monotonic() + max(seconds, STOP_SECONDS))

    def _restart(self, node, gone_by):
        """Once it is gone: a stop takes its time."""
        if node.running() and time.monotonic() < gone_by:
            self._in(0.1, self._restart, node, gone_by)
            return
        node.wait_until_gone(0)
        node.start()
        self.busy.discard(node.number)

    def _may_damage(self, fault):
        """Whether all others have everything, which is waited for while the window lasts."""
        if not (self.busy or self.conditions) and self.nodes.healthy():
            return True
        if time.monotonic() - self.begin < fault.at + fault.amount:
            self._in(0.3, self._start, fault)
            self.left_out[fault.kind] -= 1
        return False

    def _rot(self, fault):
        if not self._may_damage(fault):
            return False
        self._tell(fault, f"kill -9 node {fault.target}, flip bits of its log")
        node = self.nodes[fault.target]
        self.busy.add(fault.target)
        node.kill()
        node.watcher.join()
        node.rot(random.Random(fault.other))
        self._restart_in(fault.lasts, node)
        return True

    def _wipe(self, fault):
        if self.wiped is not None or not self._may_damage(fault):
            return False
        self._tell(fault, f"kill -9 node {fault.target}, wipe its disk")
        node = self.nodes[fault.target]
        self.wiped = fault.target
        self.busy.add(fault.target)
        node.kill()
        node.watcher.join()
        node.wipe()
        self._restart_in(fault.lasts, node)
        return True

    # Links.

    def _network(self, fault):
        number, name = self._target(fault)
        shaped = {"delay": 0.003 * 100 ** fault.amount}
        others = [node.number for node in self.nodes if node.number != number]
        out = [path for other in others for path in _path(number, other)]
        into = [path for other in others for path in _path(other, number)]
        client = [(f"client-{number}", "forward"), (f"client-{number}", "back")]
        pair = _path(number, fault.other)
        if fault.kind in ("reset", "client reset"):
            return self._reset(fault, number)
        paths, condition, what = {
            "isolate": (out + into + (client if fault.amount < 0.5 else []), HOLD, f"isolate {name}"),
            "cut one way": (pair, HOLD, f"cut {number} -> {fault.other}"),
            "cut between two": (pair + _path(fault.other, number), HOLD, f"cut {number} - {fault.other}"),
            "deaf": (into, HOLD, f"{name} hears nobody"),
            "mute": (out, HOLD, f"nobody hears {name}"),
            "delay": (out + into, {**shaped, "jitter": shaped["delay"]}, f"{shaped['delay'] * 1000:.0f} ms to {name}"),
            "slow": (out + into, {"rate": int(20_000 * 20 ** fault.amount)}, f"slow links to {name}"),
            "dribble": (pair, {"dribble": True}, f"single bytes {number} -> {fault.other}"),
            "refuse": ([(f"{number}-{fault.other}", "refuse"), (f"{fault.other}-{number}", "refuse")], {},
                       f"{number} and {fault.other} refuse each other"),
            "flap": (pair + _path(fault.other, number), HOLD, f"flapping link {number} - {fault.other}"),
            "client cut": (client, HOLD, f"cut clients from {name}"),
            "client delay": (client, {**shaped, "jitter": shaped["delay"]},
                             f"{shaped['delay'] * 1000:.0f} ms from clients to {name}"),
            "client refused": ([(f"client-{number}", "refuse")], {}, f"clients refused by {name}"),
        }[fault.kind]
        self._tell(fault, what)
        if fault.kind == "flap":
            self._flap(fault, paths, fault.lasts)
        else:
            self._apply(fault, paths, condition)
            self._in(fault.lasts, self._lift, fault)
        return True

    def _apply(self, fault, paths, condition):
        self.conditions[fault] = {path: condition for path in paths}
        self._set({link for link, _ in paths})

    def _lift(self, fault):
        paths = self.conditions.pop(fault, {})
        self._set({link for link, _ in paths})

    def _set(self, links):
        for link in sorted(links):
            now = {direction: [paths[link, direction] for paths in self.conditions.values()
                               if (link, direction) in paths] for direction in ("forward", "back", "refuse")}
            self.nodes.links.set(link, merge(now["forward"]), merge(now["back"]), bool(now["refuse"]))

    def _flap(self, fault, paths, left):
        if fault in self.conditions:
            self._lift(fault)
        elif left > 0:
            self._apply(fault, paths, HOLD)
        if fault in self.conditions or left > 0:
            self._in(FLAP_SECONDS, self._flap, fault, paths, left - FLAP_SECONDS)

    def _reset(self, fault, number):
        """All connections of a node, or of its clients, again and again."""
        links = [name for name in self.nodes.links.names if str(number) in name.split("-")]
        links = [name for name in links if name.startswith("client") == (fault.kind == "client reset")]
        times = 1 + int(4 * fault.amount)
        self.say(f"{fault.kind} of node {number}, {times} times within {fault.lasts:.1f} s")
        for count in range(times):
            self._in(count * fault.lasts / times, self._reset_now, links)
        return True

    def _reset_now(self, links):
        for link in links:
            self.nodes.links.reset(link)


def _path(sender, receiver):
    """What carries what one node says to another: the connection it made, and its answers on the other's."""
    return [(f"{sender}-{receiver}", "forward"), (f"{receiver}-{sender}", "back")]
