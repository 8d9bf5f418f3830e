// Checks the structure of the source: imports go in one direction, and the core has no clock, randomness or I/O.

import assert from "node:assert/strict";
import { relative } from "node:path";
import { fileURLToPath } from "node:url";

const SRC = fileURLToPath(new URL("../src/", import.meta.url));

/** A part of the program: a folder of src/, or a file at its top. */
type Part = string;

/** The other parts that each part may import. */
const MAY_IMPORT: Record<Part, readonly Part[]> = {
  krpc: [],
  dht: ["krpc"],
  storage: ["dht", "krpc"],
  reports: ["krpc"],
  config: ["krpc"],
  large_values: ["dht", "krpc", "reports"],
  node_service: ["config", "dht", "krpc", "large_values", "reports"],
  runtime: [
    "config",
    "dht",
    "krpc",
    "large_values",
    "node_service",
    "reports",
    "storage",
    "version",
  ],
  api: [
    "commit",
    "config",
    "dht",
    "digest",
    "krpc",
    "node_service",
    "reports",
    "runtime",
    "version",
    "web",
  ],
  sim: ["dht", "krpc", "large_values", "runtime", "version"],
  cli: [
    "api",
    "commit",
    "config",
    "digest",
    "krpc",
    "reports",
    "runtime",
    "sim",
    "storage",
    "version",
    "web",
  ],
  web: ["digest", "reports"],
  digest: [],
  version: [],
  commit: [],
};

/** The parts whose rooms are ordered too. */
const LAYERED = /^(dht|runtime|api|cli)\//;

/** The rooms of the same part that each room may import. Files at the top of a part must only be free of cycles. */
const MAY_IMPORT_ROOMS: Record<string, readonly string[]> = {
  "api/docs": [],
  "api/events": ["front"],
  "api/front": [],
  "api/routes": ["docs", "events"],
  "api/thread": [],
  "cli/client": ["terminal"],
  "cli/commands": ["client", "doctor"],
  "cli/doctor": ["client", "terminal"],
  "cli/terminal": [],
  "dht/items": ["membership", "routing", "search"],
  "dht/membership": ["routing", "search"],
  "dht/nat": ["routing", "search", "serving"],
  "dht/routing": [],
  "dht/search": ["routing"],
  "dht/serving": ["items", "routing", "search"],
  "runtime/backup": ["identity"],
  "runtime/identity": [],
  "runtime/net": [],
  "runtime/port_mapping": ["net"],
  "runtime/process": ["net"],
  "runtime/reports": ["port_mapping", "values"],
  "runtime/swarm": ["identity", "net"],
  "runtime/values": ["identity"],
};

/** Single files outside of runtime/ and cli/ that may use `Deno.`. */
const EDGE_FILES: readonly string[] = [
  "main.ts",
  "api/server.ts",
  "api/unix_socket.ts",
  "api/front/connection.ts",
  "api/front/front.ts",
];

/** The edge of the program, which may use `Deno.`. */
const EDGE = {
  test: (path: string) => /^(runtime|cli)\//.test(path) || EDGE_FILES.includes(path),
};

/** Code that would give the core time, randomness, I/O or concurrency that does not come from its host. */
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

/** Returns the code without comments and the content of strings. Expressions inside templates remain. */
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

/** Returns the specifiers of all imports and re-exports, including dynamic ones and `import("…")` types in JSDoc. */
function importsOf(source: string): string[] {
  const inJsDoc = [...source.matchAll(/\/\*\*[\s\S]*?\*\//g)]
    .flatMap(([comment]) => [...comment.matchAll(/\bimport\(\s*["']([^"']+)["']\s*\)/g)])
    .map(([, specifier]) => specifier);
  const withoutComments = source.replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, "");
  const found = withoutComments.matchAll(
    /\b(?:import|export)\b[^"';]*?\bfrom\s*["']([^"']+)["']|\bimport\s*\(?\s*["']([^"']+)["']/g,
  );
  return [...Array.from(found, ([, from, bare]) => from ?? bare), ...inJsDoc];
}

/** Resolves a relative specifier in the file `path`. Both paths are relative to src/. */
function targetOf(path: string, specifier: string): string {
  return relative(SRC, fileURLToPath(new URL(specifier, new URL(path, `file://${SRC}`))));
}

const partOf = (path: string): Part =>
  path.includes("/") ? path.split("/")[0] : path.replace(/\.ts$/, "");

