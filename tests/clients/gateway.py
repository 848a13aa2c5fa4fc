"""The real gateway: the binary, started with a configuration and stopped with SIGTERM."""

import os
import pathlib
import signal
import socket
import subprocess
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
STARTED_WITHIN = 15  # seconds
STOPPED_WITHIN = 15
TRIES = 3  # a port that was free may be taken by the time that the gateway opens it


class Gateway:
    """A running gateway, from `with` to its end.

    `configuration` makes the text of its file from the two ports that it is to listen on, and
    `secrets` is all that its environment has besides.
    """

    def __init__(self, configuration, secrets, directory):
        self._configuration = configuration
        self._secrets = secrets
        self._file = directory / "standin.yaml"
        self._log = directory / "gateway.log"

    @property
    def url(self):
        return f"http://127.0.0.1:{self._ports[0]}"

    @property
    def h2c_url(self):
        """The listener that speaks HTTP/2 only to those who know."""
        return f"http://127.0.0.1:{self._ports[1]}"

    def __enter__(self):
        for _ in range(TRIES):
            self._start()
            if self._listens():
                return self
            self._process.kill()
            self._process.wait()
            if "in use" not in self.log():
                break
        raise RuntimeError(f"the gateway did not start:\n{self.log()}")

    def __exit__(self, *_):
        self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(STOPPED_WITHIN)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        if code != 0:
            raise RuntimeError(f"the gateway ended with {code} after SIGTERM:\n{self.log()}")

    def log(self):
        """What the gateway printed."""
        return self._log.read_text(errors="replace")

    def _start(self):
        self._ports = free_ports(2)
        self._file.write_text(self._configuration(*self._ports))
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [binary(), "run", "--conf", self._file],
                env=self._secrets,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def _listens(self):
        deadline = time.monotonic() + STARTED_WITHIN
        while time.monotonic() < deadline and self._process.poll() is None:
            if all(accepts(port) for port in self._ports):
                return True
            time.sleep(0.02)
        return False


def binary():
    """The gateway to test: `STANDIN_BIN`, or what `cargo build` made."""
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
    return os.environ.get("STANDIN_BIN", target / "debug" / "standin")


def free_ports(count):
    """Ports that are free now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [taken.getsockname()[1] for taken in sockets]
    for taken in sockets:
        taken.close()
    return ports


def accepts(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
