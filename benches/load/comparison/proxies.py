"""The proxies that are compared, each set up for the same job as fast as it can do it.

Every one has two threads or workers (Portkey's gateway, one process of Node, can't) and keeps its
connections to the upstreams. None but Standin and LiteLLM checks the caller's key, and none but
Standin writes an access log: what the others leave out is in their favour.
"""

import hashlib
import http.client
import json
import ssl
import time
from dataclasses import dataclass, field
from pathlib import Path

from . import needs
from .processes import Failed, Program, free_port

THREADS = 2
KEY = "sk-load"
PATH = "/v1/chat/completions"


@dataclass(frozen=True)
class Setting:
    """What a proxy has to do."""

    first: str = "answering"  # the mock's manner that the first upstream, or target, has
    tls: bool = False  # towards the client
    streams: bool = False
    policies: int = 1  # Standin's
    suspended: int = 0  # how many targets of Standin's policy stand suspended before the one that answers
    behind: int = None  # the port of another Standin that is Standin's first endpoint, over TLS
    http_version: str = "auto"  # that they speak


@dataclass
class Running:
    """A proxy that serves, or the mock itself."""

    port: int
    program: Program = None
    tls: bool = False
    headers: list = field(default_factory=list)
    access_log: Path = None
    configuration: Path = None
    started_in: float = 0  # seconds from its start to its first answer

    @property
    def url(self):
        """Where its one operation is."""
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}{PATH}"

    def ask(self, body):
        """One request: the status and the answer."""
        if self.tls:
            trusting = ssl._create_unverified_context()
            connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=30, context=trusting)
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("POST", PATH, body, dict(line.split(": ", 1) for line in self.headers))
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def empty_access_log(self):
        """Fifty thousand lines a second fill a disk."""
        if self.access_log:
            self.access_log.write_bytes(b"")

    def stop(self):
        """Ends it."""
        if self.program:
            self.program.stop()


