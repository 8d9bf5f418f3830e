// The layout of the dashboard's views, from a phone to a wide screen: no text covers other text, no space is wasted, and
// nothing moves under the pointer.

import assert from "node:assert/strict";
import { exampleOf } from "../../src/reports/fields.ts";
import { History } from "../../src/reports/stats.ts";
import { fakeNodeTest } from "./fake_node.ts";

/** The widths of a phone, a tablet, a laptop and a wide screen. */
const WIDTHS = [390, 768, 1440, 2560];

const VIEWS = ["#/", "#/peers", `#/lookups/${"ab".repeat(20)}`, "#/values", "#/node", "#/swarms"];

/** The width of A4 paper in CSS pixels. */
const A4_WIDTH = 794;

/** The color of the page. */
const GROUND = "getComputedStyle(document.body).backgroundColor";

/** The longest endpoint of IPv6. */
const LONGEST_ADDRESS = "[2001:db8:85a3:1234:5678:8a2e:1370:7334]:51413";

/** Finds pairs of texts that cover each other: labels in pictures, and names with their figures. */
const COVERED = `(() => {
  const boxOf = (element) => {
    const range = document.createRange();
    range.selectNodeContents(element);
    return range.getBoundingClientRect();
  };
  const groups = [
    ...Array.from(document.querySelectorAll("svg"), (svg) => [...svg.querySelectorAll("text")]),
    ...Array.from(document.querySelectorAll("dl > div"), (line) => [...line.children]),
  ];
  return groups.flatMap((texts) => texts.flatMap((one, i) => {
    const a = boxOf(one);
    return texts.slice(i + 1).filter((other) => {
      const b = boxOf(other);
      return Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 &&
        Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 2;
    }).map((other) => one.textContent + " / " + other.textContent);
  }));
})()`;

fakeNodeTest("the layout of the dashboard", {
  "from 390 to 2560 px, no text covers another, and the page fills the window": async (
    browser,
    api,
  ) => {
    const visit = await browser.visit(api, "#/", {}, async (page) => {
      await page.route("**/network/peers", async (route) => {
        const response = await route.fetch(), list = await response.json();
        for (const peer of list.peers) peer.address = LONGEST_ADDRESS;
        await route.fulfill({ response, json: list });
      });
    });
    const { page } = visit;
    await page.getByRole("heading", { name: "Id space" }).waitFor();
    for (const width of WIDTHS) {
      await page.setViewportSize({ width, height: 900 });
      for (const view of VIEWS) {
        await page.evaluate(`location.hash = ${JSON.stringify(view)}`);
        await page.locator("main .card").first().waitFor();
        await page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))");
        const where = `${view} at ${width} px`;
        assert.deepEqual(await page.evaluate(COVERED), [], where);
        const empty = await page.evaluate<number>(
          "innerWidth - document.querySelector('main').getBoundingClientRect().right",
        );
        assert.ok(empty < 200, `${where}: ${empty} px are empty`);
        const cut = await page.evaluate<number>(
          "Math.max(0, ...Array.from(document.querySelectorAll('.peers-table .table-frame'), (frame) => frame.scrollWidth - frame.clientWidth))",
        );
        assert.ok(width < 1440 || cut === 0, `${where}: ${cut} px of the table are cut`);
      }
    }
    await visit.end();
  },

  "on paper, tables stay in their cards, and no card is empty": async (browser, api) => {
    const visit = await browser.visit(api, "#/", {
      viewport: { width: A4_WIDTH, height: 1000 },
      colorScheme: "dark",
    });
    const { page } = visit;
    await page.emulateMedia({ media: "print" });
    for (const view of ["#/peers", "#/threats", "#/node"]) {
      await page.evaluate(`location.hash = ${JSON.stringify(view)}`);
      await page.locator("main table, main dl").first().waitFor();
      const width = await page.evaluate<number>("document.documentElement.scrollWidth");
      assert.ok(width <= A4_WIDTH, `${view}: the page is ${width} px wide`);
    }
    await page.evaluate("location.hash = '#/peers'");
    await page.getByRole("heading", { name: "Routing table" }).waitFor();
    assert.equal(await page.getByRole("heading", { name: "Connect to a peer" }).isVisible(), false);
    assert.equal(await page.evaluate(GROUND), "rgb(243, 245, 248)");
    await visit.end();
  },

  "with forced colors, the map draws a degraded peer as a ring": async (browser, api) => {
    const visit = await browser.visit(api, "#/", { forcedColors: "active", colorScheme: "dark" });
    const { page } = visit;
    await page.getByRole("heading", { name: "Id space" }).waitFor();
    const colors = await page.evaluate<string[]>(
      `import("/assets/appearance.js").then(({ colorsOf }) => Object.values(colorsOf(["warn", "panel"])))`,
    );
    assert.notEqual(colors[0], colors[1]);
    await page.evaluate("location.hash = '#/threats'");
    const label = page.locator(".badge").first();
    assert.equal(
      await label.evaluate((element) => getComputedStyle(element).outlineStyle),
      "solid",
    );
    await visit.end();
  },

  "a chart stays in its place under the pointer": async (browser, api, service) => {
    const now = Date.now(), sample = exampleOf(History).samples[0];
    service.hour = Array.from({ length: 60 }, (_, i) => ({
      ...sample,
      at: new Date(now - (60 - i) * 10_000).toISOString(),
      in: { ...sample.in, bytes_per_second: 10 ** (i % 7) },
      out: { ...sample.out, bytes_per_second: 10 ** ((i + 3) % 7) },
    }));
    const viewport = { width: 390, height: 844 };
    const visit = await browser.visit(api, "#/", { viewport });
    const plot = visit.page.locator(".plot").first();
    await plot.scrollIntoViewIfNeeded();
    const { x, y, width, height } = (await plot.boundingBox())!;
    for (let share = 0.3; share < 0.95; share += 0.1) {
      await visit.page.mouse.move(x + width * share, y + height / 2);
      await visit.page.evaluate(
        "new Promise((done) => requestAnimationFrame(() => setTimeout(done)))",
      );
      assert.equal((await plot.boundingBox())!.y, y);
    }
    await visit.end();
  },
});
