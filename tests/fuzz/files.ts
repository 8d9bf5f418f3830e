// Fuzzing of a node's files: a real database and a file of large values, with changed bytes, or changed with SQL. A start
// succeeds, or fails with one line. Values are never wrong.

import assert from "node:assert/strict";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import fc from "fast-check";
import type { LocalNode } from "../../src/runtime/local_node.ts";
import { StorageError } from "../../src/storage/sqlite.ts";
import { bytesOf } from "../network/nodes.ts";
import { concat } from "../packets.ts";
import { startNode, until } from "../runtime/nodes.ts";
import type { Subject } from "./subject.ts";

/** The timeout of a start, which needs less even on a busy machine. */
const STALL_MS = 60_000;

/** SQLite's size of a page in both files. */
const PAGE = 8192;

const FILES = ["dmnode.sqlite", "dmnode.sqlite-wal", "large.sqlite", "identity.pem"] as const;

/** A directory of a node, and the values that the node published. */
interface Image {
  readonly files: ReadonlyMap<string, Uint8Array>;
  readonly values: ReadonlyMap<string, Uint8Array>;
}

/** The files of a node that stored values of each kind: after its end, or after a kill with a log of its latest writes. */
let images: Promise<Record<"closed" | "killed", Image>> | undefined;

async function makeImages(): Promise<Record<"closed" | "killed", Image>> {
  const directory = await Deno.makeTempDir();
  const peer = await startNode();
  const bootstrap = `127.0.0.1:${peer.port}`;
  const node = await startNode({ dataDir: directory, bootstrap });
  await until(async () => (await node.readiness()).ready);
  const values = new Map<string, Uint8Array>();
  for (const [key, size] of [[null, 20], [null, 900], ["key", 30], [null, 40_000]] as const) {
    const value = Uint8Array.from({ length: size }, (_, i) => i * 7);
    const stored = await node.store(value, key);
    assert.ok(stored.outcome === "stored");
    values.set(stored.report.hash, value);
  }
  const read = (): ReadonlyMap<string, Uint8Array> =>
    new Map(
      Array.from(Deno.readDirSync(directory), ({ name }) => name)
        .filter((name) => FILES.some((known) => known === name))
        .map((name) => [name, Deno.readFileSync(join(directory, name))]),
    );
  const killed = { files: read(), values };
  await node.close();
  const closed = { files: read(), values };
  await peer.close();
  await Deno.remove(directory, { recursive: true });
  return { closed, killed };
}

/** Changes by somebody with an editor for SQLite. */
const STATEMENTS = [
  "CREATE TRIGGER t AFTER INSERT ON items BEGIN DELETE FROM published; END",
  "CREATE TRIGGER t AFTER DELETE ON contacts BEGIN UPDATE meta SET value = x'00'; END",
  "CREATE VIEW v AS SELECT * FROM items",
  "ALTER TABLE items RENAME TO other; CREATE VIEW items AS SELECT * FROM other",
  "CREATE TABLE other (x)",
  "CREATE INDEX i ON items (seq)",
  ...["items", "published", "contacts", "meta"].flatMap((table) => [
    `DROP TABLE ${table}`,
    `DELETE FROM ${table}`,
    `ALTER TABLE ${table} ADD COLUMN extra DEFAULT 'x'`,
  ]),
  ...["x''", "x'00'", "'text'", "5", "-1e300", "9223372036854775807", "zeroblob(100000)"].flatMap(
    (value) => [
      `UPDATE meta SET value = ${value} WHERE name = 'node_id'`,
      `UPDATE meta SET value = ${value} WHERE name = 'clock'`,
      ...["id", "endpoint", "first_seen", "last_seen", "rtt", "answer_rate", "parts"].map((
        column,
      ) => `UPDATE contacts SET ${column} = ${value}`),
      ...["target", "value", "public_key", "seq", "first_at", "value_blob", "life", "checksum"].map(
        (column) => `UPDATE published SET ${column} = ${value}`,
      ),
    ],
  ),
  ...'null 5 [] {} [null] {"a":{"b":[]}} { "text"'.split(" ").map((json) =>
    `UPDATE contacts SET parts = '${json}'`
  ),
  `INSERT OR IGNORE INTO contacts SELECT randomblob(20), randomblob(6), 0, 0, 1, 1, 1, NULL FROM
    (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) SELECT i FROM n)`,
  ...[-1, 0, 1, 2, 3, 4, 5, 6, 7, 99, 2_147_483_647].map((v) => `PRAGMA user_version = ${v}`),
  "PRAGMA journal_mode = DELETE",
  "PRAGMA journal_mode = DELETE; PRAGMA page_size = 512; VACUUM",
];

const LARGE_STATEMENTS = [
  "CREATE TRIGGER t AFTER DELETE ON segments BEGIN INSERT INTO segments VALUES (1, x'', 0); END",
  "DROP TABLE segments",
  "DELETE FROM segments",
  "UPDATE segments SET bytes = 'text'",
  "UPDATE segments SET checksum = 'x'",
  "UPDATE segments SET id = -id",
  "INSERT INTO segments VALUES (9223372036854775807, x'00', 0)",
  "ALTER TABLE segments RENAME TO other; CREATE VIEW segments AS SELECT * FROM other",
  "PRAGMA user_version = 99",
  "PRAGMA user_version = -5",
];

