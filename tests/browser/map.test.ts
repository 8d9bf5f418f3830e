// The map: the range of this node, values, clusters, the last hour, and two lookups, each with an address.

import assert from "node:assert/strict";
import { PINNED } from "../../src/reports/values.ts";
import { PEER_A } from "../api/fake_service.ts";
import { until } from "./browser.ts";
import { fakeNodeTest } from "./fake_node.ts";

const HASH = "22".repeat(20), GONE = "ab".repeat(20);

fakeNodeTest("the map of the id space", {
  "shows values, the range and clusters; a link to a cluster selects it": async (
    browser,
    api,
    service,
  ) => {
    service.publishedValues = [{ ...PINNED, hash: HASH, key: "notes" }];
    service.heldItems = [{ hash: "33".repeat(20), size: 9, expires_at: "2026-04-15T08:00:00Z" }];
    const visit = await browser.visit(api, "#/map?network=192.168.1.0%2F24");
    const { page } = visit;
    await page.getByText("1 item held for others").waitFor();
    assert.equal(await page.locator(".space .value-mark").count(), 2);
    await page.getByText("it is responsible for every id").waitFor();
    const cluster = page.getByRole("button", { name: /192\.168\.1\.0\/24/ });
    assert.equal(await cluster.getAttribute("aria-pressed"), "true");
    assert.equal(await page.locator(".in-cluster").count(), 2);
    await cluster.press("Enter");
    await until(async () => await page.locator(".in-cluster").count() === 0);
    await page.getByRole("button", { name: "Published", exact: true }).click();
    assert.equal(await page.locator(".space .value-mark").count(), 1);
    await visit.end();
  },

  "the slider goes back through the last hour, by keyboard, and its address keeps the time": async (
    browser,
    api,
    service,
  ) => {
    const leave = { node_id: GONE, address: "192.0.2.9:8000", reason: "no answer" };
    service.events.tell({ type: "peer.leave", data: leave }, Date.now() - 30 * 60_000);
    const visit = await browser.visit(api, "#/map");
    const { page } = visit;
    const peers = page.locator(".space-peer");
    await until(async () => await peers.count() === 3);
    const slider = page.getByRole("slider", { name: "Time" });
    await slider.press("ArrowLeft");
    await page.getByText("3 peers at that time").waitFor();
    await slider.fill("-45");
    await page.getByText("4 peers at that time").waitFor();
    assert.match(page.url(), /ago=45/);
    await page.route(/network\/events/, (route) => route.fulfill({ status: 500, body: "" }));
    await page.reload();
    await page.getByText("Earlier peers are unknown.").waitFor();
    await visit.end(/500/);
  },

  "two lookups lie above each other, and a slow one never shows under another target": async (
    browser,
    api,
    service,
  ) => {
    const visit = await browser.visit(api, `#/map?a=${PEER_A}&b=${HASH}`);
    const { page } = visit;
    await page.locator(".way-a .way-line").waitFor({ state: "attached" });
    await page.locator(".way-b .way-line").waitFor({ state: "attached" });
    await page.getByText(/^Both lookups asked/).waitFor();
    let release = () => {};
    await page.route(new RegExp(`find/${GONE}`), async (route) => {
      await new Promise<void>((resolve) => release = resolve);
      await route.continue().catch(() => {});
    });
    const box = page.getByRole("textbox", { name: /Lookup A/ });
    await box.fill(GONE);
    await box.press("Enter");
    await page.getByText("Looking up…").waitFor();
    assert.equal(await page.locator("g.way-a").count(), 0);
    release();
    await page.locator("g.way-a").waitFor({ state: "attached" });
    const targets = service.calls.filter(([call]) => call === "find").map(([, target]) => target);
    assert.deepEqual(new Set(targets), new Set([PEER_A, HASH, GONE]));
    await visit.end();
  },
});
