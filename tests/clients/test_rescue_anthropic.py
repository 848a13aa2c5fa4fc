"""The Anthropic Python SDK reads streams that break: as one that didn't, or with an exception."""

import asyncio

import anthropic
import pytest

from rescues import ASK, RESCUES, asked, tokens
from story import STORY

TOOL = {"name": "tell", "input_schema": {"type": "object"}}
SCHEMA = {"type": "json_schema", "schema": {"type": "object"}}
QUESTION = {"messages": ASK, "max_tokens": 200}

# Why a stream can't be gone on with.
HOPELESS = {
    "a tool call": {"tools": [TOOL]},
    "structured output": {"extra_body": {"output_config": {"format": SCHEMA}}},
    "nobody left": {"model": "claude-rescue-by-nobody"},
    "stream_rescue: off": {"model": "claude-rescue-off"},
}


@pytest.fixture
def client(stage):
    with anthropic.Anthropic(**settings(stage)) as client:
        yield client


def settings(stage):
    return {"base_url": stage.url, "api_key": stage.key, "max_retries": 0, "timeout": 10}


@pytest.mark.parametrize(("model", "rescuers"), RESCUES)
def test_the_events_of_a_rescued_stream(client, stage, model, rescuers):
    events = list(client.messages.create(model=f"claude-{model}", stream=True, **QUESTION))
    kinds = [event.type for event in events]
    deltas = kinds.count("content_block_delta")
    assert kinds == [
        "message_start",
        "content_block_start",
        *["content_block_delta"] * deltas,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    texts = [event.delta.text for event in events if event.type == "content_block_delta"]
    assert "".join(texts) == STORY
    assert events[0].message.id == "msg_anthropic"
    assert events[-2].delta.stop_reason == "end_turn"
    assert events[-2].usage.output_tokens == tokens(stage)
    assert asked(stage) == rescuers


@pytest.mark.parametrize(("model", "rescuers"), RESCUES)
def test_the_message_of_a_rescued_stream(client, stage, model, rescuers):
    with client.messages.stream(model=f"claude-{model}", **QUESTION) as stream:
        assert "".join(stream.text_stream) == STORY
        assert_whole(stream.get_final_message(), stage)
    assert asked(stage) == rescuers


@pytest.mark.parametrize(("model", "rescuers"), RESCUES)
def test_the_message_to_an_asynchronous_client(stage, model, rescuers):
    async def read():
        async with anthropic.AsyncAnthropic(**settings(stage)) as client:
            async with client.messages.stream(model=f"claude-{model}", **QUESTION) as stream:
                return await stream.get_final_message()

    assert_whole(asyncio.run(read()), stage)
    assert asked(stage) == rescuers


def assert_whole(message, stage):
    (block,) = message.content
    assert block.text == STORY
    assert message.id == "msg_anthropic"
    assert message.stop_reason == "end_turn"
    assert message.usage.output_tokens == tokens(stage)


@pytest.mark.parametrize("why", HOPELESS)
def test_what_can_not_be_rescued_raises(client, stage, why):
    options = {"model": "claude-rescue-by-prefill", **QUESTION, **HOPELESS[why]}
    said, kinds = "", []
    with pytest.raises(anthropic.APIStatusError, match="broke off"):
        for event in client.messages.create(stream=True, **options):
            kinds.append(event.type)
            if event.type == "content_block_delta" and event.delta.type == "text_delta":
                said += event.delta.text
    assert STORY.startswith(said) and said != STORY
    assert "message_delta" not in kinds
    assert "message_stop" not in kinds
    assert len(stage.received()) == (2 if why == "nobody left" else 1)


@pytest.mark.parametrize("why", HOPELESS)
def test_what_can_not_be_rescued_is_no_message(client, why):
    options = {"model": "claude-rescue-by-prefill", **QUESTION, **HOPELESS[why]}
    with pytest.raises(anthropic.APIStatusError, match="broke off"):
        with client.messages.stream(**options) as stream:
            stream.get_final_message()
