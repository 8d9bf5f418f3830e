// Takes pictures of each view and state, in light and dark, wide and on a phone, for people to look at.

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import type { BrowserContextOptions, Page } from "playwright-core";
import { type NodeProcess, withNodes } from "../program/program.ts";
import { ARTIFACTS, browserTest, NO_SANITIZERS, type TestBrowser } from "./browser.ts";
import { startSwarm } from "./swarm.ts";

/** Messages that a browser logs by itself if the node is unreachable. */
const AWAY = /ERR_|WebSocket connection|status of 40[14]/;

const SIZES = [{ width: 1440, height: 900 }, { width: 390, height: 844 }];

/** The appearances of which we take pictures. */
function* appearances(): Generator<{ suffix: string; options: BrowserContextOptions }> {
  for (const viewport of SIZES) {
    for (const colorScheme of ["light", "dark"] as const) {
      const options = { viewport, colorScheme, deviceScaleFactor: viewport.width < 600 ? 2 : 1 };
      yield { suffix: `${colorScheme}-${viewport.width}`, options };
    }
  }
}

/** Takes a picture of the whole page, also of the part below the window. Elements fixed to an edge stay there. */
async function picture(page: Page, name: string): Promise<void> {
  const { width, height } = page.viewportSize()!;
  const whole = await page.evaluate<number>("document.documentElement.scrollHeight");
  await page.setViewportSize({ width, height: Math.min(2_400, Math.max(height, whole)) });
  // Charts and maps adapt to their new size in the next frames.
  await page.waitForTimeout(350);
  const bytes = await page.screenshot({ path: `${ARTIFACTS}/${name}.png` });
  assert.ok(bytes.length > 5_000, `${name} is blank`);
  await page.setViewportSize({ width, height });
}

browserTest("pictures of the views", async (browser, test) => {
  const swarm = await startSwarm(50, 60);
  try {
    await prepare(browser, swarm.api);
    for (const { suffix, options } of appearances()) {
      await test.step({
        ...NO_SANITIZERS,
        name: suffix,
        fn: () => views(browser, swarm.api, suffix, options),
      });
    }
  } finally {
    await swarm.close();
  }
});

/** Fills each view with values, lookups, and half a minute of statistics. */
async function prepare(browser: TestBrowser, api: string): Promise<void> {
  const store = (body: string | Uint8Array<ArrayBuffer>, key = "") =>
    fetch(`${api}/network/store${key && `?key=${key}`}`, {
      method: "POST",
      body,
      headers: { "content-type": "application/octet-stream" },
    });
  await store('{"temperature": 21.5, "unit": "°C"}', "sensor/1");
  await store("The minutes of the last meeting.", "notes/2026-11-22");
  await store(crypto.getRandomValues(new Uint8Array(48_000)));
  for (let i = 0; i < 6; i++) await store(`value ${i} ${crypto.randomUUID()}`);
  for (const swarm of ["77".repeat(20), "service:chat"]) {
    await fetch(`${api}/network/swarms/${swarm}`, {
      method: "POST",
      body: '{"port": 4000}',
      headers: { "content-type": "application/json" },
    });
  }
  const visit = await browser.visit(api);
  await visit.page.getByRole("img", { name: /^Traffic\. in: last/ }).waitFor({ timeout: 40_000 });
  await visit.end();
}

