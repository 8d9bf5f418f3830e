// An operator uses the dashboard of a node in a network of fifty: peers, lookups, values, events.

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import type { Page } from "playwright-core";
import { browserTest, NO_SANITIZERS, type TestBrowser, until, type Visit } from "./browser.ts";
import { startSwarm } from "./swarm.ts";

interface Peer {
  readonly node_id: string;
  readonly address: string;
  readonly rtt_ms: number | null;
  readonly score: number;
}

const NODES = 50;

async function json<T>(api: string, path: string): Promise<T> {
  const response = await fetch(api + path);
  assert.ok(response.ok, `${path}: ${response.status}`);
  return await response.json();
}

/** The texts of a table's column, from top to bottom. */
function column(page: Page, caption: string, index: number): Promise<string[]> {
  return page.getByRole("table", { name: caption }).locator(
    `tbody tr:not(.spacer) > :nth-child(${index})`,
  ).allInnerTexts();
}

browserTest(
  "an operator uses the dashboard of a node in a network of fifty",
  async (browser, test) => {
    const swarm = await startSwarm(NODES);
    try {
      const step = (name: string, run: (browser: TestBrowser, api: string) => Promise<void>) =>
        test.step({ ...NO_SANITIZERS, name, fn: () => run(browser, swarm.api) });
      await step("overview", overview);
      await step("peers", peers);
      await step("one peer", onePeer);
      await step("lookups", lookups);
      await step("files", files);
      await step("texts", texts);
      await step("swarms", swarms);
      await step("events", events);
      await step("navigation", navigation);
    } finally {
      await swarm.close();
    }
  },
);

/** The overview is live and ready, and shows the API's figures. */
async function overview(browser: TestBrowser, api: string): Promise<void> {
  const visit = await browser.visit(api);
  const { page } = visit;
  await page.getByText("Live", { exact: true }).waitFor();
  await page.getByRole("heading", { name: "Ready", exact: true }).waitFor();
  const stats = await json<{ node_id: string; routing_table_size: number; addresses: string[] }>(
    api,
    "/network/stats",
  );
  assert.ok(stats.routing_table_size >= 20, "the swarm has not joined");
  await page.locator(".status code", { hasText: stats.node_id.slice(0, 12) }).waitFor();
  await page.locator(".status code", { hasText: stats.addresses[0] }).first().waitFor();
  await until(async () => {
    const { routing_table_size } = await json<typeof stats>(api, "/network/stats");
    return await page.locator(".figure-value").first().innerText() === `${routing_table_size}`;
  });
  assert.ok(await paintedPixels(page) > 500, "the map is empty");
  await page.getByRole("img", { name: /^Traffic\. in: last [\d.]+ k?B\/s/ }).waitFor();
  const busy = await busyMeter(page);
  await page.waitForTimeout(5_000);
  console.log(`The overview, live: the page's thread is busy ${await busy()} of the time`);
  assert.ok(
    await page.locator(".latest-card .event").count() > 0,
    "the feed is empty after a load",
  );
  await visit.end();
}

/** Share of time in which the page's thread is busy from now on. */
async function busyMeter(page: Page): Promise<() => Promise<string>> {
  const session = await page.context().newCDPSession(page);
  await session.send("Performance.enable");
  const read = async () => {
    const { metrics } = await session.send("Performance.getMetrics");
    const value = (name: string) => metrics.find((metric) => metric.name === name)!.value;
    return { at: value("Timestamp"), busy: value("TaskDuration") };
  };
  const before = await read();
  return async () => {
    const after = await read();
    return `${(100 * (after.busy - before.busy) / (after.at - before.at)).toFixed(1)} %`;
  };
}

/** Number of the map's pixels in the colors of health. */
function paintedPixels(page: Page): Promise<number> {
  return page.evaluate(`(() => {
    const canvas = document.querySelector(".map-canvas");
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    let count = 0;
    for (let i = 0; i < data.length; i += 4) {
      if (data[i + 3] > 200 && data[i + 1] > data[i] + 40 && data[i + 1] > data[i + 2]) count++;
    }
    return count;
  })()`);
}

