// Every view shows only the answers to its own question, and its address names the question.

import assert from "node:assert/strict";
import type { Page, Route } from "playwright-core";
import { PINNED } from "../../src/reports/values.ts";
import { PEER_A } from "../api/fake_service.ts";
import { until } from "./browser.ts";
import { fakeNodeTest, holdText } from "./fake_node.ts";

const SLOW = "11".repeat(20), QUICK = "22".repeat(20);

/** Holds back the answers to requests of this address. The returned function lets them pass. */
async function holdBack(page: Page, pattern: RegExp): Promise<() => Promise<void>> {
  const held: Route[] = [];
  await page.route(pattern, (route) => void held.push(route));
  return async () => {
    // The page may have given up the request.
    for (const route of held) await route.continue().catch(() => {});
  };
}

const go = (page: Page, hash: string) => page.evaluate(`location.hash = ${JSON.stringify(hash)}`);

fakeNodeTest("every view shows only answers to its own question", {
  "a value that answers late never appears under another hash": async (browser, api, service) => {
    holdText(service, SLOW, "the slow value");
    holdText(service, QUICK, "the quick value");
    const visit = await browser.visit(api, "#/values");
    const { page } = visit;
    const release = await holdBack(page, new RegExp(`/data/${SLOW}`));
    await go(page, `#/values/${SLOW}`);
    await page.getByText(`Fetching ${SLOW.slice(0, 8)}…`).waitFor();
    await page.getByRole("button", { name: "Count copies" }).click();
    await go(page, `#/values/${QUICK}`);
    const preview = page.getByLabel("Preview of the value");
    await preview.waitFor();
    assert.equal(await preview.innerText(), "the quick value");
    await release();
    await page.getByRole("button", { name: "Count copies" }).click();
    await page.getByRole("heading", { name: "2 copies, 20 wanted" }).waitFor();
    assert.equal(await preview.innerText(), "the quick value");
    assert.deepEqual(service.calls.filter(([call]) => call === "replicas"), [
      ["replicas", QUICK, null],
    ]);
    await visit.end();
  },

  "a filter of events also finds those from before the feed": async (browser, api, service) => {
    const address = "192.0.2.7:8000";
    service.events.tell({
      type: "peer.leave",
      data: { node_id: PEER_A, address, reason: "no answer" },
    }, Date.now());
    for (let lookup = 0; lookup < 300; lookup++) {
      service.events.tell({
        type: "lookup",
        data: {
          lookup,
          target: QUICK,
          method: "find_node",
          hops: 1,
          queries: 2,
          elapsed_ms: 3,
          success: true,
        },
      }, Date.now());
    }
    const visit = await browser.visit(api, "#/events");
    const { page } = visit;
    const feed = page.locator(".event-list > li");
    await until(async () => await feed.count() > 100);
    await page.getByLabel("Search events").fill(address);
    await page.locator(".event", { hasText: "peer.leave" }).waitFor();
    await until(async () => await feed.count() === 1);
    await page.getByLabel("Search events").fill("");
    await until(async () => await feed.count() > 100);
    await page.getByRole("button", { name: "Lookups", exact: true }).click();
    await page.locator(".event", { hasText: "peer.leave" }).waitFor();
    await visit.end();
  },

  "the next page of published values never shows the rows of the page before": async (
    browser,
    api,
    service,
  ) => {
    service.publishedValues = Array.from({ length: 150 }, (_, n) => ({
      ...PINNED,
      hash: n.toString(16).padStart(40, "0"),
    }));
    const visit = await browser.visit(api, "#/values");
    const { page } = visit;
    const rows = page.getByRole("table", { name: "Values published from this node" })
      .locator("tbody tr:not(.spacer)");
    await until(async () => await rows.count() === 100);
    const release = await holdBack(page, /offset=100/);
    await page.getByRole("button", { name: "Next", exact: true }).last().click();
    await page.locator(".published-card .loading").waitFor();
    assert.equal(await rows.count(), 0);
    await release();
    await until(async () => await rows.count() === 50);
    await visit.end();
  },

  "a link to a value, a swarm or a lookup asks at once, and Back asks again": async (
    browser,
    api,
    service,
  ) => {
    holdText(service, QUICK, "the quick value");
    holdText(service, SLOW, "another value");
    const visit = await browser.visit(api, `#/values/${QUICK}`);
    const { page } = visit;
    const preview = page.getByLabel("Preview of the value");
    await page.getByText("the quick value", { exact: true }).waitFor();
    await page.getByRole("textbox", { name: "Hash" }).fill(SLOW);
    await page.keyboard.press("Enter");
    await page.getByText("another value", { exact: true }).waitFor();
    await page.goBack();
    await page.getByText("the quick value", { exact: true }).waitFor();
    assert.equal(await page.getByRole("textbox", { name: "Hash" }).inputValue(), QUICK);
    assert.equal(await preview.count(), 1);

    await go(page, "#/swarms/Service%20A");
    await page.getByText("Info-hash", { exact: true }).waitFor();
    const searches = service.calls.filter(([call]) => call === "findPeers");
    assert.deepEqual(searches.map(([, swarm]) => swarm), [{ service: "Service A" }]);

    await go(page, `#/lookups/${PEER_A}`);
    await page.getByRole("heading", { name: "The 3 closest nodes" }).waitFor();
    await page.getByRole("textbox").fill(SLOW);
    await page.getByRole("button", { name: "Look up", exact: true }).click();
    await page.locator(".shown-lookup .target", { hasText: SLOW }).waitFor();
    await page.goBack();
    await page.locator(".shown-lookup .target", { hasText: PEER_A }).waitFor();
    await visit.end();
  },

  "on a phone, the answer about a value is in sight": async (browser, api, service) => {
    holdText(service, QUICK, "the quick value");
    const viewport = { width: 390, height: 844 };
    const visit = await browser.visit(api, `#/values`, { viewport });
    const { page } = visit;
    await page.getByRole("heading", { name: "Store" }).waitFor();
    await page.evaluate("scrollTo(0, 400)");
    await go(page, `#/values/${QUICK}`);
    const size = page.locator(".fetched");
    await size.waitFor();
    await until(async () => (await size.boundingBox())!.y < viewport.height);
    assert.ok((await size.boundingBox())!.y > 0);
    await visit.end();
  },

  "Back restores the search, the filter and the order of a table": async (browser, api) => {
    const visit = await browser.visit(api, "#/peers");
    const { page } = visit;
    const search = page.getByRole("searchbox");
    await search.fill("192.168");
    await page.getByRole("button", { name: /^Unhealthy/ }).click();
    await page.getByRole("columnheader", { name: "RTT" }).getByRole("button").click();
    await page.locator(".peers-table tbody .id").click();
    await page.locator(".score-parts").waitFor();
    await page.goBack();
    await page.getByRole("columnheader", { name: "RTT" }).waitFor();
    assert.equal(await search.inputValue(), "192.168");
    const isOn = page.getByRole("button", { name: /^Unhealthy/, pressed: true });
    assert.equal(await isOn.count(), 1);
    const sorted = page.getByRole("columnheader", { name: "RTT" });
    assert.equal(await sorted.getAttribute("aria-sort"), "ascending");
    await visit.end();
  },
});
