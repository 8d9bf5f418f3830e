// A table of values by target, packed so that its size depends only on the rows that it has now, not on earlier ones.
//
// SQLite fills a page with rows of neighbouring ids, and reuses space in a page only for such ids. So rows of similar
// size share a class, and have the ids 0, 1, 2, ... within the class. When a row is deleted, the last row of its class
// takes the free id. No page has a gap, and SQLite reuses each page that becomes empty.

import type { DatabaseSync, StatementSync } from "node:sqlite";
import { rowClass } from "../dht/items/item_cost.ts";

/** The number of row ids in each class. */
const CLASS_IDS = 2 ** 32;

/**
 * The part of a target that the index contains. The first 8 bytes are enough to distinguish targets, and save 12 bytes
 * in each index entry.
 */
export const TARGET_PREFIX = "substr(target, 1, 8)";

/** The columns that all packed tables share. Other columns contain only numbers and short texts. */
export interface PackedRow {
  readonly target: Uint8Array;
  readonly value: Uint8Array;
  readonly public_key: Uint8Array | null;
  readonly signature: Uint8Array | null;
  readonly salt: Uint8Array | null;
}

type Column = Uint8Array | string | number | bigint | null;

export class PackedTable {
  readonly #find: StatementSync;
  readonly #insert: StatementSync;
  readonly #delete: StatementSync;
  readonly #move: StatementSync;
  readonly #last: StatementSync;
  /** The number of rows in each class; undefined if not counted yet. */
  #counts: (number | undefined)[] = [];

  /** `columns`: all columns except for `id`. */
  constructor(db: DatabaseSync, name: string, private readonly columns: readonly string[]) {
    const places = columns.map(() => "?");
    this.#find = db.prepare(
      `SELECT id FROM ${name} WHERE ${TARGET_PREFIX} = substr(?, 1, 8) AND target = ?`,
    );
    this.#insert = db.prepare(
      `INSERT OR REPLACE INTO ${name} (id, ${columns}) VALUES (?, ${places})`,
    );
    this.#delete = db.prepare(`DELETE FROM ${name} WHERE id = ?`);
    this.#move = db.prepare(`UPDATE ${name} SET id = ? WHERE id = ?`);
    this.#last = db.prepare(`SELECT max(id) AS id FROM ${name} WHERE id >= ? AND id < ?`);
  }

  /** Inserts a row, or replaces the row with the same target. */
  put<Row extends PackedRow>(row: Row): void {
    const { target, value, public_key, signature, salt } = row;
    let size = value.length;
    for (const part of [public_key, signature, salt]) size += part?.length ?? 0;
    const kind = rowClass(size), held = this.#idOf(target);
    let id = held;
    if (id === undefined || Math.floor(id / CLASS_IDS) !== kind) {
      if (id !== undefined) this.#remove(id);
      const count = this.#count(kind);
      id = kind * CLASS_IDS + count;
      this.#counts[kind] = count + 1;
    }
    const values = row as unknown as Record<string, Column>;
    this.#insert.run(id, ...this.columns.map((name) => values[name]));
  }

  /** Deletes the row with this target, if there is one. */
  delete(target: Uint8Array): void {
    const id = this.#idOf(target);
    if (id !== undefined) this.#remove(id);
  }

  /** Call this after each rollback of a transaction. */
  noteRollback(): void {
    this.#counts = [];
  }

  #idOf(target: Uint8Array): number | undefined {
    return (this.#find.get(target, target) as { id: number } | undefined)?.id;
  }

  #remove(id: number): void {
    const kind = Math.floor(id / CLASS_IDS), last = this.#count(kind) - 1;
    const lastId = kind * CLASS_IDS + last;
    this.#delete.run(id);
    if (id !== lastId) this.#move.run(id, lastId);
    this.#counts[kind] = last;
  }

  #count(kind: number): number {
    const known = this.#counts[kind];
    if (known !== undefined) return known;
    const first = kind * CLASS_IDS;
    const { id } = this.#last.get(first, first + CLASS_IDS) as { id: number | null };
    return id === null ? 0 : id - first + 1;
  }
}