/** Returns the room of a file: a folder inside a part, or a file at the top of a part. */
function roomOf(path: string): string {
  const [part, inner, ...rest] = path.split("/");
  return rest.length > 0 ? `${part}/${inner}` : path;
}

/** Returns for each file in src/ the files in src/ that it imports. */
function importGraph(): Map<string, Set<string>> {
  const files = [...sourceFiles()];
  return new Map(files.map((path) => {
    const specifiers = importsOf(Deno.readTextFileSync(SRC + path));
    const targets = specifiers.filter((specifier) => specifier.startsWith("."))
      .map((specifier) => targetOf(path, specifier));
    return [path, new Set(targets.filter((target) => files.includes(target)))];
  }));
}

/** Returns the same graph for rooms, without imports within a room. */
function roomGraph(): Map<string, Set<string>> {
  const rooms = new Map<string, Set<string>>();
  for (const [path, targets] of importGraph()) {
    const room = roomOf(path);
    const others = rooms.get(room) ?? new Set();
    rooms.set(room, others);
    for (const target of targets) if (roomOf(target) !== room) others.add(roomOf(target));
  }
  return rooms;
}

/** Returns one cycle of a graph as a list of its nodes; empty if the graph has none. */
function circleIn(graph: ReadonlyMap<string, ReadonlySet<string>>): string[] {
  const finished = new Set<string>();
  const visit = (node: string, way: readonly string[]): string[] => {
    if (way.includes(node)) return [...way.slice(way.indexOf(node)), node];
    if (finished.has(node)) return [];
    for (const next of graph.get(node) ?? []) {
      const circle = visit(next, [...way, node]);
      if (circle.length > 0) return circle;
    }
    finished.add(node);
    return [];
  };
  for (const node of graph.keys()) {
    const circle = visit(node, []);
    if (circle.length > 0) return circle;
  }
  return [];
}

