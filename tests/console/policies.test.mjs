// Policies in a browser: the original's story of the publisher, and what happens when it goes wrong.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

import { PHONE, accessible, fits, signIn, stage } from "./stage.mjs";

const on = stage();

/** Opens the form of a policy. */
async function open(page, name) {
  await page.goto("/console/policies");
  await page.getByRole("heading", { level: 2 }).getByRole("link", { name, exact: true }).click();
  await page.getByRole("heading", { level: 1, name }).waitFor();
}

const press = (page, name) => page.getByRole("button", { name, exact: true }).click();

const section = (page, name) => page.getByRole("region", { name, exact: true });

const fallback = (page, number) =>
  section(page, "Production").getByRole("listitem", { name: `Fallback ${number}` });

/** The models of production's fallbacks, in their order. */
async function order(page) {
  const rows = await section(page, "Production").getByRole("listitem").all();
  return Promise.all(rows.map((row) => row.getByLabel("Model").inputValue()));
}

/** Waits until what has the focus is what is asked for. */
const focus = (page, is) => page.waitForFunction(is);

/** Waits for what is said aloud. */
const said = (page, words) => page.getByRole("status").getByText(words).waitFor({ state: "attached" });

/** Asks the gateway; the model that answered. */
async function ask(demo, model) {
  const answer = await fetch(new URL("/v1/chat/completions", demo.url), {
    method: "POST",
    headers: { authorization: "Bearer demo-key", "content-type": "application/json" },
    body: JSON.stringify({ model, messages: [{ role: "user", content: "Who is the most renowned French painter?" }] }),
  });
  await answer.arrayBuffer();
  return answer.ok ? answer.headers.get("x-standin-model") : answer.status;
}

test("the original's policy is made from nothing, deployed, and rolled back", () =>
  on.visitSignedIn(async (page, demo) => {
    await open(page, "try-out");
    await page.getByRole("link", { name: "Delete…" }).click();
    await press(page, "Delete and deploy");
    await page.getByText(/^try-out was deleted/).waitFor();
    assert.notEqual(await ask(demo, "invalid-model"), "mistral-small-latest");

    await page.getByRole("link", { name: "New policy" }).click();
    await page.getByLabel("Name").fill("try-out");
    const production = section(page, "Production");
    await production.getByRole("combobox", { name: "Model", exact: true }).fill("invalid-model");
    await production.getByLabel("Endpoint").selectOption("mistral");
    await production.getByRole("button", { name: "Add Fallback Model" }).click();
    const first = fallback(page, 1);
    await first.waitFor();
    await first.getByLabel("Model").fill("mistral-small-latest");
    await first.getByLabel("Endpoint").selectOption("mistral");
    await page.getByLabel("Request Timeout", { exact: true }).fill("5");
    await page.getByLabel("Suspend Duration", { exact: true }).fill("1");
    await page.getByLabel("Unit of Suspend Duration").selectOption("minutes");
    await page.getByLabel("POST /v1/chat/completions").check();
    await accessible(page);
    await press(page, "Review");
    const review = section(page, "What changes in the file");
    await review.getByText("+    suspend_duration: 1m").waitFor();
    await focus(page, () => document.activeElement.id === "review");
    await accessible(page);
    await press(page, "Save and deploy");
    await page.getByText(/^Saved and deployed as revision \d+\.$/).waitFor();
    assert.equal(new URL(page.url()).pathname, "/console/policy/try%2Dout");
    assert.equal(await ask(demo, "invalid-model"), "mistral-small-latest");

    await page.goto("/console/revisions");
    await accessible(page);
    await page.getByRole("link", { name: "Roll back to 2", exact: true }).click();
    await page.getByText("-  try-out:").waitFor();
    await accessible(page);
    await press(page, "Roll back and deploy");
    await page.getByText(/^Rolled back to revision 2\./).waitFor();
    assert.notEqual(await ask(demo, "invalid-model"), "mistral-small-latest");
  }));

test("fallbacks are put in order by dragging and by keyboard", () =>
  on.visitSignedIn(async (page, demo) => {
    const before = await readFile(demo.configuration, "utf8");
    await open(page, "unknown");
    assert.deepEqual(await order(page), ["mistral-large-latest", "gpt-healthy"]);
    const handle = (number) => fallback(page, number).getByTitle("Drag to another place");
    await handle(1).dragTo(handle(2));
    await said(page, "mistral-large-latest is fallback 2 of 2 now");
    assert.deepEqual(await order(page), ["gpt-healthy", "mistral-large-latest"]);
    await press(page, "Save and deploy");
    await page.getByText(/^Saved and deployed/).waitFor();

    const up = page.getByRole("button", { name: "Move fallback 2 up" });
    await up.focus();
    await page.keyboard.press("Enter");
    await said(page, "mistral-large-latest is fallback 1 of 2 now");
    assert.deepEqual(await order(page), ["mistral-large-latest", "gpt-healthy"]);
    await focus(page, () => document.activeElement.ariaLabel === "Move fallback 1 down");
    await press(page, "Save and deploy");
    await page.getByText(/^Saved and deployed/).waitFor();
    assert.equal(await readFile(demo.configuration, "utf8"), before);
  }));

