// Makes the pictures of the README and of docs/console.md: `tests/console/screenshots`.

import { mkdir } from "node:fs/promises";
import { join } from "node:path";

import { startDemo } from "./demo.mjs";
import { DESKTOP, PHONE, go, launch, signIn } from "./stage.mjs";

const TO = process.argv[2];

/** What is photographed: the page, and what is done on it first. */
const PICTURES = {
  policies: { page: "Policies" },
  policy: { page: "Policies", act: form },
  "try-out": { page: "Try out", act: rescue },
  live: { page: "Live", act: busy },
  endpoints: { page: "Endpoints" },
  keys: { page: "Keys" },
};

const LOOKS = [
  { suffix: "", viewport: DESKTOP, colorScheme: "light", pictures: Object.keys(PICTURES) },
  { suffix: "-dark", viewport: DESKTOP, colorScheme: "dark", pictures: ["live"] },
  { suffix: "-phone", viewport: PHONE, colorScheme: "light", pictures: ["try-out", "live"] },
];

const MODELS = ["gpt-healthy", "invalid-model", "gpt-rate-limited", "gpt-broken", "gpt-breaks-midway", "mistral-large-latest"];

function ask(demo, model, stream) {
  return fetch(`${demo.url}/v1/chat/completions`, {
    method: "POST",
    headers: { authorization: "Bearer demo-key", "content-type": "application/json" },
    body: JSON.stringify({ model, stream, messages: [{ role: "user", content: "Who is the most renowned French painter?" }] }),
  }).then((response) => response.text());
}

async function form(page) {
  await page.getByRole("link", { name: "rate-limited", exact: true }).click();
  await page.getByRole("heading", { level: 1, name: "rate-limited" }).waitFor();
}

async function rescue(page) {
  await page.getByLabel("Model").fill("gpt-breaks-midway");
  await page.getByLabel("Stream the answer").check();
  await page.getByRole("button", { name: "Send" }).click();
  await page.getByText("The first token came after").waitFor();
}

/** Some traffic for ten samples. */
async function busy(page, demo) {
  const samples = () => page.waitForResponse(async (response) => /live\/samples/.test(response.url()) && (await response.json()).samples.length > 0);
  for (let sample = 0; sample < 10; sample++) {
    const asked = Array.from({ length: 4 + ((sample * 7) % 9) }, (_, n) => ask(demo, MODELS[(sample + n) % MODELS.length], n % 2 === 0));
    await Promise.all([...asked, samples()]);
  }
  await page.locator(".requests summary").first().click();
  await page.evaluate(() => scrollTo(0, 0));
}

await mkdir(TO, { recursive: true });
const demo = await startDemo();
const browser = await launch();
try {
  for (const { suffix, pictures, ...look } of LOOKS) {
    const context = await browser.newContext(look);
    const page = await context.newPage();
    await signIn(page, demo);
    for (const name of pictures) {
      const { page: place, act } = PICTURES[name];
      await go(page, place);
      await act?.(page, demo);
      await page.screenshot({ path: join(TO, `console-${name}${suffix}.png`), fullPage: suffix === "" && name === "try-out" });
    }
    await context.close();
  }
} finally {
  await browser.close();
  await demo.stop();
}
