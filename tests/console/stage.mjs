// What every test of the console has: the demo, a browser, and pages that are watched.
//
// A page that is closed has had no error in its console and has asked no other host for anything,
// or its test fails.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before } from "node:test";
import { fileURLToPath } from "node:url";

import { chromium } from "playwright-core";

import { startDemo } from "./demo.mjs";

const AXE = await readFile(fileURLToPath(import.meta.resolve("axe-core")), "utf8");
const EXECUTABLE = process.env.CHROMIUM ?? "/usr/bin/chromium";

/** Findings of axe that fail a test. */
const SERIOUS = ["serious", "critical"];

export const DESKTOP = { width: 1280, height: 900 };
export const PHONE = { width: 390, height: 844 };

/** A browser for all tests of a file. */
export function launch() {
  // Chromium's sandbox needs a user that is not root.
  const args = process.getuid() === 0 ? ["--no-sandbox"] : [];
  return chromium.launch({ executablePath: EXECUTABLE, args });
}

/** A demo and a browser for all tests of a file. */
export function stage() {
  const on = new Stage();
  before(() => on.begin());
  after(() => on.end());
  return on;
}

class Stage {
  async begin() {
    [this.demo, this.browser] = await Promise.all([startDemo(), launch()]);
  }

  async end() {
    await this.browser?.close();
    await this.demo?.stop();
  }

  /**
   * Opens a browser window of its own for `act`, and watches it.
   *
   * `refusals`: the statuses of answers that the test provokes; the browser tells them as errors.
   */
  async visit(act, { viewport = DESKTOP, refusals = [], ...options } = {}) {
    const context = await this.browser.newContext({ baseURL: this.demo.console, viewport, ...options });
    const wrong = watch(context, new URL(this.demo.console).origin, refusals);
    try {
      const page = await context.newPage();
      page.setDefaultTimeout(15_000);
      await act(page, this.demo);
      assert.deepEqual(wrong, []);
    } finally {
      await context.close();
    }
  }

  /** The same, signed in. */
  visitSignedIn(act, options) {
    return this.visit(async (page, demo) => {
      await signIn(page, demo);
      await act(page, demo);
    }, options);
  }
}

/** Signs in with the demo's token. */
export async function signIn(page, demo) {
  await page.goto(demo.console);
  await page.getByLabel("Token").fill(demo.token);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("button", { name: "Sign out" }).waitFor();
}

/** Goes to a page of the console by its navigation. */
export async function go(page, name) {
  await page.getByRole("navigation").getByRole("link", { name, exact: true }).click();
  await page.getByRole("heading", { level: 1, name }).waitFor();
}

/** Asserts that axe finds nothing serious on the page as it is. */
export async function accessible(page) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => globalThis.axe.run());
  const found = violations.filter((violation) => SERIOUS.includes(violation.impact));
  const told = found.map(({ id, help, nodes }) => ({ id, help, at: nodes.map((node) => node.html) }));
  assert.deepEqual(told, []);
}

/** Asserts that nothing of the page stands beyond the screen's edge. */
export async function fits(page) {
  const [content, screen] = await page.evaluate(() => {
    const root = document.documentElement;
    return [root.scrollWidth, root.clientWidth];
  });
  assert.ok(content <= screen, `${content} px of content on ${screen} px`);
}

/** Collects errors of the console, of scripts, and requests to other hosts. */
function watch(context, origin, refusals) {
  const wrong = [];
  context.on("console", (message) => {
    const status = /status of (\d+)/.exec(message.text())?.[1];
    if (message.type() === "error" && !refusals.includes(Number(status))) {
      wrong.push(`console: ${message.text()} (${message.location().url})`);
    }
  });
  context.on("weberror", (error) => wrong.push(`script: ${error.error()}`));
  context.on("request", (request) => {
    const url = new URL(request.url());
    const local = url.origin === origin || ["data:", "blob:"].includes(url.protocol);
    if (!local) wrong.push(`request to ${request.url()}`);
  });
  return wrong;
}
