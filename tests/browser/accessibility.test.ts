// Accessibility of the dashboard: axe-core's rules, use by keyboard, reduced motion, themes and narrow screens.

import assert from "node:assert/strict";
import axe from "axe-core";
import type { Page } from "playwright-core";
import { browserTest, NO_SANITIZERS, type TestBrowser, until } from "./browser.ts";
import { startSwarm } from "./swarm.ts";

const VIEWS = [
  "#/",
  "#/peers",
  "peer",
  "#/lookups",
  "#/values",
  "#/loss",
  "#/swarms",
  "#/events",
  "#/node",
  "#/map",
  "#/search?q=10",
  "#/reachability",
  "#/traffic",
  "#/threats",
];

browserTest("the dashboard passes axe-core and works by keyboard", async (browser, test) => {
  const swarm = await startSwarm(50);
  try {
    const step = (name: string, run: (browser: TestBrowser, api: string) => Promise<void>) =>
      test.step({ ...NO_SANITIZERS, name, fn: () => run(browser, swarm.api) });
    for (const colorScheme of ["light", "dark"] as const) {
      for (const width of [390, 1440]) {
        await step(
          `axe-core, ${colorScheme}, ${width} px`,
          (browser, api) => checkViews(browser, api, colorScheme, width),
        );
      }
    }
    await step("everything works by keyboard", keyboard);
    await step("nothing moves if the system asks for reduced motion", stillness);
    await step("the theme switch overrides the system", theme);
    await step("nothing is wider than the page, from 390 px up", widths);
  } finally {
    await swarm.close();
  }
});

async function firstPeer(api: string): Promise<string> {
  const { peers } = await (await fetch(`${api}/network/peers?limit=1`)).json();
  return peers[0].node_id;
}

async function checkViews(
  browser: TestBrowser,
  api: string,
  colorScheme: "light" | "dark",
  width: number,
): Promise<void> {
  const viewport = { width, height: width < 600 ? 844 : 900 };
  const visit = await browser.visit(api, "#/", { viewport, colorScheme, reducedMotion: "reduce" });
  const { page } = visit;
  await page.getByRole("heading", { name: "Ready", exact: true }).waitFor();
  const peer = await firstPeer(api);
  for (const view of VIEWS) {
    await page.evaluate(
      `location.hash = ${JSON.stringify(view === "peer" ? `#/peers/${peer}` : view)}`,
    );
    if (view === "peer") await page.locator(".score-parts").waitFor();
    if (view === "#/lookups") {
      await page.getByRole("button", { name: "Random" }).click();
      await page.getByRole("heading", { name: /closest node/ }).waitFor();
    }
    if (view === "#/values") {
      await page.getByRole("button", { name: "Text", exact: true }).click();
      await page.getByRole("textbox", { name: "Text" }).fill(`${colorScheme} ${width}`);
      await page.getByRole("button", { name: "Store", exact: true }).click();
      await page.locator(".store-result .id").click();
      await page.getByLabel("Preview of the value").waitFor();
    }
    assert.deepEqual(await violationsOf(page), [], `${view}, ${colorScheme}, ${width} px`);
  }
  await visit.end();
}

/** The violations that axe-core finds, one line each. */
async function violationsOf(page: Page): Promise<string[]> {
  // Inject axe-core through the debugger: the page's own policy blocks other scripts.
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate<axe.AxeResults>(`axe.run(document, {
    runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
  })`);
  return violations.flatMap(({ id, nodes }) =>
    nodes.map(({ html, failureSummary }) => `${id}: ${html.slice(0, 160)} ${failureSummary}`)
  );
}

const focused = (page: Page) =>
  page.evaluate<string>(`(() => {
    const { activeElement: it } = document;
    return it.getAttribute("aria-label") ?? it.textContent.trim().slice(0, 60);
  })()`);

/** Presses Tab until the wanted element has the focus. */
async function tabTo(page: Page, wanted: RegExp): Promise<void> {
  for (let i = 0; i < 80; i++) {
    await page.keyboard.press("Tab");
    if (wanted.test(await focused(page))) return;
  }
  assert.fail(`Tab does not lead to ${wanted}`);
}