const edits = fc.record({
  file: fc.constantFrom(...FILES.slice(0, 3)),
  kind: fc.constantFrom("flip", "flip", "overwrite", "overwrite", "cut", "extend", "swap", "copy"),
  /** Most changes are in the headers of the file and of its pages, where they do most. */
  at: fc.oneof(
    fc.nat(120),
    fc.record({ page: fc.nat(20), at: fc.nat(16) }).map(({ page, at }) => page * PAGE + at),
    fc.nat(200_000),
  ),
  bytes: fc.oneof(
    fc.uint8Array({ minLength: 1, maxLength: 8 }),
    fc.constantFrom(1, 100, 5_000).map((n) => new Uint8Array(n)),
    fc.constantFrom(1, 100, 5_000).map((n) => new Uint8Array(n).fill(0xff)),
  ),
});

type Edit = typeof edits extends fc.Arbitrary<infer T> ? T : never;

export interface FilesInput {
  readonly image: "closed" | "killed";
  readonly edits: Edit[];
  readonly statements: string[];
  readonly largeStatements: string[];
}

function edited(content: Uint8Array, { kind, at, bytes }: Edit): Uint8Array {
  const place = at % (content.length + 1), page = Math.floor(place / PAGE) * PAGE;
  const copy = content.slice();
  switch (kind) {
    case "flip":
      if (place < copy.length) copy[place] ^= 1 << (bytes[0] & 7);
      return copy;
    case "overwrite":
      copy.set(bytes.subarray(0, copy.length - place), place);
      return copy;
    case "cut":
      return copy.slice(0, place);
    case "extend":
      return concat(copy, bytes);
    case "swap":
    case "copy": {
      // Two whole pages of the same file.
      const other = (bytes[0] * PAGE) % Math.max(PAGE, copy.length - PAGE);
      const [first, second] = [page, other].map((from) => content.slice(from, from + PAGE));
      if (first.length === PAGE && second.length === PAGE) {
        copy.set(first, other);
        if (kind === "swap") copy.set(second, page);
      }
      return copy;
    }
  }
}

/** Runs statements, of which SQLite may refuse some. */
function runSql(path: string, statements: readonly string[]): void {
  if (statements.length === 0) return;
  try {
    const db = new DatabaseSync(path);
    try {
      for (const statement of statements) db.exec(statement);
    } finally {
      db.close();
    }
  } catch {
    // Earlier changes have made it unreadable, or this statement does not fit them.
  }
}

/** Starts a node. Returns undefined if that fails as it should. */
async function started(directory: string): Promise<LocalNode | undefined> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const stalled = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error("the start does not end")), STALL_MS);
  });
  try {
    return await Promise.race([startNode({ dataDir: directory }), stalled]);
  } catch (error) {
    assert.ok(error instanceof StorageError, `${(error as Error).stack}`);
    assert.doesNotMatch(error.message, /[\r\n]/);
    assert.ok(error.message.includes(directory), error.message);
    return undefined;
  } finally {
    clearTimeout(timer);
  }
}

async function check({ image, edits, statements, largeStatements }: FilesInput): Promise<void> {
  const { files, values } = (await (images ??= makeImages()))[image];
  const directory = await Deno.makeTempDir();
  try {
    await Deno.chmod(directory, 0o700);
    for (const [name, content] of files) {
      const changed = edits.filter(({ file }) => file === name).reduce(edited, content);
      await Deno.writeFile(join(directory, name), changed, { mode: 0o600 });
    }
    runSql(join(directory, "dmnode.sqlite"), statements);
    runSql(join(directory, "large.sqlite"), largeStatements);
    const node = await started(directory);
    if (node === undefined) return;
    try {
      await node.stats();
      await node.peers();
      await node.published(0, 100);
      for (const [hash, value] of values) await checkValue(node, hash, value);
    } finally {
      await node.close();
    }
    await (await started(directory))?.close();
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

/** Asserts that a value is what was stored, or is missing. */
async function checkValue(node: LocalNode, hash: string, value: Uint8Array): Promise<void> {
  const found = await node.fetch(hash, null);
  if (found.outcome === "found") assert.deepEqual(found.value.bytes, value);
  if (found.outcome !== "large") return;
  const parts: Uint8Array[] = [];
  try {
    for await (const part of bytesOf(node, found.value)) parts.push(part.slice());
  } catch {
    return; // A part of it is damaged.
  }
  assert.deepEqual(concat(...parts), value);
}

export const DATA_FILES: Subject<FilesInput> = {
  name: "files",
  shrinks: 60,
  inputs: fc.record({
    image: fc.constantFrom("closed", "killed"),
    edits: fc.oneof(fc.constant<Edit[]>([]), fc.array(edits, { minLength: 1, maxLength: 3 })),
    statements: fc.array(fc.constantFrom(...STATEMENTS), { maxLength: 2 }),
    largeStatements: fc.oneof(
      fc.constant<string[]>([]),
      fc.constantFrom(...LARGE_STATEMENTS).map((statement) => [statement]),
    ),
  }),
  check,
};
