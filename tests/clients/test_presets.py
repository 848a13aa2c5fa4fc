"""The vendors' SDKs on every place where a model stands: each request fails at the first provider and is
answered by the second, which got the second target's model wherever the SDK had written the caller's.
"""

import contextlib
import hashlib
import pathlib
import string

import anthropic
import mistralai.client
import openai
import pytest
from google import genai

from gateway import Gateway
from providers import SPEECH, SUBTITLES, TEXT, Provider

KEY = "the-callers-key"
KEYS = {"FIRST_KEY": "the-first-key", "SECOND_KEY": "the-second-key"}
MESSAGES = [{"role": "user", "content": "Who is the most renowned French painter?"}]
AUDIO = ("speech.wav", b"RIFF\x00\xff--\r\n", "audio/wav")
IMAGE = ("image.png", b"\x89PNG\r\n\x1a\n", "image/png")


class Stage:
    def __init__(self, gateway, first, second):
        self.url = gateway.url
        self.first, self.second = first, second

    def assert_failed_over(self, target):
        """Each provider got one request, at `target`, with its own key and its own model."""
        for provider, name, other in [(self.first, "first", "second"), (self.second, "second", "first")]:
            [request] = provider.received
            model = f"{name}-model"
            assert request.target == target.replace("MODEL", model)
            everything = request.target.encode() + request.body
            assert model.encode() in everything
            for never in ["asked", "deployed", f"{other}-model"]:
                assert never.encode() not in everything
            keys = [value for value in request.headers.values() if "-key" in value]
            assert [key.removeprefix("Bearer ") for key in keys] == [f"the-{name}-key"]


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(Provider(answers=False))
        second = stack.enter_context(Provider(answers=True))
        template = string.Template(pathlib.Path(__file__).with_name("presets.yaml").read_text())
        digest = hashlib.sha256(KEY.encode()).hexdigest()

        def configuration(port, h2c_port):
            names = {"port": port, "h2c_port": h2c_port, "key_digest": digest}
            return template.substitute(names, first=first.url, second=second.url)

        gateway = stack.enter_context(Gateway(configuration, KEYS, tmp_path_factory.mktemp("presets")))
        yield Stage(gateway, first, second)


@pytest.fixture(autouse=True)
def stage(running):
    running.first.received.clear()
    running.second.received.clear()
    return running


@pytest.fixture
def client(stage):
    with openai.OpenAI(base_url=f"{stage.url}/v1", api_key=KEY, max_retries=0, timeout=10) as client:
        yield client


@pytest.fixture
def azure(stage):
    with openai.AzureOpenAI(
        azure_endpoint=stage.url, api_key=KEY, api_version="2024-10-21", max_retries=0, timeout=10
    ) as client:
        yield client


@pytest.fixture
def gemini(stage):
    return genai.Client(api_key=KEY, http_options={"base_url": stage.url, "timeout": 10_000})


def chat(client, model):
    return client.chat.completions.create(model=model, messages=MESSAGES).choices[0].message.content


def chat_stream(client, model):
    chunks = client.chat.completions.create(model=model, messages=MESSAGES, stream=True)
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def test_openai_chat_and_stream(client, stage):
    for ask in (chat, chat_stream):
        assert ask(client, "asked") == TEXT
        stage.assert_failed_over("/v1/chat/completions")
        stage.first.received.clear()
        stage.second.received.clear()


def test_openai_embeddings(client, stage):
    answer = client.embeddings.create(model="asked", input="Monet", encoding_format="float")
    assert answer.data[0].embedding == [0.25, -0.5]
    stage.assert_failed_over("/v1/embeddings")


def test_openai_moderations(client, stage):
    assert client.moderations.create(model="asked", input="Monet").results == []
    stage.assert_failed_over("/v1/moderations")


def test_openai_transcription(client, stage):
    assert client.audio.transcriptions.create(model="asked", file=AUDIO).text == TEXT
    stage.assert_failed_over("/v1/audio/transcriptions")
    assert AUDIO[1] in stage.second.received[0].body


def test_openai_transcription_as_text(client, stage):
    answer = client.audio.transcriptions.create(model="asked", file=AUDIO, response_format="srt")
    assert answer == SUBTITLES
    stage.assert_failed_over("/v1/audio/transcriptions")


def test_openai_translation(client, stage):
    assert client.audio.translations.create(model="asked", file=AUDIO).text == TEXT
    stage.assert_failed_over("/v1/audio/translations")


def test_openai_speech(client, stage):
    answer = client.audio.speech.create(model="asked", input="Monet", voice="alloy")
    assert answer.content == SPEECH
    stage.assert_failed_over("/v1/audio/speech")


