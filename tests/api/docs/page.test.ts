// Tests GET /docs: the page contains the whole document, loads nothing else, and its commands work if pasted.

import assert from "node:assert/strict";
import { createApi } from "../../../src/api/app.ts";
import { docsPage } from "../../../src/api/docs/page.ts";
import { exampleRequests } from "../../../src/api/docs/curl.ts";
import { HELLO, NODE_ID, SIGNED_HASH, SIGNED_KEY } from "../../../src/reports/fields.ts";
import { type Document, operationsOf } from "../../../src/api/docs/document.ts";
import { EVENT_TYPES } from "../../../src/reports/events.ts";
import { loadConfig } from "../../../src/config.ts";
import { withServedNode } from "../../monitoring/nodes.ts";
import { FakeService } from "../fake_service.ts";
import { begins, runs } from "../shell.ts";

const app = createApi({ service: new FakeService(), config: loadConfig({ env: {} }) });
const get = async (path: string) => await app.fetch(new Request(`http://localhost${path}`));

async function documentAndPage() {
  const document: Document = await (await get("/openapi.json")).json();
  return { document, page: await (await get("/docs")).text() };
}

/** Returns text without the escapes of HTML. */
function unescaped(text: string): string {
  return text.replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&quot;", '"')
    .replaceAll("&#39;", "'").replaceAll("&amp;", "&");
}

/** Returns the curl commands in the page. */
function linesOf(page: string): string[] {
  return Array.from(
    page.matchAll(/<pre class="line"><code>(.*?)<\/code>/gs),
    ([, line]) => unescaped(line),
  );
}

Deno.test("the page is served with a strict policy, and loads only files of the program", async () => {
  const response = await get("/docs");
  assert.equal(response.status, 200);
  assert.equal(response.headers.get("content-type"), "text/html; charset=UTF-8");
  const policy = response.headers.get("content-security-policy")!;
  assert.match(policy, /^default-src 'none'; /);
  assert.doesNotMatch(policy, /unsafe|https?:|data:|\*/);
  const page = await response.text();
  assert.match(page, /^<!doctype html>/);
  const loaded = Array.from(
    page.matchAll(/<(?:link|script|img|iframe|source)\b[^>]*?(?:href|src)="([^"]*)"/g),
    ([, url]) => url,
  );
  assert.ok(loaded.length >= 4);
  for (const url of loaded) {
    assert.match(url, /^\/assets\//);
    const asset = await get(url);
    assert.equal(asset.status, 200, url);
    assert.doesNotMatch(await asset.text(), /url\((?!["']?\/assets\/)|@import/, url);
  }
  assert.doesNotMatch(page, /<script(?![^>]*src=)|<style|\sstyle=|\son\w+=|javascript:/);
});

Deno.test("the page has every operation, schema and type of event, and each of its links has a target", async () => {
  const { document, page } = await documentAndPage();
  const ids = Array.from(page.matchAll(/\sid="([^"]*)"/g), ([, id]) => id);
  assert.equal(new Set(ids).size, ids.length, "an id occurs twice");
  for (const { operation } of operationsOf(document)) {
    assert.ok(ids.includes(operation.operationId!), operation.operationId);
  }
  for (const name of Object.keys(document.components!.schemas!)) {
    assert.ok(name === "Event" || ids.includes(`schema-${name}`), name);
  }
  for (const type of EVENT_TYPES) {
    assert.ok(ids.includes(`event-${type.replaceAll(".", "-")}`), type);
  }
  const links = Array.from(page.matchAll(/href="#([^"]*)"/g), ([, id]) => id);
  assert.ok(links.length > 80);
  for (const link of links) assert.ok(ids.includes(link), `#${link} leads nowhere`);
  assert.doesNotMatch(page, /undefined|\[object Object\]/);
});

Deno.test("text from the document is never interpreted as markup", async () => {
  const { document } = await documentAndPage();
  const planted = '<script>alert(1)</script>"><planted>&amp;';
  const hostile: Document = JSON.parse(
    JSON.stringify(
      document,
      (name, value) =>
        typeof value === "string" && /^(summary|description|title|detail)$/.test(name)
          ? planted
          : value,
    ),
  );
  const page = await docsPage(hostile, `http://localhost/"><script>`);
  assert.doesNotMatch(page, /<script>|<planted>/);
  assert.ok(
    page.includes("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&gt;&lt;planted&gt;&amp;amp;"),
  );
});

Deno.test("every curl line of the page works if it is pasted", async () => {
  const { document, page } = await documentAndPage();
  const lines = linesOf(page), requests = exampleRequests(document);
  assert.equal(lines.length, requests.length);
  await withServedNode(3, async ({ node, url }) => {
    const [{ node_id, address }] = (await node.peers()).peers;
    const { public_key } = await node.stats();
    const real = (line: string) =>
      line.replaceAll("http://localhost", url).replaceAll(NODE_ID, node_id)
        .replaceAll(`btpk%3A${SIGNED_KEY}`, `btpk%3A${public_key}`)
        .replaceAll(/(?<=address=)[\d.]+%3A\d+/g, encodeURIComponent(address));
    const run = async (line: string): Promise<void> => {
      if (line.includes("localhost/events")) {
        assert.match(
          await begins(`curl -N ${real(line).slice(5)}`),
          /^data: \{"id":null,"type":"hello"/m,
        );
      } else if (line.includes("/ws")) {
        const upgrade = [
          "Connection: Upgrade",
          "Upgrade: websocket",
          "Sec-WebSocket-Version: 13",
          "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ];
        const headers = upgrade.map((header) => `-H '${header}'`).join(" ");
        assert.match(
          await begins(`curl -i -N --http1.1 ${headers} ${real(line).slice(5)}`),
          /^HTTP\/1.1 101 /,
        );
      } else await runs(real(line));
    };
    const isStore = (line: string) => line.includes("-d ");
    const stores = lines.filter(isStore), deletes = lines.filter((line) => line.includes("DELETE"));
    assert.ok(stores.length >= 6 && deletes.length === 4);
    for (const line of stores) {
      const stored = JSON.parse(await runs(real(line)));
      if (line.includes("Hello World!") || line.includes(HELLO)) assert.equal(stored.hash, HELLO);
      if (line.includes("PUT") || line.includes("public_key")) {
        assert.equal(stored.hash, SIGNED_HASH);
      }
    }
    for (const line of lines) if (!isStore(line) && !deletes.includes(line)) await run(line);
    for (const line of deletes) await run(line);
  });
});
