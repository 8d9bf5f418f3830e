// The operator's actions: connect, deny and allow, publish now, and download diagnostics.

import assert from "node:assert/strict";
import { PINNED } from "../../src/reports/values.ts";
import { PEER_A } from "../api/fake_service.ts";
import { until } from "./browser.ts";
import { fakeNodeTest } from "./fake_node.ts";

const HASH = "22".repeat(20);

fakeNodeTest("actions of the operator", {
  "connect: an address from the search, a slow answer, refusals, and a wrong address": async (
    browser,
    api,
    service,
  ) => {
    const visit = await browser.visit(api, "#/peers?connect=198.51.100.7%3A8000");
    const { page } = visit;
    const card = page.locator(".card", { hasText: "Connect to a peer" });
    const field = card.getByRole("textbox", { name: "Address" });
    await until(async () => await field.inputValue() === "198.51.100.7:8000");
    let release = () => {};
    await page.route(/network\/peers\?address/, async (route) => {
      await new Promise<void>((resolve) => release = resolve);
      await route.continue();
    });
    await field.press("Enter");
    await card.getByRole("button", { name: "Connecting…" }).waitFor();
    release();
    await card.getByText("answered in 12.4 ms").waitFor();
    await page.unrouteAll();
    assert.deepEqual(service.calls.filter(([call]) => call === "connect"), [
      ["connect", "198.51.100.7:8000"],
    ]);
    await field.fill("192.0.2.2:8000");
    await field.press("Enter");
    await card.getByText("Nobody answered at 192.0.2.2:8000.").waitFor();
    assert.equal(await card.getByText("answered in").count(), 0);
    await field.fill("192.0.2.1:8000");
    await field.press("Enter");
    await card.getByText("192.0.2.1:8000 is not permitted by --allow-net.").waitFor();
    await field.fill("192.0.2.2");
    await card.getByText("An address is a host and a UDP port").waitFor();
    assert.equal(await card.getByRole("button", { name: "Connect" }).isDisabled(), true);
    await visit.end(/50[4]|403/);
  },

  "deny: by the address of a peer's page, and allow again": async (browser, api, service) => {
    const visit = await browser.visit(api, `#/peers/${PEER_A}`);
    const { page } = visit;
    await page.getByRole("button", { name: "Deny…" }).click();
    await page.getByRole("button", { name: "Deny this id" }).waitFor();
    assert.equal(await page.evaluate("document.activeElement.textContent"), "Deny this id");
    await page.getByRole("button", { name: "Deny 192.168.1.10" }).click();
    await page.getByText("This node ignores 192.168.1.10 from now on.").waitFor();
    assert.deepEqual([...service.deniedEntries], ["192.168.1.10"]);
    await page.getByRole("link", { name: "Denied peers" }).click();
    const card = page.locator(".card", { hasText: "Denied peers" });
    await card.getByText("2 entries in the file").waitFor();
    await card.getByRole("textbox").fill("nobody");
    await card.getByRole("textbox").press("Enter");
    await card.getByText(/expected an address, CIDR, node id or public key/).waitFor();
    await card.getByRole("button", { name: "Allow 192.168.1.10" }).click();
    await card.getByRole("button", { name: "Allow", exact: true }).click();
    await until(() => service.deniedEntries.size === 0);
    await until(async () => await card.locator("li code").count() === 0);
    await visit.end(/400/);
  },

  "publish now: the node is asked once, and a refusal is shown": async (browser, api, service) => {
    service.publishedValues = [{ ...PINNED, hash: HASH, key: "notes" }];
    const visit = await browser.visit(api, "#/values");
    const { page } = visit;
    const button = page.getByRole("button", { name: "Publish notes now" });
    await button.click();
    await page.getByText("notes is published next.").waitFor();
    assert.deepEqual(service.calls.filter(([call]) => call === "publishNow"), [
      ["publishNow", HASH],
    ]);
    const detail = "The token reader lacks the scope store.";
    await page.route(/network\/published\/2/, (route) =>
      route.fulfill({
        status: 403,
        contentType: "application/problem+json",
        body: JSON.stringify({ type: "about:blank", title: "Forbidden", status: 403, detail }),
      }));
    await button.click();
    await page.getByText(detail).waitFor();
    await visit.end(/403/);
  },

  "diagnostics: the file is what the node answers, and a failure is no file": async (
    browser,
    api,
  ) => {
    const visit = await browser.visit(api, "#/node");
    const { page } = visit;
    const button = page.getByRole("button", { name: "Download the report" });
    const downloading = page.waitForEvent("download");
    await button.click();
    const download = await downloading;
    assert.match(download.suggestedFilename(), /^dmnode-diagnostics-.*\.json$/);
    const report = JSON.parse(await Deno.readTextFile(await download.path()));
    assert.equal(report.stats.config.api_token, false);
    assert.ok(Array.isArray(report.findings));
    await page.route(/diagnostics/, (route) => route.fulfill({ status: 500, body: "<html>" }));
    await button.click();
    await page.getByText("The node answered with status 500.").waitFor();
    await visit.end(/500/);
  },
});

fakeNodeTest("why a node can't be reached", {
  "from the overview to the evidence and the remedy for this very case": async (
    browser,
    api,
    service,
  ) => {
    const stats = service.stats.bind(service);
    service.stats = async () => ({ ...await stats(), addresses: ["192.168.1.5:8000"] });
    const visit = await browser.visit(api);
    const { page } = visit;
    await page.getByRole("link", { name: "Why?" }).first().click();
    await page.getByRole("heading", { name: "Who can reach this node?" }).waitFor();
    await page.getByText("12 of 13 peers see this node at 203.0.113.9:41000.").waitFor();
    await page.getByText("sudo ufw allow 8000/udp").waitFor();
    await page.getByRole("button", { name: "Copy line for Linux with ufw" }).waitFor();
    await page.getByText("6 nodes introduce others to it").waitFor();
    assert.match(page.url(), /#\/reachability$/);
    await visit.end();
  },
});
