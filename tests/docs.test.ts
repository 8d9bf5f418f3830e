// Checks that the files and links in the documentation exist.

import assert from "node:assert/strict";
import { join } from "node:path/posix";

const ROOT = new URL("../", import.meta.url);

/** Matches a path of this repository in prose or in a command. */
const PATH =
  /(?<![\w./-])(?:\.\.?\/)*((?:src|tests|packaging|bench|examples|docs)\/[\w./*-]*[\w*/])/g;

/** Paths that a build or a test run creates. */
const GENERATED = /\/node_modules\b/;

interface Page {
  /** Relative to the root of the repository. */
  readonly path: string;
  readonly text: string;
}

async function pages(): Promise<Page[]> {
  const paths: string[] = [];
  for (const directory of [".", "examples", "docs", "docs/decisions"]) {
    for await (const { name, isFile } of Deno.readDir(new URL(directory, ROOT))) {
      if (isFile && name.endsWith(".md")) paths.push(join(directory, name));
    }
  }
  return await Promise.all(
    paths.sort().map(async (path) => ({
      path,
      text: await Deno.readTextFile(new URL(path, ROOT)),
    })),
  );
}

async function exists(path: string): Promise<boolean> {
  try {
    await Deno.stat(new URL(path, ROOT));
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** Returns the part of a path before its first wildcard, up to a directory. */
function withoutWildcard(path: string): string {
  const star = path.indexOf("*");
  return star === -1 ? path : path.slice(0, path.lastIndexOf("/", star) + 1);
}

/** Returns the anchors of a page's headings, as GitHub derives them. */
function anchors(text: string): Set<string> {
  const found = new Set<string>();
  for (const [, heading] of withoutFences(text).matchAll(/^#+ (.+)$/gm)) {
    const plain = heading.replace(/\[([^\]]*)\]\([^)]*\)/g, "$1").replaceAll("`", "");
    const slug = plain.toLowerCase().replace(/[^\p{L}\p{N} _-]/gu, "").replaceAll(" ", "-");
    let anchor = slug;
    for (let repeat = 1; found.has(anchor); repeat++) anchor = `${slug}-${repeat}`;
    found.add(anchor);
  }
  return found;
}

function withoutFences(text: string): string {
  return text.replace(/^ *```.*?^ *```$/gms, "");
}

/** Returns the cells of the columns `file` and `tests` in a page's tables. */
function rulesOf(text: string): { files: string[]; tests: string[] } {
  const files: string[] = [], tests: string[] = [];
  let header: string[] = [];
  for (const line of text.split("\n")) {
    if (!line.startsWith("|")) {
      header = [];
      continue;
    }
    const cells = line.split("|").slice(1, -1).map((cell) => cell.trim());
    if (header.length === 0) header = cells;
    else if (!/^-+$/.test(cells[0])) {
      cells.forEach((cell, column) => {
        const paths = cell.replaceAll("\\", "").split(", ");
        if (header[column] === "file") files.push(...paths);
        else if (header[column] === "tests") tests.push(...paths);
      });
    }
  }
  return { files, tests };
}

Deno.test("every path that the documentation names exists", async () => {
  const missing: string[] = [];
  for (const { path, text } of await pages()) {
    for (const [, named] of text.matchAll(PATH)) {
      if (!GENERATED.test(named) && !(await exists(withoutWildcard(named)))) {
        missing.push(`${path}: ${named}`);
      }
    }
  }
  assert.deepEqual(missing, []);
});

Deno.test("every relative link of the documentation resolves, with its anchor", async () => {
  const broken: string[] = [];
  for (const { path, text } of await pages()) {
    for (const [, link] of withoutFences(text).matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(link)) continue;
      const [file, anchor] = link.split("#");
      const target = file === ""
        ? path
        : new URL(file, new URL(path, ROOT)).href.slice(ROOT.href.length);
      if (!(await exists(target))) broken.push(`${path}: ${link}`);
      else if (anchor !== undefined && target.endsWith(".md")) {
        const linked = await Deno.readTextFile(new URL(target, ROOT));
        if (!anchors(linked).has(anchor)) broken.push(`${path}: ${link}`);
      }
    }
  }
  assert.deepEqual(broken, []);
});

Deno.test("the tables of docs/protocol.md name existing sources and tests", async () => {
  const { files, tests } = rulesOf(await Deno.readTextFile(new URL("docs/protocol.md", ROOT)));
  assert.ok(files.length > 0 && tests.length > 0);
  const missing: string[] = [];
  for (const file of files) if (!(await exists(`src/${file}`))) missing.push(file);
  for (const test of tests) {
    const path = test.includes("*") ? withoutWildcard(`tests/${test}`) : `tests/${test}.test.ts`;
    if (!(await exists(path))) missing.push(test);
  }
  assert.deepEqual([...new Set(missing)], []);
});

/** Messages in the tables of docs/operations.md that come from the system, from Deno or from HTTP. */
const FOREIGN =
  /^(HTTP \d+|\/readyz|cli\/rt\/binary\.rs|service has failed|status=|\/INVALIDARGUMENT|Watchdog timeout|systemctl start|error while loading shared libraries|not found|NotCapable)$/;

/** Returns the fixed parts of a quoted message: without doctor's verdict, file names and numbers. */
function fixedParts(message: string): string[] {
  return message.replace(/^(ok|warn|fail|unknown)\b/, "").replace(/^dmnode\.sqlite(-wal)? /, "")
    .split(/…|: |\bN\b|\bIPv[46]\b|\b\d+\b/).map((part) => part.trim()).filter((part) =>
      part.length > 3
    );
}

/** Returns the text of all sources, with each message of several string literals joined into one. */
async function sources(directory: URL): Promise<string> {
  const texts: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(directory)) {
    if (isDirectory) texts.push(await sources(new URL(`${name}/`, directory)));
    else if (/\.[jt]s$/.test(name)) texts.push(await Deno.readTextFile(new URL(name, directory)));
  }
  return texts.join("\n").replace(/["`]\s*\+\s*["`]/g, "");
}

Deno.test("the program still has every message that docs/operations.md explains", async () => {
  const text = await Deno.readTextFile(new URL("docs/operations.md", ROOT));
  const source = await sources(new URL("src/", ROOT));
  const missing: string[] = [];
  let count = 0, explains = false;
  for (const line of text.split("\n")) {
    if (!line.startsWith("|")) explains = false;
    const first = line.split("|")[1]?.trim() ?? "";
    if (first === "symptom" || first === "doctor says") explains = true;
    if (!explains) continue;
    for (const [, message] of first.matchAll(/`([^`]+)`/g)) {
      for (const part of FOREIGN.test(message) ? [] : fixedParts(message)) {
        count++;
        if (!FOREIGN.test(part) && !source.includes(part)) missing.push(`${message}: ${part}`);
      }
    }
  }
  assert.ok(count > 50);
  assert.deepEqual(missing, []);
});
