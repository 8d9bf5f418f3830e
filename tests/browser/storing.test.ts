// Storing from the dashboard: nothing is overwritten, lost or sent in vain without a word.

import assert from "node:assert/strict";
import type { Page } from "playwright-core";
import { exampleOf } from "../../src/reports/fields.ts";
import { PINNED, Transfer } from "../../src/reports/values.ts";
import { until } from "./browser.ts";
import { fakeNodeTest, holdText } from "./fake_node.ts";

/** Drops files on an element. */
async function drop(page: Page, selector: string, files: Record<string, string>): Promise<void> {
  const dataTransfer = await page.evaluateHandle(
    `(() => {
      const data = new DataTransfer();
      for (const [name, text] of Object.entries(${JSON.stringify(files)})) {
        data.items.add(new File([text], name));
      }
      return data;
    })()`,
  );
  await page.locator(selector).dispatchEvent("drop", { dataTransfer });
}

fakeNodeTest("storing from the dashboard overwrites and loses nothing silently", {
  "one key takes one file, and overwriting asks first": async (browser, api, service) => {
    const visit = await browser.visit(api, "#/values");
    const { page } = visit;
    const key = page.getByRole("textbox", { name: /^Key optional/ });
    await key.fill("notes");
    await drop(page, ".drop", { "a.txt": "one", "b.txt": "two" });
    await page.getByText("One key has one value.").waitFor();
    assert.equal(service.options.length, 0);
    await drop(page, ".drop", { "a.txt": "one" });
    await page.locator(".store").getByText("stored", { exact: true }).waitFor();
    assert.equal(await key.inputValue(), "", "the key does not apply to the next file");
    assert.equal(service.options[0]?.cas, 0, "there must be no version");

    service.storeOutcome = { outcome: "cas_mismatch", seq: 7 };
    await key.fill("notes");
    await drop(page, ".drop", { "b.txt": "two" });
    await page.getByText("already has a value, version 7. Overwrite it?").waitFor();
    service.storeOutcome = null;
    await page.getByRole("button", { name: "Overwrite" }).click();
    await until(async () =>
      await page.locator(".store").getByText("stored", { exact: true }).count() === 2
    );
    assert.equal(service.options[2]?.cas, 7);
    await visit.end(/status of 412/);
  },

  "a file over the limit is refused before it is sent": async (browser, api, service) => {
    const visit = await browser.visit(api, "#/values", {}, async (page) => {
      await page.route("**/network/stats", async (route) => {
        const response = await route.fetch(), stats = await response.json();
        stats.config.max_value_size = 10;
        await route.fulfill({ response, json: stats });
      });
    });
    const { page } = visit;
    await page.getByText("Up to 10 B each").waitFor();
    await drop(page, ".drop", { "large.txt": "more than ten bytes" });
    await page.getByText("This node stores values of up to 10 B.").waitFor();
    assert.equal(service.options.length, 0);
    await visit.end();
  },

  "leaving asks while a store is running, and a file beside the zone is ignored": async (
    browser,
    api,
  ) => {
    const visit = await browser.visit(api, "#/values");
    const { page } = visit;
    await page.route("**/network/store", () => {});
    const isKept = () =>
      page.evaluate<boolean>(
        `!dispatchEvent(new Event("beforeunload", { cancelable: true }))`,
      );
    assert.equal(await isKept(), false);
    await drop(page, ".drop", { "a.txt": "one" });
    await page.getByRole("button", { name: "Cancel storing a.txt" }).waitFor();
    assert.equal(await isKept(), true);
    const isStopped = await page.evaluate<boolean>(`(() => {
      const dataTransfer = new DataTransfer();
      dataTransfer.items.add(new File(["x"], "x.txt"));
      const options = { bubbles: true, cancelable: true, dataTransfer };
      return !document.querySelector("h1").dispatchEvent(new DragEvent("drop", options));
    })()`);
    assert.ok(isStopped, "the browser would open the file instead of the page");
    await visit.end();
  },

  "a store that runs on survives a reload of the page": async (browser, api, service) => {
    const { total_bytes: _, ...rest } = exampleOf(Transfer);
    service.underWay = [{ ...rest, label: "page-abc-1", total_bytes: 100_000 }];
    const visit = await browser.visit(api, "#/values");
    const { page } = visit;
    const others = page.getByRole("list", { name: "Other stores through this node" });
    await others.getByText("page-abc-1").waitFor();
    await others.getByText("65.7 kB acknowledged").waitFor();
    await visit.end();
  },

  "a value that only this node has is not shown as safe": async (browser, api, service) => {
    const stored = await service.store(new Uint8Array(1), null);
    assert.ok(stored.outcome === "stored");
    const report = { ...stored.report, replicas: 1, this_node_only: true, lives_until: null };
    service.storeOutcome = { outcome: "stored", report };
    const visit = await browser.visit(api, "#/values");
    const { page } = visit;
    await drop(page, ".drop", { "a.txt": "one" });
    await page.locator(".store .badge.tone-warn", { hasText: "on this node only" }).waitFor();
    await page.getByText(/^no other node has a copy; in/).waitFor();
    assert.equal(await page.locator(".store .tone-ok").count(), 0);
    await visit.end();
  },

  "the focus stays near a value that is no longer published": async (browser, api, service) => {
    const { hash } = PINNED;
    service.publishedValues = [{ ...PINNED, pinned: false, key: null }];
    const visit = await browser.visit(api, "#/values");
    const { page } = visit;
    const focused = () =>
      page.evaluate<string>(
        `document.activeElement.getAttribute("aria-label") ?? document.activeElement.textContent`,
      );
    const stop = `Stop publishing ${hash.slice(0, 8)}`;
    await page.getByRole("button", { name: stop }).click();
    await until(async () => await focused() === "Cancel");
    await page.keyboard.press("Enter");
    await until(async () => await focused() === stop);
    await page.keyboard.press("Enter");
    holdText(service, hash, "x");
    await page.getByRole("button", { name: "Stop publishing", exact: true }).click();
    await until(async () => await focused() === "Published by this node");
    await visit.end();
  },
});
