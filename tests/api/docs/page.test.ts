// Tests GET /docs: the page contains the whole document, loads nothing else, and its examples work if pasted.

import assert from "node:assert/strict";
import { createApi } from "../../../src/api/app.ts";
import { docsPage } from "../../../src/api/docs/page.ts";
import { exampleRequests } from "../../../src/api/docs/examples.ts";
import { HELLO, NODE_ID, SIGNED_HASH, SIGNED_KEY } from "../../../src/reports/fields.ts";
import { type Document, operationsOf } from "../../../src/api/docs/document.ts";
import { EVENT_TYPES } from "../../../src/reports/events.ts";
import { loadConfig } from "../../../src/config.ts";
import { type ServedNode, withServedNode } from "../../monitoring/nodes.ts";
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

/** Returns the examples in the page, in one language. */
function examplesOf(page: string, language: string): string[] {
  const shown = new RegExp(
    `<pre class="line" data-language="${language}" tabindex="0"><code>(.*?)</code></pre>`,
    "gs",
  );
  return Array.from(page.matchAll(shown), ([, code]) => unescaped(code));
}

/** Returns a function that replaces the invented ids, addresses and keys of examples by real ones. */
async function realizer({ node, url }: ServedNode): Promise<(code: string) => string> {
  const [{ node_id, address }] = (await node.peers()).peers;
  const { public_key } = await node.stats();
  return (code) =>
    code.replaceAll("http://localhost", url).replaceAll("ws://localhost", url.replace("http", "ws"))
      .replaceAll(NODE_ID, node_id)
      .replaceAll(`btpk%3A${SIGNED_KEY}`, `btpk%3A${public_key}`)
      .replaceAll(/(?<=address=)[\d.]+%3A\d+/g, encodeURIComponent(address));
}

/** Orders examples so that each finds what it needs: first those that send a body, last those that delete. */
function inOrder(examples: readonly string[], sendsBody: RegExp): string[] {
  const rank = (code: string) => sendsBody.test(code) ? 0 : code.includes("DELETE") ? 2 : 1;
  return examples.toSorted((a, b) => rank(a) - rank(b));
}

/** Runs a program until it ends or, if `isEnough` is given, until its output is enough. Returns the output. */
async function output(
  command: Deno.Command,
  isEnough: (text: string) => boolean = () => false,
): Promise<string> {
  const child = command.spawn();
  const error = new Response(child.stderr).text();
  let text = "", isDone = false;
  for await (const part of child.stdout.pipeThrough(new TextDecoderStream())) {
    text += part;
    if (isDone || !isEnough(text)) continue;
    isDone = true;
    child.kill("SIGKILL");
  }
  const { success } = await child.status;
  assert.ok(success || isDone, `${text}\n${await error}`);
  await error;
  return text;
}

const PIPES = { stdin: "null", stdout: "piped", stderr: "piped" } as const;

Deno.test("the page is served with a strict policy, and loads only files of the program", async () => {
  const response = await get("/docs");
  assert.equal(response.status, 200);
  assert.equal(response.headers.get("content-type"), "text/html; charset=utf-8");
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

Deno.test("the page is compressed for browsers", async () => {
  const request = new Request("http://localhost/docs", { headers: { "accept-encoding": "gzip" } });
  const response = await app.fetch(request);
  assert.equal(response.headers.get("content-encoding"), "gzip");
  const stream = response.body!.pipeThrough(new DecompressionStream("gzip"));
  const page = await new Response(stream).text();
  assert.equal(page, await (await get("/docs")).text());
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

Deno.test("every curl example of the page works if it is pasted", async () => {
  const { document, page } = await documentAndPage();
  const lines = examplesOf(page, "curl");
  assert.equal(lines.length, exampleRequests(document).length);
  await withServedNode(3, async (served) => {
    const real = await realizer(served);
    for (const line of inOrder(lines, / -d /)) {
      if (line.includes("localhost/events")) {
        assert.match(await begins(real(line)), /^data: \{"id":null,"type":"hello"/m);
      } else if (line.includes("/ws")) {
        assert.match(await begins(real(line)), /^HTTP\/1.1 101 /);
      } else {
        const answer = await runs(real(line));
        if (!line.includes(" -d ")) continue;
        if (line.includes("Hello World!") || line.includes(HELLO)) {
          assert.equal(JSON.parse(answer).hash, HELLO);
        }
        if (line.includes("PUT") || line.includes("public_key")) {
          assert.equal(JSON.parse(answer).hash, SIGNED_HASH);
        }
      }
    }
  });
});

Deno.test("every TypeScript and Python example of the page works if it is pasted", async () => {
  const { document, page } = await documentAndPage();
  const { length } = exampleRequests(document);
  const typescript = examplesOf(page, "typescript"), python = examplesOf(page, "python");
  assert.deepEqual([typescript.length, python.length], [length, length]);
  const isStream = (code: string) => /localhost\/(events|ws)/.test(code);
  const folder = await Deno.makeTempDir({ prefix: "dmnode-examples-" });
  const typescriptOf = async (name: string, code: string) => {
    const file = `${folder}/${name}.ts`;
    await Deno.writeTextFile(file, `${code}\nexport {};\n`);
    const args = [
      "run",
      "--no-config",
      "--allow-net",
      ...name === "requests" ? ["--check"] : [],
      file,
    ];
    return new Deno.Command(Deno.execPath(), { args, env: { NO_COLOR: "1" }, ...PIPES });
  };
  const pythonOf = (code: string) =>
    new Deno.Command("python3", { args: ["-u", "-c", code], ...PIPES });
  try {
    await withServedNode(3, async (served) => {
      const real = await realizer(served);
      // Start each language once: a block for each example keeps their names apart.
      const blocks = inOrder(typescript.filter((code) => !isStream(code)), /body:/)
        .map((code) => `{\n${real(code)}\n}`);
      assert.match(await output(await typescriptOf("requests", blocks.join("\n"))), /Hello World!/);
      const scripts = inOrder(python.filter((code) => !isStream(code)), /data=/).map(real);
      const printed = await output(pythonOf(scripts.join("\n")));
      assert.ok(printed.includes(HELLO) && printed.includes("b'Hello World!'"), printed);
      const saysHello = (text: string) => /"?type"?: ?"hello"/.test(text);
      for (const [i, code] of typescript.filter(isStream).entries()) {
        await output(await typescriptOf(`stream${i}`, real(code)), saysHello);
      }
      const [events, sockets] = python.filter(isStream);
      await output(pythonOf(real(events)), saysHello);
      // The package that this example imports need not be installed: only check that Python can parse the example.
      await output(pythonOf(`compile(${JSON.stringify(sockets)}, "example", "exec")`));
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
