"""What the measuring scripts share: a server, the load on it, and medians."""

import json
import os
import pathlib
import re
import shutil
import socket
import struct
import subprocess
import sys
import time

START_DEADLINE = 30


class Server:
    """One server on an empty directory; `start_ms` is the time from exec to the first answer to ApiVersions."""

    def __init__(self, binary, data, *flags, keep=False):
        """With `keep` the directory is used as it stands."""
        if not keep:
            shutil.rmtree(data, ignore_errors=True)
        self.data = pathlib.Path(data)
        # The port has to be known before the server prints it, so that printing is not in the measured path.
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        began = time.monotonic()
        self.process = subprocess.Popen([binary, "--port", str(self.port), "--data", str(data), *flags],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.start_ms = 1000 * (self._first_answer(began) - began)

    def _first_answer(self, began):
        # ApiVersions version 0, correlation id 1, no client id.
        request = struct.pack(">ihhih", 10, 18, 0, 1, -1)
        while time.monotonic() < began + START_DEADLINE:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                    connection.sendall(request)
                    if len(connection.recv(4)) == 4:
                        return time.monotonic()
            except ConnectionRefusedError:
                if self.process.poll() is not None:
                    sys.exit(f"sentinel-server ended with {self.process.returncode} instead of listening")
                time.sleep(0.0002)
        sys.exit("sentinel-server does not answer")

    @property
    def broker(self):
        return f"127.0.0.1:{self.port}"

    def wakeups(self):
        """How often the server's own threads, and the kernel's workers for its rings, have slept and woken."""
        own, kernel = 0, 0
        for task in pathlib.Path(f"/proc/{self.process.pid}/task").iterdir():
            switches = int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", (task / "status").read_text(), re.MULTILINE)[1])
            if (task / "comm").read_text().startswith("iou-"):
                kernel += switches
            else:
                own += switches
        return own, kernel

    def resident_mib(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024

    def peak_mib(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024

    def read_bytes(self):
        """What the server has had read from devices."""
        return self._io("read_bytes")

    def write_bytes(self):
        """What the server has had written to devices."""
        return self._io("write_bytes")

    def _io(self, counter):
        counters = pathlib.Path(f"/proc/{self.process.pid}/io").read_text()
        return int(re.search(rf"^{counter}: (\d+)", counters, re.MULTILINE)[1])

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def descriptors(self):
        return len(list(pathlib.Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def stored_mib(self):
        """What the files of the data directory take on the disk."""
        blocks = 0
        for path in self.data.rglob("*"):
            try:
                blocks += path.lstat().st_blocks
            except FileNotFoundError:
                continue  # Files come and go.
        return blocks * 512 / 2**20

    def files(self):
        return sum(1 for path in self.data.rglob("*") if path.is_file())

    def stop(self):
        self.process.terminate()
        self.process.wait()


def run(program, *arguments):
    """What a program prints; its failure ends this one."""
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{pathlib.Path(program).name} failed with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def load(bin_folder, server, topic, seconds, *flags):
    """The figures of one run of sentinel-load, as it writes them."""
    result = server.data.with_suffix(".load.json")
    run(bin_folder / "sentinel-load", "--broker", server.broker, "--topic", topic, "--seconds", seconds, "--json", result,
        *flags)
    figures = json.loads(result.read_text())
    result.unlink()
    return figures
