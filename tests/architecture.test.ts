// The shape of the source: imports point one way, and the core has no clock, no randomness and no I/O of its own.

import assert from "node:assert/strict";
import { relative } from "node:path";
import { fileURLToPath } from "node:url";

const SRC = fileURLToPath(new URL("../src/", import.meta.url));

/** A part of the program: a folder of src/, or a file at its top. */
type Part = string;

/** What each part may import beside itself. Parts that are not listed may import anything below main. */
const MAY_IMPORT: Record<Part, readonly Part[]> = {
  krpc: [],
  dht: ["krpc"],
  storage: ["dht", "krpc"],
  data: ["dht", "krpc"],
  runtime: ["data", "dht", "krpc", "storage", "config", "version", "commit"],
  api: ["dht", "krpc", "runtime", "config", "version", "commit", "web"],
  sim: ["dht", "krpc", "runtime", "version"],
  cli: ["api", "dht", "krpc", "runtime", "sim", "storage", "config", "version", "commit"],
  config: ["krpc"],
  version: [],
  web: [],
  commit: [],
};

/** Where `Deno.` may be used: the edge of the program. */
const EDGE = /^(runtime|cli)\/|^main\.ts$|^api\/(front|front_service|server)\.ts$|^commit\.ts$/;

/** What would give the core time, randomness, I/O or concurrency other than through its host. */
const NOT_IN_CORE: readonly (readonly [RegExp, string])[] = [
  [/\bDeno\b/, "Deno"],
  [/\bDate\b/, "Date"],
  [/\bperformance\b/, "performance"],
  [/\b(set|clear)(Timeout|Interval)\b|\bqueueMicrotask\b/, "a timer"],
  [/\bMath\s*\.\s*random\b|\bMath\s*\[/, "Math.random"],
  [/\bcrypto\s*(\[|\.\s*(getRandomValues|randomUUID|subtle)\b)/, "the global crypto"],
  [/\bconsole\b/, "console"],
  [/\basync\b|\bawait\b|\bPromise\b/, "asynchrony"],
  [/\bglobalThis\b|\beval\s*\(|\bFunction\s*\(/, "a way around these rules"],
];

/** The code without what comments, strings and templates say; the expressions inside templates stay. */
function codeOf(source: string): string {
  let code = "", at = 0;
  const skipString = (quote: string) => {
    at++;
    while (at < source.length && source[at] !== quote) {
      if (source[at] === "\\") at++;
      else if (quote === "`" && source.startsWith("${", at)) {
        at += 2;
        copyUntil("}");
        continue;
      }
      at++;
    }
    at++;
    code += '""';
  };
  const copyUntil = (end: string) => {
    for (let depth = 0; at < source.length;) {
      const c = source[at];
      if (c === end && depth === 0) {
        at++;
        return;
      }
      if (source.startsWith("//", at)) at = (source.indexOf("\n", at) + 1 || source.length + 1) - 1;
      else if (source.startsWith("/*", at)) at = source.indexOf("*/", at + 2) + 2;
      else if (c === '"' || c === "'" || c === "`") skipString(c);
      else if (c === "/" && /[(,=:[!&|?{};\n]\s*$/.test(code)) skipRegExp();
      else {
        if (c === "{") depth++;
        else if (c === "}") depth--;
        code += c;
        at++;
      }
    }
  };
  const skipRegExp = () => {
    let inClass = false;
    for (at++; at < source.length && (source[at] !== "/" || inClass); at++) {
      if (source[at] === "\\") at++;
      else if (source[at] === "[") inClass = true;
      else if (source[at] === "]") inClass = false;
    }
    at++;
    code += "/x/";
  };
  copyUntil("");
  return code;
}

/** Specifiers of all imports and re-exports, dynamic ones included. */
function importsOf(source: string): string[] {
  const withoutComments = source.replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, "");
  const found = withoutComments.matchAll(
    /\b(?:import|export)\b[^"';]*?\bfrom\s*["']([^"']+)["']|\bimport\s*\(?\s*["']([^"']+)["']/g,
  );
  return Array.from(found, ([, from, bare]) => from ?? bare);
}

const partOf = (path: string): Part =>
  path.includes("/") ? path.split("/")[0] : path.replace(/\.ts$/, "");

/** The violations of one file, whose path is relative to src/. */
function violations(path: string, source: string): string[] {
  const part = partOf(path), isCore = part === "krpc" || part === "dht";
  const found: string[] = [];
  for (const specifier of importsOf(source)) {
    if (!specifier.startsWith(".")) {
      if (isCore) found.push(`imports ${specifier}`);
      if (/^@?hono\b/.test(specifier) && part !== "api") found.push(`imports ${specifier}`);
      continue;
    }
    const target = relative(SRC, fileURLToPath(new URL(specifier, new URL(path, `file://${SRC}`))));
    if (target.startsWith("..")) {
      if (isCore) found.push(`imports ${specifier}`);
      continue;
    }
    const other = partOf(target);
    const allowed = MAY_IMPORT[part];
    if (other === "main") found.push("imports main.ts");
    else if (other !== part && allowed !== undefined && !allowed.includes(other)) {
      found.push(`imports ${other}`);
    }
  }
  const code = codeOf(source);
  if (/\bDeno\s*[.[]/.test(code) && !EDGE.test(path)) found.push("uses Deno");
  if (isCore) {
    for (const [pattern, name] of NOT_IN_CORE) if (pattern.test(code)) found.push(`uses ${name}`);
  }
  return found;
}

function* sourceFiles(directory = SRC): Generator<string> {
  for (const { name, isDirectory } of Deno.readDirSync(directory)) {
    if (isDirectory) yield* sourceFiles(`${directory}${name}/`);
    else if (/\.(tsx?|js)$/.test(name)) yield `${directory}${name}`.slice(SRC.length);
  }
}

Deno.test("imports point one way, and only the edge and the API know the outside", () => {
  const files = [...sourceFiles()];
  assert.ok(files.length > 30 && files.includes("krpc/id.ts") && files.includes("main.ts"));
  for (const path of files) {
    const found = violations(path, Deno.readTextFileSync(SRC + path));
    assert.deepEqual(found, [], path);
  }
});

Deno.test("every folder of src/ has its place in the order", () => {
  const parts = new Set([...sourceFiles()].map(partOf));
  parts.delete("main");
  for (const part of parts) assert.ok(part in MAY_IMPORT, `${part} is not listed`);
});

Deno.test("a planted violation is found", () => {
  const core: [string, string][] = [
    ['import { x } from "../dht/node.ts";', "imports dht"],
    ['export { x } from "../runtime/udp.ts";', "imports runtime"],
    ['import type { X } from "../config.ts";', "imports config"],
    ['import {\n  x,\n  y,\n} from "../storage/database.ts";', "imports storage"],
    ['import "../cli/start.ts";', "imports cli"],
    ['const x = import("../main.ts");', "imports main.ts"],
    ['import { sha1 } from "node:crypto";', "imports node:crypto"],
    ['import fc from "npm:fast-check";', "imports npm:fast-check"],
    ['import m from "../../deno.json" with { type: "json" };', "imports ../../deno.json"],
    ["const x = Date.now();", "uses Date"],
    ["const x = performance.now();", "uses performance"],
    ["setTimeout(() => {}, 5);", "uses a timer"],
    ["queueMicrotask(run);", "uses a timer"],
    ["const x = Math.random();", "uses Math.random"],
    ["const x = crypto.getRandomValues(y);", "uses the global crypto"],
    ["console.log(1);", "uses console"],
    ["async function f() {}", "uses asynchrony"],
    ["const p: Promise<void> = x;", "uses asynchrony"],
    ["const x = `a ${Date.now()} b`;", "uses Date"],
    ["const x = globalThis;", "uses a way around these rules"],
    ["const s = 'it''s'; Date.now();", "uses Date"],
    ["const r = /['\"]/; Date.now();", "uses Date"],
    ["const r = x.replace(/[/'\"]/g, y); Date.now();", "uses Date"],
  ];
  for (const [source, expected] of core) {
    assert.deepEqual(violations("krpc/planted.ts", source), [expected], source);
  }
  assert.deepEqual(violations("dht/planted.ts", "Deno.exit();"), ["uses Deno", "uses Deno"]);
  assert.deepEqual(violations("api/app.ts", "Deno.exit();"), ["uses Deno"]);
  assert.deepEqual(violations("config.ts", "Deno.exit();"), ["uses Deno"]);
  assert.deepEqual(violations("cli/x.ts", 'import { Hono } from "hono";'), ["imports hono"]);
  const sub = 'import { cors } from "hono/cors"; import z from "@hono/zod-openapi";';
  assert.deepEqual(violations("runtime/x.ts", sub), [
    "imports hono/cors",
    "imports @hono/zod-openapi",
  ]);
  assert.deepEqual(violations("runtime/x.ts", 'import { x } from "../api/app.ts";'), [
    "imports api",
  ]);
});

Deno.test("what only comments and strings say is no violation", () => {
  const innocent = [
    "// Date.now() and Deno.exit() and setTimeout",
    "/* await\n * console.log */",
    "const x = 'Date.now()';",
    'const x = "a \\" Date.now()";',
    "const x = `Date ${y} performance`;",
    "const x = /Date|Deno/.test(y);",
    "const update = 1, validDate_ = 2;",
    "function f(crypto: ItemCrypto) { return crypto.sha1(x); }",
    "const x = a / b; const y = c / d;",
    '// import { x } from "../dht/node.ts"',
    'import { Id } from "./id.ts";',
  ];
  for (const source of innocent) {
    assert.deepEqual(violations("krpc/innocent.ts", source), [], source);
  }
});
