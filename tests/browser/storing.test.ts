// Storing from the dashboard: nothing is overwritten, lost or sent in vain without a word.

import assert from "node:assert/strict";
import type { Page } from "playwright-core";
import { exampleOf } from "../../src/reports/fields.ts";
import { PINNED, Transfer } from "../../src/reports/values.ts";
import { until } from "./browser.ts";
import { isSealed, parseSealLink } from "../../src/web/seal.js";
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

  "a dropped file is sealed in the page, and its link opens it again": async (
    browser,
    api,
    service,
  ) => {
    const visit = await browser.visit(api, "#/values");
    const { page } = visit;
    const requests: string[] = [];
    page.on("request", (request) => {
      requests.push(request.url(), JSON.stringify(request.headers()));
    });
    await drop(page, ".drop", { "diary.txt": "my secret" });
    const link = await page.locator(".seal-link").innerText();
    const parsed = parseSealLink(link);
    assert.ok(parsed !== null, link);
    const { bytes } = service.values.get(parsed.hash) ?? {};
    assert.ok(bytes !== undefined && isSealed(bytes), "the node got a sealed value");
    await page.getByText("What is a link?").click();
    await page.getByText("so the node never gets the key").waitFor();

    await page.getByRole("textbox", { name: "Hash or link" }).fill(link.slice(0, -1));
    await page.getByText("A link is dm:, 40 hex digits, # and 22 characters.").waitFor();
    await page.getByRole("textbox", { name: "Hash or link" }).fill(link);
    await page.getByRole("button", { name: "Fetch", exact: true }).click();
    const preview = page.getByLabel("Preview of the value");
    await preview.waitFor();
    assert.equal(await preview.innerText(), "my secret");
    await page.reload();
    await preview.waitFor();
    assert.equal(await preview.innerText(), "my secret", "the address names the link");
    assert.ok(!requests.join().includes(parsed.key), "a request contained the key");

    await page.getByRole("textbox", { name: "Hash or link" }).fill(parsed.hash);
    await page.getByRole("button", { name: "Fetch", exact: true }).click();
    await page.getByText("This value is sealed. Enter its link to see the content.").waitFor();
    const wrong = `dm:${parsed.hash}#${"A".repeat(22)}`;
    await page.getByRole("textbox", { name: "Hash or link" }).fill(wrong);
    await page.getByRole("button", { name: "Fetch", exact: true }).click();
    await page.getByText("The key does not open this value, or the value was changed.").waitFor();
    await visit.end();
  },

  "a page without cryptography lets the node seal and open": async (browser, api, service) => {
    const visit = await browser.visit(
      api,
      "#/values",
      {},
      async (page) => {
        await page.addInitScript(
          `Object.defineProperty(Crypto.prototype, "subtle", { value: undefined })`,
        );
      },
    );
    const { page } = visit;
    await drop(page, ".drop", { "diary.txt": "my secret" });
    const link = await page.locator(".seal-link").innerText();
    const { bytes } = service.values.get(parseSealLink(link)!.hash) ?? {};
    assert.ok(bytes !== undefined && isSealed(bytes), "the node sealed the value");
    await page.getByText("What is a link?").click();
    await page.getByText("so the node encrypts the value and gets the key for a moment").waitFor();
    await page.locator(".store-result .id").click();
    const preview = page.getByLabel("Preview of the value");
    await preview.waitFor();
    assert.equal(await preview.innerText(), "my secret");
    await visit.end();
  },

  "a new version can keep its link, and a file can be stored as it is": async (
    browser,
    api,
    service,
  ) => {
    const visit = await browser.visit(api, "#/values");
    const { page } = visit;
    const key = page.getByRole("textbox", { name: /^Key optional/ });
    const linkField = page.getByRole("textbox", { name: /^Link optional/ });
    await key.fill("notes");
    await linkField.fill("dm:no");
    await page.getByText("A link is dm:, 40 hex digits, # and 22 characters.").waitFor();
    const earlier = "mCkqSyjXUhFcSUVzTClL1A";
    await linkField.fill(`dm:${"00".repeat(20)}#${earlier}`);
    await drop(page, ".drop", { "a.txt": "one" });
    assert.equal(parseSealLink(await page.locator(".seal-link").innerText())?.key, earlier);

    await page.getByRole("checkbox", { name: /^Seal/ }).uncheck();
    await drop(page, ".drop", { "b.txt": "two" });
    await until(async () => await page.locator(".store-result").count() === 2);
    assert.equal(await page.locator(".seal-link").count(), 1);
    const stored = [...service.values.values()].map(({ bytes }) => new TextDecoder().decode(bytes));
    assert.ok(stored.includes("two"));
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
