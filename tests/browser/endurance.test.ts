// An hour of a busy node in a minute: what the page keeps, draws and holds in memory does not grow with it.

import assert from "node:assert/strict";
import type { Page, WebSocketRoute } from "playwright-core";
import { withNodes } from "../program/program.ts";
import { browserTest, until } from "./browser.ts";

const SECONDS = 3_600, EVENTS_PER_SECOND = 20, PEERS = 5_000;

/** More than this is a leak: after the first tenth there is everything that the page keeps. */
const GROWTH_BYTES = 12e6;

interface Memory {
  readonly heap: number;
  readonly elements: number;
}

browserTest(
  "an hour of events, and thousands of peers, leave the page as light as it was",
  async (browser) => {
    await withNodes(async (start) => {
      const node = await start("node");
      let socket: WebSocketRoute | undefined;
      const stats = await (await fetch(`${node.api}/network/stats`)).json();
      const own: string = stats.node_id;
      const visit = await browser.visit(node.api, "#/events", {}, async (page) => {
        // The node itself is quiet: what happens is made up here, in its own words.
        await page.routeWebSocket(/\/ws/, (route) => {
          if (route.url().includes("since=")) return;
          socket = route;
          const data = {
            node_id: own,
            version: "0.1.0",
            peers: 0,
            last: 1,
            resumed: false,
            missed: 0,
          };
          route.send(
            JSON.stringify({ id: null, type: "hello", at: new Date().toISOString(), data }),
          );
        });
        await page.route("**/network/peers", (route) => route.fulfill({ json: peersAnswer(own) }));
      });
      const { page } = visit;
      await page.getByText("Live", { exact: true }).waitFor();

      let id = 2;
      const send = (type: string, data: unknown, isKept = true) =>
        socket!.send(
          JSON.stringify({ id: isKept ? id++ : null, type, at: new Date().toISOString(), data }),
        );
      const seconds = async (count: number) => {
        for (let second = 0; second < count; second++) {
          send("stats", stats, false);
          for (let i = 0; i < EVENTS_PER_SECOND; i++) send(...madeUpEvent(id));
          // The browser is given its turns.
          if (second % 50 === 0) await page.evaluate("new Promise(requestAnimationFrame)");
        }
      };
      await seconds(SECONDS / 10);
      const before = await memoryOf(page);
      await seconds(SECONDS * 0.9);
      await until(async () => (await page.locator(".event").count()) > 0);
      const after = await memoryOf(page);
      console.log(
        `${id} events: heap ${mb(before.heap)} then ${
          mb(after.heap)
        }, elements ${before.elements} then ${after.elements}`,
      );
      assert.ok(after.heap - before.heap < GROWTH_BYTES, "the heap grows");
      assert.ok(
        after.elements < 2_500 && after.elements < before.elements * 1.5,
        "the document grows",
      );

      await page.evaluate(`location.hash = "#/peers"`);
      await page.getByText(`${PEERS.toLocaleString("en")} peers`).waitFor();
      const rows = page.locator(".peers-table tbody tr:not(.spacer)");
      assert.ok(await rows.count() < 120, "all rows are drawn");
      const frame = page.locator(".table-frame");
      await page.getByRole("columnheader", { name: "Peer" }).getByRole("button").click();
      const top = await rows.first().innerText();
      await frame.evaluate("document.querySelector('.table-frame').scrollTop = 1e9");
      await until(async () => await rows.first().innerText() !== top);
      const last = await rows.last().locator(".id").innerText();
      assert.equal(
        last,
        peersAnswer(own).peers.map(({ node_id }) => node_id).toSorted().at(-1)!.slice(0, 8),
      );
      await page.getByRole("searchbox").fill(last);
      await until(async () => await rows.count() === 1);
      await visit.end();
    })();
  },
);

/** As many kinds as there are, of many peers and values. */
function madeUpEvent(n: number): [string, unknown] {
  const node_id = idOf(n % 700),
    address = `10.0.${n % 200}.${n % 250}:8000`,
    hash = idOf(n + 10_000);
  switch (n % 5) {
    case 0:
      return ["peer.join", peerOf(n % 700)];
    case 1:
      return ["peer.leave", { node_id, address, reason: "no answer to ping" }];
    case 2:
      return ["data.store", { hash, kind: "immutable", seq: null, size: n % 996, from: address }];
    case 3:
      return ["lookup", {
        lookup: n,
        target: hash,
        method: "get",
        hops: 3,
        queries: 24,
        elapsed_ms: 80.5,
        success: true,
      }];
    default:
      return ["data.progress", {
        transfer: n,
        label: `l${n}`,
        direction: "fetch",
        hash,
        done_bytes: n,
        total_bytes: null,
        state: "moving",
      }];
  }
}

/** Spread over the id space, and the same for the same number. */
function idOf(n: number): string {
  return (Math.imul(n, 2_654_435_761) >>> 0).toString(16).padStart(8, "0").repeat(5);
}

function peerOf(n: number) {
  return {
    node_id: idOf(n),
    address: `10.${n >> 8}.${n & 255}.7:8000`,
    distance: 160,
    last_seen: "2026-04-14T10:29:55Z",
    health: ["healthy", "healthy", "healthy", "degraded", "unhealthy"][n % 5],
    rtt_ms: n % 300,
    score: (n % 100) / 100,
    first_seen: "2026-04-14T09:00:00Z",
    client: n % 3 === 0 ? null : "dmnode/0.1.0",
  };
}

function peersAnswer(own: string) {
  const peers = Array.from({ length: PEERS }, (_, n) => peerOf(n + 1));
  return { node_id: own, peers, routing_table_size: PEERS, bucket_distribution: {} };
}

async function memoryOf(page: Page): Promise<Memory> {
  const session = await page.context().newCDPSession(page);
  await session.send("HeapProfiler.collectGarbage");
  const heap = await page.evaluate<number>("performance.memory.usedJSHeapSize");
  const elements = await page.evaluate<number>("document.querySelectorAll('*').length");
  await session.detach();
  return { heap, elements };
}

function mb(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
