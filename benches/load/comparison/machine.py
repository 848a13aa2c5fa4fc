"""What the results depend on: the machine, the versions."""

import os
import platform
import re
import subprocess
from pathlib import Path

from . import needs


def about(options, standins):
    """What stands over the results."""
    proxies = options.proxies
    guided = "" if "plain" not in standins else ", guided by a profile, and so is bare Pingora"
    rows = {
        "processor": f"{_processor()}, {os.cpu_count()} of its threads, shared by load, upstream and proxy",
        "kernel": platform.release().split("-")[0],
        "compiler": _first_line("rustc", "--version"),
        "Standin": str(options.standin or _commit() + guided),
    }
    for command, name in (("nginx", "nginx"), ("haproxy", "HAProxy")):
        if command in proxies:
            rows[name] = _version(needs.which(command), "-v")
    if "litellm" in proxies:
        rows["LiteLLM"] = needs.LITELLM.partition("==")[2]
    if "portkey" in proxies:
        rows["Portkey"] = needs.PORTKEY.rpartition("@")[2]
    if "against" in standins:
        rows["the other build"] = str(standins["against"])
    return rows


def _processor():
    text = Path("/proc/cpuinfo").read_text()
    found = re.search(r"^model name\s*:\s*(.*)$", text, re.MULTILINE)
    return found.group(1) if found else platform.machine()


def _commit():
    """The commit, and whether there is more than it; what a run has published does not count."""
    git = ["git", "-C", needs.REPOSITORY]
    published = [":!BENCHMARKS.md", ":!benches/load/results"]
    changed = _first_line(*git, "status", "--porcelain", "--", ".", *published)
    return _first_line(*git, "describe", "--always") + ("-dirty" if changed else "")


def _version(*command):
    found = re.search(r"\d+\.\d+\.\d+", _first_line(*command))
    return found.group() if found else "unknown"


def _first_line(*command):
    command = [str(word) for word in command]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return (done.stdout.splitlines() or [""])[0]
