// `standin demo` as a process of its own, on ports that are free, in a folder that goes with it.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

const PLACES = {
  url: /^ {2}gateway +(\S+)/,
  console: /^ {2}console +(\S+)/,
  token: /^ +token: (\S+)/,
  configuration: /^ {2}file +(\S+)/,
};

/** Starts the demo; the caller ends it. */
export async function startDemo() {
  const folder = await mkdtemp(join(tmpdir(), "standin-console-"));
  const child = spawn(process.env.STANDIN_BIN, ["demo", "--port", "0", "--admin-port", "0"], {
    env: { TMPDIR: folder },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const demo = new Demo(child, folder);
  await demo.announced();
  return demo;
}

class Demo {
  constructor(child, folder) {
    this.child = child;
    this.folder = folder;
    this.errors = "";
    this.ended = once(child, "exit");
    child.stderr.on("data", (chunk) => (this.errors += chunk));
  }

  /** Reads what it prints up to where everything is, and lets the rest pass. */
  async announced() {
    const lines = createInterface({ input: this.child.stdout });
    for await (const line of lines) {
      for (const [place, pattern] of Object.entries(PLACES)) {
        this[place] ??= pattern.exec(line)?.[1];
      }
      if (line.startsWith("Ctrl-C")) break;
    }
    this.child.stdout.resume();
    if (!Object.keys(PLACES).every((place) => this[place])) {
      throw new Error(`the demo did not say where it is:\n${this.errors}`);
    }
    await this.ready();
  }

  /** Waits until it serves: the page is printed before its sockets are served. */
  async ready() {
    const health = new URL("/healthz", this.console);
    while (this.child.exitCode === null) {
      const answered = await fetch(health).then(
        (response) => response.ok,
        () => false,
      );
      if (answered) return;
    }
    throw new Error(`the demo ended:\n${this.errors}`);
  }

  /** Ends it as Ctrl-C does. */
  async stop() {
    this.child.kill("SIGINT");
    const [code] = await this.ended;
    await rm(this.folder, { recursive: true });
    if (code !== 0) throw new Error(`the demo ended with ${code}:\n${this.errors}`);
  }
}
