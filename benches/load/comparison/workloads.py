"""The workloads: what is asked of the proxies, and what is measured."""

import itertools
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from .loads import chat
from .processes import Failed
from .proxies import Setting

SERVERS = ("nginx", "haproxy")
GATEWAYS = ("litellm", "portkey")
WARM_UP = 1  # seconds

# The figures by their names in the results: what they are called, and in which unit.
FIGURES = {
    "cpu_us": "CPU a request, us",
    "chunk_us": "CPU a chunk, us",
    "rps": "requests a second",
    "p50_us": "p50, us",
    "p99_us": "p99, us",
    "p999_us": "p99.9, us",
    "peak_mib": "peak memory, MiB",
    "connections": "new connections in 1,000 requests",
    "idle_mib": "idle, MiB",
    "stream_kib": "memory a stream, KiB",
    "load_ms": "start to first answer, ms",
    "reload_ms": "reload, ms",
}


@dataclass(frozen=True)
class Subject:
    """One row of a workload's table: a proxy in a setting."""

    label: str
    proxy: str
    setting: Setting


@dataclass(frozen=True)
class Workload:
    """One table: who is measured, how, and which figure leads."""

    name: str
    title: str
    figures: tuple  # the leading one first
    proxies: tuple
    setting: Setting = Setting()
    variants: tuple = ()  # (label, setting): Standin alone, once in each of them
    measure: Callable = None  # (bench, running, subject, seconds) -> figures; once a round
    once: Callable = None  # the same, once, before the rounds
    quick: bool = False

    def subjects(self, chosen, standins):
        """The rows, of the proxies that were chosen."""
        if self.variants:
            return [
                Subject(label, "standin", setting) for label, setting in self.variants if "standin" in chosen
            ]
        names = itertools.chain.from_iterable(
            standins if name == "standin" else [name] for name in self.proxies
        )
        return [Subject(name, name, self.setting) for name in names if name in chosen]


class Bench:
    """What measuring needs: the mock, the loads, and whoever starts proxies."""

    def __init__(self, mock, loads, starter):
        self.mock = mock
        self.loads = loads
        self.starter = starter

    def measured(self, running, load):
        """What a load saw, with the CPU of the proxy and the connections that it opened."""
        running.empty_access_log()
        cpu, accepted = self._cpu(running), self.mock.counters()["accepted"]
        seen = load()
        cpu, accepted = self._cpu(running) - cpu, self.mock.counters()["accepted"] - accepted
        # One in a thousand is forgiven: a closed loop is cut off in the middle of its last requests.
        if seen.requests == 0 or seen.failed > seen.requests / 1000:
            raise Failed(f"{seen.failed} of {seen.requests} requests failed")
        return seen, cpu, accepted

    def _cpu(self, running):
        return running.program.cpu_seconds() if running.program else 0


def closed(size, connections):
    """wrk with bodies of one size."""

    def measure(bench, running, subject, seconds):
        return _closed(bench, running, [chat(size)], connections, seconds)

    return measure


def _closed(bench, running, bodies, connections, seconds):
    bench.loads.closed(running, bodies, connections, WARM_UP)
    if running.program:
        running.program.forget_peak()
    load = lambda: bench.loads.closed(running, bodies, connections, seconds)
    seen, cpu, accepted = bench.measured(running, load)
    figures = {"rps": seen.requests / seen.seconds}
    if running.program:
        figures["cpu_us"] = cpu / seen.requests * 1e6
        figures["peak_mib"] = running.program.memory_kib("VmHWM") / 1024
        figures["connections"] = accepted / seen.requests * 1000
    return figures


def models(most):
    """wrk with at most so many of the models that have policies, spread over all of them."""

    def measure(bench, running, subject, seconds):
        others = subject.setting.policies - 1
        asked = min(most, others)
        bodies = [chat(300, f"model-{number * others // asked}") for number in range(asked)]
        return _closed(bench, running, bodies, 32, seconds)

    return measure


def open_loop(rate):
    """Latency at a fixed rate."""

    def measure(bench, running, subject, seconds):
        load = lambda: bench.loads.open(running, chat(300), rate, seconds)
        seen, cpu, _ = bench.measured(running, load)
        figures = {name: getattr(seen, name) for name in ("p50_us", "p99_us", "p999_us")}
        if running.program:
            figures["cpu_us"] = cpu / seen.requests * 1e6
        return figures

    return measure


def streams(at_once):
    """Streams of 200 events."""

    def measure(bench, running, subject, seconds):
        load = lambda: bench.loads.streams(running, chat(300, stream=True), at_once, seconds)
        seen, cpu, _ = bench.measured(running, load)
        # LiteLLM adds one of its own.
        if seen.events < seen.requests * 200:
            raise Failed(f"{seen.events} events in {seen.requests} streams of 200")
        return {"chunk_us": cpu / (seen.requests * 200) * 1e6} if running.program else {}

    return measure


def memory_of_streams(count):
    """Memory of a process that has just started, and what each open stream adds to it."""

    def measure(bench, running, subject, seconds):
        time.sleep(1)
        idle = running.program.memory_kib("Pss")
        client = bench.loads.hold(running, chat(300, stream=True), count)
        try:
            time.sleep(5)  # a few events of each
            held = running.program.memory_kib("Pss")
        finally:
            client.kill()
            client.wait()
        return {"idle_mib": idle / 1024, "stream_kib": (held - idle) / count}

    return measure


