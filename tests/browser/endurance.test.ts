// An hour of a busy node in less than a minute: what the page keeps and draws does not grow with it. And many peers.

import assert from "node:assert/strict";
import type { Page } from "playwright-core";
import { withNodes } from "../program/program.ts";
import { browserTest, until } from "./browser.ts";

const SECONDS = 3_600, EVENTS_PER_SECOND = 20;

/** As in the largest routing tables. */
const PEERS = 5_000;

/** Events that the page keeps, each an element or more. */
const KEPT_EVENTS = 500;

/** After the first tenth there is everything that the page keeps: more than this on top is a leak. */
const GROWTH_BYTES = 8e6;

interface Held {
  readonly heap: number;
  readonly elements: number;
}

browserTest("an hour of events, and thousands of peers", async (browser) => {
  const madeUp = await Deno.readTextFile(new URL("made_up_node.js", import.meta.url));
  await withNodes(async (start) => {
    const node = await start("node");
    const stats = await (await fetch(`${node.api}/network/stats`)).text();
    const visit = await browser.visit(node.api, "#/events", {}, async (page) => {
      await page.addInitScript({ content: madeUp });
    });
    const { page } = visit;
    await page.getByText("Live", { exact: true }).waitFor();
    const live = (seconds: number) =>
      page.evaluate<number>(`madeUpNode.live(${seconds}, ${EVENTS_PER_SECOND}, ${stats})`);
    await live(SECONDS / 10);
    // It draws five times a second at most.
    await until(async () => (await held(page)).elements > KEPT_EVENTS);
    const before = await held(page);
    const events = await live(SECONDS * 0.9);
    const after = await held(page);
    const mb = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`;
    console.log(
      `${events} events: heap ${mb(before.heap)}, then ${mb(after.heap)}; ` +
        `elements ${before.elements}, then ${after.elements}`,
    );
    assert.ok(events > SECONDS * EVENTS_PER_SECOND);
    assert.ok(after.heap - before.heap < GROWTH_BYTES, "the heap grows");
    assert.ok(after.elements < before.elements * 1.2, "the document grows");
    await page.getByText("The latest 5", { exact: false }).waitFor();

    await page.evaluate(`globalThis.fetch = async (path) => {
      const peers = Array.from({ length: ${PEERS} }, (_, n) => madeUpPeer(n + 1));
      return Response.json(path === "/network/peers" ? { peers } : { samples: [] });
    }`);
    await page.evaluate(`location.hash = "#/peers"`);
    // The list is read again every ten seconds.
    await page.getByText(`${PEERS.toLocaleString("en")} peers`, { exact: true }).waitFor();
    const rows = page.locator(".peers-table tbody tr:not(.spacer)");
    assert.ok(await rows.count() < 120, "all rows are drawn");
    await page.getByRole("columnheader", { name: "Peer" }).getByRole("button").click();
    await page.evaluate("document.querySelector('.table-frame').scrollTop = 1e9");
    const last = await page.evaluate<string>(
      `Array.from({ length: ${PEERS} }, (_, n) => madeUpId(n + 1)).sort().at(-1).slice(0, 8)`,
    );
    await until(async () => await rows.last().locator(".id").innerText() === last);
    await page.getByRole("searchbox").fill(last);
    await until(async () => await rows.count() === 1);
    await visit.end();
  })();
});

/** What the page holds, once nothing is left to be collected. */
async function held(page: Page): Promise<Held> {
  const session = await page.context().newCDPSession(page);
  await session.send("HeapProfiler.collectGarbage");
  const heap = await page.evaluate<number>("performance.memory.usedJSHeapSize");
  const elements = await page.evaluate<number>("document.querySelectorAll('*').length");
  await session.detach();
  return { heap, elements };
}