/** Returns the violations in one file, whose path is relative to src/. */
function violations(path: string, source: string): string[] {
  const part = partOf(path), isCore = part === "krpc" || part === "dht";
  const found: string[] = [];
  for (const specifier of importsOf(source)) {
    if (!specifier.startsWith(".")) {
      if (isCore) found.push(`imports ${specifier}`);
      if (/^@?hono\b/.test(specifier) && part !== "api") found.push(`imports ${specifier}`);
      continue;
    }
    const target = targetOf(path, specifier);
    if (target.startsWith("..")) {
      if (isCore) found.push(`imports ${specifier}`);
      continue;
    }
    const other = partOf(target);
    if (other === "main") found.push("imports main.ts");
    else if (other !== part && !MAY_IMPORT[part]?.includes(other) && part !== "main") {
      found.push(`imports ${other}`);
    }
    const room = roomOf(path), otherRoom = roomOf(target);
    const allowed = MAY_IMPORT_ROOMS[room];
    if (allowed !== undefined && other === part && otherRoom !== room && isFolder(otherRoom)) {
      if (!allowed.includes(otherRoom.split("/")[1])) found.push(`imports ${otherRoom}`);
    }
  }
  const code = codeOf(source);
  if (/\bDeno\s*[.[]/.test(code) && !EDGE.test(path)) found.push("uses Deno");
  if (isCore) {
    for (const [pattern, name] of NOT_IN_CORE) if (pattern.test(code)) found.push(`uses ${name}`);
  }
  return found;
}

const isFolder = (room: string) => !/\.(ts|js)$/.test(room);

function* sourceFiles(directory = SRC): Generator<string> {
  for (const { name, isDirectory } of Deno.readDirSync(directory)) {
    if (isDirectory) yield* sourceFiles(`${directory}${name}/`);
    else if (/\.(tsx?|js)$/.test(name)) yield `${directory}${name}`.slice(SRC.length);
  }
}

Deno.test("imports go in one direction, and only the edge and the API use the outside world", () => {
  const files = [...sourceFiles()];
  assert.ok(files.length > 30 && files.includes("krpc/id.ts") && files.includes("main.ts"));
  for (const path of files) {
    const found = violations(path, Deno.readTextFileSync(SRC + path));
    assert.deepEqual(found, [], path);
  }
});

Deno.test("files don't import each other in a cycle, not even types", () => {
  assert.deepEqual(circleIn(importGraph()), []);
});

Deno.test("rooms don't import each other in a cycle", () => {
  assert.deepEqual(circleIn(roomGraph()), []);
});

Deno.test("the check finds a cycle", () => {
  const graph = { a: ["b"], b: ["c", "d"], c: [], d: ["b"] };
  const planted = new Map(Object.entries(graph).map(([node, next]) => [node, new Set(next)]));
  assert.deepEqual(circleIn(planted), ["b", "d", "b"]);
});

Deno.test("every part and every room is listed", () => {
  const files = [...sourceFiles()];
  const parts = new Set(files.map(partOf));
  parts.delete("main");
  assert.deepEqual([...parts].sort(), Object.keys(MAY_IMPORT).sort());
  const rooms = new Set(files.map(roomOf).filter((room) => isFolder(room) && LAYERED.test(room)));
  assert.deepEqual([...rooms].sort(), Object.keys(MAY_IMPORT_ROOMS).sort());
});

Deno.test("every import that the lists allow exists", () => {
  const graph = importGraph();
  const uses = new Set<string>();
  for (const [path, targets] of graph) {
    for (const target of targets) {
      uses.add(`${partOf(path)} > ${partOf(target)}`);
      uses.add(`${roomOf(path)} > ${roomOf(target)}`);
    }
  }
  const allowed = [
    ...Object.entries(MAY_IMPORT).flatMap(([part, others]) =>
      others.map((other) => `${part} > ${other}`)
    ),
    ...Object.entries(MAY_IMPORT_ROOMS).flatMap(([room, others]) =>
      others.map((other) => `${room} > ${room.split("/")[0]}/${other}`)
    ),
  ];
  assert.deepEqual(allowed.filter((entry) => !uses.has(entry)), []);
  const edge = [...graph.keys()].filter((path) =>
    /\bDeno\s*[.[]/.test(codeOf(Deno.readTextFileSync(SRC + path)))
  );
  for (const file of EDGE_FILES) assert.ok(edge.includes(file), `${file} does not use Deno`);
});

Deno.test("the check finds a violation", () => {
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

Deno.test("text in comments and strings is no violation", () => {
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

/** The modules that are loaded with this one. Modules of dynamic imports are loaded later. */
async function loadedWith(path: string): Promise<Set<string>> {
  const command = new Deno.Command(Deno.execPath(), { args: ["info", "--json", SRC + path] });
  const { roots, modules } = JSON.parse(new TextDecoder().decode((await command.output()).stdout));
  const loaded = new Set<string>();
  const load = (specifier: string) => {
    if (loaded.has(specifier)) return;
    loaded.add(specifier);
    const module = modules.find((module: { specifier: string }) => module.specifier === specifier);
    for (const { code, isDynamic } of module?.dependencies ?? []) {
      if (!isDynamic && code?.specifier !== undefined) load(code.specifier);
    }
  };
  load(roots[0]);
  return loaded;
}

for (const path of ["cli/program.ts", "cli/start.ts"]) {
  Deno.test(`${path} does not load the whole of zod, which needs megabytes in the node's thread`, async () => {
    const loaded = [...await loadedWith(path)];
    assert.ok(loaded.some((specifier) => specifier.startsWith("npm:zod") && /v3$/.test(specifier)));
    assert.deepEqual(loaded.filter((specifier) => /^npm:zod@[^/]*$/.test(specifier)), []);
  });
}

Deno.test("until main.ts has opened the C library, only the program's own modules are evaluated", () => {
  const statics = (path: string): string[] =>
    [
      ...Deno.readTextFileSync(SRC + path).matchAll(
        /^(?:import|export)\b(?! type)[^;]*?"([^"]+)";/gm,
      ),
    ]
      .map(([, specifier]) => specifier);
  const seen = new Set<string>(), open = ["main.ts"];
  for (let path; (path = open.pop()) !== undefined;) {
    if (seen.has(path)) continue;
    seen.add(path);
    for (const specifier of statics(path)) {
      if (specifier.startsWith(".")) open.push(targetOf(path, specifier));
      else assert.match(specifier, /^node:/, `${path} imports ${specifier}`);
    }
  }
  assert.equal(statics("main.ts")[0], "./runtime/net/message_batch.ts");
  assert.ok(seen.has("krpc/endpoint.ts"));
});

/** What a program loads at its start apart from its own files. */
async function packagesOf(path: string): Promise<string[]> {
  return [...await loadedWith(path)].filter((specifier) => !specifier.startsWith("file:"));
}

Deno.test("the API's thread loads packages only for the first request", async () => {
  assert.deepEqual(await packagesOf("api/thread/worker.ts"), []);
});

Deno.test("the database's thread loads nothing of Node but SQLite", async () => {
  assert.deepEqual(await packagesOf("runtime/storage_worker.ts"), ["node:sqlite"]);
});
