// The view of the signs of an attack.

import { exampleOf } from "../../src/reports/fields.ts";
import { NodeThreats } from "../../src/reports/threats.ts";
import { fakeNodeTest } from "./fake_node.ts";

const HASH = "33".repeat(20);

fakeNodeTest("the page shows whether somebody attacks the node", {
  "a flood and a crowded value are signs, with their source and what to do": async (
    browser,
    api,
    service,
  ) => {
    const calm = exampleOf(NodeThreats);
    service.threatReport = {
      ...calm,
      refused: {
        ...calm.refused,
        reasons: [
          { reason: "rate_limited", total: 9_000, recent: 8_000, per_second: 70 },
          { reason: "unmatched", total: 20, recent: 20, per_second: 0 },
        ],
      },
      values: {
        counted: 3,
        crowded: 1,
        densest: [{ ...calm.values.densest[0], hash: HASH, nodes: 41, crowded: true }],
      },
    };
    const visit = await browser.visit(api, "#/node");
    const { page } = visit;
    await page.getByRole("link", { name: "Is it an attack?" }).click();
    // The fake node's statistics name a crowded key too.
    await page.getByRole("heading", { name: "3 signs of an attack" }).waitFor();
    await page.getByText("70.0 packets a second are refused").waitFor();
    await page.getByRole("row", { name: /^198.51.100.0\/24 Queries over the rate limit 900$/ })
      .waitFor();
    await page.getByRole("row", { name: /^Queries over the rate limit 70.0 8,000 9,000$/ })
      .waitFor();
    await page.getByRole("row", { name: /^33333333 41 6.1/ }).waitFor();
    await page.getByRole("textbox", { name: /^Address, CIDR/ }).fill("198.51.100.0/24");
    await page.getByRole("button", { name: "Deny", exact: true }).click();
    await page.getByText("Denied 198.51.100.0/24.").waitFor({ state: "attached" });
    await page.getByRole("link", { name: "33333333" }).click();
    await page.getByRole("heading", { name: "Value 33333333" }).waitFor();
    await visit.end(/status of 404/);
  },

  "a slow, a failing and an odd answer are told apart": async (browser, api, service) => {
    const odd = {
      refused: {
        over_s: 0,
        sources_since: "never",
        sources: [],
        reasons: [{ reason: "__proto__", total: -1, recent: -1, per_second: -1 }],
      },
      own_ids: [],
      values: { counted: 7, crowded: 0, densest: [] },
      contacts: { all: 0, networks: 0, largest: [], widest: [] },
    };
    let release = () => {};
    const held = new Promise<void>((resolve) => release = resolve);
    const visit = await browser.visit(api, "#/threats", {}, async (page) => {
      await page.route("**/network/threats", async (route) => {
        await held;
        await route.fulfill({ status: 500, json: { detail: "The disk is full." } });
      }, { times: 1 });
    });
    const { page } = visit;
    await page.getByText("Loading…").waitFor();
    release();
    await page.getByText("The disk is full.").waitFor();
    service.threatReport = odd as NodeThreats;
    await page.reload();
    await page.getByText("The node has no contacts.").waitFor();
    await visit.end(/status of 500/);
  },
});
