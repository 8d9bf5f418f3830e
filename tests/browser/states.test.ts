// The dashboard in trouble: no peers, no node, no token, no WebSockets.

import assert from "node:assert/strict";
import type { Page } from "playwright-core";
import { withNodes } from "../program/program.ts";
import { browserTest, type TestBrowser, until } from "./browser.ts";

/** Messages that a browser logs by itself if a server is unreachable or refuses a request. */
const AWAY =
  /ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET|ERR_EMPTY_RESPONSE|WebSocket connection to|ERR_INCOMPLETE_CHUNKED/;

/** Whether the view is greyed out. */
const VIEW_FILTER = `getComputedStyle(document.querySelector(".view")).filter`;

function iconOf(page: Page): Promise<string | null> {
  return page.locator("link[rel=icon]").getAttribute("href");
}

function stateTest(
  name: string,
  run: (
    browser: TestBrowser,
    start: Parameters<Parameters<typeof withNodes>[0]>[0],
  ) => Promise<void>,
): void {
  browserTest(name, (browser) => withNodes((start) => run(browser, start))());
}

stateTest(
  "a node without peers says what to do, and then shows its first peer",
  async (browser, start) => {
    const node = await start("alone");
    const visit = await browser.visit(node.api);
    const { page } = visit;
    await page.getByText("No peers yet").waitFor();
    await page.getByText(`dmnode --bootstrap ${node.udp}`).waitFor();
    await page.getByText("This node talks only to this machine").waitFor();
    const attention = page.getByRole("list", { name: "What needs attention" });
    await attention.getByText(/No other node has joined through this one yet/).waitFor();
    assert.match(await page.title(), /^\(1\) Overview/);
    assert.equal(await iconOf(page), "/assets/icon_attention.svg");
    await start("other", ["--bootstrap", node.udp]);
    await page.getByText("No peers yet").waitFor({ state: "detached" });
    await attention.waitFor({ state: "detached" });
    assert.match(await page.title(), /^Overview/);
    assert.equal(await iconOf(page), "/assets/icon.svg");
    await page.locator(".figure-more", { hasText: "1 healthy" }).waitFor();
    await page.locator(".event", { hasText: "peer.join" }).waitFor();
    await visit.end();
  },
);

stateTest(
  "when the node is killed, the page shows a banner and greys its data out, until the node is back",
  async (browser, start) => {
    const other = await start("other");
    const node = await start("node", ["--bootstrap", other.udp]);
    const { port } = new URL(node.api);
    const visit = await browser.visit(node.api, "#/peers");
    const { page } = visit;
    await page.getByRole("row", { name: /Healthy/ }).waitFor();
    await node.stop("SIGKILL");
    await page.getByText("The node does not answer.").waitFor();
    await page.getByText("Disconnected", { exact: true }).waitFor();
    assert.equal(await page.getByRole("row", { name: /Healthy/ }).count(), 1, "the last data stay");
    assert.notEqual(
      await page.evaluate(VIEW_FILTER),
      "none",
    );
    await page.getByText(/Next attempt in \d+ s/).waitFor();
    await page.getByRole("button", { name: "Try now" }).click();
    await page.getByText("The node does not answer.").waitFor();
    const again = await start("node", ["--api-port", port, "--bootstrap", other.udp]);
    assert.equal(new URL(again.api).port, port);
    await page.getByText("Live", { exact: true }).waitFor();
    await page.getByText("The node does not answer.").waitFor({ state: "detached" });
    await page.getByRole("row", { name: /Healthy/ }).waitFor();
    assert.equal(
      await page.evaluate(VIEW_FILTER),
      "none",
    );
    await page.getByRole("link", { name: "Overview" }).click();
    await page.getByRole("heading", { name: "Ready", exact: true }).waitFor();
    await visit.end(AWAY);
  },
);

stateTest(
  "a page without a node says so, and becomes live once the node answers",
  async (browser, start) => {
    const node = await start("node");
    const { port } = new URL(node.api);
    // The page itself comes from the node, so the node serves the page but not the API.
    let isAway = true;
    const visit = await browser.visit(node.api, "#/", {}, async (page) => {
      await page.route("**/network/**", (route) => isAway ? route.abort() : route.continue());
    });
    const { page } = visit;
    await page.getByText("The node does not answer").waitFor();
    await page.getByText(`This page connects to 127.0.0.1:${port}`).waitFor();
    isAway = false;
    await page.getByRole("button", { name: "Try now" }).click();
    await page.getByText("Live", { exact: true }).waitFor();
    await visit.end(/ERR_FAILED/);
  },
);