/** The table lists all peers, sorts them by any column in both directions, and filters them by text. */
async function peers(browser: TestBrowser, api: string): Promise<void> {
  const visit = await browser.visit(api, "#/peers");
  const { page } = visit;
  const caption = "Peers of the routing table";
  await page.getByRole("table", { name: caption }).waitFor();
  const known = async () => (await json<{ peers: Peer[] }>(api, "/network/peers")).peers;
  await until(async () => {
    const shown = (await column(page, caption, 1)).toSorted();
    return JSON.stringify(shown) ===
      JSON.stringify((await known()).map(({ node_id }) => node_id.slice(0, 8)).toSorted());
  });
  const scores = (await column(page, caption, 4)).map(Number);
  assert.deepEqual(scores, scores.toSorted((a, b) => b - a), "best first to begin with");
  const head = page.getByRole("columnheader", { name: "Peer" });
  await head.getByRole("button").click();
  assert.equal(await head.getAttribute("aria-sort"), "ascending");
  const ids = await column(page, caption, 1);
  assert.deepEqual(ids, ids.toSorted());
  await head.getByRole("button").click();
  assert.equal(await head.getAttribute("aria-sort"), "descending");
  const backwards = await column(page, caption, 1);
  assert.deepEqual(backwards, backwards.toSorted().reverse());
  await page.getByRole("columnheader", { name: "Distance" }).getByRole("button").click();
  const distances = (await column(page, caption, 6)).map(Number);
  assert.deepEqual(distances, distances.toSorted((a, b) => a - b));

  const [wanted] = await known();
  const search = page.getByRole("searchbox", { name: /Search by id/ });
  await search.fill(wanted.node_id.slice(0, 10));
  await until(async () => (await column(page, caption, 1)).join() === wanted.node_id.slice(0, 8));
  await search.fill(wanted.address);
  await until(async () =>
    (await column(page, caption, 2)).every((text) => text === wanted.address)
  );
  await search.fill("nobody is called so");
  await page.getByText("No matching peers").waitFor();
  await page.getByRole("button", { name: "Show all peers" }).click();
  await page.getByRole("button", { name: /^Unhealthy/ }).click();
  await page.getByText("No matching peers").waitFor();
  await page.getByRole("button", { name: /^Healthy/ }).click();
  await until(async () => (await column(page, caption, 3)).length >= 20);
  assert.ok((await column(page, caption, 3)).every((text) => text === "Healthy"));
  await visit.end();
}

/** A peer's page shows the API's data, and a ping gets an answer. */
async function onePeer(browser: TestBrowser, api: string): Promise<void> {
  const [{ node_id }] = (await json<{ peers: Peer[] }>(api, "/network/peers?limit=1")).peers;
  const visit = await browser.visit(api, "#/peers");
  const { page } = visit;
  await page.getByRole("link", { name: node_id.slice(0, 8) }).first().click();
  await page.waitForURL(`**/#/peers/${node_id}`);
  await page.locator(".peer-name", { hasText: node_id }).waitFor();
  const parts = (await page.locator(".score-parts b").allInnerTexts()).map(Number);
  const score = Number(await page.locator(".score-head .figure-value").innerText());
  assert.equal(parts.length, 4);
  assert.ok(Math.abs(parts.reduce((x, y) => x * y) - score) < 0.03, `${parts} make ${score}`);
  await page.locator(".timeline li", { hasText: "joined" }).first().waitFor();
  await page.getByRole("button", { name: "Ping" }).click();
  await page.getByText(/^Answered in [\d.]+ m?s/).waitFor();
  await page.goto(`${api}/#/peers/${"f".repeat(40)}`);
  await page.getByText("Unknown peer").waitFor();
  await page.getByRole("link", { name: "All peers" }).click();
  await page.getByRole("heading", { name: "Routing table" }).waitFor();
  // An unknown peer is a 404, which the browser logs to its console by itself.
  await visit.end(/status of 404/);
}

/** The page shows a lookup query by query, and ends with the API's answer. */
async function lookups(browser: TestBrowser, api: string): Promise<void> {
  const visit = await browser.visit(api, "#/lookups");
  const { page } = visit;
  const input = page.getByRole("textbox", { name: /40 hex digits/ });
  await input.fill("abc");
  await page.getByText("An id has 40 hex digits. This one has 3 characters.").waitFor();
  assert.ok(await page.getByRole("button", { name: "Look up", exact: true }).isDisabled());
  const target = "0123456789abcdef0123456789abcdef01234567";
  const answered = page.waitForResponse((response) => response.url().includes("/network/find/"));
  await input.fill(target.toUpperCase());
  await input.press("Enter");
  const answer = await (await answered).json();
  assert.equal(answer.target, target);
  // The page draws the lookup over time, so the first look is incomplete.
  const ended = answer.trace.filter(({ outcome }: { outcome: string }) => outcome !== "pending");
  const drawn: number[] = [];
  const nearest: number[] = [];
  await until(async () => {
    drawn.push(await page.locator(".step-responded, .step-timeout").count());
    nearest.push(await staircaseEnd(page));
    return drawn.at(-1) === ended.length;
  });
  assert.ok(new Set(drawn).size >= 3, `steps came at once: ${drawn}`);
  const falls = nearest.filter((y) => y >= 0);
  assert.deepEqual(falls, falls.toSorted((a, b) => a - b), "the closest so far only comes nearer");
  const peersAsked = await column(page, "Queries of the lookup", 3);
  assert.equal(peersAsked.length, answer.queries);
  const closest = await page.locator(".lookup-tables .closest .id").allInnerTexts();
  assert.deepEqual(
    closest,
    answer.nodes.map(({ node_id }: { node_id: string }) => node_id.slice(0, 8)),
  );
  // The lookup's events came over another connection than the answer.
  const row = page.getByRole("table", { name: "Finished lookups" }).getByRole("link", {
    name: target.slice(0, 8),
  });
  await row.first().click();
  await page.getByText("ended", { exact: true }).waitFor();
  assert.equal((await column(page, "Queries of the lookup", 3)).length, answer.queries);
  await visit.end();
}