def start_and_reload(bench, running, subject, seconds):
    """How long a configuration takes to be served at a start, and at a reload: until a request for a
    model is answered that only the new one knows."""
    other = bench.starter.start(subject.proxy, subject.setting)
    try:
        return {"load_ms": other.started_in * 1e3, "reload_ms": _reload(other)}
    finally:
        other.stop()


def _reload(running):
    text = running.configuration.read_text()
    running.configuration.write_text(text.replace("match: [gpt-4o]", "match: [gpt-4o, new-model]"))
    body = chat(300, "new-model")
    begin = time.monotonic()
    running.program.process.send_signal(signal.SIGHUP)
    while running.ask(body)[0] != 200:
        if time.monotonic() > begin + 60:
            raise Failed("the new configuration is not served after a minute")
        time.sleep(0.005)
    return (time.monotonic() - begin) * 1e3


DIRECT = ("direct",)
PROXIES = (*SERVERS, "bare", "standin")
# Pingora without work stealing, which is Standin's default and not Pingora's.
APART = ("apart",)
CLOSED = ("cpu_us", "rps", "peak_mib", "connections")
KIB = 1024


def _bodies(name, title, size, connections, quick=False, others=()):
    return Workload(
        name,
        title,
        CLOSED,
        (*DIRECT, *PROXIES, *others),
        measure=closed(size, connections),
        quick=quick,
    )


WORKLOADS = [
    _bodies("300B-32", "Bodies of 300 bytes, 32 connections", 300, 32, quick=True, others=APART),
    _bodies("300B-256", "Bodies of 300 bytes, 256 connections", 300, 256, others=APART),
    _bodies("4KiB-32", "Bodies of 4 KiB, 32 connections", 4 * KIB, 32),
    _bodies("4KiB-256", "Bodies of 4 KiB, 256 connections", 4 * KIB, 256),
    _bodies("64KiB-32", "Bodies of 64 KiB, 32 connections", 64 * KIB, 32),
    _bodies("64KiB-256", "Bodies of 64 KiB, 256 connections", 64 * KIB, 256),
    _bodies("1MiB-32", "Bodies of 1 MiB, 32 connections", KIB * KIB, 32),
    _bodies("1MiB-256", "Bodies of 1 MiB, 256 connections", KIB * KIB, 256),
    Workload(
        "failover",
        "Every request fails over: 503 at the first, 200 at the second; 32 connections",
        CLOSED,
        (*SERVERS, "standin"),
        Setting(first="failing"),
        measure=closed(300, 32),
        quick=True,
    ),
    Workload(
        "tls",
        "TLS from the client, bodies of 300 bytes, 32 connections",
        CLOSED,
        PROXIES,
        Setting(tls=True),
        measure=closed(300, 32),
    ),
    Workload(
        "streams",
        "64 streams at once, each of 200 events 2 ms apart",
        ("chunk_us",),
        (*DIRECT, *PROXIES),
        Setting(streams=True),
        measure=streams(64),
        quick=True,
    ),
    Workload(
        "latency-5000",
        "Latency at 5,000 requests a second",
        ("p50_us", "p99_us", "p999_us", "cpu_us"),
        (*DIRECT, *PROXIES),
        measure=open_loop(5000),
        quick=True,
    ),
    Workload(
        "memory",
        "Memory: an idle process, and each of 1,000 open streams",
        ("stream_kib", "idle_mib"),
        PROXIES,
        Setting(first="slow", streams=True),
        once=memory_of_streams(1000),
        quick=True,
    ),
    Workload(
        "policies",
        "10, 1,000 and 100,000 policies, nine of them asked for by turns, 32 connections",
        ("cpu_us", "rps", "peak_mib", "load_ms", "reload_ms"),
        ("standin",),
        variants=tuple((f"{count:,}", Setting(policies=count)) for count in (10, 1_000, 100_000)),
        measure=models(9),
        once=start_and_reload,
    ),
    Workload(
        "models",
        "10, 1,000 and 100,000 policies, up to 1,000 of them asked for by turns, 32 connections",
        ("cpu_us", "rps", "peak_mib"),
        ("standin",),
        variants=tuple((f"{count:,}", Setting(policies=count)) for count in (10, 1_000, 100_000)),
        measure=models(1000),
    ),
    Workload(
        "suspended",
        "2 and 20 fallbacks, all but the last suspended, 32 connections",
        ("cpu_us", "rps"),
        ("standin",),
        variants=tuple(
            (f"{count} fallbacks", Setting(first="failing", suspended=count)) for count in (2, 20)
        ),
        measure=closed(300, 32),
    ),
    # LiteLLM and Portkey are slower by so much that they get loads of their own.
    Workload(
        "gateways",
        "Beside other gateways: bodies of 300 bytes, 4 connections",
        CLOSED,
        ("standin", *GATEWAYS),
        measure=closed(300, 4),
    ),
    Workload(
        "gateways-failover",
        "Beside other gateways: every request fails over, 4 connections",
        CLOSED,
        ("standin", *GATEWAYS),
        Setting(first="failing"),
        measure=closed(300, 4),
    ),
    Workload(
        "gateways-streams",
        "Beside other gateways: 8 streams at once, each of 200 events 2 ms apart",
        ("chunk_us",),
        # Portkey's gateway (1.15.2) answers 500 to a stream, with Node 20 at least.
        ("standin", "litellm"),
        Setting(streams=True),
        measure=streams(8),
    ),
    Workload(
        "gateways-latency",
        "Beside other gateways: latency at 20 requests a second",
        ("p50_us", "p99_us", "cpu_us"),
        ("standin", *GATEWAYS),
        measure=open_loop(20),
    ),
]
