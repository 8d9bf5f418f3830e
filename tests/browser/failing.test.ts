// The dashboard of a node that answers with errors, or not at all.

import assert from "node:assert/strict";
import { until } from "./browser.ts";
import { fakeNodeTest } from "./fake_node.ts";

fakeNodeTest("the dashboard says what is wrong with the node's answers", {
  "an error is not shown as a missing answer": async (browser, api) => {
    const problem = {
      type: "about:blank",
      title: "Error",
      status: 500,
      detail: "The disk is full.",
    };
    const visit = await browser.visit(api, "#/", {}, async (page) => {
      await page.route(
        "**/network/stats",
        (route) => route.fulfill({ status: 500, json: problem }),
      );
    });
    const { page } = visit;
    await page.getByText("The node answers with an error").waitFor();
    await page.getByText("The disk is full.").waitFor();
    await page.getByText("Is it running?").waitFor({ state: "detached" });
    await visit.end(/status of 500/);
  },

  "a first answer that never comes is given up": async (browser, api) => {
    const visit = await browser.visit(api, "#/", {}, async (page) => {
      await page.clock.install();
      await page.route("**/network/stats", () => {});
    });
    const { page } = visit;
    await page.getByText("Connecting to the node…").last().waitFor();
    await page.locator(".masthead").waitFor();
    await page.clock.fastForward(16_000);
    await page.getByText("The node does not answer").waitFor();
    await visit.end();
  },

  "after one failed WebSocket, the next connection is a WebSocket again": async (browser, api) => {
    let sockets = 0;
    const visit = await browser.visit(api, "#/", {}, async (page) => {
      await page.routeWebSocket(/\/ws/, (socket) => {
        if (++sockets === 1) return void socket.close({ code: 1006 });
        socket.connectToServer();
      });
      // A stream that ends after its greeting.
      const hello = { id: null, type: "hello", at: new Date().toISOString() };
      const data = { last: 0, resumed: false, missed: 0 };
      const body = `data: ${JSON.stringify({ ...hello, data })}\n\n`;
      await page.route(
        /\/events(\?|$)/,
        (route) => route.fulfill({ contentType: "text/event-stream", body }),
      );
    });
    await until(() => sockets > 1);
    await visit.page.getByText("Live", { exact: true }).waitFor();
    await visit.end(/WebSocket connection to/);
  },

  "a module that fails to load is reported": async (browser, api) => {
    const visit = await browser.visit(api, "#/", {}, async (page) => {
      await page.route("**/assets/format.js", (route) => route.fulfill({ status: 503 }));
    });
    await visit.page.getByText("A part of this page failed to load.").waitFor();
    await visit.end(/status of 503/);
  },

  "a view that fails to load is reported, and the other views work": async (browser, api) => {
    const visit = await browser.visit(api, "#/values", {}, async (page) => {
      await page.route("**/assets/views/peer.js", (route) => route.fulfill({ status: 503 }));
    });
    const { page } = visit;
    await page.getByText("A part of this page failed to load.").waitFor();
    await page.getByRole("button", { name: "Reload the page" }).waitFor();
    await page.getByRole("link", { name: "Overview" }).click();
    await page.getByRole("heading", { name: "Id space" }).waitFor();
    await visit.end(/status of 503/);
  },

  "a view is loaded when it is first opened, and says so if that takes long": async (
    browser,
    api,
  ) => {
    const loaded: string[] = [];
    let release = () => {};
    const held = new Promise<void>((resolve) => release = resolve);
    const visit = await browser.visit(api, "#/", {}, async (page) => {
      page.on("request", (request) => loaded.push(new URL(request.url()).pathname));
      await page.route("**/assets/views.js", async (route) => {
        await held;
        await route.continue();
      });
    });
    const { page } = visit;
    await page.getByRole("heading", { name: "Id space" }).waitFor();
    assert.ok(!loaded.some((path) => /views\/(?!overview)|uplot|seal/.test(path)), loaded.join());
    await page.getByRole("link", { name: "Values", exact: true }).click();
    await page.getByText("Loading…").waitFor();
    release();
    await page.getByRole("heading", { name: "Store" }).waitFor();
    await visit.end();
  },
});
