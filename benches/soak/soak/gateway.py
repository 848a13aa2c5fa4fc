"""The gateway under load: the real binary, and what /proc tells of it."""

import asyncio
import hashlib
import os
import signal
import subprocess
from pathlib import Path

from .clients import KEY

CONFIGURATION = """
server: {{threads: 2, graceful_shutdown_timeout_seconds: 5}}
listeners: [{{address: "127.0.0.1:{port}"}}]
keys: [{{name: soak, environment: production, sha256: {digest}}}]
endpoints:
  unreliable: {{url: "http://127.0.0.1:{unreliable}"}}
  reliable: {{url: "http://127.0.0.1:{reliable}"}}
operations:
  - {{method: POST, path: /v1/chat/completions, policies: [forgetful, suspending, other-{turn}]}}
policies:
  forgetful:
    production:
      target: {{model: forgetful, endpoint: unreliable}}
      fallbacks: [{{model: spare, endpoint: reliable}}]
    request_timeout: 2s
  suspending:
    production:
      target: {{model: suspending, endpoint: unreliable}}
      fallbacks: [{{model: spare, endpoint: reliable}}]
    request_timeout: 2s
    suspend_duration: 200ms
  other-{turn}:
    production: {{target: {{model: other-{turn}, endpoint: reliable}}}}
observability: {{access_log: {{path: "{log}"}}}}
"""


class Gateway:
    """One running process."""

    def __init__(self, binary, folder, port, unreliable, reliable):
        self.port = port
        self._file = folder / "standin.yaml"
        self._log = folder / "standin.log"
        digest = hashlib.sha256(KEY.encode()).hexdigest()
        self._text = lambda turn: CONFIGURATION.format(
            port=port, digest=digest, unreliable=unreliable, reliable=reliable, turn=turn, log=folder / "access.log"
        )
        self._access_log = folder / "access.log"
        self._file.write_text(self._text(0))
        with self._log.open("wb") as log:
            command = [binary, "run", "--conf", self._file]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    async def listening(self):
        """Comes back when it accepts connections."""
        async with asyncio.timeout(30):
            while self._process.poll() is None:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    return writer.close()
                except OSError:
                    await asyncio.sleep(0.02)
        raise RuntimeError(f"it ended at once:\n{self.log()}")

    def reload(self, turn):
        """Has it read a configuration that differs from the one before; begins a new access log."""
        aside = self._file.with_suffix(".new")
        aside.write_text(self._text(turn))
        aside.replace(self._file)
        self._access_log.unlink(missing_ok=True)
        self._process.send_signal(signal.SIGHUP)

    def lives(self):
        """Whether it still runs."""
        return self._process.poll() is None

    def memory(self):
        """MiB of its own: pages that no file stands behind."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon:")) / 1024

    def descriptors(self):
        """How many files and sockets are open."""
        return len(os.listdir(f"/proc/{self._process.pid}/fd"))

    def stop(self):
        """Ends it; its exit code."""
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def log(self):
        """What it said of itself."""
        return self._log.read_text()[-4000:]
