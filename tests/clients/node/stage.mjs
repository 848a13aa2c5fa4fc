// The stage of ../stage.py, as a process: the scripted providers, and the gateway in front of them.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

const script = new URL('../stage.py', import.meta.url).pathname;

export class Stage {
  static async start() {
    const python = process.env.PYTHON ?? 'python3';
    const child = spawn(python, [script], { stdio: ['pipe', 'pipe', 'inherit'] });
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const { value, done } = await lines.next();
    if (done) throw new Error('the stage did not start');
    return Object.assign(new Stage(child, lines), JSON.parse(value));
  }

  constructor(child, lines) {
    this.child = child;
    this.lines = lines;
  }

  /** Starts the record anew. */
  forget() {
    return this.ask('forget');
  }

  /** What reached the providers since, in order: `{upstream, path, model}`. */
  received() {
    return this.ask('received');
  }

  /** The credentials that reached a provider and are not its own. */
  strays() {
    return this.ask('strays');
  }

  /** The models of those requests. */
  async models() {
    return (await this.received()).map((request) => request.model);
  }

  async stop() {
    const ended = once(this.child, 'exit');
    this.child.stdin.end();
    const [code] = await ended;
    if (code !== 0) throw new Error(`the stage ended with ${code}`);
  }

  async ask(command) {
    this.child.stdin.write(`${command}\n`);
    const { value } = await this.lines.next();
    return JSON.parse(value);
  }
}
