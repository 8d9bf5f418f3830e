// The page of a value, the values at risk, the loss of peers, and the charts of a day and of thirty days.

import assert from "node:assert/strict";
import { exampleOf } from "../../src/reports/fields.ts";
import { PublishedValue } from "../../src/reports/values.ts";
import { History } from "../../src/reports/stats.ts";
import { PEER_A } from "../api/fake_service.ts";
import { until } from "./browser.ts";
import { fakeNodeTest, holdText } from "./fake_node.ts";

const HASH = "33".repeat(20), OTHER = "44".repeat(20);
const HOUR_MS = 3_600_000;

/** A picture of one red pixel. */
const PIXEL =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==";

const value = (hash: string, rest: Partial<PublishedValue> = {}): PublishedValue => ({
  ...exampleOf(PublishedValue),
  hash,
  ...rest,
});

fakeNodeTest("the page shows whether the data is safe", {
  "a click on a value opens its page with content, copies over time and holders": async (
    browser,
    api,
    service,
  ) => {
    holdText(service, HASH, "the minutes");
    service.publishedValues = [value(HASH)];
    service.holderDigits.set(HASH, [PEER_A.slice(0, 8), "0badcafe"]);
    const at = (hours: number) => new Date(Date.now() - hours * HOUR_MS).toISOString();
    service.publications.set(HASH, [
      { at: at(3), kind: "published", copies: 20, seq: 6 },
      { at: at(2), kind: "failed", copies: 0, seq: 6 },
      { at: at(1), kind: "counted", copies: 17, seq: 7 },
    ]);
    const visit = await browser.visit(api, "#/values");
    const { page } = visit;
    await page.locator(`.published-card a[href="#/values/${HASH}"]`).click();
    await page.getByRole("heading", { name: `Value ${HASH.slice(0, 8)}` }).waitFor();
    assert.match(page.url(), new RegExp(`#/values/${HASH}$`));
    await page.getByText("the minutes", { exact: true }).waitFor();
    await page.getByText("Safe: 20 nodes acknowledged the value, and 20 are wanted.").waitFor();
    await page.getByRole("img", { name: /^Copies over time.*counted and checked: last 17/ })
      .waitFor();
    await page.getByText("Version 7").waitFor();
    await page.getByText("not a peer of this node").first().waitFor();
    await page.goBack();
    await page.getByRole("heading", { name: "Published by this node" }).waitFor();
    await visit.end();
  },

  "a picture is shown as pixels, and a file that only claims to be one as bytes": async (
    browser,
    api,
    service,
  ) => {
    const bytes = Uint8Array.from(atob(PIXEL), (c) => c.charCodeAt(0));
    const rest = { isBencode: false, seq: null, publicKey: null, kind: "immutable" as const };
    service.values.set(HASH, { hash: HASH, bytes, ...rest });
    const huge = bytes.slice();
    huge.set([0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff], 16);
    service.values.set(OTHER, { hash: OTHER, bytes: huge, ...rest });
    const visit = await browser.visit(api, `#/values/${HASH}`);
    const { page } = visit;
    await page.getByRole("img", { name: "a picture of 1 × 1 pixels" }).waitFor();
    await page.evaluate(`location.hash = "#/values/${OTHER}"`);
    await page.locator("pre.hex").waitFor();
    assert.equal(await page.locator("canvas.preview-picture").count(), 0);
    await visit.end();
  },

  "a value that is not published here, an error and a slow answer are told apart": async (
    browser,
    api,
    service,
  ) => {
    holdText(service, HASH, "x");
    holdText(service, OTHER, "y");
    let release = () => {};
    const held = new Promise<void>((resolve) => release = resolve);
    const visit = await browser.visit(api, `#/values/${HASH}`, {}, async (page) => {
      await page.route(`**/network/published?hash=${OTHER}`, async (route) => {
        await held;
        await route.fulfill({ status: 500, json: { detail: "The disk is full." } });
      });
    });
    const { page } = visit;
    await page.getByText("This node does not publish this value").waitFor();
    await page.evaluate(`location.hash = "#/values/${OTHER}"`);
    await page.getByText("y", { exact: true }).waitFor();
    assert.equal(await page.getByText("This node does not publish this value").count(), 0);
    release();
    await page.getByText("The disk is full.").waitFor();
    await visit.end(/status of 500/);
  },

  "the values at risk have a list with an address": async (browser, api, service) => {
    service.publishedValues = [
      value(HASH),
      value(OTHER, { state: "failing", replicas: 1, failures: 3, this_node_only: true }),
    ];
    const visit = await browser.visit(api, "#/values?show=risk");
    const { page } = visit;
    const links = page.locator(".published-card .id");
    await until(async () => await links.count() === 1);
    assert.equal(await links.getAttribute("href"), `#/values/${OTHER}`);
    await page.getByRole("button", { name: "All", exact: true }).click();
    await until(async () => await links.count() === 2);
    await visit.end();
  },

  "selecting peers or a subnet shows the values that would have too few copies": async (
    browser,
    api,
    service,
  ) => {
    service.publishedValues = [value(HASH), value(OTHER)];
    const { peers } = await service.peers();
    const [peer] = peers, digits = peer.node_id.slice(0, 8);
    service.holderDigits.set(HASH, [digits]);
    service.holderDigits.set(OTHER, [digits, "0badcafe", "0badbeef", "0badf00d"]);
    const visit = await browser.visit(api, "#/values");
    const { page } = visit;
    await page.getByRole("link", { name: "What if some peers are gone?" }).click();
    await page.getByText("1 of 2 values would have fewer than 3 copies.").waitFor();
    const box = page.getByRole("checkbox", { name: `Peer ${digits}` });
    await box.focus();
    await page.keyboard.press("Space");
    await page.getByText("1 of 2 values would have fewer than 3 copies, 1 of them none.").waitFor();
    assert.match(page.url(), new RegExp(`peers=${digits}`));
    await page.reload();
    await page.getByText("1 of them none.").waitFor();
    await page.getByRole("button", { name: "Clear" }).click();
    const subnet = page.getByRole("textbox", { name: "Subnet" });
    await subnet.fill("10.0.0");
    await page.getByText("A subnet is an address, a slash").waitFor();
    await subnet.fill("0.0.0.0/0");
    await page.getByText("1 of them none.").waitFor();
    await visit.end();
  },

  "the charts of a day have the events of that day, and errors are shown": async (
    browser,
    api,
    service,
  ) => {
    const sample = exampleOf(History).samples[0], now = Date.now();
    service.hour = Array.from({ length: 24 }, (_, i) => ({
      ...sample,
      at: new Date(now - (24 - i) * HOUR_MS / 2).toISOString(),
      peers: i,
    }));
    service.marks = [{
      at: new Date(now - HOUR_MS).toISOString(),
      type: "ready",
      text: "not ready: no peer answers",
    }];
    const visit = await browser.visit(api, "#/?span=24+h");
    const { page } = visit;
    await page.getByRole("img", { name: "Peers. peers: last 23" }).waitFor();
    await page.getByText("Events: 1").click();
    await page.getByText("not ready: no peer answers").waitFor();
    await page.route(
      "**/network/history?range=month",
      (route) => route.fulfill({ status: 500, json: { detail: "The disk is full." } }),
    );
    await page.getByRole("button", { name: "30 d" }).click();
    await page.getByText("The disk is full.").waitFor();
    assert.match(page.url(), /span=30/);
    await visit.end(/status of 500/);
  },
});
