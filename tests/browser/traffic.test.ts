// The view of what the node costs: its totals, their purposes, the forecast, the budget and the limits.

import { exampleOf } from "../../src/reports/fields.ts";
import { TrafficReport } from "../../src/reports/traffic.ts";
import { fakeNodeTest } from "./fake_node.ts";

const HOUR_MS = 3_600_000, MB = 1_000_000;

/** A period in which only answers were sent. */
const sending = (sent: number) => {
  const { by_purpose } = exampleOf(TrafficReport).days[0];
  const none = Object.keys(by_purpose).map((purpose) => [purpose, { sent: 0, received: 0 }]);
  return {
    sent,
    received: 0,
    by_purpose: {
      ...Object.fromEntries(none),
      answers: { sent, received: 0 },
    } as typeof by_purpose,
  };
};

/** A report of the last 30 hours, with 1 MB in each hour. */
function report(): TrafficReport {
  const hour = new Date(Math.floor(Date.now() / HOUR_MS) * HOUR_MS);
  const hours = Array.from({ length: 30 }, (_, i) => ({
    hour: new Date(+hour - (29 - i) * HOUR_MS).toISOString(),
    ...sending(MB),
  }));
  const time = hour.toISOString();
  return {
    hours,
    days: [{ day: "2026-01-31", ...sending(7 * MB) }, {
      day: time.slice(0, 10),
      ...sending(9 * MB),
    }],
    months: [{ month: "2026-01", ...sending(7 * MB) }, {
      month: time.slice(0, 7),
      ...sending(9 * MB),
    }],
    limits: { up: 250_000, down: null },
    budget: null,
  };
}

fakeNodeTest("the page shows what the node costs", {
  "totals by day and month, and the purposes of the chosen one, keep their address": async (
    browser,
    api,
    service,
  ) => {
    service.trafficReport = report();
    const visit = await browser.visit(api);
    const { page } = visit;
    await page.getByRole("link", { name: /^Traffic/ }).click();
    await page.getByRole("heading", { name: "What does it cost?" }).waitFor();
    await page.getByText("up: 250 kB/s, down: no limit").waitFor();
    await page.getByText(/^about .* by the end of the month/).waitFor();
    await page.getByRole("link", { name: "2026-01-31" }).click();
    await page.getByRole("region", { name: "Traffic by purpose, 2026-01-31" })
      .getByRole("row", { name: /Answers to other nodes 7.00 MB 0 B 100 %/ }).waitFor();
    await page.reload();
    await page.getByRole("region", { name: "Traffic by purpose, 2026-01-31" }).waitFor();
    await page.getByRole("button", { name: "Months" }).click();
    await page.getByRole("link", { name: "2026-01", exact: true }).waitFor();
    await page.goBack();
    await page.getByRole("region", { name: "Totals by day" }).waitFor();
    await visit.end();
  },

  "a budget that will not last and one that is used up are explained": async (
    browser,
    api,
    service,
  ) => {
    const bytes = 10 * MB, until = "2999-01-01T00:00:00Z";
    const budget = { bytes, used: 9 * MB, left: MB, until, read_only: false };
    service.trafficReport = {
      ...report(),
      // The month so far already reaches the budget, and more will follow.
      months: [{ month: new Date().toISOString().slice(0, 7), ...sending(bytes) }],
      budget,
    };
    const visit = await browser.visit(api, "#/traffic");
    await visit.page.getByText("the budget will not last").waitFor();
    await visit.page.getByRole("meter", { name: "Budget used" }).waitFor();
    service.trafficReport = {
      ...report(),
      budget: { ...budget, used: bytes, left: 0, read_only: true },
    };
    await visit.page.reload();
    await visit.page.getByText("The budget is used up.").waitFor();
    await visit.end();
  },

  "a slow, a failing, an empty and an odd answer are told apart": async (
    browser,
    api,
    service,
  ) => {
    service.trafficReport = { ...report(), hours: [], days: [], months: [] };
    let release = () => {};
    const held = new Promise<void>((resolve) => release = resolve);
    const visit = await browser.visit(api, "#/traffic", {}, async (page) => {
      await page.route("**/network/traffic", async (route) => {
        await held;
        await route.fulfill({ status: 500, json: { detail: "The disk is full." } });
      }, { times: 1 });
    });
    const { page } = visit;
    await page.getByText("Loading…").waitFor();
    release();
    await page.getByText("The disk is full.").waitFor();
    await page.reload();
    await page.getByText("This node has not sent or received anything yet").waitFor();
    const odd = { sent: -5, received: 1e300, by_purpose: { "<b>": { sent: 1, received: 1 } } };
    await page.route("**/network/traffic", (route) =>
      route.fulfill({
        json: {
          ...report(),
          hours: [{ hour: "yesterday", ...odd }],
          days: [],
          months: [{ month: "2026-01", ...odd }],
        },
      }));
    await page.reload();
    await page.getByText("too early: the node has counted for less than an hour").waitFor();
    await page.getByRole("button", { name: "Months" }).click();
    await page.getByText("<b>", { exact: true }).waitFor();
    await visit.end(/status of 500/);
  },
});
