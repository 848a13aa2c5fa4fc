"""The OpenAI Python SDK through the gateway."""

import asyncio

import openai
import pytest

from formats import text

MESSAGES = [{"role": "user", "content": "Who is the most renowned French painter?"}]
GPT = text("openai", "gpt-4o")
MISTRAL = text("mistral", "mistral-small-latest")

FAILING = [
    ("gpt-unavailable", "openai/gpt-unavailable=503"),
    ("gpt-nowhere", "nowhere/gpt-nowhere=refused"),
    ("gpt-slow", "openai/gpt-slow=timeout"),
    ("invalid-model", "mistral/invalid-model=400:invalid_model"),
]


@pytest.fixture
def client(stage):
    with client_with(stage, stage.key) as client:
        yield client


def client_with(stage, key):
    return openai.OpenAI(base_url=f"{stage.url}/v1", api_key=key, max_retries=0, timeout=10)


def ask(client, model, **options):
    return client.chat.completions.create(model=model, messages=MESSAGES, **options)


def read(stream):
    """A stream's text and how it finished."""
    pieces, finished = [], None
    for chunk in stream:
        pieces.append(chunk.choices[0].delta.content or "")
        finished = chunk.choices[0].finish_reason or finished
    return "".join(pieces), finished


def test_an_answer(client, stage):
    raw = client.chat.completions.with_raw_response.create(model="gpt-4o", messages=MESSAGES)
    completion = raw.parse()
    assert completion.choices[0].message.content == GPT
    assert completion.model == "gpt-4o"
    assert completion.usage.total_tokens == 18
    assert raw.headers["x-standin-endpoint"] == "openai"
    assert raw.headers["x-standin-model"] == "gpt-4o"
    assert raw.headers["x-standin-attempts"] == "1"
    assert "x-standin-failover" not in raw.headers
    assert raw.headers["x-request-id"]
    assert stage.openai.models == ["gpt-4o"]
    assert stage.mistral.models == []


def test_a_stream(client, stage):
    assert read(ask(client, "gpt-4o", stream=True)) == (GPT, "stop")
    assert stage.openai.models == ["gpt-4o"]


def test_a_stream_is_relayed_while_it_comes(client, stage):
    with ask(client, "gpt-gated", stream=True) as stream:
        chunks = iter(stream)
        while not (next(chunks).choices[0].delta.content or ""):
            pass
        assert not stage.openai.gate.is_set()
        stage.openai.gate.set()
        _, finished = read(chunks)
    assert finished == "stop"


def test_a_caller_that_leaves_ends_the_exchange_upstream(client, stage):
    with ask(client, "gpt-hanging", stream=True) as stream:
        next(iter(stream))
        assert not stage.openai.hung_up.is_set()
    assert stage.openai.hung_up.wait(1)
    assert stage.mistral.models == []


@pytest.mark.parametrize(("model", "reason"), FAILING)
def test_failover_of_an_answer(client, stage, model, reason):
    raw = client.chat.completions.with_raw_response.create(model=model, messages=MESSAGES)
    completion = raw.parse()
    assert completion.choices[0].message.content == MISTRAL
    assert completion.model == "mistral-small-latest"
    assert raw.headers["x-standin-endpoint"] == "mistral"
    assert raw.headers["x-standin-model"] == "mistral-small-latest"
    assert raw.headers["x-standin-attempts"] == "2"
    assert raw.headers["x-standin-failover"] == reason
    assert stage.mistral.models[-1] == "mistral-small-latest"


@pytest.mark.parametrize(("model", "reason"), FAILING)
def test_failover_of_a_stream(client, stage, model, reason):
    raw = client.chat.completions.with_raw_response.create(model=model, messages=MESSAGES, stream=True)
    assert raw.headers["x-standin-failover"] == reason
    assert read(raw.parse()) == (MISTRAL, "stop")
    assert stage.mistral.models[-1] == "mistral-small-latest"


def test_many_failovers_at_once(stage):
    async def all_at_once():
        client = openai.AsyncOpenAI(base_url=f"{stage.url}/v1", api_key=stage.key, max_retries=0, timeout=30)
        async with client:
            calls = [ask(client, "gpt-unavailable") for _ in range(64)]
            return await asyncio.gather(*calls)

    answers = asyncio.run(all_at_once())
    assert [answer.choices[0].message.content for answer in answers] == [MISTRAL] * 64
    assert stage.openai.models == ["gpt-unavailable"] * 64
    assert stage.mistral.models == ["mistral-small-latest"] * 64


