"""What the comparison needs, installed where it is missing."""

import os
import shutil
import subprocess
from pathlib import Path

from .processes import Failed

REPOSITORY = Path(__file__).resolve().parents[3]
INSTALLED = REPOSITORY / "target" / "load"
LITELLM = "litellm[proxy]==1.106.2"
PORTKEY = "@portkey-ai/gateway@1.15.2"

# Which Debian package brings which command.
DEBIAN = {
    "wrk": "wrk",
    "nginx": "nginx-light",
    "haproxy": "haproxy",
    "openssl": "openssl",
    "node": "nodejs",
    "npm": "npm",
}


def debian(commands, packages=DEBIAN):
    """Sees to it that these commands are there. The services that come with them are not started."""
    missing = [packages[command] for command in commands if not which(command)]
    if not missing:
        return
    say(f"installing Debian packages: {' '.join(missing)}")
    as_root = [] if os.geteuid() == 0 else ["sudo"]
    install = ["apt-get", "install", "--quiet=2", "--yes", "--no-install-recommends", *missing]
    run([*as_root, "apt-get", "update", "--quiet=2"])
    # RUNLEVEL=1: invoke-rc.d does not start services there.
    run([*as_root, "env", "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1", *install])


def which(command):
    """Where a command is; servers are often outside the path of users."""
    return shutil.which(command, path=os.environ["PATH"] + ":/usr/sbin:/usr/local/sbin")


def litellm():
    """The command of the LiteLLM proxy, in a virtual environment of its own."""
    folder = INSTALLED / "litellm"
    note = folder / "installed"
    if not note.exists() or note.read_text() != LITELLM:
        say(f"installing {LITELLM} under {folder.relative_to(REPOSITORY)}")
        run(["python3", "-m", "venv", "--clear", folder])
        run([folder / "bin/python", "-m", "pip", "install", "--quiet", LITELLM])
        note.write_text(LITELLM)
    return folder / "bin" / "litellm"


def portkey():
    """The script of the Portkey gateway."""
    debian(["node", "npm"])
    folder = INSTALLED / "portkey"
    note = folder / "installed"
    if not note.exists() or note.read_text() != PORTKEY:
        say(f"installing {PORTKEY} under {folder.relative_to(REPOSITORY)}")
        folder.mkdir(parents=True, exist_ok=True)
        run(["npm", "install", "--prefix", folder, "--loglevel", "error", PORTKEY])
        note.write_text(PORTKEY)
    return folder / "node_modules/@portkey-ai/gateway/build/start-server.js"


def build(target, programs):
    """Builds with the release profile, as anybody would."""
    say(f"building (cargo build --release {' '.join(programs)})")
    environment = os.environ | {"CARGO_TARGET_DIR": str(target)}
    run(["cargo", "build", "--release", "--locked", "--quiet", *programs], cwd=REPOSITORY, env=environment)


def run(command, **options):
    """Runs a command that has to succeed."""
    command = [str(word) for word in command]
    if subprocess.run(command, check=False, **options).returncode != 0:
        raise Failed(f"failed: {' '.join(command)}")


def say(text):
    """Tells what goes on, at once."""
    print(text, flush=True)