async function views(
  browser: TestBrowser,
  api: string,
  suffix: string,
  options: BrowserContextOptions,
): Promise<void> {
  const visit = await browser.visit(api, "#/", options);
  const { page } = visit;
  await page.getByRole("img", { name: /^Traffic\. in: last/ }).waitFor();
  await picture(page, `overview-${suffix}`);
  const go = (hash: string) => page.evaluate(`location.hash = ${JSON.stringify(hash)}`);
  await go("#/peers");
  await page.locator(".peers-table tbody tr").nth(5).hover();
  await picture(page, `peers-${suffix}`);
  await page.locator(".peers-table tbody .id").first().click();
  await page.locator(".score-parts").waitFor();
  for (let i = 1; i <= 3; i++) {
    await page.getByRole("button", { name: "Ping" }).click();
    await page.locator(".ping-bars span").nth(i - 1).waitFor();
  }
  await picture(page, `peer-${suffix}`);
  await go("#/lookups");
  await page.getByRole("button", { name: "Random" }).click();
  await page.locator(".step-responded").nth(5).waitFor();
  await page.screenshot({ path: `${ARTIFACTS}/lookup-running-${suffix}.png` });
  await page.locator(".step-responded").nth(19).waitFor();
  await page.waitForTimeout(300);
  await picture(page, `lookups-${suffix}`);
  await go("#/values");
  await page.setInputFiles("input[type=file]", [
    {
      name: "readings.json",
      mimeType: "application/json",
      buffer: Buffer.from('{"station":"north","readings":[20.5,21,21.5]}'),
    },
    {
      name: "a photo with a rather long name, as cameras give.raw",
      mimeType: "image/x-raw",
      buffer: Buffer.alloc(40_000, suffix),
    },
  ]);
  await page.locator(".store-stored").nth(1).waitFor();
  await page.locator(".store-result .id").last().click();
  await page.getByLabel("Preview of the value").waitFor();
  await page.getByRole("button", { name: "Count copies" }).click();
  await page.getByRole("heading", { name: /copies, \d+ wanted/ }).waitFor();
  await picture(page, `value-${suffix}`);
  await go("#/values");
  await page.locator(".published-card tbody .id").first().waitFor();
  await picture(page, `values-${suffix}`);
  await go("#/loss");
  await page.locator(".losses").waitFor();
  await page.getByRole("checkbox").first().check();
  await picture(page, `loss-${suffix}`);
  await go("#/swarms");
  const finding = page.locator(".fetch-card");
  await finding.getByRole("textbox").fill("chat");
  await finding.getByRole("button", { name: "Find peers" }).click();
  await finding.locator(".swarm-peers li").first().waitFor();
  await picture(page, `swarms-${suffix}`);
  await go("#/events");
  await page.locator(".event").nth(20).waitFor();
  await picture(page, `events-${suffix}`);
  await go("#/node");
  await page.getByText("K_BUCKET_SIZE").waitFor();
  await picture(page, `node-${suffix}`);
  await visit.end();
}

browserTest("pictures of the states", async (browser, test) => {
  await withNodes(async (start) => {
    const node = await start("first");
    const guarded = await start("guarded", [], { env: { API_TOKEN: "swordfish" } });
    const exposed = await start("exposed", [], {
      env: { API_TOKEN: "swordfish", API_HOST: "0.0.0.0" },
    });
    const never = () => {};
    const step = (name: string, fn: () => Promise<void>) =>
      test.step({ ...NO_SANITIZERS, name, fn });
    for (const { suffix, options } of appearances()) {
      const show = (name: string, { api }: Pick<NodeProcess, "api">, ...steps: Steps) =>
        showState(browser, api, `${name}-${suffix}`, options, ...steps);
      await step(suffix, async () => {
        await show("connecting", node, isConnecting, (page) => page.route("**/network/**", never));
        await show(
          "away",
          node,
          isAway,
          (page) => page.route("**/network/**", (route) => route.abort()),
        );
        await show("token", guarded, isRefused);
        await show(
          "locked",
          { api: `http://127.0.0.1:${new URL(exposed.api).port}` },
          (page) => page.getByText("Locked", { exact: true }).waitFor(),
        );
        await show("empty", node, (page) => page.getByText("No peers yet").waitFor());
      });
    }
    for (const { suffix, options } of appearances()) {
      await step(`lost-${suffix}`, async () => {
        const second = await start(`second-${suffix}`, ["--bootstrap", node.udp]);
        await showState(browser, second.api, `lost-${suffix}`, options, async (page) => {
          await page.locator(".figure-more", { hasText: /[1-9] healthy/ }).waitFor();
          await second.stop("SIGKILL");
          await page.getByText(/Next attempt in/).waitFor();
        });
      });
    }
  })();
});

/** `reach` brings the page into a state. `before` prepares the page before it opens. */
type Steps = [reach: (page: Page) => Promise<unknown>, before?: (page: Page) => Promise<unknown>];

async function showState(
  browser: TestBrowser,
  api: string,
  name: string,
  options: BrowserContextOptions,
  ...[reach, before]: Steps
): Promise<void> {
  const visit = await browser.visit(api, "#/", options, async (page) => {
    await before?.(page);
  });
  await reach(visit.page);
  await picture(visit.page, name);
  await visit.end(AWAY);
}

const isConnecting = (page: Page) => page.getByText("Connecting to the node…").waitFor();
const isAway = (page: Page) => page.getByText("Is it running?").waitFor();

async function isRefused(page: Page): Promise<void> {
  await page.getByRole("button", { name: "Enter token" }).click();
  await page.getByLabel("API token").fill("guess");
  await page.getByRole("button", { name: "Use this token" }).click();
  await page.getByText("The node rejected this token.").waitFor();
}