class Starter:
    """Starts proxies in front of one mock, with configurations in a folder."""

    def __init__(self, mock, folder, binaries, standins, environment=None):
        self.mock = mock
        self.folder = folder
        self.binaries = binaries  # the folder with the examples
        self.standins = standins  # the binaries of Standin by the names that they have here
        self.environment = environment  # of Pingora's proxies, Standin among them
        self.started = 0

    def start(self, name, setting):
        """Starts the proxy of that name, and sees that it answers."""
        self.started += 1
        folder = self.folder / f"{self.started}-{name}"
        folder.mkdir()
        start = getattr(self, f"_{'standin' if name in self.standins else name}")
        port, first = free_port(), setting.behind or getattr(self.mock, setting.first)
        begin = time.monotonic()
        running = start(name, setting, folder, port, first)
        running.headers = [
            "content-type: application/json",
            f"authorization: Bearer {KEY}",
            *running.headers,
        ]
        try:
            if running.program:
                running.program.wait_until_listening(port)
            if setting.first != "slow":
                _see_that_it_answers(name, running)
            running.started_in = time.monotonic() - begin
            if running.program:
                running.program.wait_until_quiet()
        except BaseException:
            running.stop()
            raise
        return running

    def _direct(self, name, setting, folder, port, first):
        return Running(first)

    def _bare(self, name, setting, folder, port, first, work="shared"):
        tls = [*map(str, self._certificate())] if setting.tls else []
        binary = self.binaries / "load_bare"
        command = [binary, f"127.0.0.1:{port}", f"127.0.0.1:{first}", THREADS, work, *tls]
        return Running(port, Program(command, folder / "log", self.environment), setting.tls)

    def _apart(self, *how):
        return self._bare(*how, work="apart")

    def _nginx(self, name, setting, folder, port, first):
        tls = ""
        if setting.tls:
            certificate, key = self._certificate()
            tls = f"ssl_certificate {certificate}; ssl_certificate_key {key};"
        file = folder / "nginx.conf"
        file.write_text(f"""
            daemon off; pid {folder}/pid; error_log {folder}/error.log;
            worker_processes {THREADS}; worker_rlimit_nofile 16384;
            events {{ worker_connections 8192; }}
            http {{
                access_log off; client_body_temp_path {folder}; proxy_temp_path {folder};
                fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
                client_max_body_size 32m; client_body_buffer_size 2m; keepalive_requests 1000000000;
                upstream models {{
                    server 127.0.0.1:{first} max_fails=0;
                    server 127.0.0.1:{self.mock.answering} backup;
                    keepalive 512; keepalive_requests 1000000000;
                }}
                server {{
                    listen 127.0.0.1:{port}{" ssl" if setting.tls else ""} reuseport; {tls}
                    location / {{
                        proxy_pass http://models;
                        proxy_http_version 1.1; proxy_set_header connection "";
                        proxy_next_upstream error timeout http_503 non_idempotent;
                        proxy_buffering {"off" if setting.streams else "on"};
                    }}
                }}
            }}""")
        return Running(
            port,
            Program([needs.which("nginx"), "-c", file, "-e", folder / "error.log"], folder / "log"),
            setting.tls,
        )

    def _haproxy(self, name, setting, folder, port, first):
        tls = ""
        if setting.tls:
            both = folder / "both.pem"
            both.write_text("".join(part.read_text() for part in self._certificate()))
            tls = f" ssl crt {both}"
        # `use-server` sends all to the first, whose weight of 0 keeps it out of the choice that a
        # redispatch makes.
        file = folder / "haproxy.cfg"
        file.write_text(f"""
global
    nbthread {THREADS}
    maxconn 8192
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    option http-keep-alive
    http-reuse always
    {"option http-no-delay" if setting.streams else ""}
listen models
    bind 127.0.0.1:{port}{tls}
    retries 3
    retry-on conn-failure 503
    option redispatch 1
    use-server first if TRUE
    server first 127.0.0.1:{first} weight 0 pool-max-conn 512
    server second 127.0.0.1:{self.mock.answering} weight 1 pool-max-conn 512
""")
        return Running(
            port, Program([needs.which("haproxy"), "-db", "-f", file], folder / "log"), setting.tls
        )

    def _litellm(self, name, setting, folder, port, first):
        def model(name, port):
            where = {
                "model": f"openai/{name}",
                "api_base": f"http://127.0.0.1:{port}/v1",
                "api_key": "x",
                "max_retries": 0,
            }
            return {"model_name": name, "litellm_params": where}

        file = folder / "litellm.yaml"
        # JSON is YAML.
        file.write_text(
            json.dumps(
                {
                    "model_list": [model("gpt-4o", first), model("backup", self.mock.answering)],
                    "router_settings": {
                        "fallbacks": [{"gpt-4o": ["backup"]}],
                        "num_retries": 0,
                        "disable_cooldowns": True,
                    },
                    "general_settings": {"master_key": KEY},
                }
            )
        )
        command = [
            needs.litellm(),
            "--config",
            file,
            "--host",
            "127.0.0.1",
            "--port",
            port,
            "--num_workers",
            THREADS,
        ]
        offline = {"LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        return Running(port, Program(command, folder / "log", offline))

    def _portkey(self, name, setting, folder, port, first):
        def target(port):
            return {"provider": "openai", "api_key": "x", "custom_host": f"http://127.0.0.1:{port}/v1"}

        fallback = {
            "strategy": {"mode": "fallback", "on_status_codes": [503]},
            "targets": [target(first), target(self.mock.answering)],
        }
        program = Program(
            [needs.which("node"), needs.portkey(), f"--port={port}", "--headless"],
            folder / "log",
            {"NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": "127.0.0.1"},
        )
        return Running(port, program, headers=[f"x-portkey-config: {json.dumps(fallback)}"])

    def _standin(self, name, setting, folder, port, first):
        file = folder / "standin.yaml"
        file.write_text(self._standin_configuration(setting, folder, port, first))
        command = [self.standins[name], "run", "--conf", file]
        program = Program(command, folder / "log", self.environment)
        return Running(port, program, setting.tls, access_log=folder / "access.log", configuration=file)

    def _standin_configuration(self, setting, folder, port, first):
        tls = ""
        if setting.tls:
            certificate, key = self._certificate()
            tls = f"tls: {{certificate: {certificate}, private_key: {key}}}"
        endpoint = f'url: "http://127.0.0.1:{first}"'
        if setting.behind:
            (folder / "key").write_text(KEY)
            key = f"api_key: {{file: {folder}/key}}, tls: {{verify: false}}"
            endpoint = f'url: "https://127.0.0.1:{first}", http_version: "{setting.http_version}", {key}'
        # Nothing is suspended where each request shall fail over, and for long where the suspended
        # ones shall be passed by.
        suspend = "1h" if setting.suspended else "0s" if setting.first == "failing" else "60s"
        chains = {"gpt-4o": [("gpt-4o", "first"), ("backup", "second")]}
        if setting.suspended:
            failing = [(f"suspended-{number}", "first") for number in range(setting.suspended)]
            chains["gpt-4o"] = [*failing, ("backup", "second")]
        for number in range(setting.policies - 1):
            chains[f"model-{number}"] = [(f"model-{number}", "first"), (f"backup-{number}", "second")]
        return f"""
server: {{threads: {THREADS}}}
listeners:
  - address: 127.0.0.1:{port}
    {tls}
authentication: keys
keys:
  - {{name: load, environment: production, sha256: {hashlib.sha256(KEY.encode()).hexdigest()}}}
endpoints:
  first: {{{endpoint}}}
  second: {{url: "http://127.0.0.1:{self.mock.answering}"}}
admin: {{address: "127.0.0.1:{free_port()}"}}
observability:
  access_log: {{path: {folder}/access.log}}
operations:
  - path: {PATH}
    policies: [{", ".join(chains)}]
policies:
""" + "".join(_policy(model, chain, suspend) for model, chain in chains.items())

    def _certificate(self):
        """A self-made certificate of 127.0.0.1 and its key, the same for all."""
        certificate, key = self.folder / "tls.crt", self.folder / "tls.key"
        if not key.exists():
            needs.debian(["openssl"])
            curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"]
            names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
            files = ["-keyout", key, "-out", certificate]
            with (self.folder / "openssl.log").open("wb") as log:
                needs.run(["openssl", "req", "-x509", *curve, *names, *files], stdout=log, stderr=log)
        return certificate, key


def _policy(model, chain, suspend):
    target, *fallbacks = [f"{{model: {name}, endpoint: {endpoint}}}" for name, endpoint in chain]
    return f"""\
  {model}:
    match: [{model}]
    production: {{target: {target}, fallbacks: [{", ".join(fallbacks)}]}}
    suspend_duration: {suspend}
"""


def _see_that_it_answers(name, running):
    status, answer = running.ask('{"model": "gpt-4o", "messages": [{"role": "user", "content": "Who?"}]}')
    if status != 200 or "Claude Monet" not in answer:
        raise Failed(f"{name} answers {status}: {answer[:500]}")
