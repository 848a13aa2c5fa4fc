"""The loads: what is sent, by what, and what it saw."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from . import needs
from .processes import Failed
from .proxies import PATH

TEXT = "Who is the most renowned French painter? Answer in one direct, short sentence. "


def chat(size, model="gpt-4o", stream=False):
    """The body of a chat request of about so many bytes."""
    request = {"model": model, "stream": True} if stream else {"model": model}
    request |= {"temperature": 0.7, "max_tokens": 256}
    request["messages"] = [{"role": "system", "content": "You are a helpful assistant."}]
    left = size - len(json.dumps(request)) - len('{"role": "user", "content": ""}, ')
    # A long conversation is made of messages of 4 KiB.
    while left > 0:
        text = (TEXT * (min(left, 4096) // len(TEXT) + 1))[: min(left, 4096)]
        request["messages"].append({"role": "user", "content": text})
        left -= len(text) + len('{"role": "user", "content": ""}, ')
    return json.dumps(request)


@dataclass(frozen=True)
class Seen:
    """What a load saw."""

    requests: int
    failed: int
    seconds: float = 0
    events: int = 0
    p50_us: float = 0
    p99_us: float = 0
    p999_us: float = 0


class Loads:
    """Makes loads with wrk and the client of the comparison."""

    def __init__(self, client, folder):
        self.client = client
        self.folder = folder

    def closed(self, running, bodies, connections, seconds):
        """wrk: each connection sends its next request as soon as it has its answer."""
        (self.folder / "headers").write_text("\n".join(running.headers) + "\n")
        (self.folder / "bodies").write_text("\n".join(bodies) + "\n")
        script = Path(__file__).resolve().parents[1] / "wrk.lua"
        threads = ["-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "30s"]
        files = [self.folder / "headers", self.folder / "bodies"]
        return self._run([needs.which("wrk"), *threads, "-s", script, running.url, "--", *files])

    def open(self, running, body, rate, seconds, connections=50):
        """So many requests a second, however long their answers take."""
        request = self._request(running, body)
        return self._run(
            [self.client, "open", f"127.0.0.1:{running.port}", request, connections, rate, seconds]
        )

    def streams(self, running, body, at_once, seconds):
        """Streams to their ends, so many at once."""
        request = self._request(running, body)
        return self._run([self.client, "streams", f"127.0.0.1:{running.port}", request, at_once, seconds])

    def hold(self, running, body, streams):
        """Opens streams and reads them until the process that this returns is let go."""
        request = self._request(running, body)
        command = [self.client, "hold", f"127.0.0.1:{running.port}", request, streams]
        process = subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        if not process.stdout.readline():
            raise Failed(f"the {streams} streams could not be opened")
        return process

    def _request(self, running, body):
        """A file with the whole request."""
        head = [
            f"POST {PATH} HTTP/1.1",
            f"host: 127.0.0.1:{running.port}",
            *running.headers,
            f"content-length: {len(body)}",
        ]
        file = self.folder / "request"
        file.write_text("\r\n".join(head) + "\r\n\r\n" + body)
        return file

    def _run(self, command):
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Failed(f"{Path(command[0]).name} failed: {done.stdout}{done.stderr}")
        known = Seen.__dataclass_fields__
        seen = json.loads(done.stdout.splitlines()[-1])
        return Seen(**{name: value for name, value in seen.items() if name in known})
