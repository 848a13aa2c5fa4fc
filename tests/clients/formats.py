"""How each provider writes an answer, a stream and an error: the shapes of the real ones."""

import base64
import json
import struct


def text(provider, model):
    """What the scripted model says: it tells who answered."""
    return f"I am {model}, served by {provider}."


def _data(value):
    return b"data: " + json.dumps(value).encode() + b"\n\n"


class OpenAI:
    """Chat completions, embeddings and the list of models, as OpenAI serves them."""

    def __init__(self, name, key):
        self.name = name
        self.key = key

    def credential(self):
        return ("authorization", f"Bearer {self.key}")

    def answer(self, path, request):
        """The answer to a request that is no stream."""
        if path == "/v1/models":
            return {"object": "list", "data": [self._model("gpt-4o"), self._model("gpt-4o-mini")]}
        if path == "/v1/embeddings":
            return self._embeddings(request)
        message = {"role": "assistant", "content": text(self.name, request["model"])}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return self._envelope("chat.completion", request["model"], [choice]) | {"usage": self._usage()}

    def events(self, request, said):
        """A stream's events. The first one names the role only; the next ones carry the words, or
        the call of the tool that the request has.
        """
        deltas = [{"role": "assistant", "content": ""}]
        if "tools" in request:
            deltas += [{"tool_calls": [call]} for call in self._call(request["tools"][0], said)]
        else:
            deltas += [{"content": word} for word in words(said)]
        for delta in deltas:
            yield self._chunk(request["model"], delta, None)
        yield self._chunk(request["model"], {}, "tool_calls" if "tools" in request else "stop")
        if request.get("stream_options", {}).get("include_usage"):
            usage = {"usage": self._usage(len(words(said)))}
            yield _data(self._envelope("chat.completion.chunk", request["model"], []) | usage)
        yield b"data: [DONE]\n\n"

    def failure(self):
        """The event that tells of an error in the middle of a stream."""
        return _data(self.error(503, "a stream"))

    def error(self, status, model):
        message = f"{self.name} answers {status} for {model}"
        kind = "server_error" if status >= 500 else "invalid_request_error"
        code = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}.get(status)
        return {"error": {"message": message, "type": kind, "param": None, "code": code}}

    def unknown_model(self, model):
        return 404, self.error(404, model)

    def _model(self, name):
        return {"id": name, "object": "model", "created": 1700000000, "owned_by": self.name}

    def _embeddings(self, request):
        vector = [0.25, -0.5, 1.0]
        if request.get("encoding_format") == "base64":
            vector = base64.b64encode(struct.pack("<3f", *vector)).decode()
        data = [{"object": "embedding", "index": 0, "embedding": vector}]
        usage = {"prompt_tokens": 2, "total_tokens": 2}
        return {"object": "list", "data": data, "model": request["model"], "usage": usage}

    def _chunk(self, model, delta, finish_reason):
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        return _data(self._envelope("chat.completion.chunk", model, [choice]))

    def _call(self, tool, said):
        """The pieces of a tool call: its name, then its arguments, bit by bit."""
        call = {"name": tool["function"]["name"], "arguments": ""}
        yield {"index": 0, "id": f"call_{self.name}", "type": "function", "function": call}
        for word in words(json.dumps({"text": said})):
            yield {"index": 0, "function": {"arguments": word}}

    def _envelope(self, kind, model, choices):
        return {
            "id": f"chatcmpl-{self.name}",
            "object": kind,
            "created": 1700000000,
            "model": model,
            "choices": choices,
        }

    def _usage(self, said=7):
        return {"prompt_tokens": 11, "completion_tokens": said, "total_tokens": 11 + said}


class Mistral(OpenAI):
    """The same API with errors of its own: a model that it does not know is a 400."""

    def error(self, status, model):
        message = f"{self.name} answers {status} for {model}"
        return {"object": "error", "message": message, "type": "error", "param": None, "code": "3000"}

    def unknown_model(self, model):
        message = f"Invalid model: {model}"
        return 400, {
            "object": "error",
            "message": message,
            "type": "invalid_model",
            "param": None,
            "code": "1500",
        }


class Anthropic:
    """The Messages API."""

    def __init__(self, name, key):
        self.name = name
        self.key = key

    def credential(self):
        return ("x-api-key", self.key)

    def answer(self, _path, request):
        content = [{"type": "text", "text": text(self.name, request["model"])}]
        return self._message(request["model"], content, "end_turn", 7)

    def events(self, request, said):
        yield self._event("message_start", message=self._message(request["model"], [], None, 1))
        block, deltas = self._text(said)
        if "tools" in request:
            block, deltas = self._call(request["tools"][0], said)
        yield self._event("content_block_start", index=0, content_block=block)
        yield self._event("ping")
        for delta in deltas:
            yield self._event("content_block_delta", index=0, delta=delta)
        yield self._event("content_block_stop", index=0)
        delta = {"stop_reason": "tool_use" if "tools" in request else "end_turn", "stop_sequence": None}
        yield self._event("message_delta", delta=delta, usage={"output_tokens": len(words(said))})
        yield self._event("message_stop")

    def failure(self):
        """The event that tells of an error in the middle of a stream."""
        return b"event: error\n" + _data(self.error(529, "a stream"))

    def error(self, status, model):
        kinds = {
            400: "invalid_request_error",
            401: "authentication_error",
            404: "not_found_error",
            429: "rate_limit_error",
            529: "overloaded_error",
        }
        kind = kinds.get(status, "api_error")
        message = f"{self.name} answers {status} for {model}"
        return {"type": "error", "error": {"type": kind, "message": message}}

    def unknown_model(self, model):
        return 404, self.error(404, model)

    def _message(self, model, content, stop_reason, output_tokens):
        return {
            "id": f"msg_{self.name}",
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": content,
            "stop_reason": stop_reason,
            "stop_sequence": None,
            "usage": {"input_tokens": 11, "output_tokens": output_tokens},
        }

    def _text(self, said):
        """A text block as it starts, and its deltas."""
        return {"type": "text", "text": ""}, [{"type": "text_delta", "text": word} for word in words(said)]

    def _call(self, tool, said):
        """The same of the call of a tool."""
        block = {"type": "tool_use", "id": f"toolu_{self.name}", "name": tool["name"], "input": {}}
        pieces = words(json.dumps({"text": said}))
        return block, [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]

    def _event(self, kind, **fields):
        return f"event: {kind}\n".encode() + _data({"type": kind} | fields)


def words(sentence):
    """The words of a sentence, each with the space before it: together they are the sentence."""
    first, *rest = sentence.split(" ")
    return [first, *(f" {word}" for word in rest)]
