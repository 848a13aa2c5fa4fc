// Try out: the original's story in a browser, and a stream that is rescued.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { promisify } from "node:util";

import { PHONE, accessible, fits, go, stage } from "./stage.mjs";

const run = promisify(execFile);
const on = stage();

/** Sends what stands in the form, and waits for its way. */
async function send(page) {
  await page.getByRole("button", { name: "Send" }).click();
  const answer = page.getByRole("region", { name: "Answer", exact: true });
  await answer.getByRole("table", { name: "attempts" }).or(answer.getByText("No target was asked.")).waitFor();
  return answer;
}

/** The cells of the trail, a line an attempt. */
async function trail(answer) {
  const rows = await answer.getByRole("table", { name: "attempts" }).getByRole("row").all();
  const cells = rows.slice(1).map(async (row) => {
    const [number, , outcome] = await row.getByRole("cell").allInnerTexts();
    const target = await row.getByRole("rowheader").innerText();
    return { number, target, outcome };
  });
  return Promise.all(cells);
}

test("the original's try-out: invalid-model is asked for, mistral-small-latest answers", () =>
  on.visitSignedIn(async (page) => {
    await go(page, "Try out");
    const body = JSON.parse(await page.getByLabel("Request body").inputValue());
    assert.deepEqual(body, {
      model: "invalid-model",
      messages: [{ role: "user", content: "Who is the most renowned French painter?" }],
    });
    const answer = await send(page);
    await answer.getByRole("status").getByText("200 OK").waitFor();
    await answer.getByRole("status").getByText("mistral-small-latest at mistral").waitFor();
    await answer.getByText(/^Claude Monet is the French painter/).waitFor();
    const [first, second, ...more] = await trail(answer);
    assert.deepEqual(more, []);
    assert.match(first.target, /^invalid-model at mistral/);
    assert.equal(first.outcome, "400:invalid_model");
    assert.match(second.number, /^2\s+failover$/);
    assert.match(second.target, /^mistral-small-latest at mistral/);
    assert.equal(second.outcome, "success");

    await answer.getByText("Headers", { exact: true }).click();
    await answer.getByRole("rowheader", { name: "x-standin-attempts" }).waitFor();
    await answer.getByText("Body, as it came").click();
    const raw = JSON.parse(await answer.getByLabel("Body of the answer").innerText());
    assert.equal(raw.model, "mistral-small-latest");
    await accessible(page);
  }));

test("sandbox has no such policy: the provider's own 400 comes back", () =>
  on.visitSignedIn(async (page) => {
    await go(page, "Try out");
    await page.getByLabel("Sandbox").check();
    const answer = await send(page);
    await answer.getByRole("status").getByText("400 Bad Request").waitFor();
    assert.equal((await trail(answer)).length, 1);
  }));

test("a stream is shown as it comes, and where another target went on", () =>
  on.visitSignedIn(async (page) => {
    await go(page, "Try out");
    await page.getByLabel("Model").fill("gpt-breaks-midway");
    await page.getByLabel("Stream the answer").check();
    const body = JSON.parse(await page.getByLabel("Request body").inputValue());
    assert.deepEqual([body.model, body.stream], ["gpt-breaks-midway", true]);
    const answer = await send(page);
    await answer.getByText("another target goes on here").waitFor();
    const text = await answer.locator("#answer-text").innerText();
    const [before, after] = text.split("another target goes on here");
    assert.match(before, /^Claude Monet .*Impression,$/s);
    assert.match(after, /^ Sunrise /);
    const [, second] = await trail(answer);
    assert.match(second.number, /goes on in the middle of the answer/);
    await answer.getByText("The first token came after").waitFor();
    await accessible(page);
  }));

test("what is no JSON is said beside the body and not sent", () =>
  on.visitSignedIn(async (page) => {
    await go(page, "Try out");
    await page.getByLabel("Request body").fill('{"model": ');
    await page.getByRole("button", { name: "Send" }).click();
    await page.getByRole("alert").getByText("This is no JSON").waitFor();
    assert.equal(await page.getByLabel("Request body").inputValue(), '{"model": ');
    assert.ok(await page.locator("#answer").isHidden());
    await accessible(page);
  }));

test("a request that hangs can be stopped", () =>
  on.visitSignedIn(async (page) => {
    await go(page, "Try out");
    await page.getByLabel("Model").fill("gpt-slow");
    await page.getByLabel("Sandbox").check();
    await page.getByLabel("Operation").selectOption("POST /v1/embeddings");
    await page.getByLabel("Model").fill("gpt-slow");
    await page.getByRole("button", { name: "Send" }).click();
    await page.getByRole("button", { name: "Stop" }).click();
    await page.getByRole("status").getByText("Stopped.").waitFor();
    assert.ok(await page.getByRole("button", { name: "Send" }).isEnabled());
  }));

test("the same request as a program: what is shown runs", () =>
  on.visitSignedIn(async (page, demo) => {
    await go(page, "Try out");
    const code = page.getByLabel("Program", { exact: true });
    const shown = async (language) => {
      await page.getByRole("button", { name: language, exact: true }).click();
      return code.innerText();
    };
    const env = { ...process.env, STANDIN_KEY: "demo-key" };
    const curl = await shown("curl");
    assert.ok(curl.includes(`${demo.url}/v1/chat/completions`), curl);
    const said = await run("bash", ["-c", curl.replace("curl -i", "curl -sS")], { env });
    assert.equal(JSON.parse(said.stdout).model, "mistral-small-latest");
    const script = await shown("JavaScript");
    const told = await run("node", ["--input-type=module", "-e", script], { env });
    assert.match(told.stdout, /^200 \{.*mistral-small-latest/);
    assert.match(await shown("Python"), /client\.chat\.completions\.create\(\*\*body\)/);
    await page.getByRole("button", { name: "Copy" }).click();
    await page.getByText(/^(Copied|Selected)/).waitFor();
  }));

test("on a phone nothing stands beyond the edge", () =>
  on.visitSignedIn(
    async (page) => {
      await go(page, "Try out");
      await send(page);
      await fits(page);
      await accessible(page);
    },
    { viewport: PHONE },
  ));
