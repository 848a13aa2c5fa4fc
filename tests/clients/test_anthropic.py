"""The Anthropic Python SDK through the gateway."""

import anthropic
import pytest

from formats import text

MESSAGES = [{"role": "user", "content": "Who is the most renowned French painter?"}]
SONNET = text("anthropic", "claude-sonnet")
HAIKU = text("anthropic-spare", "claude-haiku")

FAILING = [
    ("claude-overloaded", "anthropic/claude-overloaded=529"),
    ("claude-slow", "anthropic/claude-slow=timeout"),
    ("claude-retired", "anthropic/invalid-model=404"),
]


@pytest.fixture
def client(stage):
    with client_with(stage, stage.key) as client:
        yield client


def client_with(stage, key):
    return anthropic.Anthropic(base_url=stage.url, api_key=key, max_retries=0, timeout=10)


def ask(client, model):
    return client.messages.create(model=model, messages=MESSAGES, max_tokens=100)


def test_an_answer(client, stage):
    message = ask(client, "claude-sonnet")
    assert message.content[0].text == SONNET
    assert message.stop_reason == "end_turn"
    assert stage.anthropic.models == ["claude-sonnet"]
    assert "anthropic-version" in dict(stage.anthropic.received[0].headers)
    assert stage.anthropic_spare.models == []


def test_a_stream(client):
    with client.messages.stream(model="claude-sonnet", messages=MESSAGES, max_tokens=100) as stream:
        assert "".join(stream.text_stream) == SONNET
        assert stream.get_final_message().stop_reason == "end_turn"


@pytest.mark.parametrize(("model", "reason"), FAILING)
def test_failover_of_an_answer(client, stage, model, reason):
    raw = client.messages.with_raw_response.create(model=model, messages=MESSAGES, max_tokens=100)
    message = raw.parse()
    assert message.content[0].text == HAIKU
    assert message.model == "claude-haiku"
    assert raw.headers["x-standin-failover"].startswith(reason)
    assert stage.anthropic_spare.models == ["claude-haiku"]


@pytest.mark.parametrize(("model", "reason"), FAILING)
def test_failover_of_a_stream(client, stage, model, reason):
    with client.messages.stream(model=model, messages=MESSAGES, max_tokens=100) as stream:
        assert stream.response.headers["x-standin-failover"].startswith(reason)
        assert "".join(stream.text_stream) == HAIKU
    assert stage.anthropic_spare.models == ["claude-haiku"]


def test_a_wrong_key_is_an_authentication_error(stage):
    with client_with(stage, "nobodys-key") as client, pytest.raises(anthropic.AuthenticationError):
        ask(client, "claude-sonnet")
    assert stage.anthropic.received == []


def test_the_callers_fault_is_the_targets_own_error(client, stage):
    with pytest.raises(anthropic.BadRequestError) as raised:
        ask(client, "claude-refusing")
    assert raised.value.body["error"]["message"] == "anthropic answers 400 for claude-refusing"
    assert stage.anthropic_spare.received == []


def test_a_model_that_nobody_serves_is_not_found(client):
    with pytest.raises(anthropic.NotFoundError) as raised:
        ask(client, "claude-of-nobody")
    assert "claude-of-nobody" in raised.value.body["error"]["message"]


def test_a_rate_limit_at_the_end_of_the_chain(client):
    with pytest.raises(anthropic.RateLimitError) as raised:
        ask(client, "claude-all-rate-limited")
    assert raised.value.response.headers["retry-after"] == "7"
    assert raised.value.body["error"]["type"] == "failover_error"


def test_a_chain_that_fails(client, stage):
    with pytest.raises(anthropic.InternalServerError) as raised:
        ask(client, "claude-all-overloaded")
    assert raised.value.status_code == 502
    assert raised.value.body["error"]["type"] == "failover_error"
    assert [attempt["status"] for attempt in raised.value.body["error"]["attempts"]] == [529, 529]
    assert stage.anthropic_spare.models == ["claude-overloaded"]


def test_a_stream_that_breaks_never_looks_whole(client, stage):
    pieces, stop_reason = [], None
    with pytest.raises(anthropic.APIStatusError):
        with client.messages.stream(model="claude-cut", messages=MESSAGES, max_tokens=100) as stream:
            for event in stream:
                if event.type == "text":
                    pieces.append(event.text)
                if event.type == "message_delta":
                    stop_reason = event.delta.stop_reason
    said = "".join(pieces)
    assert said and text("anthropic", "claude-cut").startswith(said)
    assert stop_reason is None
    assert stage.anthropic_spare.models == []
