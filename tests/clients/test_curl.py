"""curl through the gateway: big bodies with `Expect: 100-continue`, HTTP/2, connections, the log."""

import json
import subprocess
import time
from dataclasses import dataclass

import pytest

from formats import text

MISTRAL = text("mistral", "mistral-small-latest")
PARTIAL_FILE = 18  # curl's exit code for an answer that was cut


@dataclass(frozen=True)
class Run:
    """What curl did: its exit code, what it wrote, and what it told with -v."""

    code: int
    out: bytes
    told: str

    def answer(self):
        return json.loads(self.out)


@pytest.fixture
def curl(stage):
    def run(*arguments, key=stage.key):
        command = ["curl", "-sSv", "--max-time", "20", "-H", f"authorization: Bearer {key}", *arguments]
        done = subprocess.run(command, capture_output=True, timeout=30)
        return Run(done.returncode, done.stdout, done.stderr.decode())

    return run


@pytest.fixture
def big(tmp_path):
    """A file with a request of a given size, and its bytes."""

    def make(model, size=2 << 20):
        body = request(model, size)
        file = tmp_path / f"{model}.json"
        file.write_bytes(body)
        return f"@{file}", body

    return make


def request(model, size=0):
    """A request with what a re-serialiser would not keep: order, white space, escapes, big numbers."""
    shell = (
        '{ "seed": 123456789012345678901234567890, "temperature":0.10,\n'
        '  "messages": [{"role": "user", "content": "caf\\u00e9 \\/ %s"}], "metadata": {"model": "inner"},\n'
        '\t"model" : "%s" }\n'
    )
    filler = "x" * max(0, size - len(shell % ("", model)))
    return (shell % (filler, model)).encode()


JSON = ("-H", "content-type: application/json")


def chat(stage):
    return f"{stage.url}/v1/chat/completions"


def assert_spliced(upstream, body, model, target):
    """Every byte reached the target as the caller sent it, but for the model's name."""
    (received,) = [request for request in upstream.received if request.model == target]
    assert received.body == body.replace(f'"{model}"'.encode(), f'"{target}"'.encode())


def test_a_big_body_waits_for_100_continue_and_fails_over_byte_exact(curl, stage, big):
    file, body = big("gpt-unavailable")
    run = curl(chat(stage), *JSON, "--data-binary", file)
    assert "> Expect: 100-continue" in run.told
    assert "< HTTP/1.1 100 Continue" in run.told
    assert "< HTTP/1.1 200 OK" in run.told
    assert "< x-standin-failover: openai/gpt-unavailable=503" in run.told
    assert run.answer()["choices"][0]["message"]["content"] == MISTRAL
    assert_spliced(stage.openai, body, "gpt-unavailable", "gpt-unavailable")
    assert_spliced(stage.mistral, body, "gpt-unavailable", "mistral-small-latest")


def test_a_big_body_in_chunks_fails_over_byte_exact(curl, stage, big):
    file, body = big("gpt-unavailable")
    run = curl(chat(stage), *JSON, "-H", "transfer-encoding: chunked", "--data-binary", file)
    assert "> Transfer-Encoding: chunked".lower() in run.told.lower()
    assert run.answer()["model"] == "mistral-small-latest"
    assert_spliced(stage.openai, body, "gpt-unavailable", "gpt-unavailable")
    assert_spliced(stage.mistral, body, "gpt-unavailable", "mistral-small-latest")


def test_a_big_body_over_http2_fails_over_byte_exact(curl, stage, big):
    file, body = big("gpt-unavailable")
    url = f"{stage.gateway.h2c_url}/v1/chat/completions"
    run = curl(url, "--http2-prior-knowledge", *JSON, "--data-binary", file)
    assert "< HTTP/2 200" in run.told
    assert "< x-standin-attempts: 2" in run.told
    assert run.answer()["choices"][0]["message"]["content"] == MISTRAL
    assert_spliced(stage.mistral, body, "gpt-unavailable", "mistral-small-latest")


