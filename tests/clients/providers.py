"""Two providers of every API: the first fails, the second answers each operation in its shape.

Both keep what reached them. The shapes are those of the providers' public API references.
"""

import json
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TEXT = "Claude Monet."
SPEECH = b"ID3\x04\x00{ no JSON"
SUBTITLES = "1\n00:00:00,000 --> 00:00:01,000\nHello\n"


@dataclass(frozen=True)
class Request:
    """One request as it reached a provider."""

    method: str
    target: str
    headers: dict
    body: bytes


class Provider(ThreadingHTTPServer):
    """A provider on a port of its own, from `with` to its end."""

    daemon_threads = True

    def __init__(self, answers):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = answers
        self.received = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def __enter__(self):
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.received.append(Request(self.command, self.path, headers, body))
        if not self.server.answers:
            return self._answer(503, "text/plain", b"upstream connect error")
        kind, content = answer(self.path.partition("?")[0], body)
        return self._answer(200, kind, content)

    def _answer(self, status, kind, body):
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """The record is `received`."""


def answer(path, body):
    """The content type and the body of the answer to a request."""
    streams = b'"stream":true' in body.replace(b" ", b"")
    if path.endswith("/chat/completions"):
        return events(chat_chunks()) if streams else as_json(chat())
    if path.endswith("/messages"):
        return events(message_events(), named=True) if streams else as_json(message())
    if path.endswith("/count_tokens"):
        return as_json({"input_tokens": 12})
    if path.endswith("/audio/speech"):
        return "audio/mpeg", SPEECH
    if path.endswith(("/audio/transcriptions", "/audio/translations")):
        return ("text/plain", SUBTITLES.encode()) if b"\r\nsrt\r\n" in body else as_json({"text": TEXT})
    if path.endswith(("/images/edits", "/images/generations")):
        return as_json({"created": 1700000000, "data": [{"b64_json": "AAAA"}]})
    if path.endswith("/moderations"):
        return as_json({"id": "modr-1", "model": "m", "results": []})
    if path.endswith("/embeddings"):
        data = [{"object": "embedding", "index": 0, "embedding": [0.25, -0.5]}]
        usage = {"prompt_tokens": 2, "completion_tokens": 0, "total_tokens": 2}
        return as_json({"id": "e-1", "object": "list", "data": data, "model": "m", "usage": usage})
    if path.endswith(":generateContent"):
        return as_json(candidate("STOP"))
    if path.endswith(":streamGenerateContent"):
        return events([candidate(None), candidate("STOP")])
    if path.endswith(":batchEmbedContents"):
        return as_json({"embeddings": [{"values": [0.25, -0.5]}]})
    if path.endswith(":embedContent"):
        return as_json({"embedding": {"values": [0.25, -0.5]}})
    if path.endswith(":countTokens"):
        return as_json({"totalTokens": 12})
    raise AssertionError(path)


def as_json(value):
    return "application/json", json.dumps(value).encode()


def events(values, named=False):
    lines = []
    for value in values:
        name = f"event: {value['type']}\n" if named else ""
        data = value if isinstance(value, str) else json.dumps(value)
        lines.append(f"{name}data: {data}\n\n")
    return "text/event-stream", "".join(lines).encode()


def chat():
    choice = {"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    return {"id": "c-1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}


def chat_chunks():
    for delta, finish in [({"role": "assistant", "content": TEXT}, None), ({}, "stop")]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        yield {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    yield "[DONE]"


def message(content=True):
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": TEXT}] if content else [],
        "stop_reason": "end_turn" if content else None,
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 2},
    }


def message_events():
    yield {"type": "message_start", "message": message(content=False)}
    yield {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    yield {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": TEXT}}
    yield {"type": "content_block_stop", "index": 0}
    yield {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": {"output_tokens": 2}}
    yield {"type": "message_stop"}


def candidate(finish):
    parts = [{"text": TEXT if finish else "At first: "}]
    told = {"content": {"role": "model", "parts": parts}, "index": 0}
    if finish:
        told["finishReason"] = finish
    usage = {"promptTokenCount": 1, "candidatesTokenCount": 2, "totalTokenCount": 3}
    return {"candidates": [told], "usageMetadata": usage, "modelVersion": "m", "responseId": "r-1"}
