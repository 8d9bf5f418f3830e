// The page of a busy node: an hour of events in less than a minute, and thousands of peers. The page's memory and its
// number of elements must not grow.

import assert from "node:assert/strict";
import type { Page } from "playwright-core";
import { withNodes } from "../program/program.ts";
import { browserTest, until } from "./browser.ts";

const SECONDS = 3_600, EVENTS_PER_SECOND = 20;

/** Number of peers in the largest routing tables. */
const PEERS = 5_000;

/** Number of events that the page keeps. Each needs at least one element. */
const KEPT_EVENTS = 500;

/** After the first tenth, the page holds everything that it keeps. More growth than this is a leak. */
const GROWTH_BYTES = 8e6;

interface Held {
  readonly heap: number;
  readonly elements: number;
}

browserTest(
  "an hour of events and thousands of peers don't make the page grow",
  async (browser) => {
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
      // The page draws at most five times a second.
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
      await page.getByText("Latest 5", { exact: false }).waitFor();

      await page.evaluate(`globalThis.fetch = async (path) => {
      const peers = Array.from({ length: ${PEERS} }, (_, n) => madeUpPeer(n + 1));
      const denied = { denied: [], in_file: 0 };
      const answers = { "/network/peers": { peers }, "/network/denied": denied };
      return Response.json(answers[path] ?? { samples: [] });
    }`);
      await page.evaluate(`location.hash = "#/peers"`);
      // The page reads the list again every ten seconds.
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
  },
);

/** Memory of the page after a garbage collection. */
async function held(page: Page): Promise<Held> {
  const session = await page.context().newCDPSession(page);
  await session.send("HeapProfiler.collectGarbage");
  const heap = await page.evaluate<number>("performance.memory.usedJSHeapSize");
  const elements = await page.evaluate<number>("document.querySelectorAll('*').length");
  await session.detach();
  return { heap, elements };
}