def test_openai_images(client, stage):
    assert client.images.edit(model="asked", image=IMAGE, prompt="A hat").data[0].b64_json == "AAAA"
    stage.assert_failed_over("/v1/images/edits")
    assert IMAGE[1] in stage.second.received[0].body


def test_openai_models(client):
    assert [model.id for model in client.models.list()] == ["asked", "deployed"]
    assert client.models.retrieve("asked").owned_by == "standin"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("unknown")


def test_openai_callers_reach_azure_s_deployments(client, stage):
    assert chat(client, "deployed") == TEXT
    stage.assert_failed_over("/openai/deployments/MODEL/chat/completions?api-version=2024-10-21")


def test_openai_transcriptions_reach_azure_s_deployments(client, stage):
    assert client.audio.transcriptions.create(model="deployed", file=AUDIO).text == TEXT
    stage.assert_failed_over("/openai/deployments/MODEL/audio/transcriptions?api-version=2024-10-21")


def test_azure_chat_and_stream(azure, stage):
    for ask in (chat, chat_stream):
        assert ask(azure, "asked") == TEXT
        stage.assert_failed_over("/openai/deployments/MODEL/chat/completions?api-version=2024-10-21")
        stage.first.received.clear()
        stage.second.received.clear()


def test_azure_embeddings_and_transcription(azure, stage):
    assert azure.embeddings.create(model="asked", input="Monet", encoding_format="float").data
    stage.assert_failed_over("/openai/deployments/MODEL/embeddings?api-version=2024-10-21")
    stage.first.received.clear()
    stage.second.received.clear()
    assert azure.audio.transcriptions.create(model="asked", file=AUDIO).text == TEXT
    stage.assert_failed_over("/openai/deployments/MODEL/audio/transcriptions?api-version=2024-10-21")


def test_mistral_chat_and_embeddings(stage):
    with mistralai.client.Mistral(api_key=KEY, server_url=stage.url, timeout_ms=10_000) as client:
        answer = client.chat.complete(model="asked", messages=MESSAGES)
        assert answer.choices[0].message.content == TEXT
        stage.assert_failed_over("/v1/chat/completions")
        stage.first.received.clear()
        stage.second.received.clear()
        assert client.embeddings.create(model="asked", inputs=["Monet"]).data[0].embedding == [0.25, -0.5]
        stage.assert_failed_over("/v1/embeddings")


@pytest.fixture
def claude(stage):
    with anthropic.Anthropic(base_url=stage.url, api_key=KEY, max_retries=0, timeout=10) as client:
        yield client


def test_anthropic_message_and_stream(claude, stage):
    answer = claude.messages.create(model="asked", max_tokens=9, messages=MESSAGES)
    assert answer.content[0].text == TEXT
    stage.assert_failed_over("/v1/messages")
    stage.first.received.clear()
    stage.second.received.clear()
    with claude.messages.stream(model="asked", max_tokens=9, messages=MESSAGES) as stream:
        assert stream.get_final_text() == TEXT
    stage.assert_failed_over("/v1/messages")


def test_anthropic_count_and_models(claude, stage):
    assert claude.messages.count_tokens(model="asked", messages=MESSAGES).input_tokens == 12
    stage.assert_failed_over("/v1/messages/count_tokens")
    assert [model.id for model in claude.models.list()] == ["asked"]


def test_gemini_generate_and_stream(gemini, stage):
    assert gemini.models.generate_content(model="asked", contents="Who?").text == TEXT
    stage.assert_failed_over("/v1/models/MODEL:generateContent")
    stage.first.received.clear()
    stage.second.received.clear()
    chunks = gemini.models.generate_content_stream(model="asked", contents="Who?")
    assert "".join(chunk.text for chunk in chunks) == f"At first: {TEXT}"
    stage.assert_failed_over("/v1/models/MODEL:streamGenerateContent?alt=sse")


def test_gemini_embeddings_repeat_the_model_in_the_body(gemini, stage):
    answer = gemini.models.embed_content(model="asked", contents="Monet")
    assert answer.embeddings[0].values == [0.25, -0.5]
    stage.assert_failed_over(stage.second.received[0].target.replace("second-model", "MODEL"))
    assert b"models/second-model" in stage.second.received[0].body


def test_gemini_count_and_models(gemini, stage):
    assert gemini.models.count_tokens(model="asked", contents="Who?").total_tokens == 12
    stage.assert_failed_over("/v1/models/MODEL:countTokens")
    assert [model.name for model in gemini.models.list()] == ["models/asked"]
    assert gemini.models.get(model="asked").name == "models/asked"


def test_gemini_errors_are_raised_as_its_own(gemini):
    with pytest.raises(genai.errors.ClientError) as raised:
        gemini.models.generate_content(model="unknown", contents="Who?")
    assert (raised.value.code, raised.value.status) == (404, "NOT_FOUND")
