"""A real sentinel-server for the tests in test/apps and test/compat.

SENTINEL_BIN is the folder of the programs (default: the release build), SENTINEL_IO the value of
`--io` (default: none given). Nothing here waits a fixed time: it waits for output or for the end of
the process, and DEADLINE only bounds how long a failure takes.
"""

import os
import pathlib
import random
import re
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("SENTINEL_BIN", ROOT / "build/release/bin")).resolve()
IO = os.environ.get("SENTINEL_IO", "")
HOST = "127.0.0.1"
DEADLINE = 60.0


class Failure(Exception):
    """The server did not do what it must; the text says what and ends with its log."""


def program(name):
    path = BIN / name
    if not path.exists():
        raise Failure(f"{path} is missing: build it, or set SENTINEL_BIN")
    return str(path)


def scratch(name="test"):
    """A new directory beside the programs: on a real disk, which /tmp need not be."""
    parent = pathlib.Path(os.environ.get("TMPDIR") or BIN.parent / "scratch")
    parent.mkdir(parents=True, exist_ok=True)
    return pathlib.Path(tempfile.mkdtemp(prefix=f"{name}-", dir=parent))


def free_port():
    """A port for a server that is started more than once.

    It lies below the range that the kernel gives to outgoing connections: a client that reconnects
    to a dead server's port in that range can reach itself, and then holds the port.
    """
    first = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for _ in range(1000):
        port = random.randrange(max(1024, first // 2), first) if first > 2048 else 0
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
            return probe.getsockname()[1]
    raise Failure("no free port")


class Server:
    """One server on one data directory. As a context manager it stops cleanly at the end."""

    def __init__(self, data, *flags, port=0, wrapper=(), io=None, errors=None):
        self.data = pathlib.Path(data)
        self.port = port
        self.flags = list(flags)
        self.wrapper = list(wrapper)
        self.io = IO if io is None else io
        self.errors = errors or self.data.parent / f"{self.data.name}.log"
        self.process = None

    def command(self):
        return [*self.wrapper, program("sentinel-server"), "--port", str(self.port), "--data", str(self.data),
                *(["--io", self.io] if self.io else []), *self.flags]

    def start(self):
        """Returns once the server says that it listens."""
        self._spawn()
        self.stdout_lines = self._read_lines(2)
        self._check(self.stdout_lines[0] ==
                    f"Starting Sentinel server on port {self.port} (data: {self.data})")
        listening = re.fullmatch(r"Sentinel server listening on port (\d+)", self.stdout_lines[1])
        self._check(listening and int(listening[1]) > 0)
        self._check(self.port in (0, int(listening[1])))
        self.bound_port = int(listening[1])
        return self

    def start_and_kill9(self, lines):
        """Kills a server as soon as it has printed its first, or both, of its lines."""
        self._spawn()
        self._read_lines(lines)
        self.kill9()

    def _spawn(self):
        with open(self.errors, "ab") as errors:
            self.log_begin = errors.tell()
            self.process = subprocess.Popen(self.command(), stdout=subprocess.PIPE, stderr=errors,
                                            stdin=subprocess.DEVNULL)

    def _read_lines(self, count):
        deadline = time.monotonic() + DEADLINE
        text = b""
        stdout = self.process.stdout.fileno()
        while text.count(b"\n") < count:
            ready, _, _ = select.select([stdout], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                self.kill9()
                raise Failure(f"no start within {DEADLINE:.0f} s; it printed {text!r}\n{self.log()}")
            piece = os.read(stdout, 4096)
            if not piece:
                code = self.process.wait()
                raise Failure(f"ended with {code} instead of listening; it printed {text!r}\n{self.log()}")
            text += piece
        return text.decode().splitlines()

    def _check(self, holds):
        if not holds:
            self.kill9()
            raise Failure(f"unexpected standard output {self.stdout_lines}")

    @property
    def address(self):
        return f"{HOST}:{self.bound_port}"

    @property
    def pid(self):
        return self.process.pid

    def running(self):
        return self.process is not None and self.process.poll() is None

    def stop(self, expected=0):
        """SIGTERM; the server must end with `expected`."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait(expected)

    def wait(self, expected):
        """Waits for an end that the server brings about itself."""
        try:
            code = self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.kill9()
            raise Failure(f"still running {DEADLINE:.0f} s after it should have ended\n{self.log()}") from None
        self.process.stdout.close()
        if code != expected:
            raise Failure(f"ended with {code}, expected {expected}\n{self.log()}")
        return self

    def kill9(self):
        if self.running():
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        return self

    def log(self):
        """Standard error since the last start."""
        with open(self.errors, "rb") as errors:
            errors.seek(self.log_begin)
            return errors.read().decode(errors="replace")

    def wait_for_log(self, text):
        deadline = time.monotonic() + DEADLINE
        while text not in self.log():
            if time.monotonic() > deadline:
                raise Failure(f"no line with {text!r}\n{self.log()}")
            if not self.running():
                raise Failure(f"ended before a line with {text!r}\n{self.log()}")
            select.select([], [], [], 0.02)
        return self.log()

    def resident_bytes(self):
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, *_):
        if kind is None and self.running():
            self.stop()
        elif self.process is not None:
            self.kill9()


def run_server(*flags, wrapper=(), timeout=DEADLINE):
    """Runs a server that is expected to end by itself: (exit code, standard output, standard error)."""
    command = [*wrapper, program("sentinel-server"), *map(str, flags)]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=timeout)
    return done.returncode, done.stdout, done.stderr


class Workspace:
    """A scratch directory, removed unless what happens inside fails."""

    def __init__(self, name):
        self.path = scratch(name)

    def __enter__(self):
        return self.path

    def __exit__(self, kind, *_):
        if kind is None:
            shutil.rmtree(self.path, ignore_errors=True)
        else:
            print(f"kept for inspection: {self.path}", flush=True)
