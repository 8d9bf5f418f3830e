// The files of the dashboard: every file that they reference is served, they load nothing from other hosts, and the
// content security policy forbids everything else.

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { posix } from "node:path";
import { gunzipSync } from "node:zlib";
import { createApi } from "../../src/api/app.ts";
import { loadConfig } from "../../src/config.ts";
import { PAGE_FILES } from "../../src/web/page.ts";
import { FakeService } from "../api/fake_service.ts";

const WEB = new URL("../../src/web/", import.meta.url);

function request(path: string, headers: Record<string, string> = {}): Promise<Response> {
  const app = createApi({ service: new FakeService(), config: loadConfig() });
  return Promise.resolve(app.fetch(new Request(`http://localhost${path}`, { headers })));
}

/** Only our own files: comments in packages may name other hosts. */
const ownTexts = Object.entries(PAGE_FILES).flatMap(([path, { body }]) =>
  typeof body !== "string" || /vendor|uplot/.test(path) ? [] : [[path, body] as const]
);

Deno.test("each file is served with its type, pages with a strict policy, and a cached copy gets 304", async () => {
  const types = new Set<string>();
  for (const [path, { type, hash, gzip }] of Object.entries(PAGE_FILES)) {
    const etag = `"${await hash()}"`;
    const response = await request(path);
    assert.equal(response.status, 200, path);
    assert.equal(response.headers.get("content-type"), type);
    assert.equal(response.headers.get("cache-control"), "no-cache");
    assert.equal(response.headers.get("x-content-type-options"), "nosniff");
    const policy = response.headers.get("content-security-policy");
    if (/html|svg/.test(type)) {
      assert.match(policy ?? "", /^default-src 'none';/);
      assert.doesNotMatch(policy ?? "", /unsafe|https?:|data:|blob:|\*/);
    } else assert.equal(policy, null);
    const plain = Buffer.from(await response.arrayBuffer());
    assert.ok(plain.length > 100, path);
    const again = await request(path, { "if-none-match": `W/"other", ${etag}` });
    assert.equal(again.status, 304);
    assert.equal((await again.arrayBuffer()).byteLength, 0);
    const packed = await request(path, { "accept-encoding": "br, gzip;q=0.9" });
    assert.equal(packed.headers.get("content-encoding"), gzip === null ? null : "gzip", path);
    assert.equal(packed.headers.get("etag") === etag, gzip === null, "each form has its own ETag");
    const bytes = new Uint8Array(await packed.arrayBuffer());
    assert.ok(plain.equals(gzip === null ? bytes : gunzipSync(bytes)), path);
    const refused = await request(path, { "accept-encoding": "gzip;q=0" });
    assert.equal(refused.headers.get("content-encoding"), null);
    await refused.body?.cancel();
    types.add(type.split(";")[0]);
  }
  assert.deepEqual(
    types,
    new Set(["text/html", "image/svg+xml", "font/woff2", "text/css", "text/javascript"]),
  );
});

Deno.test("no file loads from another host, sets markup from data, or has inline styles or scripts", () => {
  assert.ok(ownTexts.length > 30);
  for (const [path, body] of ownTexts) {
    assert.doesNotMatch(body.replaceAll("http://www.w3.org/2000/svg", ""), /https?:\/\//, path);
    assert.doesNotMatch(
      body,
      /innerHTML|outerHTML|insertAdjacentHTML|dangerouslySet|document\.write/,
      path,
    );
    assert.doesNotMatch(body, /\beval\(|new Function|@import/, path);
  }
  const html = String(PAGE_FILES["/"].body);
  assert.doesNotMatch(html, /<style|\sstyle=|\son\w+=/);
  const inline = [...html.matchAll(/<script(?![^>]*\bsrc=)[^>]*>([\s\S]*?)<\/script>/g)];
  assert.equal(inline.length, 1, "only the import map");
});

Deno.test("the policy names the import map by its hash", async () => {
  const response = await request("/");
  const [, map] = /<script type="importmap">(.*?)<\/script>/.exec(await response.text())!;
  const hash = createHash("sha256").update(map).digest("base64");
  const policy = response.headers.get("content-security-policy")!;
  assert.ok(policy.includes(`script-src 'self' 'sha256-${hash}'`));
  for (const path of Object.values<string>(JSON.parse(map).imports)) {
    assert.ok(path in PAGE_FILES, path);
  }
});

Deno.test("every file that another file references is served", () => {
  const html = String(PAGE_FILES["/"].body);
  const [, map] = /<script type="importmap">(.*?)<\/script>/.exec(html)!;
  const mapped = new Set(Object.keys(JSON.parse(map).imports));
  for (const [, path] of html.matchAll(/(?:src|href)="(\/assets\/[^"]+)"/g)) {
    assert.ok(path in PAGE_FILES, path);
  }
  for (const [path, body] of ownTexts) {
    if (path.endsWith(".css")) {
      for (const [, url] of body.matchAll(/url\("([^"]+)"\)/g)) assert.ok(url in PAGE_FILES, url);
    }
    if (!path.endsWith(".js")) continue;
    for (const [, specifier] of body.matchAll(/^(?:import|export)\s[^;]*?from "([^"]+)";/gm)) {
      if (specifier.startsWith(".")) {
        const target = posix.join(posix.dirname(path), specifier);
        assert.ok(target in PAGE_FILES, `${path} imports ${specifier}`);
      } else assert.ok(mapped.has(specifier), `${path} imports ${specifier}`);
    }
  }
});

Deno.test("every module and style of src/web/ is served unchanged", async () => {
  async function* files(directory: URL): AsyncGenerator<URL> {
    for await (const { name, isDirectory } of Deno.readDir(directory)) {
      if (isDirectory) yield* files(new URL(`${name}/`, directory));
      else if (/\.(js|css)$/.test(name)) yield new URL(name, directory);
    }
  }
  const styles = ["dashboard.css", "docs.css"].map((name) => PAGE_FILES[`/assets/${name}`].body)
    .join();
  let count = 0;
  for await (const file of files(WEB)) {
    const path = `/assets/${file.href.slice(WEB.href.length)}`;
    const served = path.endsWith(".css") ? styles : String(PAGE_FILES[path]?.body);
    assert.ok(served.includes(await Deno.readTextFile(file)), path);
    count++;
  }
  assert.ok(count > 30);
});