/** End of the line of the closest distance so far, in pixels from the top; -1 before there is a line. */
async function staircaseEnd(page: Page): Promise<number> {
  const path = await page.locator(".staircase").getAttribute("d", { timeout: 50 }).catch(() =>
    null
  );
  const heights = path?.match(/(?<=[V ])[\d.]+/g);
  return heights ? Number(heights.at(-1)) : -1;
}

/** The page stores a dropped file of many items, fetches it byte for byte, and can stop publishing it. */
async function files(browser: TestBrowser, api: string): Promise<void> {
  const visit = await browser.visit(api, "#/values");
  const { page } = visit;
  const bytes = crypto.getRandomValues(new Uint8Array(60_000));
  const base64 = Buffer.from(bytes).toString("base64");
  const dropped = await page.evaluateHandle(`(() => {
    const data = new DataTransfer();
    const file = Uint8Array.from(atob("${base64}"), (c) => c.charCodeAt(0));
    data.items.add(new File([file], "measurements.bin", { type: "text/html" }));
    return data;
  })()`);
  await page.locator(".drop").dispatchEvent("drop", { dataTransfer: dropped });
  const stored = page.locator(".store", { hasText: "measurements.bin" });
  await stored.getByText("stored", { exact: true }).waitFor();
  const hash = await stored.locator(".store-result .id").innerText();
  assert.match(hash, /^[0-9a-f]{40}$/);
  await stored.getByText(/in pieces; survives the loss of any \d+ nodes; in /).waitFor();
  await stored.locator(".store-result .id").click();
  await page.getByText("(60,000 bytes)").waitFor();
  const [download] = await Promise.all([
    page.waitForEvent("download"),
    page.getByRole("button", { name: "Download" }).click(),
  ]);
  assert.equal(download.suggestedFilename(), `${hash}.bin`);
  const got = new Uint8Array(await Deno.readFile(await download.path()));
  assert.ok(Buffer.from(got).equals(Buffer.from(bytes)), "the fetched value differs");
  await page.getByRole("button", { name: "Count copies" }).click();
  // The node that stored the value has a copy of its own, and the network may lose a packet.
  await page.getByRole("heading", { name: /^(19|20|21) copies, 20 wanted/ }).waitFor();

  await page.getByRole("heading", { name: "Copies over time" }).waitFor();

  await page.goBack();
  const row = page.getByRole("row", { name: new RegExp(hash.slice(0, 8)) });
  await row.waitFor();
  await row.getByRole("button", { name: `Stop publishing ${hash.slice(0, 8)}` }).click();
  await row.getByRole("button", { name: "Cancel" }).click();
  await row.getByRole("button", { name: `Stop publishing ${hash.slice(0, 8)}` }).click();
  await row.getByRole("button", { name: "Stop publishing", exact: true }).click();
  await row.waitFor({ state: "detached" });
  const { published } = await json<{ published: { hash: string }[] }>(api, "/network/published");
  assert.ok(published.every((value) => value.hash !== hash));
  await visit.end();
}

