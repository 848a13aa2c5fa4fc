// Live, Endpoints and Keys.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

import { PHONE, accessible, fits, go, stage } from "./stage.mjs";

const on = stage();

/** Asks the gateway for a model, as a caller does. */
function ask(demo, model, key = "demo-key") {
  return fetch(`${demo.url}/v1/chat/completions`, {
    method: "POST",
    headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
    body: JSON.stringify({ model, messages: [{ role: "user", content: "?" }] }),
  });
}

const pairs = (page) => page.getByRole("region", { name: "Pairs" }).last();

/** The line of a pair. */
const pair = (page, model) =>
  pairs(page).getByRole("row").filter({ has: page.getByRole("rowheader", { name: model, exact: true }) }).filter({ hasText: "production" });

test("a failed pair counts down, and is resumed by hand", () =>
  on.visitSignedIn(async (page, demo) => {
    await go(page, "Live");
    await pair(page, "gpt-rate-limited").getByText("healthy").waitFor();
    await ask(demo, "gpt-rate-limited");
    const state = pair(page, "gpt-rate-limited").getByText(/suspended, \d+ s left/);
    await state.waitFor();
    const left = async () => Number(/(\d+) s left/.exec(await state.innerText())[1]);
    const first = await left();
    assert.ok(first <= 20, String(first));
    await page.waitForFunction(
      (first) => {
        const seconds = /(\d+) s left/.exec(document.querySelector("[data-part=pairs]").textContent);
        return seconds && Number(seconds[1]) < first;
      },
      first,
    );
    await accessible(page);
    await pair(page, "gpt-rate-limited").getByRole("button", { name: /^Resume/ }).click();
    await pair(page, "gpt-rate-limited").getByText("healthy").waitFor();
  }));

test("a pair is suspended by hand, and requests pass it by", () =>
  on.visitSignedIn(async (page, demo) => {
    await go(page, "Live");
    const line = pair(page, "gpt-healthy");
    await line.getByRole("button", { name: /^Suspend/ }).focus();
    await page.keyboard.press("Enter");
    await line.getByText(/suspended, \d+ s left/).waitFor();
    await line.getByText("by hand (demo)").waitFor();
    const answer = await (await ask(demo, "gpt-healthy")).json();
    assert.equal(answer.model, "mistral-small-latest");
    await line.getByRole("button", { name: /^Resume/ }).click();
    await line.getByText("healthy", { exact: true }).last().waitFor();
  }));

test("requests appear by themselves with their way, and can be filtered", () =>
  on.visitSignedIn(async (page, demo) => {
    await go(page, "Live");
    await ask(demo, "invalid-model");
    const list = page.getByRole("region", { name: "Recent requests" });
    const failed = list.getByRole("listitem").filter({ hasText: "invalid-model" }).first();
    await failed.waitFor();
    await failed.locator("summary").click();
    await failed.getByRole("rowheader", { name: "mistral-small-latest at mistral" }).waitFor();
    // What is open stays open when the page is renewed.
    const before = await page.locator("main").getAttribute("data-updated");
    await page.waitForFunction((before) => document.querySelector("main").dataset.updated > before, before);
    assert.ok(await failed.getByRole("table").isVisible());

    await ask(demo, "gpt-crashing");
    await page.getByLabel("Requests that mention").fill("crashing");
    await list.getByText("invalid-model").first().waitFor({ state: "detached" });
    await list.getByRole("listitem").filter({ hasText: "gpt-crashing" }).first().waitFor();
    await page.getByLabel("and went").selectOption("failure");
    await list.getByText("None so far, or none that was asked for.").waitFor();
  }));

test("the numbers and the charts move, and stand still while paused", () =>
  on.visitSignedIn(async (page, demo) => {
    await page.clock.install();
    await ask(demo, "gpt-unknown");
    await go(page, "Live");
    await ask(demo, "gpt-unknown");
    const targets = page.getByRole("region", { name: "Endpoints and models" }).last();
    await targets.getByRole("row").filter({ hasText: "gpt-unknown" }).waitFor();
    await page.getByRole("img", { name: /^Chart of requests/ }).locator("canvas").waitFor();
    await page.getByLabel("Charts of").selectOption({ label: "gpt-unknown at openai" });
    await accessible(page);

    await page.getByRole("button", { name: "Pause" }).click();
    await page.getByRole("button", { name: "Pause", pressed: true }).waitFor();
    let asked = 0;
    page.on("request", (request) => (asked += request.url().includes("/console/live/")));
    await page.clock.runFor("01:00");
    assert.equal(asked, 0);
    const renewed = page.waitForRequest(/live\/now/);
    await page.getByRole("button", { name: "Pause" }).click();
    await renewed;
  }));

test("explain says what a request for a model would do", () =>
  on.visitSignedIn(async (page) => {
    await go(page, "Live");
    const explain = page.getByRole("region", { name: "Explain" });
    await explain.getByLabel("Model").fill("invalid-model");
    await explain.getByRole("button", { name: "Explain" }).click();
    await explain.getByLabel("Explanation").getByText("try-out").waitFor();
    await accessible(page);
  }));

test("endpoints are shown without their keys", () =>
  on.visitSignedIn(async (page) => {
    await go(page, "Endpoints");
    const mistral = page.getByRole("region", { name: "mistral", exact: true });
    await mistral.getByText("own API key").waitFor();
    await mistral.getByText("not checked").waitFor();
    await accessible(page);
  }));

test("a key is shown once, is good at once, and is refused once revoked", () =>
  on.visitSignedIn(async (page, demo) => {
    await go(page, "Keys");
    await page.getByLabel("Name").fill("web-shop");
    await page.getByRole("button", { name: "Create key" }).click();
    const key = await page.getByLabel("New key", { exact: true }).and(page.locator("pre")).innerText();
    assert.match(key, /^sk-standin-[0-9a-f]{64}$/);
    assert.equal((await ask(demo, "gpt-healthy", key)).status, 200);
    const file = await readFile(demo.configuration, "utf8");
    assert.match(file, /- \{name: web-shop, environment: production, sha256: [0-9a-f]{64}\}/);
    assert.ok(!file.includes(key));
    await accessible(page);

    await go(page, "Keys");
    assert.ok(!(await page.content()).includes(key));
    page.on("dialog", (dialog) => dialog.accept());
    await page.getByRole("button", { name: "Revoke the key of web-shop (production)" }).click();
    await page.getByText("It is refused from now on.").waitFor();
    assert.equal((await ask(demo, "gpt-healthy", key)).status, 401);
    assert.equal(await page.getByRole("rowheader", { name: "web-shop" }).count(), 0);
  }));

test("a name that has a key already is refused, and stays in its field", () =>
  on.visitSignedIn(
    async (page) => {
      await go(page, "Keys");
      await page.getByLabel("Name").fill("demo");
      await page.getByRole("button", { name: "Create key" }).click();
      await page.getByRole("alert").getByText("already").waitFor();
      assert.equal(await page.getByLabel("Name").inputValue(), "demo");
    },
    { refusals: [422] },
  ));

for (const place of ["Live", "Endpoints", "Keys"]) {
  test(`on a phone nothing of ${place} stands beyond the edge`, () =>
    on.visitSignedIn(
      async (page, demo) => {
        await ask(demo, "invalid-model");
        await go(page, place);
        await fits(page);
        await accessible(page);
      },
      { viewport: PHONE },
    ));
}
