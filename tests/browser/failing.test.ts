// The dashboard of a node that answers with errors, or not at all.

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
      await page.route("**/assets/views/peer.js", (route) => route.fulfill({ status: 503 }));
    });
    await visit.page.getByText("A part of this page failed to load.").waitFor();
    await visit.end(/status of 503/);
  },
});
