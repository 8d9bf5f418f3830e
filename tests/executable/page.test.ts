// Opens the dashboard of the executable that DMNODE names in a real browser: its modules are one bundle there.

import assert from "node:assert/strict";
import { VIEWS } from "../../src/web/routes.js";
import { browserTest } from "../browser/browser.ts";
import { withNodes } from "../program/program.ts";

/** The limit on the bytes of the page over the wire, and on its requests. */
const MAX_BYTES = 150_000, MAX_REQUESTS = 15;

if (Deno.env.get("DMNODE")) {
  browserTest(
    "the executable's dashboard works, and is small",
    (browser) =>
      withNodes(async (start) => {
        const node = await start("node");
        let bytes = 0, requests = 0;
        const visit = await browser.visit(node.api, "#/", {}, async (page) => {
          const session = await page.context().newCDPSession(page);
          await session.send("Network.enable");
          session.on("Network.responseReceived", () => requests++);
          session.on(
            "Network.loadingFinished",
            ({ encodedDataLength }) => bytes += encodedDataLength,
          );
        });
        const { page } = visit;
        await page.getByRole("heading", { name: "No other nodes" }).waitFor();
        // The page loads its data after its files: statistics, peers, an hour and transfers.
        await page.waitForLoadState("networkidle");
        assert.ok(bytes > 50_000 && bytes < MAX_BYTES, `${bytes} bytes`);
        assert.ok(requests <= MAX_REQUESTS + 5, `${requests} requests`);
        for (const { path, label } of VIEWS) {
          await page.evaluate(`location.hash = ${JSON.stringify(path)}`);
          await page.getByRole("heading", { level: 1, name: label }).waitFor();
        }
        await visit.end();
      })(),
  );
}
