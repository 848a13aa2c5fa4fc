"""Bar charts as SVG that read well on light and on dark pages."""

from xml.sax.saxutils import escape

from .report import TITLES, Results, number

WIDTH, LABELS, VALUES = 800, 190, 70  # pixels; what is left of the width is for the bars
BAR, GAP, HEADING = 18, 6, 34

STYLE = """
  text { font: 13px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #24292f }
  .title { font-size: 16px; font-weight: 600 }
  .heading { font-weight: 600 }
  .note { font-size: 12px; fill: #57606a }
  .bar { fill: #8c959f }
  .ours { fill: #0969da }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .note { fill: #9198a1 }
    .bar { fill: #656c76 }
    .ours { fill: #4493f8 }
  }
"""


def charts(document):
    """The charts by their file names, each with its title. Of what was not measured there is none."""
    results = Results(document["workloads"])
    cpu = [
        _panel(results, "300B-32", "cpu_us", "bodies of 300 bytes"),
        _panel(results, "4KiB-32", "cpu_us", "bodies of 4 KiB"),
        _panel(results, "64KiB-32", "cpu_us", "bodies of 64 KiB"),
        _panel(results, "1MiB-32", "cpu_us", "bodies of 1 MiB"),
        _panel(results, "failover", "cpu_us", "every request fails over"),
        _panel(results, "streams", "chunk_us", "a chunk of a stream"),
    ]
    latency = [
        _panel(results, "latency-5000", "p50_us", "p50"),
        _panel(results, "latency-5000", "p99_us", "p99"),
        _panel(results, "latency-5000", "p999_us", "p99.9"),
    ]
    gateways = [
        _panel(results, "gateways", "cpu_us", "bodies of 300 bytes"),
        _panel(results, "gateways-failover", "cpu_us", "every request fails over"),
        _panel(results, "gateways-streams", "chunk_us", "a chunk of a stream"),
    ]
    drawn = {
        "cpu.svg": ("CPU microseconds a request: less is better", cpu),
        "gateways.svg": ("CPU microseconds a request, beside other gateways: less is better", gateways),
        "latency.svg": ("Latency at 5,000 requests a second, microseconds: less is better", latency),
    }
    drawn = {name: (title, _chart(title, panels)) for name, (title, panels) in drawn.items()}
    return {name: (title, chart) for name, (title, chart) in drawn.items() if chart}


def _panel(results, workload, figure, heading):
    """A heading and its bars, the shortest first."""
    subjects = results.workloads.get(workload, {}).get("subjects", {})
    bars = [(name, results.median(workload, name, figure)) for name in subjects if name in TITLES]
    return heading, sorted((bar for bar in bars if bar[1]), key=lambda bar: bar[1])


def _chart(title, panels):
    panels = [(heading, bars) for heading, bars in panels if len(bars) > 1]
    if not panels:
        return None
    parts, y = [f'<text class="title" x="0" y="18">{escape(title)}</text>'], 30
    for heading, bars in panels:
        parts.append(f'<text class="heading" x="0" y="{y + 20}">{escape(heading)}</text>')
        y += HEADING
        longest = max(value for _, value in bars)
        for name, value in bars:
            parts.append(_bar(y, name, value, (WIDTH - LABELS - VALUES) * value / longest))
            y += BAR + GAP
    parts.append(
        f'<text class="note" x="0" y="{y + 20}">Medians of one run. Each group has a scale of its own.</text>'
    )
    height = y + 30
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        f'role="img" aria-label="{escape(title)}">\n<style>{STYLE}</style>\n{body}\n</svg>\n'
    )


def _bar(y, name, value, length):
    middle = y + BAR - 5
    kind = "bar ours" if name == "standin" else "bar"
    return (
        f'<text x="{LABELS - 10}" y="{middle}" text-anchor="end">{escape(TITLES[name])}</text>'
        f'<rect class="{kind}" x="{LABELS}" y="{y}" width="{max(length, 1):.1f}" height="{BAR}" rx="2"/>'
        f'<text x="{LABELS + length + 6:.1f}" y="{middle}">{number(value)}</text>'
    )
