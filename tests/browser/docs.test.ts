// The API's reference page in a real browser: accessible, at any width, without scripts, by keyboard, and its search,
// copy buttons and forms.

import assert from "node:assert/strict";
import axe from "axe-core";
import type { Page } from "playwright-core";
import { createApi } from "../../src/api/app.ts";
import { serveApi } from "../../src/api/server.ts";
import { loadConfig } from "../../src/config.ts";
import { FakeService } from "../api/fake_service.ts";
import { ARTIFACTS, browserTest, NO_SANITIZERS, type TestBrowser } from "./browser.ts";

/** Width of a phone, and of a desktop. */
const WIDTHS = [390, 1440];

const TOKEN = "the-token-of-this-test-0123456789";

browserTest(
  "the API's reference page is accessible at any width, without scripts and by keyboard",
  async (browser, test) => {
    const api = createApi({
      service: new FakeService(),
      config: loadConfig({ env: { API_TOKEN: TOKEN } }),
    });
    const server = await serveApi(api, { hostnames: ["127.0.0.1"], port: 0 });
    const step = (name: string, fn: () => Promise<void>) =>
      test.step({ ...NO_SANITIZERS, name, fn });
    try {
      for (const colorScheme of ["light", "dark"] as const) {
        for (const width of WIDTHS) {
          await step(
            `axe-core and width, ${colorScheme}, ${width} px`,
            () => looks(browser, server.url, colorScheme, width),
          );
        }
      }
      await step(
        "the page is the same without JavaScript",
        () => withoutScript(browser, server.url),
      );
      await step("the page works by keyboard", () => keyboard(browser, server.url));
      await step(
        "the search shows the matching entries only, and a link to another entry ends it",
        () => search(browser, server.url),
      );
      await step(
        "a button copies an example in the chosen language",
        () => copy(browser, server.url),
      );
      await step(
        "a form sends a request with the token, and a reload forgets the token",
        () => tryIt(browser, server.url),
      );
      await step(
        "the page uses the theme chosen on the dashboard",
        () => theme(browser, server.url),
      );
    } finally {
      await server.close();
    }
  },
);

async function looks(
  browser: TestBrowser,
  url: string,
  colorScheme: "light" | "dark",
  width: number,
): Promise<void> {
  const viewport = { width, height: 900 };
  const visit = await browser.visit(url, "docs", { viewport, colorScheme });
  const { page } = visit;
  // Keep one of each kind, because axe-core needs a minute for all.
  await page.evaluate(`for (const article of document.querySelectorAll("article")) {
    if (!["fetchValue", "event-types", "schema-Stats"].includes(article.id)) article.remove();
    for (const details of article.querySelectorAll("details")) details.open = true;
  }`);
  await page.locator("#fetchValue").getByRole("button", { name: /^Try it/ }).click();
  await page.locator("#fetchValue").getByLabel("Token").waitFor();
  assert.deepEqual(await violationsOf(page), []);
  await page.reload();
  await page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true");
  const surplus = await page.evaluate<number>("document.documentElement.scrollWidth - innerWidth");
  assert.ok(surplus <= 0, `${surplus} px are outside of the page`);
  const picture = await page.screenshot({ path: `${ARTIFACTS}/docs-${colorScheme}-${width}.png` });
  assert.ok(picture.length > 5_000, "the picture is blank");
  await visit.end();
}

async function violationsOf(page: Page): Promise<string[]> {
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate<axe.AxeResults>(`axe.run(document, {
    runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
  })`);
  return violations.flatMap(({ id, nodes }) =>
    nodes.map(({ html, failureSummary }) => `${id}: ${html.slice(0, 160)} ${failureSummary}`)
  );
}

/** A link in the contents scrolls its operation to just below the page's header. */
async function leadsTo(page: Page, name: string, id: string): Promise<void> {
  await page.getByRole("link", { name }).locator("visible=true").first().click();
  const box = await page.locator(`#${id}`).boundingBox();
  assert.ok(box !== null && box.y >= 50 && box.y < 300, `${id} is at ${box?.y}`);
}

async function withoutScript(browser: TestBrowser, url: string): Promise<void> {
  const visit = await browser.visit(url, "docs", { javaScriptEnabled: false });
  const { page } = visit;
  await page.getByRole("heading", { name: "REST API" }).waitFor();
  await leadsTo(page, "/network/stats", "readStatistics");
  await page.locator("#readStatistics summary", { hasText: "401" }).click();
  await page.locator("#readStatistics").getByRole("link", { name: "Problem" }).waitFor();
  await visit.end();
}