test("a mistake stands beside its field, and nothing typed is lost", () =>
  on.visitSignedIn(async (page) => {
    await open(page, "broken");
    await page.getByLabel("Request Timeout", { exact: true }).fill("soon");
    await fallback(page, 1).getByLabel("Endpoint").selectOption("");
    await press(page, "Save and deploy");
    await page.getByText("Nothing has changed: there are 2 mistakes").waitFor();
    await focus(page, () => document.activeElement.id === "mistakes");
    const timeout = page.getByLabel("Request Timeout", { exact: true });
    assert.equal(await timeout.inputValue(), "soon");
    assert.equal(await timeout.getAttribute("aria-invalid"), "true");
    const described = (await timeout.getAttribute("aria-describedby")).split(" ").at(-1);
    assert.match(await page.locator(`#${described}`).innerText(), /soon/);
    await accessible(page);
    await page.getByRole("link", { name: "production, fallback 1, endpoint" }).click();
    await focus(page, () => document.activeElement.name === "production.fallbacks.endpoint");

    const on = section(page, "Production").getByRole("switch");
    await on.uncheck();
    await section(page, "Production").getByText("Off: what stands here is kept").waitFor();
    assert.equal(await section(page, "Production").getByLabel("Model").first().isVisible(), false);
    await on.check();
    assert.equal(await section(page, "Production").getByLabel("Model").first().inputValue(), "gpt-broken");
  }));

test("of two editors the second is told, and loses nothing", () =>
  on.visitSignedIn(async (one, demo) => {
    const two = await one.context().newPage();
    await open(one, "silent");
    await open(two, "silent");
    await one.getByLabel("Request Timeout", { exact: true }).fill("2");
    await press(one, "Save and deploy");
    await one.getByText(/^Saved and deployed/).waitFor();
    await two.getByLabel("Suspend Duration", { exact: true }).fill("7");
    await press(two, "Save and deploy");
    await two.getByText("The file has changed since you opened this form").waitFor();
    await accessible(two);
    assert.equal(await two.getByLabel("Suspend Duration", { exact: true }).inputValue(), "7");
    await press(two, "Review mine against the file of now");
    await section(two, "What changes in the file").getByText("-    request_timeout: 2s").waitFor();
    await two.getByLabel("Request Timeout", { exact: true }).fill("2");
    await press(two, "Save and deploy");
    await two.getByText(/^Saved and deployed/).waitFor();
    const file = await readFile(demo.configuration, "utf8");
    assert.match(file, /request_timeout: 2s\n {4}suspend_duration: 7s\n {4}first_token_timeout: 1s/);
  }));

test("all of it by keyboard alone", () =>
  on.visit(async (page, demo) => {
    await page.goto("/");
    await focus(page, () => document.activeElement.type === "password");
    await page.keyboard.type(demo.token);
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { level: 1, name: "Policies" }).waitFor();
    await page.keyboard.press("Tab");
    await focus(page, () => document.activeElement.textContent === "Skip to the page");
    await page.keyboard.press("Enter");
    /** Goes on by Tab until something has the focus. */
    const reach = async (name) => {
      const is = (wanted) => {
        const { id, textContent, labels } = document.activeElement;
        return [id, textContent.trim(), labels?.[0]?.textContent.trim()].includes(wanted);
      };
      for (let step = 0; step < 150; step++) {
        if (await page.evaluate(is, name)) return;
        await page.keyboard.press("Tab");
      }
      assert.fail(`no way to ${name}`);
    };
    await reach("New policy");
    await page.keyboard.press("Enter");
    await page.waitForURL("**/console/policies/new");
    await page.getByLabel("Name").waitFor();
    await reach("Name");
    await page.keyboard.type("by-keyboard");
    await reach("Model");
    await page.keyboard.type("gpt-keyboard");
    await reach("Endpoint");
    await page.keyboard.type("openai");
    await reach("POST /v1/chat/completions");
    await page.keyboard.press("Space");
    await reach("Save and deploy");
    await page.keyboard.press("Enter");
    await page.getByText(/^Saved and deployed/).waitFor();
    assert.match(await readFile(demo.configuration, "utf8"), /target: \{model: gpt-keyboard, endpoint: openai\}/);
  }));

for (const colorScheme of ["light", "dark"]) {
  test(`on a phone, ${colorScheme}`, () =>
    on.visitSignedIn(
      async (page) => {
        for (const path of ["policies", "policies/new", "policy/unknown", "revisions"]) {
          await page.goto(`/console/${path}`);
          await fits(page);
          await accessible(page);
        }
      },
      { viewport: PHONE, colorScheme },
    ));
}

test("a session that has ended loses nothing of what was typed", () =>
  on.visitSignedIn(
    async (page, demo) => {
      await open(page, "slow");
      await page.getByLabel("Suspend Duration", { exact: true }).fill("9");
      const other = await page.context().newPage();
      await other.goto("/console/policies");
      await other.getByRole("button", { name: "Sign out" }).click();
      await press(page, "Review");
      await page.getByText("Your session has ended.").waitFor();
      await signIn(other, demo);
      await press(page, "Review");
      await page.getByText("Your session is another one").waitFor();
      await press(page, "Review");
      await section(page, "What changes in the file").getByText("+    suspend_duration: 9s").waitFor();
    },
    { refusals: [401, 403] },
  ));
