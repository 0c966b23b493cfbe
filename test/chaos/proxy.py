"""Loopback TCP proxies that fail on command: one for each directed link, all in one process of their own.

A link is a port that passes each connection on to another port. Of its two directions, `forward` are the bytes of who
connects and `back` what it is answered. Each has a condition, which can be changed at any time:

    hold            no byte and no end passes; connections stay open, and what was held goes on when it is over
    delay, jitter   seconds that bytes take, and what chance adds to them; the order of bytes is kept
    rate            bytes a second of each connection; 0 is unlimited
    dribble         single bytes, one a millisecond

A link as a whole can refuse connections, and reset those that it has. `Proxies` is the handle of a test; the process
is this file, which takes a command a line and ends with its standard input.
"""

import collections
import heapq
import itertools
import json
import os
import random
import selectors
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

HOST = "127.0.0.1"
PASS = {"hold": False, "delay": 0.0, "jitter": 0.0, "rate": 0, "dribble": False}
CHUNK = 1 << 16
QUEUE_MAX = 1 << 20  # Then nothing more is read: the sender's own buffers fill, as they do on a dead network.
DRIBBLE_PAUSE = 0.001
RATE_PIECE = 4096
END, RESET = object(), object()


def merge(conditions):
    """What several faults at once make of a direction."""
    merged = dict(PASS)
    for each in conditions:
        merged["hold"] |= each.get("hold", False)
        merged["dribble"] |= each.get("dribble", False)
        merged["delay"] = max(merged["delay"], each.get("delay", 0.0))
        merged["jitter"] = max(merged["jitter"], each.get("jitter", 0.0))
        rates = [rate for rate in (merged["rate"], each.get("rate", 0)) if rate]
        merged["rate"] = min(rates, default=0)
    return merged


class Proxies:
    """Starts the process. `links` are {name: (port that listens, port that it leads to)}."""

    def __init__(self, links):
        arguments = [f"{name}={port}:{to}" for name, (port, to) in links.items()]
        self.names = list(links)
        self.lock = threading.Lock()
        self.process = subprocess.Popen([sys.executable, "-B", __file__, *arguments], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, bufsize=1)
        self._answered()

    def set(self, name, forward=None, back=None, refuse=False):
        """Returns when it is so."""
        self._command(link=name, forward={**PASS, **(forward or {})}, back={**PASS, **(back or {})}, refuse=refuse)

    def reset(self, name):
        self._command(link=name, reset=True)

    def pass_all(self):
        for name in self.names:
            self.set(name)

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def _command(self, **command):
        with self.lock:
            self.process.stdin.write(json.dumps(command) + "\n")
            self._answered()

    def _answered(self):
        if self.process.stdout.readline() != "ok\n":
            raise RuntimeError(f"the proxies ended with {self.process.wait()}")


class Flow:
    """The bytes of one connection in one direction, on their way."""

    def __init__(self, loop, pipe, condition):
        self.loop = loop
        self.pipe = pipe
        self.condition = condition  # Shared with all connections of the link.
        self.source = self.target = None
        self.queue = collections.deque()  # (when it is due, bytes or END or RESET)
        self.queued = 0
        self.last_due = 0.0
        self.free_at = 0.0  # When the rate lets the next piece go.
        self.wake_at = None
        self.blocked = False  # The target takes no more at the moment.
        self.ended = False  # The source has no more.
        self.done = False  # Nothing will pass any more.

    def wants_read(self):
        return not self.ended and self.queued < QUEUE_MAX

    def read(self):
        try:
            data = self.source.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = RESET
        self.push(data or END)

    def push(self, data):
        self.ended |= data is END or data is RESET
        if self.done:
            return
        # The end of a connection takes as long as its bytes.
        due = time.monotonic() + self.condition["delay"] + random.uniform(0, self.condition["jitter"])
        self.last_due = max(self.last_due, due)
        self.queue.append((self.last_due, data))
        self.queued += len(data) if isinstance(data, bytes) else 0
        self.pump()

    def pump(self):
        while self.queue and not self.blocked and not self.condition["hold"] and not self.done:
            due, data = self.queue[0]
            due = max(due, self.free_at)
            if due > time.monotonic():
                self.loop.wake(due, self)
                break
            if isinstance(data, bytes):
                self.send(data)
            else:
                self.queue.popleft()
                self.finish(data)
        self.pipe.update()

    def finish(self, how):
        self.done = True
        if how is RESET:
            self.pipe.reset()
            return
        try:
            self.target.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # It is gone by itself.

    def send(self, data):
        if self.condition["dribble"]:
            piece, pause = data[:1], DRIBBLE_PAUSE
        elif self.condition["rate"]:
            piece = data[:RATE_PIECE]
            pause = len(piece) / self.condition["rate"]
        else:
            piece, pause = data, 0.0
        try:
            sent = self.target.send(piece)
        except BlockingIOError:
            self.blocked = True
            return
        except OSError:
            # The target is gone; its own direction says so to the other side, when it may.
            self.done = True
            self.queue.clear()
            self.queued = 0
            return
        self.queued -= sent
        self.free_at = time.monotonic() + pause
        self.queue[0] = (self.queue[0][0], data[sent:])
        if sent == len(data):
            self.queue.popleft()