stateTest(
  "with an API token, the page shows statistics without it, refuses a wrong one, and opens with the right one",
  async (browser, start) => {
    const token = "swordfish/+=&ü".slice(0, 13);
    const node = await start("node", [], { env: { API_TOKEN: token } });
    const visit = await browser.visit(node.api, "#/values");
    const { page } = visit;
    await page.getByText("This node needs a token.").waitFor();
    await page.getByText("Statistics only", { exact: true }).waitFor();
    await page.getByText("Enter the API token to see published values").waitFor();
    await page.getByRole("button", { name: "Enter token" }).click();
    const dialog = page.getByRole("dialog", { name: "Token" });
    const input = dialog.getByLabel("API token");
    await until(() => page.evaluate(`document.activeElement?.type === "password"`));
    await input.fill("wrong");
    await input.press("Enter");
    await dialog.getByText("The node rejected this token.").waitFor();
    await page.keyboard.press("Escape");
    await dialog.waitFor({ state: "detached" });
    await page.getByRole("button", { name: "Enter token" }).click();
    const sockets: string[] = [];
    page.on("websocket", (socket) => sockets.push(socket.url()));
    await input.fill(token);
    await dialog.getByRole("button", { name: "Use this token" }).click();
    await page.getByText("Live", { exact: true }).waitFor();
    await dialog.waitFor({ state: "detached" });
    assert.ok(
      sockets.length > 0 && sockets.every((url) => !url.includes("swordfish")),
      `${sockets}`,
    );
    assert.equal(await page.evaluate(() => sessionStorage.getItem("dmnode.token")), token);
    assert.equal(await page.evaluate(() => localStorage.length), 0);
    await page.getByText("No published values").waitFor();
    await page.getByRole("button", { name: "Text", exact: true }).click();
    await page.getByRole("textbox", { name: "Text" }).fill("with a token");
    await page.getByRole("button", { name: "Store", exact: true }).click();
    await page.locator(".store").getByText("on this node only", { exact: true }).waitFor();
    // The page keeps the token until the tab closes.
    await page.reload();
    await page.getByText("Live", { exact: true }).waitFor();
    await page.getByText("1 value, republished every hour").waitFor();
    await visit.end(/status of 401/);
  },
);

stateTest(
  "a node with an open API address shows nothing without the token",
  async (browser, start) => {
    const env = { API_TOKEN: "swordfish", API_HOST: "0.0.0.0" };
    const node = await start("node", [], { env });
    const { port } = new URL(node.api);
    const visit = await browser.visit(`http://127.0.0.1:${port}`);
    const { page } = visit;
    await page.getByText("This node needs a token").waitFor();
    await page.getByText("Locked", { exact: true }).waitFor();
    await page.getByLabel("API token").fill("guess");
    await page.keyboard.press("Enter");
    await page.getByText("The node rejected this token.").waitFor();
    await page.getByLabel("API token").fill("swordfish");
    await page.keyboard.press("Enter");
    await page.getByText("Live", { exact: true }).waitFor();
    await page.getByRole("heading", { name: "No other nodes", exact: true }).waitFor();
    // The node no longer accepts this token, as after a change of the token.
    await page.evaluate(`sessionStorage.setItem("dmnode.token", "former")`);
    await page.reload();
    await page.getByText("The node rejected this token.").waitFor();
    assert.equal(await page.evaluate(`sessionStorage.getItem("dmnode.token")`), null);
    await visit.end(/status of 401/);
  },
);

stateTest(
  "without WebSockets, the page listens to a stream, and without both it polls the statistics",
  async (browser, start) => {
    const node = await start("node");
    let isStreamBlocked = false;
    const visit = await browser.visit(node.api, "#/events", {}, async (page) => {
      await page.routeWebSocket(/\/ws/, (socket) => void socket.close({ code: 1006 }));
      await page.route(
        /\/events(\?|$)/,
        (route) => isStreamBlocked ? route.abort() : route.continue(),
      );
    });
    const { page } = visit;
    await page.getByText("Live", { exact: true }).waitFor();
    await fetch(`${node.api}/network/store`, { method: "POST", body: "streamed" });
    await page.locator(".event", { hasText: "data.publish" }).waitFor();
    isStreamBlocked = true;
    await page.reload();
    await page.getByText("No events arrive.").waitFor();
    await page.getByText("Statistics only", { exact: true }).waitFor();
    assert.equal(await page.getByText("Enter the API token").count(), 0);
    await visit.end(new RegExp(`${AWAY.source}|ERR_FAILED`));
  },
);
