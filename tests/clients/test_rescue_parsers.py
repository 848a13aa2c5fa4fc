"""A parser that follows the standard to the letter reads rescued streams: httpx-sse."""

import json

import httpx
import httpx_sse
import pytest

from rescues import ASK, RESCUES, asked, models
from story import STORY

NAMES = {
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
}


def events(stage, path, model):
    """The events of a stream, and the error that it was cut with, if it was."""
    request = {"model": model, "messages": ASK, "max_tokens": 200, "stream": True}
    headers = {"authorization": f"Bearer {stage.key}"}
    read = []
    with httpx.Client(base_url=stage.url, headers=headers, timeout=10) as client:
        try:
            with httpx_sse.connect_sse(client, "POST", path, json=request) as source:
                read.extend(source.iter_sse())
        except httpx.RemoteProtocolError as cut:
            return read, cut
    return read, None


@pytest.mark.parametrize(("model", "rescuers"), RESCUES)
def test_chat_completions(stage, model, rescuers):
    (*chunks, done), cut = events(stage, "/v1/chat/completions", model)
    assert cut is None
    assert done.data == "[DONE]"
    assert {event.event for event in chunks} == {"message"}
    chunks = [event.json() for event in chunks]
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == STORY
    assert list(dict.fromkeys(chunk["model"] for chunk in chunks)) == models(stage)
    assert asked(stage) == rescuers


@pytest.mark.parametrize(("model", "rescuers"), RESCUES)
def test_messages(stage, model, rescuers):
    read, cut = events(stage, "/v1/messages", f"claude-{model}")
    assert cut is None
    told = [(event.event, event.json()) for event in read if event.event != "ping"]
    assert all(name == data["type"] for name, data in told)
    assert {name for name, _ in told} == NAMES
    assert "".join(data["delta"]["text"] for name, data in told if name == "content_block_delta") == STORY
    assert asked(stage) == rescuers


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_what_can_not_be_rescued_ends_with_an_error_and_is_cut(stage, path):
    model = "rescue-by-nobody" if "chat" in path else "claude-rescue-by-nobody"
    read, cut = events(stage, path, model)
    assert isinstance(cut, httpx.RemoteProtocolError)
    error = json.loads(read[-1].data)["error"]
    assert (error["type"], error["code"]) == ("failover_error", "stream_broken")