class Pipe:
    """One connection through a link."""

    def __init__(self, loop, link, client):
        self.loop = loop
        self.link = link
        self.client = client
        self.upstream = socket.socket()
        self.connected = self.connecting = self.closed = False
        for each in (self.client, self.upstream):
            each.setblocking(False)
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.forward = Flow(loop, self, link.forward)
        self.back = Flow(loop, self, link.back)
        self.forward.source = self.back.target = self.client
        self.forward.target = self.back.source = self.upstream
        self.forward.blocked = True  # Until it is connected.
        self.connect()
        self.update()

    def connect(self):
        """A handshake has to get there and back."""
        if self.connecting or self.link.forward["hold"] or self.link.back["hold"]:
            return
        self.connecting = True
        self.upstream.connect_ex((HOST, self.link.to))

    def ready(self, which, events):
        if which is self.upstream and not self.connected:
            if self.upstream.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self.back.push(RESET)
                return
            self.connected = True
            self.forward.blocked = False
            self.forward.pump()
            return
        reading = self.forward if which is self.client else self.back
        writing = self.back if which is self.client else self.forward
        if events & selectors.EVENT_WRITE and not self.closed:
            writing.blocked = False
            writing.pump()
        if events & selectors.EVENT_READ and not self.closed and reading.wants_read():
            reading.read()

    def update(self):
        """Tells the selector what is waited for."""
        if self.closed:
            return
        if self.forward.done and self.back.done:
            self.close()
            return
        up_write = self.connecting if not self.connected else self.forward.blocked
        self.loop.watch(self.client, self, self.forward.wants_read(), self.back.blocked)
        self.loop.watch(self.upstream, self, self.connected and self.back.wants_read(),
                        up_write and not self.back.ended)

    def pump(self):
        """After a change of conditions."""
        self.connect()
        for flow in (self.forward, self.back):
            if not self.closed:
                flow.pump()

    def reset(self):
        if not self.closed:
            # Closing with unsent bytes and no time to linger sends a reset.
            for each in (self.client, self.upstream):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close()

    def close(self):
        self.closed = True
        self.forward.done = self.back.done = True
        for each in (self.client, self.upstream):
            self.loop.watch(each, self, False, False)
            each.close()
        self.link.pipes.discard(self)


class Link:
    def __init__(self, loop, port, to):
        self.loop = loop
        self.port = port
        self.to = to
        self.forward = dict(PASS)
        self.back = dict(PASS)
        self.pipes = set()
        self.listener = None
        self.refuse(False)

    def refuse(self, on):
        if on and self.listener is not None:
            self.loop.watch(self.listener, self, False, False)
            self.listener.close()
            self.listener = None
            self.reset()
        elif not on and self.listener is None:
            self.listener = socket.create_server((HOST, self.port), backlog=256)
            self.listener.setblocking(False)
            self.loop.watch(self.listener, self, True, False)

    def ready(self, *_):
        if self.listener is None:
            return  # Closed by a command that came at the same time.
        try:
            client, _ = self.listener.accept()
        except OSError:
            return  # Gone again.
        self.pipes.add(Pipe(self.loop, self, client))

    def reset(self):
        for pipe in list(self.pipes):
            pipe.reset()

    def obey(self, command):
        if command.get("reset"):
            self.reset()
            return
        self.forward.update(command["forward"])
        self.back.update(command["back"])
        self.refuse(command["refuse"])
        for pipe in list(self.pipes):
            pipe.pump()


class Commands:
    def __init__(self, links):
        self.links = links
        self.text = b""
        self.over = False

    def fileno(self):
        return sys.stdin.fileno()

    def ready(self, *_):
        piece = os.read(self.fileno(), CHUNK)
        self.over |= not piece
        *lines, self.text = (self.text + piece).split(b"\n")
        for line in lines:
            command = json.loads(line)
            self.links[command["link"]].obey(command)
            print("ok", flush=True)


class Loop:
    def __init__(self):
        self.selector = selectors.DefaultSelector()
        self.timers = []
        self.numbers = itertools.count()

    def watch(self, which, owner, read, write):
        events = (selectors.EVENT_READ if read else 0) | (selectors.EVENT_WRITE if write else 0)
        try:
            key = self.selector.get_key(which)
        except (KeyError, ValueError):
            key = None
        if key is None and events:
            self.selector.register(which, events, owner)
        elif key is not None and not events:
            self.selector.unregister(which)
        elif key is not None and key.events != events:
            self.selector.modify(which, events, owner)

    def wake(self, at, flow):
        if flow.wake_at is None or at < flow.wake_at:
            flow.wake_at = at
            heapq.heappush(self.timers, (at, next(self.numbers), flow))

    def run_timers(self):
        while self.timers and self.timers[0][0] <= time.monotonic():
            _, _, flow = heapq.heappop(self.timers)
            flow.wake_at = None
            if not flow.pipe.closed:
                flow.pump()

    def run(self, commands):
        self.selector.register(commands, selectors.EVENT_READ, commands)
        print("ok", flush=True)
        while not commands.over:
            left = max(0.0, self.timers[0][0] - time.monotonic()) if self.timers else None
            for key, events in self.selector.select(left):
                if isinstance(key.data, Pipe):
                    if not key.data.closed:
                        key.data.ready(key.fileobj, events)
                else:
                    key.data.ready()
            self.run_timers()


def main():
    # What ends a test by a signal to all must let it clean up.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    loop = Loop()
    links = {}
    for argument in sys.argv[1:]:
        name, ports = argument.split("=")
        port, to = ports.split(":")
        links[name] = Link(loop, int(port), int(to))
    loop.run(Commands(links))


if __name__ == "__main__":
    main()
