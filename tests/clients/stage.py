"""All that a test needs: the scripted providers, and the gateway in front of them.

In Python it is a context manager, `stage()`. A test in another language starts this file as a
process: it prints one line of JSON that says where everything is, then answers each line of its
input with one line, and ends with its input.

    forget      starts the record anew
    received    what reached the providers since, in order: [{upstream, path, model}]
    strays      the credentials that reached a provider and are not its own: always []
"""

import contextlib
import functools
import hashlib
import json
import pathlib
import string
import sys
import tempfile

from formats import Anthropic, Mistral, OpenAI
from gateway import Gateway
from story import STORY
from upstreams import Nowhere, Upstream

KEY = "the-callers-key"
SANDBOX_KEY = "the-callers-sandbox-key"
PROVIDERS = [
    OpenAI("openai", "the-key-for-openai"),
    Mistral("mistral", "the-key-for-mistral"),
    Anthropic("anthropic", "the-key-for-anthropic"),
    Anthropic("anthropic-spare", "the-key-for-anthropic-spare"),
]
SECRETS = [KEY, SANDBOX_KEY, *(provider.key for provider in PROVIDERS)]


@contextlib.contextmanager
def stage():
    """The stage, set up; it is cleared at the end."""
    with contextlib.ExitStack() as stack:
        directory = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstreams = [stack.enter_context(Upstream(provider)) for provider in PROVIDERS]
        nowhere = stack.enter_context(Nowhere())
        access_log = directory / "access.log"
        names = {
            "nowhere": nowhere.url,
            "access_log": access_log,
            "key_digest": digest(KEY),
            "sandbox_key_digest": digest(SANDBOX_KEY),
        }
        names |= {variable(upstream.provider): upstream.url for upstream in upstreams}
        secrets = {f"{variable(provider)}_KEY".upper(): provider.key for provider in PROVIDERS}
        configuration = functools.partial(fill_in, names)
        gateway = stack.enter_context(Gateway(configuration, secrets, directory))
        yield Stage(gateway, upstreams, access_log)


class Stage:
    """The providers by name, and the gateway."""

    key = KEY
    sandbox_key = SANDBOX_KEY
    secrets = SECRETS

    def __init__(self, gateway, upstreams, access_log):
        self.gateway = gateway
        self.upstreams = upstreams
        self.openai, self.mistral, self.anthropic, self.anthropic_spare = upstreams
        self._access_log = access_log

    @property
    def url(self):
        return self.gateway.url

    def forget(self):
        """Starts the record anew."""
        for upstream in self.upstreams:
            upstream.forget()

    def received(self):
        """The requests that reached the providers since, in order."""
        requests = (request for upstream in self.upstreams for request in upstream.received)
        return sorted(requests, key=lambda request: request.at)

    def strays(self):
        """The credentials that reached a provider and are not its own, as upstream and header."""
        return [
            (upstream.provider.name, name)
            for upstream in self.upstreams
            for request in upstream.received
            for name, value in request.headers
            if (name, value) != upstream.provider.credential()
            and any(secret in value for secret in SECRETS)
        ]

    def access_log(self):
        """The lines of the access log so far."""
        return self._access_log.read_text().splitlines()


def fill_in(names, port, h2c_port):
    """The gateway's configuration."""
    template = pathlib.Path(__file__).with_name("standin.yaml").read_text()
    return string.Template(template).substitute(names, port=port, h2c_port=h2c_port)


def variable(provider):
    """A provider's name, as it stands in the configuration's template."""
    return provider.name.replace("-", "_")


def digest(key):
    return hashlib.sha256(key.encode()).hexdigest()


def serve():
    """The stage for a test in another language."""
    with stage() as on:
        say({"url": on.url, "key": on.key, "sandboxKey": on.sandbox_key, "story": STORY})
        for line in sys.stdin:
            match line.strip():
                case "forget":
                    say(on.forget())
                case "received":
                    say([seen(request) for request in on.received()])
                case "strays":
                    say(on.strays())


def seen(request):
    return {"upstream": request.upstream, "path": request.path, "model": request.model}


def say(value):
    print(json.dumps(value), flush=True)


if __name__ == "__main__":
    serve()