async function keyboard(browser: TestBrowser, api: string): Promise<void> {
  const visit = await browser.visit(api);
  const { page } = visit;
  await page.getByRole("heading", { name: "Ready", exact: true }).waitFor();
  await page.keyboard.press("Tab");
  assert.equal(await focused(page), "Skip to the content");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate("document.activeElement.id"), "main");
  assert.match(page.url(), /#\/$/, "the skip link is no route");

  await tabTo(page, /peers around this node/);
  await page.keyboard.press("ArrowRight");
  const tip = page.locator(".tip .id");
  const first = await tip.innerText();
  await page.keyboard.press("ArrowRight");
  await until(async () => await tip.innerText() !== first);
  const second = await tip.innerText();
  await page.getByRole("status").filter({ hasText: second }).waitFor({ state: "attached" });
  await page.keyboard.press("Enter");
  await page.locator(".peer-name", { hasText: second }).waitFor();
  assert.equal(await page.evaluate("document.activeElement.tagName"), "H1", "the focus follows");

  await tabTo(page, /^Ping$/);
  await page.keyboard.press("Enter");
  await page.getByText(/^Answered in/).waitFor();

  await page.keyboard.press("Shift+Tab");
  await page.evaluate(`location.hash = "#/peers"`);
  await page.getByRole("heading", { name: "Routing table" }).waitFor();
  await tabTo(page, /^RTT$/);
  await page.keyboard.press("Enter");
  const head = page.getByRole("columnheader", { name: "RTT" });
  assert.equal(await head.getAttribute("aria-sort"), "ascending");
  await page.keyboard.press("Space");
  assert.equal(await head.getAttribute("aria-sort"), "descending");

  await page.evaluate(`location.hash = "#/values"`);
  await page.getByRole("heading", { name: "Store" }).waitFor();
  const chooser = page.waitForEvent("filechooser");
  await tabTo(page, /^choose them$/);
  await page.keyboard.press("Enter");
  await (await chooser).setFiles([]);

  await page.evaluate(`location.hash = "#/lookups"`);
  await page.getByRole("heading", { name: "Look up an id" }).waitFor();
  await tabTo(page, /^Random$/);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: /closest node/ }).waitFor();
  await visit.end();
}

/** With reduced motion, the page draws a lookup at once, and nothing moves by itself. */
async function stillness(browser: TestBrowser, api: string): Promise<void> {
  const visit = await browser.visit(api, "#/lookups", { reducedMotion: "reduce" });
  const { page } = visit;
  const answered = page.waitForResponse((response) => response.url().includes("/network/find/"));
  await page.getByRole("button", { name: "Random" }).click();
  const { trace } = await (await answered).json();
  await page.getByRole("heading", { name: /closest node/ }).waitFor();
  assert.equal(await page.locator(".step").count(), trace.length);
  assert.equal(await page.getByRole("button", { name: "Replay" }).count(), 0);
  assert.equal(await page.evaluate("document.getAnimations().length"), 0);
  await visit.end();
}

/** The switch overrides the system's theme. After a reload, the chosen theme applies before the first paint. */
async function theme(browser: TestBrowser, api: string): Promise<void> {
  const visit = await browser.visit(api, "#/", { colorScheme: "light" });
  const { page } = visit;
  const ground = () => page.evaluate<string>("getComputedStyle(document.body).backgroundColor");
  await page.getByRole("heading", { name: "Ready", exact: true }).waitFor();
  const light = await ground();
  await page.getByRole("button", { name: "Dark" }).click();
  const dark = await ground();
  assert.notEqual(dark, light);
  await page.reload();
  assert.equal(await ground(), dark);
  await page.emulateMedia({ colorScheme: "dark" });
  await page.getByRole("button", { name: "Same as the system" }).click();
  assert.equal(await ground(), dark);
  await page.getByRole("button", { name: "Light", exact: true }).click();
  assert.equal(await ground(), light);
  await visit.end();
}

async function widths(browser: TestBrowser, api: string): Promise<void> {
  const visit = await browser.visit(api);
  const { page } = visit;
  await page.getByRole("heading", { name: "Ready", exact: true }).waitFor();
  const peer = await firstPeer(api);
  for (const width of [390, 700, 960, 1100, 1920]) {
    await page.setViewportSize({ width, height: 900 });
    for (const view of VIEWS) {
      await page.evaluate(
        `location.hash = ${JSON.stringify(view === "peer" ? `#/peers/${peer}` : view)}`,
      );
      if (view === "peer") await page.locator(".score-parts").waitFor();
      await page.waitForFunction(
        "document.documentElement.scrollWidth <= document.documentElement.clientWidth",
        null,
        { timeout: 3_000 },
      ).catch(() => assert.fail(`${view} is wider than ${width} px`));
    }
  }
  await visit.end();
}
