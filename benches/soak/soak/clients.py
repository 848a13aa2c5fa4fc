"""Callers: each sends one request after the other, and holds every answer to what it asked."""

import asyncio
import contextlib
import json
import time

KEY = "sk-soak"
REQUESTS_A_CONNECTION = 50
ANSWER_WITHIN = 20  # seconds


class Seen:
    """What the callers saw since the last look."""

    def __init__(self):
        self.latencies = []
        self.answered = 0
        self.left = 0
        self.failures = []


class Caller:
    """One connection at a time; `streams` says what is asked for."""

    def __init__(self, name, port, chance, streams, seen):
        self._name = name
        self._port = port
        self._chance = chance
        self._streams = streams
        self._seen = seen
        self._sent = 0

    async def run(self, until):
        """Calls until the event is set."""
        while not until.is_set():
            try:
                await self._connection(until)
            except (OSError, asyncio.IncompleteReadError, TimeoutError, ValueError) as error:
                self._seen.failures.append(f"{self._name}, request {self._sent}: {error!r}")

    async def _connection(self, until):
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 20)
        try:
            for _ in range(REQUESTS_A_CONNECTION):
                if until.is_set() or not await self._request(reader, writer):
                    return
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _request(self, reader, writer):
        """One request; whether the connection goes on. One in twenty is left before its answer."""
        self._sent += 1
        marker = f"{self._name}-{self._sent}"
        begin = time.monotonic()
        writer.write(self._message(marker))
        await writer.drain()
        if self._chance.random() < 0.05:
            self._seen.left += 1
            return False
        async with asyncio.timeout(ANSWER_WITHIN):
            head = await reader.readuntil(b"\r\n\r\n")
            body = await _body(reader, head)
        self._seen.latencies.append(time.monotonic() - begin)
        self._seen.answered += 1
        if not head.startswith(b"HTTP/1.1 200") or not _is_whole(body, marker, self._streams):
            raise ValueError(f"{marker} was answered with {head[:80]!r} {body[:400]!r}")
        return b"connection: close" not in head.lower()

    def _message(self, marker):
        size = int(300 * 2 ** self._chance.uniform(0, 8))  # 300 bytes to 75 KiB
        model = self._chance.choice(["forgetful", "suspending"])
        messages = [{"role": "user", "content": f"{marker} {'x' * size}"}]
        body = json.dumps({"model": model, "messages": messages, "stream": self._streams})
        return (
            "POST /v1/chat/completions HTTP/1.1\r\nhost: soak\r\ncontent-type: application/json\r\n"
            f"authorization: Bearer {KEY}\r\ncontent-length: {len(body)}\r\n\r\n{body}"
        ).encode()


async def _body(reader, head):
    head = head.lower()
    if b"transfer-encoding: chunked" in head:
        body = b""
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readexactly(2)
        return body
    length = next(int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length:"))
    return await reader.readexactly(length)


def _is_whole(body, marker, is_stream):
    """The answer is the request's own, and at its end."""
    if not is_stream:
        return json.loads(body)["choices"][0]["message"]["content"] == marker
    if not body.endswith(b"data: [DONE]\n\n"):
        return False
    events = [json.loads(line[6:]) for line in body.split(b"\n") if line.startswith(b"data: {")]
    said = "".join(event["choices"][0]["delta"].get("content") or "" for event in events if event["choices"])
    return said.split(" ")[0] == marker and said.endswith(" 19")