def test_sandbox_has_its_own_target(stage):
    with client_with(stage, stage.sandbox_key) as client:
        assert ask(client, "gpt-4o").choices[0].message.content == MISTRAL
    assert stage.openai.models == []


def test_embeddings_pass_through(client, stage):
    answer = client.embeddings.create(model="text-embedding-3-small", input="a text")
    assert answer.data[0].embedding == [0.25, -0.5, 1.0]
    assert answer.model == "text-embedding-3-small"
    assert stage.openai.models == ["text-embedding-3-small"]


def test_embeddings_fail_over(client, stage):
    answer = client.embeddings.create(model="embedding-unavailable", input="a text")
    assert answer.data[0].embedding == [0.25, -0.5, 1.0]
    assert answer.model == "mistral-embed"
    assert stage.mistral.models == ["mistral-embed"]


def test_the_list_of_models(client, stage):
    assert [model.id for model in client.models.list()] == ["gpt-4o", "gpt-4o-mini"]
    assert [request.path for request in stage.openai.received] == ["/v1/models"]


def test_a_wrong_key_is_an_authentication_error(stage):
    with client_with(stage, "nobodys-key") as client, pytest.raises(openai.AuthenticationError) as raised:
        ask(client, "gpt-4o")
    assert raised.value.code == "invalid_api_key"
    assert stage.openai.received == []


def test_the_callers_fault_is_the_targets_own_error(client, stage):
    with pytest.raises(openai.BadRequestError) as raised:
        ask(client, "gpt-refusing")
    assert raised.value.body["message"] == "openai answers 400 for gpt-refusing"
    assert raised.value.type == "invalid_request_error"
    assert stage.mistral.received == []


def test_a_model_that_nobody_serves_is_not_found(client, stage):
    with pytest.raises(openai.NotFoundError) as raised:
        ask(client, "gpt-of-nobody")
    assert raised.value.code == "model_not_found"
    assert "gpt-of-nobody" in raised.value.body["message"]
    assert stage.openai.received == []


def test_an_operation_that_is_not_configured_is_not_found(client):
    with pytest.raises(openai.NotFoundError) as raised:
        client.moderations.create(input="a text")
    assert raised.value.code == "unknown_operation"


@pytest.mark.parametrize("stream", [False, True])
def test_a_rate_limit_at_the_end_of_the_chain(client, stage, stream):
    with pytest.raises(openai.RateLimitError) as raised:
        ask(client, "all-rate-limited", stream=stream)
    assert raised.value.response.headers["retry-after"] == "7"
    assert_exhausted(raised.value, [503, 429])
    assert stage.mistral.models == ["mistral-rate-limited"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_chain_that_fails(client, stage, stream):
    with pytest.raises(openai.InternalServerError) as raised:
        ask(client, "all-unavailable", stream=stream)
    assert raised.value.status_code == 502
    assert "mistral answers 503 for mistral-unavailable" in raised.value.body["message"]
    assert_exhausted(raised.value, [503, 503])
    assert stage.openai.models == ["gpt-unavailable"]
    assert stage.mistral.models == ["mistral-unavailable"]


def test_a_chain_that_is_too_slow(client, stage):
    with pytest.raises(openai.InternalServerError) as raised:
        ask(client, "all-slow")
    assert raised.value.status_code == 504
    assert_exhausted(raised.value, [None, None])
    assert [attempt["reason"] for attempt in raised.value.body["attempts"]] == ["timeout", "timeout"]


def test_the_gateways_keys_are_not_the_callers_fault(client):
    with pytest.raises(openai.InternalServerError) as raised:
        ask(client, "all-locked")
    assert raised.value.status_code == 502
    assert_exhausted(raised.value, [401, 401])


def assert_exhausted(error, statuses):
    assert error.type == "failover_error"
    assert [attempt["status"] for attempt in error.body["attempts"]] == statuses
    assert error.request_id


def test_a_stream_that_breaks_never_looks_whole(client, stage):
    pieces, finished = [], None
    with pytest.raises(openai.APIError):
        for chunk in ask(client, "gpt-cut", stream=True):
            pieces.append(chunk.choices[0].delta.content or "")
            finished = chunk.choices[0].finish_reason or finished
    said = "".join(pieces)
    assert said and text("openai", "gpt-cut").startswith(said)
    assert finished is None
    assert stage.mistral.models == []
