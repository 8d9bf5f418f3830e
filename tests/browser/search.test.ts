// One search finds ids, hashes, keys, names and addresses, by keyboard, and its address keeps the text.

import assert from "node:assert/strict";
import { PINNED } from "../../src/reports/values.ts";
import { PEER_A } from "../api/fake_service.ts";
import { until } from "./browser.ts";
import { fakeNodeTest, holdText } from "./fake_node.ts";

const HASH = "22".repeat(20);

fakeNodeTest("one search box for ids, hashes, keys, names and addresses", {
  "by keyboard alone: from any view to a value by its key, and back": async (
    browser,
    api,
    service,
  ) => {
    holdText(service, HASH, "the minutes");
    service.publishedValues = [{ ...PINNED, hash: HASH, key: "notes/today" }];
    const visit = await browser.visit(api, "#/peers");
    const { page } = visit;
    await page.getByRole("searchbox", { name: "Search by id, address or client" }).waitFor();
    await page.keyboard.press("/");
    const box = page.getByRole("searchbox", {
      name: "Search for an id, hash, key, name or address",
    });
    await box.waitFor();
    await until(() =>
      page.evaluate<boolean>(`document.activeElement.matches(".search-wide input")`)
    );
    await page.keyboard.type("TODAY");
    const found = page.getByRole("link", { name: /notes\/today/ });
    await found.waitFor();
    assert.match(page.url(), /#\/search\?q=TODAY$/);
    await page.keyboard.press("ArrowDown");
    assert.match(await page.evaluate<string>("document.activeElement.textContent"), /notes.today/);
    await page.keyboard.press("Escape");
    assert.equal(await page.evaluate<string>("document.activeElement.type"), "search");
    await page.keyboard.press("Enter");
    await page.getByText("the minutes", { exact: true }).waitFor();
    await page.goBack();
    await found.waitFor();
    assert.equal(await box.inputValue(), "TODAY");
    await visit.end();
  },

  "an id, a part of an address, a public key, a setting and an unknown address": async (
    browser,
    api,
    service,
  ) => {
    const visit = await browser.visit(api, "#/search");
    const { page } = visit;
    const box = page.getByRole("searchbox");
    const first = page.locator(".search-group a").first();
    const peer = service.peerList[0];
    await box.fill(PEER_A.toUpperCase());
    await page.getByRole("link", { name: `Lookup of ${PEER_A.slice(0, 8)}` }).waitFor();
    assert.equal(await first.getAttribute("href"), `#/peers/${PEER_A}`);
    await box.fill(peer.address.slice(0, 9));
    await page.locator(".search-group a", { hasText: peer.address }).first().waitFor();
    await box.fill("max_value");
    await page.getByRole("link", { name: /MAX_VALUE_SIZE/ }).waitFor();
    await box.fill("198.51.100.77:9000");
    await page.getByRole("link", { name: "Connect to 198.51.100.77:9000" }).waitFor();
    await page.getByText("Nothing that this node knows").waitFor();
    await visit.end();
  },

  "a slow answer never appears under another text, and a failing one is explained": async (
    browser,
    api,
    service,
  ) => {
    service.publishedValues = [
      { ...PINNED, hash: HASH, key: "alpha" },
      { ...PINNED, hash: "33".repeat(20), key: "beta" },
    ];
    const visit = await browser.visit(api, "#/search");
    const { page } = visit;
    let release = () => {};
    await page.route(/published\?q=alpha/, async (route) => {
      await new Promise<void>((resolve) => release = resolve);
      await route.continue().catch(() => {});
    });
    const box = page.getByRole("searchbox");
    await box.fill("alpha");
    await page.getByText("Searching values and swarms…").waitFor();
    await box.fill("beta");
    const beta = page.getByRole("link", { name: /^beta/ });
    await beta.waitFor();
    release();
    await page.waitForTimeout(200);
    assert.equal(await page.getByRole("link", { name: /^alpha/ }).count(), 0);
    await page.route(/network\/swarms/, (route) => route.fulfill({ status: 500, body: "no" }));
    await box.fill("gamma");
    await page.getByText("Values and swarms were not searched.").waitFor();
    await visit.end(/500/);
  },

  "the key of a sealed value stays in the browser": async (browser, api) => {
    const visit = await browser.visit(api, "#/search");
    const { page } = visit;
    const asked: string[] = [];
    page.on("request", (request) => asked.push(request.url()));
    await page.getByRole("searchbox").fill(`dm:${HASH}#mCkqSyjXUhFcSUVzTClL1A`);
    await page.getByRole("link", { name: /^Sealed value/ }).waitFor();
    await page.waitForTimeout(600);
    assert.deepEqual(asked.filter((url) => url.includes("mCkq")), []);
    await visit.end();
  },
});
