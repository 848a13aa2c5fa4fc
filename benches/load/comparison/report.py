"""The results as Markdown: what was to be reached, and a table a workload."""

import statistics
from dataclasses import dataclass

from .workloads import FIGURES

TITLES = {
    "direct": "direct, no proxy",
    "nginx": "nginx",
    "haproxy": "HAProxy",
    "bare": "bare Pingora",
    "apart": "bare Pingora, threads apart",
    "standin": "Standin",
    "plain": "Standin, a plain build",
    "against": "Standin, the other build",
    "litellm": "LiteLLM",
    "portkey": "Portkey",
}
LATENCIES = ("p50_us", "p99_us", "p999_us")
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"


def median(values):
    """The median, or nothing of nothing."""
    return statistics.median(values) if values else None


class Results:
    """What was measured: figures by workload and subject, a value a round."""

    def __init__(self, workloads):
        self.workloads = workloads

    def median(self, workload, subject, figure):
        """The median of a figure; None where it was not measured."""
        subjects = self.workloads.get(workload, {}).get("subjects", {})
        return median(subjects.get(subject, {}).get(figure))

    def ratio(self, workload, subject, other, figure):
        """The median of the ratios, each of one round: what slows a round slows both."""
        subjects = self.workloads.get(workload, {}).get("subjects", {})
        ours, theirs = (subjects.get(name, {}).get(figure, []) for name in (subject, other))
        return median([a / b for a, b in zip(ours, theirs, strict=False) if b])

    def added(self, workload, subject, other, figure):
        """The median of the differences, each of one round."""
        subjects = self.workloads.get(workload, {}).get("subjects", {})
        ours, theirs = (subjects.get(name, {}).get(figure, []) for name in (subject, other))
        return median([a - b for a, b in zip(ours, theirs, strict=False)])


@dataclass(frozen=True)
class Target:
    """What Standin is to reach: a figure, or its ratio to that of another subject, at most so much."""

    what: str
    workload: str
    figure: str
    limit: float
    unit: str = "x"
    subject: str = "standin"
    against: str = None

    def seen(self, results):
        """What was seen; None where it was not measured."""
        if self.against:
            return results.ratio(self.workload, self.subject, self.against, self.figure)
        return results.median(self.workload, self.subject, self.figure)


TARGETS = [
    Target("300 bytes: CPU against bare Pingora", "300B-32", "cpu_us", 0.70, against="bare"),
    Target("300 bytes: CPU against nginx", "300B-32", "cpu_us", 1.7, against="nginx"),
    Target("4 KiB: CPU against bare Pingora", "4KiB-32", "cpu_us", 0.70, against="bare"),
    Target("4 KiB: CPU against nginx", "4KiB-32", "cpu_us", 1.7, against="nginx"),
    Target("64 KiB: CPU against bare Pingora", "64KiB-32", "cpu_us", 0.80, against="bare"),
    Target("1 MiB: CPU against bare Pingora", "1MiB-32", "cpu_us", 1.0, against="bare"),
    Target("every request fails over: CPU a request", "failover", "cpu_us", 30, "us"),
    # 30 us on the machine of the targets, where HAProxy takes 20.
    Target("every request fails over: CPU against HAProxy", "failover", "cpu_us", 1.5, against="haproxy"),
    Target("every request fails over: new connections in 1,000", "failover", "connections", 1, ""),
    Target("a chunk of a stream: CPU against bare Pingora", "streams", "chunk_us", 0.75, against="bare"),
    Target("1,000 open streams: memory of each", "memory", "stream_kib", 24, "KiB"),
    Target("an idle process: memory", "memory", "idle_mib", 15, "MiB"),
    Target("100,000 policies: CPU against 10", "policies", "cpu_us", 1.03, "x", "100,000", "10"),
    Target("100,000 policies: reload", "policies", "reload_ms", 2000, "ms", "100,000"),
    Target("20 fallbacks: CPU against 2", "suspended", "cpu_us", 1.05, "x", "20 fallbacks", "2 fallbacks"),
    Target("p50 at 5,000 requests a second against nginx", "latency-5000", "p50_us", 1.0, against="nginx"),
]


def markdown(document, charts):
    """All of the report; `charts` are paths of pictures by what they show."""
    results = Results(document["workloads"])
    parts = [f"![{shown}]({path})" for path, shown in charts.items()]
    parts += [_machine(document), _targets(results)]
    parts += [_table(results, workload) for workload in document["workloads"].values()]
    return "\n\n".join(parts) + "\n"


def _machine(document):
    about = document["about"]
    rows = "\n".join(f"| {name} | {value} |" for name, value in about.items())
    return f"### The machine, and what was compared\n\n| | |\n|---|---|\n{rows}"


def _targets(results):
    rows = [
        "### What was to be reached",
        "",
        "| | at most | seen | |",
        "|---|--:|--:|---|",
    ]
    for target in TARGETS:
        seen = target.seen(results)
        if seen is not None:
            unit = f" {target.unit}" if target.unit else ""
            verdict = "reached" if seen <= target.limit else "**missed**"
            rows.append(
                f"| {target.what} | {number(target.limit)}{unit} | {number(seen)}{unit} | {verdict} |"
            )
    return "\n".join(rows)


def _table(results, workload):
    columns = _columns(results, workload)
    rows = [
        f"### {workload['title']}",
        "",
        f"{workload['rounds']} rounds of {number(workload['seconds'])} s, {workload['date']}.",
        "",
        "| | " + " | ".join(head for head, _ in columns) + " |",
        "|---|" + "--:|" * len(columns),
    ]
    for subject in workload["subjects"]:
        cells = [cell(subject) for _, cell in columns]
        rows.append(f"| {TITLES.get(subject, subject)} | " + " | ".join(cells) + " |")
    rows += [f"\n{TITLES.get(name, name)}: {why}" for name, why in workload["failed"].items()]
    return "\n".join(rows)


def _columns(results, workload):
    """The heads of a table, each with what says a subject's cell."""
    name, subjects = workload["name"], workload["subjects"]
    figures = [figure for figure in workload["figures"] if _any(workload, figure)]

    def values(figure):
        return FIGURES[figure], lambda subject: _cell(subjects[subject].get(figure), figure == figures[0])

    def ratio(other):
        head = f"against {TITLES[other]}"
        return head, lambda subject: _optional(results.ratio(name, subject, other, figures[0]), "{:.2f}")

    def added(figure):
        head = f"{FIGURES[figure]}, added"
        return head, lambda subject: _optional(results.added(name, subject, "direct", figure), "{:,.0f}")

    others = [other for other in ("nginx", "bare") if other in subjects]
    if "against" in subjects or ("standin" in subjects and not others):
        others.append("standin")
    latencies = [figure for figure in figures if figure in LATENCIES and "direct" in subjects]
    return [*map(values, figures), *map(ratio, others), *map(added, latencies)]


def _optional(value, form):
    return "" if value is None else form.format(value)


def _any(workload, figure):
    return any(figure in seen for seen in workload["subjects"].values())


def _cell(values, with_spread):
    if not values:
        return ""
    text = number(median(values))
    if with_spread and len(values) > 1:
        text += f" ({number(min(values))} to {number(max(values))})"
    return text


def number(value):
    """Three digits are as many as can be trusted."""
    if value >= 100:
        return f"{value:,.0f}"
    if value >= 10:
        return f"{value:.1f}".removesuffix(".0")
    return f"{value:.2f}".removesuffix(".00")


def write_between_markers(file, text):
    """Puts the report into a document, between its two markers."""
    before, rest = file.read_text().split(BEGIN, 1)
    _, after = rest.split(END, 1)
    file.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}")
