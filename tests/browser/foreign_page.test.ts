// Pages of other origins in a real browser: the API ignores all their requests and reveals nothing to them.

import assert from "node:assert/strict";
import { chromium } from "playwright-core";
import { createApi } from "../../src/api/app.ts";
import { noRefusals } from "../../src/api/limits.ts";
import { serveApi } from "../../src/api/server.ts";
import { loadConfig } from "../../src/config.ts";
import { FakeService } from "../api/fake_service.ts";

/** Debian's Chromium, unless CHROMIUM names another browser. */
const CHROMIUM = Deno.env.get("CHROMIUM") ?? "/usr/bin/chromium";

/** The attacker's page. It makes the browser send requests in every possible way, and records what it learns. */
const ATTACK = `<!doctype html><title>Another site</title><body><script>
async function attack(api) {
  const find = api + "/network/find/${"0d".repeat(20)}", store = api + "/network/store";
  const learned = {};
  const attempt = async (name, run) => learned[name] = await run().catch(() => "failed");
  const element = (name, src) => new Promise((resolve) => {
    const made = document.createElement(name);
    made.onload = () => resolve("loaded");
    made.onerror = () => resolve("failed");
    made.src = src;
    document.body.append(made);
  });
  const opaque = { mode: "no-cors" }, headers = { "content-type": "text/plain" };
  await attempt("fetch", async () => (await fetch(api + "/network/stats")).status);
  await attempt("opaque GET", async () => (await fetch(find, opaque)).type);
  await attempt("opaque POST", async () =>
    (await fetch(store, { ...opaque, method: "POST", headers, body: "x" })).type);
  await attempt("img", () => element("img", find));
  await attempt("script", () => element("script", find));
  await attempt("WebSocket", () => new Promise((resolve) => {
    const socket = new WebSocket(api.replace("http", "ws") + "/ws");
    socket.onopen = () => resolve("open");
    socket.onerror = () => resolve("failed");
  }));
  navigator.sendBeacon(store, "x");
  document.body.insertAdjacentHTML("beforeend", '<iframe name="target"></iframe>' +
    '<form method="POST" enctype="text/plain" target="target"><input name="a" value="b"></form>');
  const [form] = document.forms, [frame] = document.getElementsByName("target");
  form.action = store;
  const answered = new Promise((resolve) => frame.onload = resolve);
  form.submit();
  await answered;
  return learned;
}
</script>`;

Deno.test({
  name: "pages elsewhere, on other ports and under rebound names get nothing from the API",
  sanitizeOps: false,
  sanitizeResources: false,
  fn: async () => {
    const service = new FakeService(), refusals = noRefusals();
    const app = createApi({ service, config: loadConfig(), refusals });
    const server = await serveApi(app, { hostnames: ["127.0.0.1"], port: 0, refusals });
    const html = { headers: { "content-type": "text/html" } };
    const others = Deno.serve(
      { hostname: "127.0.0.1", port: 0, onListen() {} },
      () => new Response(ATTACK, html),
    );
    const browser = await chromium.launch({
      executablePath: CHROMIUM,
      args: [
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--host-resolver-rules=MAP evil.example 127.0.0.1",
      ],
    });
    try {
      for (const host of ["evil.example", "127.0.0.1", "localhost"]) {
        const page = await browser.newPage();
        await page.goto(`http://${host}:${others.addr.port}/`);
        const learned: Record<string, string> = await page.evaluate(`attack("${server.url}")`);
        assert.equal(Object.keys(learned).length, 6);
        for (const [way, what] of Object.entries(learned)) assert.equal(what, "failed", way);
        await page.close();
        assert.deepEqual(service.calls, [], host);
      }
      assert.ok(refusals.foreign_origin > 0);

      // DNS rebinding: the attacker's name now resolves to this machine, so the browser sees one origin.
      const rebound = await browser.newPage();
      const answer = await rebound.goto(`http://evil.example:${server.port}/network/stats`);
      assert.equal(answer?.status(), 403);
      assert.doesNotMatch(await rebound.content(), new RegExp(service.nodeId));
      assert.equal(refusals.foreign_host > 0, true);

      const own = await browser.newPage();
      await own.goto(`${server.url}/`);
      const statuses = await own.evaluate(async () => [
        (await fetch("/network/stats")).status,
        (await fetch("/network/store", { method: "POST", body: "mine" })).status,
      ]);
      assert.deepEqual(statuses, [200, 201]);
    } finally {
      await browser.close();
      await others.shutdown();
      await server.close();
    }
  },
});
