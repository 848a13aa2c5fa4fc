"""Scripted providers: HTTP servers that do what a model's name says, and keep what reached them.

The name after its first dash is the script: `gpt-unavailable` and `mistral-unavailable` answer 503,
each in its provider's own shape. A name that is no script is a model that answers.

    unavailable    503                          slow      no answer until the caller gives up
    overloaded     529                          cut       a stream that breaks after its first words
    rate-limited   429 with `retry-after: 7`    hanging   a stream that stops until the caller gives up
    refusing       400, the caller's fault      gated     a stream that goes on when the test says so
    locked         401, as if the key were bad  model     `invalid-model`: the provider doesn't know it

Those that tell the story of story.py go on with it where they are asked to:

    tells          to its end                   no-prefill    to its end; a prefill is answered with 400
    breaks         and are cut half-way         restarts      from its beginning once more
    stalls         and stop half-way            repeats       with the last words once more
    errs           and tell of an error half-way
"""

import json
import socket
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from formats import text
from story import TELLERS, is_prefilled, told

STATUSES = {"unavailable": 503, "overloaded": 529, "refusing": 400, "locked": 401}
RETRY_AFTER = 7
PATIENCE = 10  # seconds until a script that waits for somebody gives up

# More than the gateway reads at once. An error that comes in one read with the stream's beginning is no
# broken stream: nothing has been shown, and the next target tells it from the start.
A_LONG_COMMENT = b": %b\n\n" % (b"." * (64 << 10))


@dataclass(frozen=True)
class Received:
    """One request as it reached a provider."""

    upstream: str
    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    at: float  # seconds of the monotonic clock

    @property
    def model(self):
        return self.json["model"] if self.body else None

    @property
    def json(self):
        return json.loads(self.body)


class Upstream(ThreadingHTTPServer):
    """A provider on a port of its own, from `with` to its end."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, provider):
        super().__init__(("127.0.0.1", 0), Script)
        self.provider = provider
        self.received = []
        self.gate = threading.Event()
        self.hung_up = threading.Event()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def models(self):
        """The models of the requests that came, in order."""
        return [request.model for request in self.received]

    def forget(self):
        self.received.clear()
        self.gate.clear()
        self.hung_up.clear()

    def __enter__(self):
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address):
        """A caller that goes away in the middle is part of the play."""


class Script(BaseHTTPRequestHandler):
    """Answers requests on one connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        self._play(self._receive())

    do_POST = do_GET

    def _receive(self):
        headers = tuple((name.lower(), value) for name, value in self.headers.items())
        if self.headers.get("transfer-encoding") == "chunked":
            body = b"".join(self._chunks())
        else:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
        name = self.server.provider.name
        received = Received(name, self.command, self.path, headers, body, time.monotonic())
        self.server.received.append(received)
        return received

    def _chunks(self):
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _play(self, received):
        provider = self.server.provider
        if provider.credential() not in received.headers:
            return self._answer(401, provider.error(401, "a caller without the right key"))
        request = json.loads(received.body) if received.body else {}
        model = request.get("model", "")
        script = model.partition("-")[2]
        if script in STATUSES:
            return self._answer(STATUSES[script], provider.error(STATUSES[script], model))
        if script == "rate-limited":
            return self._answer(429, provider.error(429, model), {"retry-after": str(RETRY_AFTER)})
        if script == "model":
            return self._answer(*provider.unknown_model(model))
        if script == "slow":
            return self._wait_for_hang_up()
        if script == "no-prefill" and is_prefilled(request["messages"]):
            return self._answer(400, provider.error(400, model))
        if request.get("stream"):
            said = told(script, request["messages"]) if script in TELLERS else text(provider.name, model)
            return self._stream(list(provider.events(request, said)), script)
        return self._answer(200, provider.answer(received.path, request))

    def _answer(self, status, value, headers=None):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        for name, content in (headers or {}).items():
            self.send_header(name, content)
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, events, script):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        half = len(events) // 2
        self._send(events[:half])
        if script in ("cut", "breaks"):
            self.close_connection = True
            return None
        if script in ("hanging", "stalls"):
            return self._wait_for_hang_up()
        if script == "errs":
            events = [*events[:half], A_LONG_COMMENT, self.server.provider.failure()]
        if script == "gated":
            self.server.gate.wait(PATIENCE)
        self._send(events[half:])
        self.wfile.write(b"0\r\n\r\n")
        return None

    def _send(self, events):
        for event in events:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(event), event))

    def _wait_for_hang_up(self):
        self.close_connection = True
        self.connection.settimeout(PATIENCE)
        try:
            left = self.connection.recv(1) == b""
        except ConnectionError:
            left = True
        except TimeoutError:
            left = False
        if left:
            self.server.hung_up.set()

    def log_message(self, *_):
        """The record is `received`."""


class Nowhere:
    """An address that refuses every connection: it is taken, and nobody listens."""

    def __enter__(self):
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        return self

    def __exit__(self, *_):
        self._socket.close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"
