"""The command: what to measure, in which order, and where the results go."""

import argparse
import json
import resource
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from . import guided, needs
from .charts import charts
from .loads import Loads
from .machine import about
from .needs import REPOSITORY, say
from .processes import Failed, Mock, end_as_by_ctrl_c
from .proxies import Starter
from .report import TITLES, markdown, median, number, write_between_markers
from .workloads import FIGURES, WORKLOADS, Bench

PUBLISHED = REPOSITORY / "benches" / "load" / "results"
DOCUMENT = REPOSITORY / "BENCHMARKS.md"


def main():
    """Runs the comparison; the exit code says whether all of it could be measured."""
    options = _options()
    end_as_by_ctrl_c()
    try:
        document = json.loads(options.render.read_text()) if options.render else _measure(options)
        _write(document, options)
    except Failed as failure:
        print(f"benches/load/run: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 1 if any(workload["failed"] for workload in document["workloads"].values()) else 0


def _options():
    names = [workload.name for workload in WORKLOADS]
    proxies = [name for name in TITLES if name not in ("plain", "against")]
    parser = argparse.ArgumentParser(
        prog="benches/load/run",
        description="Compares Standin with nginx, HAProxy, a bare Pingora proxy, LiteLLM and Portkey (BENCHMARKS.md).",
        epilog=f"Workloads: {', '.join(names)}. Proxies: {', '.join(proxies)}.",
    )
    several = lambda known: lambda text: _known(text.split(","), known)
    parser.add_argument(
        "--only", type=several(names), default=names, metavar="WORKLOAD[,...]", help="measure these only"
    )
    parser.add_argument(
        "--proxies", type=several(proxies), default=proxies, metavar="PROXY[,...]", help="compare these only"
    )
    parser.add_argument("--rounds", type=int, help="alternations of each workload (default 5)")
    parser.add_argument("--seconds", type=float, help="of each measurement (default 3)")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="few workloads, plain builds, without LiteLLM and Portkey, two short rounds: to try it",
    )
    parser.add_argument("--standin", type=Path, metavar="PATH", help="this binary instead of the built ones")
    parser.add_argument(
        "--against", type=Path, metavar="PATH", help="a second binary of Standin, measured beside the first"
    )
    parser.add_argument(
        "--plain",
        action="store_true",
        help="measure builds as cargo makes them, and none that are guided by a profile",
    )
    parser.add_argument("--no-build", action="store_true", help="take the binaries that are there")
    parser.add_argument(
        "--target", type=Path, default=REPOSITORY / "target", metavar="DIR", help="cargo's target folder"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=needs.INSTALLED / "results",
        metavar="DIR",
        help="where results go (default target/load/results)",
    )
    parser.add_argument(
        "--publish",
        action="store_true",
        help="write results and charts to benches/load/results and the tables into BENCHMARKS.md; workloads that were not measured stay as they are",
    )
    parser.add_argument(
        "--render", type=Path, metavar="FILE", help="measure nothing, write the report of this results.json"
    )
    options = parser.parse_args()
    if options.quick:
        quick = [workload.name for workload in WORKLOADS if workload.quick]
        options.only = quick if options.only is names else options.only
        options.plain = True
        if options.proxies is proxies:
            options.proxies = [name for name in proxies if name not in ("litellm", "portkey")]
    options.rounds = options.rounds or (2 if options.quick else 5)
    options.seconds = options.seconds or (1 if options.quick else 3)
    return options


def _known(names, known):
    unknown = [name for name in names if name not in known]
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)} (there are {', '.join(known)})")
    return names