/** Text under a key has versions. The page shows any content as text. */
async function texts(browser: TestBrowser, api: string): Promise<void> {
  const visit = await browser.visit(api, "#/values");
  const { page } = visit;
  const evil = `<img src="/assets/nothing.png" onerror="document.title='owned'"><script>1</script>`;
  await page.getByRole("button", { name: "Text", exact: true }).click();
  await page.getByRole("textbox", { name: /^Key optional/ }).fill("k".repeat(65));
  await page.getByText("A key has at most 64 bytes. This one has 65.").waitFor();
  for (const [version, text] of [[1, "first"], [2, evil]] as const) {
    await page.getByRole("textbox", { name: /^Key optional/ }).fill("notes/today");
    await page.getByRole("textbox", { name: "Text" }).fill(text);
    await page.getByRole("button", { name: "Store", exact: true }).click();
    if (version === 2) await page.getByRole("button", { name: "Overwrite" }).click();
    await page.getByText(`version ${version}`, { exact: false }).first().waitFor();
  }
  await page.locator(".store-result .id").first().click();
  const preview = page.getByLabel("Preview of the value");
  await preview.waitFor();
  assert.equal(await preview.innerText(), evil);
  assert.equal(await preview.locator("*").count(), 0, "the value became markup");
  await page.getByText("text/plain; charset=utf-8").waitFor();

  await page.goBack();
  await page.getByRole("button", { name: "Text", exact: true }).click();
  await page.getByRole("textbox", { name: "Text" }).fill('{"b":[1,2],"a":"ü"}');
  await page.getByRole("button", { name: "Store", exact: true }).click();
  await until(async () => await page.locator(".store-result").count() === 3);
  await page.locator(".store-result .id").first().click();
  await page.getByText("application/json").waitFor();
  assert.deepEqual(JSON.parse(await preview.innerText()), { b: [1, 2], a: "ü" });

  await page.getByRole("textbox", { name: "Hash" }).fill("00".repeat(20));
  await page.getByRole("button", { name: "Fetch", exact: true }).click();
  await page.getByText(/No value 0{40} was found/).waitFor();
  await visit.end(/status of 4(04|12)/);
}

/** The feed shows events, filters them by kind, searches them, and stops while it is paused. */
async function events(browser: TestBrowser, api: string): Promise<void> {
  const visit = await browser.visit(api, "#/events");
  const { page } = visit;
  const store = async (value: string) => {
    const headers = { "content-type": "text/plain" };
    const response = await fetch(`${api}/network/store`, { method: "POST", body: value, headers });
    return (await response.json()).hash.slice(0, 8);
  };
  await page.getByText("Live", { exact: true }).waitFor();
  const first = await store(`one ${crypto.randomUUID()}`);
  await page.locator(".event", { hasText: "data.publish" }).filter({ hasText: first }).waitFor();
  await page.getByRole("button", { name: "Pause" }).click();
  const second = await store(`two ${crypto.randomUUID()}`);
  await page.getByText(/^Paused, [\d,]+ new events?$/).waitFor();
  assert.equal(await page.locator(".event", { hasText: second }).count(), 0);
  await page.getByRole("button", { name: "Resume" }).click();
  await page.locator(".event", { hasText: "data.publish" }).filter({ hasText: second }).waitFor();
  for (const kind of ["Peers", "Swarms", "Lookups", "Node"]) {
    await page.getByRole("button", { name: kind, exact: true }).click();
  }
  const types = await page.locator(".event-type").allInnerTexts();
  assert.ok(types.length > 0 && types.every((type) => type.startsWith("data.")), `${types}`);
  await page.getByRole("searchbox").fill(second);
  await until(async () => (await page.locator(".event").count()) === 1);
  await page.locator(".event summary").click();
  await page.locator(".event pre", { hasText: '"replicas": 20' }).waitFor();
  await visit.end();
}

/** The page announces a port of this host, finds it, and withdraws it. */
async function swarms(browser: TestBrowser, api: string): Promise<void> {
  const visit = await browser.visit(api, "#/swarms");
  const { page } = visit;
  const announcing = page.locator(".store-card"), finding = page.locator(".fetch-card");
  await announcing.getByRole("textbox").first().fill("Page test");
  await announcing.getByRole("textbox").last().fill("70000");
  await announcing.getByText("A port is a number from 1 to 65,535.").waitFor();
  await announcing.getByRole("textbox").last().fill("4000");
  await announcing.getByRole("button", { name: "Announce" }).click();
  await announcing.getByText(/^Announced to \d+ nodes\.$/).waitFor();
  await finding.getByRole("textbox").fill("Page test");
  await finding.getByRole("button", { name: "Find peers" }).click();
  await finding.getByText("127.0.0.1:4000").waitFor();
  await page.getByRole("button", { name: "Withdraw Page test" }).click();
  await page.getByRole("button", { name: "Withdraw", exact: true }).click();
  await page.getByText("No announcements").waitFor();
  await visit.end();
}

/** Back and forward, the title, and an unknown address. */
async function navigation(browser: TestBrowser, api: string): Promise<void> {
  const visit: Visit = await browser.visit(api, "#/node");
  const { page } = visit;
  await page.getByRole("heading", { name: "Configuration in force" }).waitFor();
  await page.getByText("K_BUCKET_SIZE").waitFor();
  assert.match(await page.title(), /^Node · [0-9a-f]{8} · DataMgmt Node$/);
  await page.getByRole("link", { name: "Values" }).click();
  await page.getByRole("heading", { name: "Published by this node" }).waitFor();
  await page.goBack();
  await page.getByRole("heading", { name: "Packets", exact: true }).waitFor();
  await page.goto(`${api}/#/%E0%A4%A/..//nothing`);
  await page.getByRole("heading", { name: "Overview" }).waitFor();
  await visit.end();
}
