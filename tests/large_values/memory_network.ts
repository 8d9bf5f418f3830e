// An ItemNetwork and blobs in memory, which tests can make slow, forgetful or full.

import type {
  Blobs,
  BlobWriter,
  Clock,
  ItemBatch,
  ItemNetwork,
  ItemPut,
} from "../../src/large_values/item_network.ts";
import type { Item } from "../../src/dht/items/item.ts";
import { Id } from "../../src/krpc/id.ts";

const ROOT_COPIES = 20;

export class MemoryNetwork implements ItemNetwork {
  readonly items = new Map<string, Item>();
  /** The targets that each node holds. */
  readonly held = new Map<string, Set<string>>();
  /** False: acknowledges puts, but stores nothing. */
  keeps = true;
  /** Changes the number of nodes that acknowledge an item. `put`: the number of the put, from 0 on. */
  replicasOf: (item: Item, put: number, copies: number) => number = (_item, _put, copies) => copies;
  /** How many times each of these items is not found. */
  readonly hidden = new Map<string, number>();
  /** Is awaited before each answer. */
  delay: () => Promise<void> = () => Promise.resolve();
  /** Makes items that are not stored. */
  made: (target: Id) => Item | undefined = () => undefined;
  puts = 0;
  /** All requested targets in order. */
  readonly gets: string[] = [];
  active = 0;
  mostActive = 0;
  /** The number of open batches. */
  open = 0;
  /** All nodes. Each item is on the nodes that a hash of its target selects. */
  #nodes: Id[] = [];

  constructor(nodes = 100) {
    this.resize(nodes);
  }

  resize(nodes: number): void {
    this.#nodes = Array.from({ length: nodes }, (_, i) => new Id(i, 0, 0, 0, i));
  }

  /** Removes nodes, with all that they hold. */
  vanish(isGone: (node: number) => boolean): void {
    for (const id of this.#nodes.filter((_, i) => isGone(i))) this.held.delete(`${id}`);
  }

  size(): number {
    return this.#nodes.length;
  }

  batch(): ItemBatch {
    this.open++;
    return {
      putPiece: (item, copies) => this.#put(item, copies),
      // Even a node that is alone keeps the root.
      putRoot: (item) => this.#put(item, Math.max(1, Math.min(ROOT_COPIES, this.size() + 1))),
      get: (target) => {
        const hash = `${target}`;
        this.gets.push(hash);
        return this.#answer(() => {
          const misses = this.hidden.get(hash) ?? 0;
          this.hidden.set(hash, misses - 1);
          const held = misses > 0 || !this.#isHeld(hash) ? undefined : this.items.get(hash);
          return held ?? this.made(target);
        });
      },
      close: () => void this.open--,
    };
  }

  #isHeld(hash: string): boolean {
    for (const targets of this.held.values()) if (targets.has(hash)) return true;
    return false;
  }

  #put(item: Item, copies: number): Promise<ItemPut> {
    return this.#answer(() => {
      const { length } = this.#nodes, count = this.replicasOf(item, this.puts++, copies);
      const first = length === 0 ? 0 : (item.target.a >>> 0) % length;
      const stored = Array.from(
        { length: count },
        (_, i) => this.#nodes[(first + 7 * i) % length] ?? new Id(-1, 0, 0, 0, i),
      );
      if (this.keeps && count > 0) {
        this.items.set(`${item.target}`, { ...item, value: item.value.slice() });
        for (const id of stored) {
          const targets = this.held.get(`${id}`) ?? new Set();
          this.held.set(`${id}`, targets.add(`${item.target}`));
        }
      }
      return { stored, refusals: [], elapsed: 1 };
    });
  }

  async #answer<T>(answer: () => T): Promise<T> {
    this.active++;
    this.mostActive = Math.max(this.mostActive, this.active);
    try {
      await this.delay();
      return answer();
    } finally {
      this.active--;
    }
  }
}

/** Blobs in memory. */
export class SimpleBlobs implements Blobs {
  readonly bytes = new Map<number, Uint8Array[]>();
  #count = 0;

  create(): BlobWriter {
    const id = ++this.#count, pieces: Uint8Array[] = [];
    this.bytes.set(id, pieces);
    return {
      id,
      append: (bytes) => Promise.resolve(void pieces.push(bytes.slice())),
      finish: () => {
        const joined = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
        let at = 0;
        for (const piece of pieces.splice(0)) joined.set(piece, at), at += piece.length;
        pieces.push(joined);
        return Promise.resolve();
      },
      abandon: () => this.remove(id),
    };
  }

  read(id: number, offset: number, length: number): Promise<Uint8Array> {
    return Promise.resolve(this.bytes.get(id)![0].slice(offset, offset + length));
  }

  remove(id: number): void {
    this.bytes.delete(id);
  }
}

/** A clock that advances at once when something sleeps. */
export class InstantClock implements Clock {
  time = 0;
  /** All sleeps in milliseconds. */
  readonly slept: number[] = [];

  now(): number {
    return this.time;
  }

  sleep(ms: number): Promise<void> {
    this.slept.push(ms);
    this.time += ms;
    return Promise.resolve();
  }
}

/** Bytes whose chunks are all different up to 16 MB: byte i is (i + floor(i / 256)) mod 256. */
export function sampleBytes(size: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(size);
  for (let i = 0; i < size; i++) bytes[i] = i + (i >> 8);
  return bytes;
}

/** Streams bytes in pieces of `length`. */
export async function* inPieces(bytes: Uint8Array, length = 10_007): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += length) yield bytes.subarray(at, at + length);
}

/** Joins all pieces of an iteration. */
export async function collected(pieces: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const parts: Uint8Array<ArrayBuffer>[] = [];
  for await (const piece of pieces) parts.push(piece.slice());
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}
