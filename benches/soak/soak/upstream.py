"""Two scripted upstreams: one that fails in every way that it can, and one that can be relied on."""

import asyncio
import contextlib
import json
import socket
import struct

EVENTS = 20  # of a stream
PAUSE = 0.01  # seconds between two of them

# What the unreliable one does with a request, and how often in 100.
MANNERS = {
    "answer": 72,
    "503": 6,
    "429": 5,
    "close": 5,
    "reset": 4,
    "cut": 5,  # half an answer
    "garbage": 2,
    "stall": 1,  # past the policy's request_timeout
}


class Upstream:
    """One listener on the loopback. Each request carries a marker, and its answer repeats it."""

    def __init__(self, chance):
        self._chance = chance
        self._server = None
        self.requests = 0
        self.port = 0

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024, limit=1 << 20)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self._server.close()

    async def _serve(self, reader, writer):
        # The end of the soak cancels whoever still waits.
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while await self._answer(reader, writer):
                pass
        writer.close()

    async def _answer(self, reader, writer):
        """Answers one request; whether the connection goes on."""
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        request = json.loads(await reader.readexactly(length))
        self.requests += 1
        manner = "answer"
        if self._chance:
            manner = self._chance.choices(list(MANNERS), weights=MANNERS.values())[0]
        match manner:
            case "close":
                return False
            case "reset":
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                return False
            case "stall":
                await asyncio.sleep(3)
                return False
            case "garbage":
                writer.write(b"\x16\x03\x01 no answer of HTTP\r\n\r\n")
                return False
            case "503" | "429":
                body = json.dumps({"error": {"message": "Not now", "type": "server_error", "code": manner}})
                writer.write(_head(f"{manner} No", "application/json", len(body)) + body.encode())
                return True
        if request.get("stream"):
            return await _stream(writer, _marker(request), manner == "cut")
        body = json.dumps(_completion(_marker(request))).encode()
        head = _head("200 OK", "application/json", len(body))
        writer.write(head + (body[: len(body) // 2] if manner == "cut" else body))
        await writer.drain()
        return manner != "cut"


async def _stream(writer, marker, is_cut):
    writer.write(_head("200 OK", "text/event-stream", None))
    for number in range(EVENTS):
        if is_cut and number == EVENTS // 2:
            return False
        text = marker if number == 0 else f" {number}"
        _chunk(writer, {"choices": [{"index": 0, "delta": {"role": "assistant", "content": text}}]})
        await writer.drain()
        await asyncio.sleep(PAUSE)
    _chunk(writer, {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    writer.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
    await writer.drain()
    return True


def _chunk(writer, said):
    common = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    event = f"data: {json.dumps(common | said)}\n\n".encode()
    writer.write(b"%x\r\n%s\r\n" % (len(event), event))


def _completion(marker):
    message = {"role": "assistant", "content": marker}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18},
    }


def _marker(request):
    """The first word of the first message."""
    return request["messages"][0]["content"].split(" ", 1)[0]


def _head(status, content_type, length):
    framing = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
    return f"HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\n{framing}\r\n\r\n".encode()
