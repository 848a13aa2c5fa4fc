"""A build that is guided by a profile: the compiler learns from a training which code requests run through, lays
that side by side and keeps the rest out of its way (https://doc.rust-lang.org/rustc/profile-guided-optimization.html).

    instrumented build ──> training: every load, both protocols, TLS, failures ──> profile ──> the build

What the training leaves out is built for size, so it has to have everything that carries traffic.
"""

import argparse
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from . import needs
from .loads import Loads, chat
from .needs import REPOSITORY, run, say
from .processes import Failed, Mock, end_as_by_ctrl_c
from .proxies import Setting, Starter

KIB = 1024
SECONDS = 2  # of each load
SOAK = 8  # seconds
ENDS_WITHIN = 30  # seconds, with its profile written
# Each is built by itself: an example beside it would lend the program features that only tests ask for, and a
# profile is of no use to another choice of features.
STANDIN = ["--bin", "standin"]
BARE = ["--example", "load_bare"]
LOADS = ["--example", "load_mock", "--example", "load_client"]


def main():
    """The command: builds Standin, and tells where it is."""
    parser = argparse.ArgumentParser(
        prog="benches/load/guided",
        description="Builds Standin guided by a profile, for which it is trained here (BENCHMARKS.md).",
    )
    parser.add_argument(
        "--target", type=Path, default=REPOSITORY / "target", metavar="DIR", help="cargo's target folder"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="copy the program there")
    parser.add_argument(
        "--rehearse", action="store_true", help="only train, and with a plain build: to see that it can be done"
    )
    options = parser.parse_args()
    end_as_by_ctrl_c()
    try:
        if options.rehearse:
            _rehearse(options.target)
            return 0
        program = build(options.target, bare=False) / "standin"
        if options.output:
            program = shutil.copy(program, options.output)
    except (Failed, OSError, subprocess.SubprocessError) as failure:
        print(f"benches/load/guided: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    say(f"built: {program}")
    return 0


def built(target):
    """Where the programs are that were built so."""
    return target.resolve() / "guided" / _compiler("host") / "release"


def build(target, bare=True):
    """Builds Standin so, and the bare Pingora proxy with it: the folder that they are in."""
    folder = target.resolve() / "guided"
    merge = _profdata()
    raw, profile = folder / "raw", folder / "profile.profdata"
    proxies = [STANDIN, *([BARE] if bare else [])]
    say("building to be trained (cargo build --release, with counters)")
    counting = _cargo(folder / "counting", f"-Cprofile-generate={raw}", [*proxies, LOADS])
    if not _is_of(profile, counting, bare):
        shutil.rmtree(raw, ignore_errors=True)
        _train(counting, raw, bare)
        profiles = sorted(raw.iterdir())
        if not all(written.stat().st_size for written in profiles):
            raise Failed(f"a process of the training has left no profile in {raw}")
        run([merge, "merge", "--output", profile, *profiles])
    say("building as the training says (cargo build --release)")
    _cargo(folder, f"-Cprofile-use={profile}", proxies)
    return built(target)


def _is_of(profile, counting, bare):
    """Whether a profile is of these very builds: another one would have all built anew."""
    trained = [counting / "standin", *([counting / "examples/load_bare"] if bare else [])]
    return profile.exists() and all(
        program.stat().st_mtime < profile.stat().st_mtime for program in trained
    )


def _rehearse(target):
    for programs in (STANDIN, LOADS):
        needs.build(target, programs)
    _train(target.resolve() / "release", Path(os.devnull), bare=False)


def _cargo(folder, flag, programs):
    """Builds with a flag of the compiler's; where the programs are then."""
    # With a target, even the machine's own, cargo keeps the flag from the programs that only build.
    host = _compiler("host")
    before = os.environ.get("RUSTFLAGS", "")
    environment = os.environ | {"RUSTFLAGS": f"{before} {flag}".strip(), "CARGO_TARGET_DIR": str(folder)}
    for program in programs:
        command = ["cargo", "build", "--release", "--locked", "--quiet", "--target", host, *program]
        run(command, cwd=REPOSITORY, env=environment)
    return folder / host / "release"


def _train(trained, raw, bare):
    """Has the programs in a folder carry what they carry in service; their profiles go to `raw`."""
    say("training")
    # The load's and the mock's own profiles are nobody's.
    with _environment("LLVM_PROFILE_FILE", os.devnull), tempfile.TemporaryDirectory(prefix="standin-") as folder:
        _carry(trained, Path(folder), {"LLVM_PROFILE_FILE": f"{raw}/%p.profraw"}, bare)


def _carry(trained, folder, profiled, bare):
    mock = Mock(trained / "examples" / "load_mock", folder)
    loads = Loads(trained / "examples" / "load_client", folder)
    starter = Starter(mock, folder, trained / "examples", {"standin": trained / "standin"}, profiled)
    try:
        for proxy in ("standin", "bare") if bare else ("standin",):
            with _started(starter, proxy, Setting()) as running:
                _bodies(loads, running)
            with _started(starter, proxy, Setting(streams=True)) as running:
                _all_answered(loads.streams(running, chat(300, stream=True), 64, SECONDS))
        with _started(starter, "standin", Setting(first="failing")) as running:
            _all_answered(loads.open(running, chat(300), 5_000, SECONDS))
        _carry_encrypted(starter, loads)
    finally:
        mock.program.stop()
    # Streams that are cut and go on elsewhere, reloads, callers who leave.
    soak = [REPOSITORY / "benches/soak/run", "--seconds", SOAK, "--standin", trained / "standin"]
    run(soak, env=os.environ | profiled)


def _carry_encrypted(starter, loads):
    """One Standin before the other: with TLS between them, HTTP/2 and then HTTP/1.1."""
    with _started(starter, "standin", Setting(tls=True)) as behind:
        for version in ("2", "1.1"):
            setting = Setting(behind=behind.port, http_version=version, streams=True)
            with _started(starter, "standin", setting) as front:
                _bodies(loads, front)
                _all_answered(loads.streams(front, chat(300, stream=True), 64, SECONDS))


def _bodies(loads, running):
    # Seldom enough for it to sleep in between, and as many as it can answer.
    for size, rate in ((300, 1_000), (300, 20_000), (4 * KIB, 5_000), (64 * KIB, 1_000), (KIB * KIB, 50)):
        _all_answered(loads.open(running, chat(size), rate, SECONDS))


def _all_answered(seen):
    if seen.failed or not seen.requests:
        raise Failed(f"{seen.failed} of {seen.requests} requests of the training failed")


@contextlib.contextmanager
def _started(starter, proxy, setting):
    running = starter.start(proxy, setting)
    try:
        yield running
        # Whoever is killed writes no profile.
        running.program.process.send_signal(signal.SIGINT)
        running.program.process.wait(ENDS_WITHIN)
    except subprocess.TimeoutExpired as still_running:
        raise Failed(f"{proxy} has not ended after {ENDS_WITHIN} s") from still_running
    finally:
        running.stop()


def _profdata():
    """The command that merges profiles: of the version of the compiler's LLVM, as they have to agree."""
    host, version = _compiler("host"), _compiler("LLVM version").partition(".")[0]
    output = subprocess.run(["rustc", "--print", "sysroot"], check=True, capture_output=True, text=True)
    of_rustup = Path(output.stdout.strip()) / "lib/rustlib" / host / "bin/llvm-profdata"
    of_debian = Path(f"/usr/lib/llvm-{version}/bin/llvm-profdata")
    if not of_rustup.exists() and not of_debian.exists() and shutil.which("rustup"):
        say("installing rustup's component llvm-tools")
        subprocess.run(["rustup", "component", "add", "llvm-tools"], check=False)
    if not of_rustup.exists():
        needs.debian([str(of_debian)], {str(of_debian): f"llvm-{version}"})
    return of_rustup if of_rustup.exists() else of_debian


def _compiler(what):
    """What the compiler says of itself under this name."""
    said = subprocess.run(["rustc", "--version", "--verbose"], check=True, capture_output=True, text=True)
    found = re.search(rf"^{what}: (.*)$", said.stdout, re.MULTILINE)
    if not found:
        raise Failed(f"rustc --version --verbose does not tell its {what}:\n{said.stdout}")
    return found.group(1)


@contextlib.contextmanager
def _environment(name, value):
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before
