"""The Mistral Python SDK through the gateway."""

import pytest
from mistralai.client import Mistral
from mistralai.client.errors import MistralError, SDKError

from formats import text

MESSAGES = [{"role": "user", "content": "Who is the most renowned French painter?"}]
GPT = text("openai", "gpt-4o")
MISTRAL = text("mistral", "mistral-small-latest")


@pytest.fixture
def client(stage):
    with client_with(stage, stage.key) as client:
        yield client


def client_with(stage, key):
    return Mistral(api_key=key, server_url=stage.url, timeout_ms=10_000)


def read(stream):
    """A stream's text and how it finished."""
    pieces, finished = [], None
    for event in stream:
        pieces.append(event.data.choices[0].delta.content or "")
        finished = event.data.choices[0].finish_reason or finished
    return "".join(pieces), finished


def test_an_answer(client, stage):
    answer = client.chat.complete(model="mistral-small-latest", messages=MESSAGES)
    assert answer.choices[0].message.content == MISTRAL
    assert answer.usage.total_tokens == 18
    assert stage.mistral.models == ["mistral-small-latest"]
    assert stage.openai.models == []


def test_a_stream(client):
    with client.chat.stream(model="mistral-small-latest", messages=MESSAGES) as stream:
        assert read(stream) == (MISTRAL, "stop")


def test_the_try_out(client, stage):
    answer = client.chat.complete(model="invalid-model", messages=MESSAGES)
    assert answer.choices[0].message.content == MISTRAL
    assert answer.model == "mistral-small-latest"
    assert stage.mistral.models == ["invalid-model", "mistral-small-latest"]


def test_failover_of_an_answer_to_another_provider(client, stage):
    answer = client.chat.complete(model="mistral-unavailable", messages=MESSAGES)
    assert answer.choices[0].message.content == GPT
    assert answer.model == "gpt-4o"
    assert stage.mistral.models == ["mistral-unavailable"]
    assert stage.openai.models == ["gpt-4o"]


def test_failover_of_a_stream_to_another_provider(client, stage):
    with client.chat.stream(model="mistral-unavailable", messages=MESSAGES) as stream:
        assert stream.response.headers["x-standin-failover"] == "mistral/mistral-unavailable=503"
        assert read(stream) == (GPT, "stop")
    assert stage.openai.models == ["gpt-4o"]


@pytest.mark.parametrize(
    ("model", "status", "words"),
    [
        ("gpt-refusing", 400, "openai answers 400 for gpt-refusing"),
        ("mistral-of-nobody", 404, "model_not_found"),
        ("all-rate-limited", 429, "failover_error"),
        ("all-unavailable", 502, "failover_error"),
        ("all-slow", 504, "failover_error"),
    ],
)
def test_an_error_is_an_sdk_error(client, model, status, words):
    with pytest.raises(SDKError) as raised:
        client.chat.complete(model=model, messages=MESSAGES)
    assert raised.value.status_code == status
    assert words in raised.value.body


def test_an_error_of_a_stream_is_an_sdk_error(client):
    with pytest.raises(SDKError) as raised:
        client.chat.stream(model="all-unavailable", messages=MESSAGES)
    assert raised.value.status_code == 502


def test_a_wrong_key_is_an_sdk_error(stage):
    with client_with(stage, "nobodys-key") as client, pytest.raises(SDKError) as raised:
        client.chat.complete(model="mistral-small-latest", messages=MESSAGES)
    assert raised.value.status_code == 401
    assert stage.mistral.received == []


def test_a_stream_that_breaks_never_looks_whole(client, stage):
    pieces, finished = [], None
    with client.chat.stream(model="gpt-cut", messages=MESSAGES) as stream, pytest.raises(MistralError):
        for event in stream:
            pieces.append(event.data.choices[0].delta.content or "")
            finished = event.data.choices[0].finish_reason or finished
    said = "".join(pieces)
    assert said and text("openai", "gpt-cut").startswith(said)
    assert finished is None