async function keyboard(browser: TestBrowser, url: string): Promise<void> {
  const visit = await browser.visit(url, "docs", { viewport: { width: 390, height: 844 } });
  const { page } = visit;
  await page.keyboard.press("Tab");
  const focused = () => page.evaluate<string>("document.activeElement.textContent.trim()");
  assert.equal(await focused(), "To the content");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate("document.activeElement.id"), "main");
  const menu = page.locator(".menu summary");
  await menu.focus();
  await page.keyboard.press("Enter");
  await leadsTo(page, "/network/peers", "listPeers");
  await visit.end();
}

async function search(browser: TestBrowser, url: string): Promise<void> {
  const visit = await browser.visit(url, "docs");
  const { page } = visit;
  const field = page.getByRole("searchbox", { name: "Search the reference" });
  await page.keyboard.press("/");
  await page.keyboard.type("Network/PING");
  await page.getByRole("status").filter({ hasText: /^2 of \d+ entries match/ }).waitFor();
  const shown = () =>
    page.evaluate<string[]>(
      "Array.from(document.querySelectorAll('article')).filter((one) => one.offsetParent !== null).map(({ id }) => id)",
    );
  assert.deepEqual((await shown()).toSorted(), ["pingAddress", "pingNode"]);
  assert.equal(await page.locator(".side a[href='#listPeers']").isVisible(), false);
  await field.fill("no such word");
  await page.getByText("Nothing matches “no such word”.").waitFor();
  assert.deepEqual(await shown(), []);
  await page.evaluate("location.hash = '#listPeers'");
  await page.locator("#listPeers").waitFor();
  assert.equal(await field.inputValue(), "");
  await visit.end();
}

async function copy(browser: TestBrowser, url: string): Promise<void> {
  const visit = await browser.visit(url, "docs", {
    permissions: ["clipboard-read", "clipboard-write"],
  });
  const { page } = visit;
  for (const [language, code] of [["curl", /^curl /], ["Python", /^import json\n/]] as const) {
    await page.getByLabel("Language of the examples").selectOption(language);
    await page.locator("#readStatistics").getByRole("button", { name: "Copy: Request" }).click();
    await page.locator("#readStatistics").getByRole("button", { name: "Copied" }).waitFor();
    const copied = await page.evaluate<string>("navigator.clipboard.readText()");
    assert.match(copied, code);
    assert.ok(copied.includes(`${url}/network/stats`), copied);
    await page.locator("#readStatistics").getByRole("button", { name: "Copy: Request" }).waitFor();
  }
  await visit.end();
}

async function tryIt(browser: TestBrowser, url: string): Promise<void> {
  const visit = await browser.visit(url, "docs");
  const { page } = visit;
  const article = page.locator("#storeValue");
  const open = () => article.getByRole("button", { name: "Try it: Store a value" }).press("Enter");
  await open();
  const send = article.getByRole("button", { name: "Send POST" });
  await send.press("Enter");
  await article.getByRole("status").filter({ hasText: /^401 / }).waitFor();
  await article.getByLabel("Token").fill(TOKEN);
  await article.getByLabel("Body", { exact: true }).fill('{"value":"of the form"}');
  await send.press("Enter");
  await article.getByRole("status").filter({ hasText: /^201 Created, \d+ bytes/ }).waitFor();
  const body = await article.getByLabel("Body of the response").textContent();
  assert.match(JSON.parse(body ?? "").hash, /^[0-9a-f]{40}$/);
  // Other forms use the same token, and encode what they put into a path.
  const fetched = page.locator("#fetchValue");
  await fetched.getByRole("button", { name: /^Try it/ }).click();
  assert.equal(await fetched.getByLabel("Token").inputValue(), TOKEN);
  await fetched.getByLabel("hash path").fill("../network/stats");
  await fetched.getByRole("button", { name: "Send GET" }).click();
  await fetched.getByRole("status").filter({ hasText: /^40[04] / }).waitFor();
  const kept = await page.evaluate<string>(
    "JSON.stringify([localStorage, sessionStorage, document.cookie, location.href])",
  );
  assert.ok(!kept.includes(TOKEN), kept);
  await page.reload();
  await open();
  assert.equal(await article.getByLabel("Token").inputValue(), "");
  await visit.end(/status of 40[014]/);
}

async function theme(browser: TestBrowser, url: string): Promise<void> {
  const visit = await browser.visit(url, "docs", { colorScheme: "light" }, async (page) => {
    await page.addInitScript({ content: 'localStorage.setItem("dmnode.theme", "dark")' });
  });
  const ground = await visit.page.evaluate<string>(
    "getComputedStyle(document.body).backgroundColor",
  );
  assert.equal(ground, "rgb(11, 14, 19)");
  await visit.end();
}