def test_a_stream_over_http2(curl, stage):
    body = json.dumps({"model": "gpt-unavailable", "stream": True, "messages": []})
    url = f"{stage.gateway.h2c_url}/v1/chat/completions"
    run = curl(url, "--http2-prior-knowledge", "-N", *JSON, "--data", body)
    assert "< HTTP/2 200" in run.told
    assert "< content-type: text/event-stream" in run.told
    assert run.out.endswith(b"data: [DONE]\n\n")


def test_a_body_over_the_limit_is_refused_before_it_is_sent(curl, stage, big):
    file, body = big("gpt-4o", 9 << 20)
    run = curl(chat(stage), *JSON, "--data-binary", file, "-w", "\n%{size_upload}")
    answer, uploaded = run.out.rsplit(b"\n", 1)
    assert "< HTTP/1.1 413" in run.told
    assert "100 Continue" not in run.told
    assert json.loads(answer)["error"]["code"] == "request_too_large"
    assert int(uploaded) < len(body)
    assert stage.openai.received == []


def test_a_wrong_key_is_refused_before_the_body_is_sent(curl, stage, big):
    file, _ = big("gpt-4o")
    run = curl(chat(stage), *JSON, "--data-binary", file, key="nobodys-key")
    assert "< HTTP/1.1 401" in run.told
    assert "100 Continue" not in run.told
    assert run.answer()["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize("header", ["x-api-key", "api-key"])
def test_the_key_may_come_in_other_headers(stage, header):
    command = ["curl", "-sS", "-H", f"{header}: {stage.key}", f"{stage.url}/v1/models"]
    done = subprocess.run(command, capture_output=True, timeout=30)
    assert json.loads(done.stdout)["data"][0]["id"] == "gpt-4o"


def test_the_connection_stays_usable_after_an_error(curl, stage):
    good = request("gpt-4o").decode()
    twice = [
        *(chat(stage), *JSON, "--data", '{"messages": []}', "--next"),
        *("-sSv", "-H", f"authorization: Bearer {stage.key}", chat(stage), *JSON, "--data", good),
    ]
    run = curl(*twice)
    assert "< HTTP/1.1 400" in run.told
    assert "< HTTP/1.1 200 OK" in run.told
    assert "Re-using existing connection" in run.told
    assert stage.openai.models == ["gpt-4o"]


def test_another_method_is_told_which_one_to_use(curl, stage):
    run = curl("-X", "DELETE", chat(stage))
    assert "< HTTP/1.1 405" in run.told
    assert "< allow: post" in run.told.lower()


def test_a_stream_that_breaks_is_seen_to_be_cut(curl, stage):
    body = json.dumps({"model": "gpt-cut", "stream": True, "messages": []})
    run = curl(chat(stage), "-N", *JSON, "--data", body)
    assert run.code == PARTIAL_FILE
    assert b'"content": " am"' in run.out
    assert b"[DONE]" not in run.out
    assert b'"finish_reason": "stop"' not in run.out


def test_the_log_has_a_line_for_the_request_and_no_secret(curl, stage):
    prompt = "a prompt that stays between us"
    body = json.dumps({"model": "gpt-unavailable", "messages": [{"role": "user", "content": prompt}]})
    run = curl(chat(stage), *JSON, "--data", body)
    (request_id,) = [
        line.removeprefix("< x-request-id: ")
        for line in run.told.splitlines()
        if line.startswith("< x-request-id: ")
    ]
    (line,) = logged(stage, request_id)
    assert json.loads(line)["status"] == 200
    assert "gpt-unavailable" in line and "mistral-small-latest" in line
    everything = "\n".join(stage.access_log()) + stage.gateway.log()
    assert prompt not in everything
    assert [secret for secret in stage.secrets if secret in everything] == []


def logged(stage, request_id):
    """The log's lines for a request; they are written beside the request path, so a moment later."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        lines = [line for line in stage.access_log() if request_id in line]
        if lines:
            return lines
        time.sleep(0.02)
    return []
