"""The command: how long, what is looked at, and what is too much."""

import argparse
import asyncio
import random
import socket
import statistics
import sys
import tempfile
import time
from pathlib import Path

from .clients import Caller, Seen
from .gateway import Gateway
from .upstream import Upstream

REPOSITORY = Path(__file__).resolve().parents[3]
PLAIN, STREAMS = 24, 24  # callers
RELOAD_EVERY = 3  # seconds

# What is too much: of the last quarter beside the second (the first fills pools and caches), and of the
# idle process at the end beside the beginning.
GROWTH = 1.10
GROWTH_MIB = 4
DESCRIPTORS = 4


def main():
    """Runs the soak; the exit code says whether all held."""
    parser = argparse.ArgumentParser(
        prog="benches/soak/run",
        description="Load with failures, reloads and reconnects; fails where an answer is wrong or anything grows.",
    )
    parser.add_argument("--seconds", type=int, default=120, help="how long (default 120)")
    parser.add_argument("--seed", type=int, default=1, help="of what fails when (default 1)")
    parser.add_argument(
        "--standin", type=Path, default=REPOSITORY / "target/release/standin", help="the binary (default: the release build)"
    )
    options = parser.parse_args()
    if not options.standin.exists():
        parser.error(f"{options.standin} is missing: build it with cargo build --release")
    with tempfile.TemporaryDirectory(prefix="standin-soak-") as folder:
        problems = asyncio.run(_soak(options, Path(folder)))
    for problem in problems:
        print(f"FAILED: {problem}")
    if not problems:
        print("nothing grew, every answer was whole and its request's own")
    return 1 if problems else 0


async def _soak(options, folder):
    chance = random.Random(options.seed)
    async with Upstream(random.Random(options.seed)) as unreliable, Upstream(None) as reliable:
        gateway = Gateway(options.standin, folder, _free_port(), unreliable.port, reliable.port)
        try:
            await gateway.listening()
            problems, total = await _load(options, gateway, chance)
            print(
                f"{total.answered} requests answered, {total.left} left by their callers;"
                f" {unreliable.requests} reached the unreliable upstream, {reliable.requests} the other"
            )
        finally:
            code = gateway.stop()
        if code != 0:
            problems.append(f"it ended with {code}:\n{gateway.log()}")
    return problems


async def _load(options, gateway, chance):
    idle = gateway.descriptors()
    seen, until = Seen(), asyncio.Event()
    callers = [
        Caller(f"c{number}", gateway.port, random.Random(chance.random()), number >= PLAIN, seen)
        for number in range(PLAIN + STREAMS)
    ]
    running = [asyncio.create_task(caller.run(until)) for caller in callers]
    reloading = asyncio.create_task(_reloads(gateway))
    total, looks = Seen(), []
    begin = time.monotonic()
    # Sixteen looks at least, so that a quarter of them has a median.
    interval = min(30, options.seconds / 16)
    print("     s  requests   p50 ms   p99 ms  memory MiB  descriptors", flush=True)
    while (passed := time.monotonic() - begin) < options.seconds and gateway.lives():
        await asyncio.sleep(min(interval, options.seconds - passed))
        looks.append(_look(gateway, seen, total, time.monotonic() - begin))
    reloading.cancel()
    until.set()
    await asyncio.gather(*running)
    _add(seen, total)
    problems = [f"a request failed: {failure}" for failure in total.failures[:10]]
    if len(total.failures) > 10:
        problems.append(f"and {len(total.failures) - 10} more")
    return problems + await _growth(gateway, looks, idle), total


async def _reloads(gateway):
    turn = 0
    while True:
        await asyncio.sleep(RELOAD_EVERY)
        turn += 1
        gateway.reload(turn)


def _look(gateway, seen, total, passed):
    latencies = sorted(seen.latencies) or [0]
    memory, descriptors = gateway.memory(), gateway.descriptors()
    at = lambda part: latencies[int(part * (len(latencies) - 1))] * 1000
    print(
        f"{passed:6.0f} {seen.answered:9} {at(0.5):8.1f} {at(0.99):8.1f} {memory:11.1f} {descriptors:12}", flush=True
    )
    _add(seen, total)
    return memory


def _add(seen, total):
    total.answered += seen.answered
    total.left += seen.left
    total.failures += seen.failures
    seen.__init__()


async def _growth(gateway, looks, idle):
    problems = []
    quarter = len(looks) // 4
    before, after = statistics.median(looks[quarter : 2 * quarter]), statistics.median(looks[-quarter:])
    print(f"memory: {before:.1f} MiB in the second quarter, {after:.1f} MiB in the last")
    if after > before * GROWTH + GROWTH_MIB:
        problems.append(f"memory grew from {before:.1f} to {after:.1f} MiB")
    # The callers are gone; what is left beside the beginning are idle connections to two upstreams, and
    # they are at most as many as there were callers.
    allowed = idle + PLAIN + STREAMS + DESCRIPTORS
    end = time.monotonic() + 10
    while gateway.descriptors() > allowed and time.monotonic() < end:
        await asyncio.sleep(0.1)
    print(f"descriptors: {idle} before, {gateway.descriptors()} after, {allowed} allowed")
    if gateway.descriptors() > allowed:
        problems.append(f"{gateway.descriptors()} descriptors are open without a caller, {allowed} are allowed")
    return problems


def _free_port():
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        return chosen.getsockname()[1]

