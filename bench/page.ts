// How much the dashboard of a node sends to a browser that opens it for the first time, and when its largest paint is on
// a slow line (400 ms round trip, 50 kB/s). Needs Chromium. DMNODE names an executable; without it, the node runs from
// source, where the modules are not bundled.
//
// deno run -A bench/page.ts [ROUNDS]

import { TestBrowser } from "../tests/browser/browser.ts";
import { withNodes } from "../tests/program/program.ts";
import { median, printTable } from "./measure.ts";

const LATENCY_MS = 400, BYTES_PER_SECOND = 50_000;

const SETTLE_MS = 3_000;

const LARGEST_PAINT = `new Promise((resolve) => new PerformanceObserver((list) =>
  resolve(list.getEntries().at(-1).startTime)
).observe({ type: "largest-contentful-paint", buffered: true }))`;

const rounds = Number(Deno.args[0] ?? 5);
const browser = await TestBrowser.launch();
const paints: number[] = [];
let bytes = 0, requests = 0;
await withNodes(async (start) => {
  const { api } = await start("node");
  for (let round = 0; round < rounds; round++) {
    bytes = requests = 0;
    const { page } = await browser.visit(api, "#/", {}, async (page) => {
      const session = await page.context().newCDPSession(page);
      await session.send("Network.enable");
      await session.send("Network.emulateNetworkConditions", {
        offline: false,
        latency: LATENCY_MS,
        downloadThroughput: BYTES_PER_SECOND,
        uploadThroughput: BYTES_PER_SECOND,
      });
      session.on("Network.responseReceived", () => requests++);
      session.on("Network.loadingFinished", (event) => bytes += event.encodedDataLength);
    });
    await page.waitForLoadState("networkidle");
    await page.waitForTimeout(SETTLE_MS);
    paints.push(await page.evaluate<number>(LARGEST_PAINT));
    await page.context().close();
  }
})();
await browser.close();
printTable("The dashboard, opened for the first time", [
  "requests",
  "kB",
  "largest paint on a slow line",
], [[
  `${requests}`,
  (bytes / 1000).toFixed(1),
  `${(median(paints) / 1000).toFixed(2)} s`,
]]);
Deno.exit(0);