def _measure(options):
    needs.debian(["wrk", *(name for name in ("nginx", "haproxy") if name in options.proxies)])
    for name in ("litellm", "portkey"):
        if name in options.proxies:
            getattr(needs, name)()
    if not options.no_build:
        for programs in (guided.STANDIN, ["--examples"]):
            needs.build(options.target, programs)
    release = options.target.resolve() / "release"
    pingoras = _pingoras(options, release)
    standins = {"standin": options.standin or pingoras / "standin"}
    if pingoras != release and not options.standin:
        standins["plain"] = release / "standin"
    if options.against:
        standins["against"] = options.against
    for binary in standins.values():
        if "standin" in options.proxies and not binary.exists():
            raise Failed(f"{binary} is missing; without --no-build the comparison builds its programs")
    chosen = [*options.proxies, *standins] if "standin" in options.proxies else options.proxies
    # Each of 1,000 streams is two connections of a proxy.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    document = {"about": about(options, standins), "workloads": {}}
    with tempfile.TemporaryDirectory(prefix="standin-load-") as folder, ExitStack() as cleanup:
        folder = Path(folder)
        mock = Mock(release / "examples" / "load_mock", folder)
        cleanup.callback(mock.program.stop)
        loads = Loads(release / "examples" / "load_client", folder)
        bench = Bench(mock, loads, Starter(mock, folder, pingoras / "examples", standins))
        for workload in WORKLOADS:
            if workload.name in options.only:
                measured = _workload(bench, workload, workload.subjects(chosen, standins), options)
                if measured["subjects"]:
                    document["workloads"][workload.name] = measured
    return document


def _pingoras(options, plain):
    """Where the builds of Standin and of bare Pingora are that are measured: guided ones, or plain ones."""
    if options.plain or not {"standin", "bare", "apart"} & set(options.proxies):
        return plain
    return guided.built(options.target) if options.no_build else guided.build(options.target)


def _workload(bench, workload, subjects, options):
    """All rounds of one workload. Who fails is left out from there on, and it is said why."""
    say(f"\n{workload.title}")
    measured = {
        "name": workload.name,
        "title": workload.title,
        "figures": workload.figures,
        "rounds": options.rounds if workload.measure else 1,
        "seconds": options.seconds,
        "date": time.strftime("%Y-%m-%d"),
        "subjects": {subject.label: {} for subject in subjects},
        "failed": {},
    }

    def attempt(subject, action):
        try:
            return action()
        except Failed as failure:
            say(f"  {subject.label}: {failure}")
            measured["failed"][subject.label] = str(failure).splitlines()[0]
            return None

    def note(subject, measure):
        if subject.label in measured["failed"]:
            return
        running = started[subject]
        figures = attempt(subject, lambda: measure(bench, running, subject, options.seconds))
        for name, value in (figures or {}).items():
            measured["subjects"][subject.label].setdefault(name, []).append(value)

    with ExitStack() as cleanup:
        started = {}
        for subject in subjects:
            running = attempt(subject, lambda: bench.starter.start(subject.proxy, subject.setting))
            if running:
                started[subject] = running
                cleanup.callback(running.stop)
        if workload.once:
            for subject in subjects:
                note(subject, workload.once)
        for number_of_round in range(options.rounds if workload.measure else 0):
            # Nobody is always the first, or always after the same one.
            first = number_of_round % max(1, len(subjects))
            for subject in subjects[first:] + subjects[:first]:
                note(subject, workload.measure)
    for label, seen in measured["subjects"].items():
        say(f"  {TITLES.get(label, label):26}" + "".join(_told(seen, name) for name in workload.figures))
    measured["subjects"] = {label: seen for label, seen in measured["subjects"].items() if seen}
    return measured


def _told(seen, figure):
    value = median(seen.get(figure))
    return "" if value is None else f"  {FIGURES[figure]} {number(value)};"


def _write(document, options):
    output = options.output
    if options.publish:
        output = PUBLISHED
        known = output / "results.json"
        if known.exists():
            before = json.loads(known.read_text())["workloads"]
            document["workloads"] = _in_order(before | document["workloads"])
    output.mkdir(parents=True, exist_ok=True)
    (output / "results.json").write_text(json.dumps(_rounded(document), indent=1) + "\n")
    drawn = charts(document)
    for name, (_, chart) in drawn.items():
        (output / name).write_text(chart)
    page = DOCUMENT if options.publish else output / "results.md"
    folder = output.relative_to(DOCUMENT.parent) if options.publish else Path()
    text = markdown(document, {folder / name: title for name, (title, _) in drawn.items()})
    if options.publish:
        write_between_markers(page, text)
    else:
        page.write_text(text)
    say(f"\nresults, tables and charts: {output}")


def _in_order(workloads):
    order = [workload.name for workload in WORKLOADS]
    return dict(
        sorted(workloads.items(), key=lambda item: order.index(item[0]) if item[0] in order else len(order))
    )


def _rounded(value):
    """Without digits that mean nothing."""
    if isinstance(value, dict):
        return {name: _rounded(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(inner) for inner in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value
