"""Processes that certainly end, and what /proc tells of them."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
STARTS_WITHIN = 300  # seconds; LiteLLM takes about fifteen on a quiet machine
QUIET = 0.02  # CPU seconds in half a second


class Failed(Exception):
    """The comparison can't go on, for this reason."""


def end_as_by_ctrl_c():
    """Lets the signals that end a command clean up as Ctrl-C does, by an exception."""
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, lambda number, frame: sys.exit(128 + number))


def free_port():
    """A port of the loopback that nothing listens on."""
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        return chosen.getsockname()[1]


class Program:
    """A program and all processes that it starts, which stay in its session."""

    def __init__(self, command, log, environment=None):
        self.name = Path(command[0]).name
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=os.environ | (environment or {}),
            )

    def wait_until_listening(self, port):
        """Comes back when something accepts connections at the port."""
        end = time.monotonic() + STARTS_WITHIN
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise Failed(f"{self.name} ended at once:\n{self.log.read_text()[-2000:]}")
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.01)
        raise Failed(f"{self.name} does not listen:\n{self.log.read_text()[-2000:]}")

    def wait_until_quiet(self):
        """Comes back when it has nothing to do: one that listens may still be starting workers."""
        end = time.monotonic() + STARTS_WITHIN
        used = None
        while used is None or self.cpu_seconds() - used > QUIET:
            if time.monotonic() > end:
                raise Failed(f"{self.name} is never quiet")
            used = self.cpu_seconds()
            time.sleep(0.5)

    def stop(self):
        """Ends all of it, by force where it takes more than two seconds."""
        for sent, within in ((signal.SIGTERM, 2), (signal.SIGKILL, 5)):
            for pid in self.pids():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, sent)
            end = time.monotonic() + within
            while time.monotonic() < end:
                if self.process.poll() is not None and not self.pids():
                    return
                time.sleep(0.02)

    def pids(self):
        """Its processes that live."""
        return [int(pid) for pid, stat in _stats() if int(stat[3]) == self.process.pid and stat[0] != "Z"]

    def cpu_seconds(self):
        """utime + stime of all its processes, those included that ended and were waited for."""
        ticks = sum(sum(map(int, stat[11:15])) for _, stat in _stats() if int(stat[3]) == self.process.pid)
        return ticks / TICKS_A_SECOND

    def memory_kib(self, field):
        """`Pss` (what it uses, shared pages shared out) or `VmHWM` (the most that was resident),
        summed over its processes."""
        file = "smaps_rollup" if field == "Pss" else "status"
        return sum(_kib(Path(f"/proc/{pid}/{file}"), field) for pid in self.pids())

    def forget_peak(self):
        """Lets VmHWM begin anew."""
        for pid in self.pids():
            Path(f"/proc/{pid}/clear_refs").write_text("5")


def _stats():
    """Each process's /proc/PID/stat from the third field on: the state, the parent, the group, the
    session; at 11 to 14 utime, stime, cutime, cstime."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            continue  # it has just ended
        yield pid, stat[stat.rindex(")") + 2 :].split()


def _kib(file, field):
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return 0  # it has just ended
    return next(int(line.split()[1]) for line in lines if line.startswith(field + ":"))


class Mock:
    """The upstreams: one answers, one fails, one streams slowly."""

    def __init__(self, binary, folder):
        ports = [free_port() for _ in range(4)]
        self.answering, self.failing, self.slow, self.counting = ports
        addresses = [f"127.0.0.1:{port}" for port in ports]
        self.program = Program([binary, *addresses], folder / "mock.log")
        self.program.wait_until_listening(self.counting)

    def counters(self):
        """How many connections it has accepted, and how many requests read."""
        connection = http.client.HTTPConnection("127.0.0.1", self.counting, timeout=10)
        connection.request("GET", "/")
        counters = json.loads(connection.getresponse().read())
        connection.close()
        return counters
