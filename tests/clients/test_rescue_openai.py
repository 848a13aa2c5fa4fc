"""The OpenAI Python SDK reads streams that break: as one that didn't, or with an exception."""

import asyncio

import openai
import pytest

from rescues import ASK, RESCUES, asked, models, tokens
from story import STORY

TOOL = {"type": "function", "function": {"name": "tell", "parameters": {"type": "object"}}}
WITH_USAGE = {"stream": True, "stream_options": {"include_usage": True}}

# Why a stream can't be gone on with.
HOPELESS = {
    "several choices": {"n": 2},
    "a tool call": {"tools": [TOOL]},
    "structured output": {"response_format": {"type": "json_object"}},
    "log probabilities": {"logprobs": True},
    "nobody left": {"model": "rescue-by-nobody"},
    "stream_rescue: off": {"model": "rescue-off"},
}


@pytest.fixture
def client(stage):
    with openai.OpenAI(**settings(stage)) as client:
        yield client


def settings(stage):
    return {"base_url": f"{stage.url}/v1", "api_key": stage.key, "max_retries": 0, "timeout": 10}


@pytest.mark.parametrize(("model", "rescuers"), RESCUES)
def test_the_chunks_of_a_rescued_stream(client, stage, model, rescuers):
    chunks = list(client.chat.completions.create(model=model, messages=ASK, **WITH_USAGE))
    assert_one_stream(chunks, stage)
    assert asked(stage) == rescuers


@pytest.mark.parametrize(("model", "rescuers"), RESCUES)
def test_the_chunks_to_an_asynchronous_client(stage, model, rescuers):
    async def read():
        async with openai.AsyncOpenAI(**settings(stage)) as client:
            stream = await client.chat.completions.create(model=model, messages=ASK, **WITH_USAGE)
            return [chunk async for chunk in stream]

    assert_one_stream(asyncio.run(read()), stage)
    assert asked(stage) == rescuers


def assert_one_stream(chunks, stage):
    choices = [choice for chunk in chunks for choice in chunk.choices]
    assert "".join(choice.delta.content or "" for choice in choices) == STORY
    assert {(chunk.id, chunk.created) for chunk in chunks} == {("chatcmpl-openai", 1700000000)}
    assert {choice.index for choice in choices} == {0}
    assert [choice.delta.role for choice in choices if choice.delta.role] == ["assistant"]
    assert [choice.finish_reason for choice in choices if choice.finish_reason] == ["stop"]
    assert list(dict.fromkeys(chunk.model for chunk in chunks)) == models(stage)
    assert [chunk.usage.completion_tokens for chunk in chunks if chunk.usage] == [tokens(stage)]


@pytest.mark.parametrize(("model", "rescuers"), RESCUES)
def test_the_completion_of_a_rescued_stream(client, stage, model, rescuers):
    options = {"stream_options": {"include_usage": True}}
    with client.chat.completions.stream(model=model, messages=ASK, **options) as stream:
        completion = stream.get_final_completion()
    (choice,) = completion.choices
    assert choice.message.role == "assistant"
    assert choice.message.content == STORY
    assert choice.finish_reason == "stop"
    assert completion.id == "chatcmpl-openai"
    assert completion.usage.completion_tokens == tokens(stage)
    assert asked(stage) == rescuers


@pytest.mark.parametrize("why", HOPELESS)
def test_what_can_not_be_rescued_raises(client, stage, why):
    options = {"model": "rescue-by-prefill", **HOPELESS[why]}
    said, finished = "", []
    with pytest.raises(openai.APIError, match="broke off"):
        for chunk in client.chat.completions.create(messages=ASK, stream=True, **options):
            for choice in chunk.choices:
                said += choice.delta.content or ""
                finished += [choice.finish_reason] if choice.finish_reason else []
    assert STORY.startswith(said) and said != STORY
    assert finished == []
    assert len(models(stage)) == (2 if why == "nobody left" else 1)


@pytest.mark.parametrize("why", ["a tool call", "nobody left", "stream_rescue: off"])
def test_what_can_not_be_rescued_is_no_completion(client, why):
    options = {"model": "rescue-by-prefill", **HOPELESS[why]}
    with pytest.raises(openai.APIError, match="broke off"):
        with client.chat.completions.stream(messages=ASK, **options) as stream:
            stream.get_final_completion()
