// An ItemNetwork in memory, which tests can make slow, forgetful or full.

import type { Clock, ItemBatch, ItemNetwork } from "../../src/data/item_network.ts";
import type { Item } from "../../src/dht/item.ts";
import { Id } from "../../src/krpc/id.ts";

const NODES = Array.from({ length: 20 }, (_, i) => new Id(i, 0, 0, 0, i));

export class MemoryNetwork implements ItemNetwork {
  readonly items = new Map<string, Item>();
  /** False: puts are acknowledged and forgotten. */
  keeps = true;
  /** Nodes that acknowledge this item, by the number of the put from 0 on. */
  replicasOf: (item: Item, put: number) => number = () => NODES.length;
  /** Times that each of these items is not found. */
  readonly hidden = new Map<string, number>();
  /** Waited for before each answer. */
  delay: () => Promise<void> = () => Promise.resolve();
  puts = 0;
  /** What was asked for, in order. */
  readonly gets: string[] = [];
  active = 0;
  mostActive = 0;
  /** Batches that were not closed. */
  open = 0;

  batch(): ItemBatch {
    this.open++;
    return {
      put: (item) =>
        this.#answer(() => {
          const stored = NODES.slice(0, this.replicasOf(item, this.puts++));
          if (this.keeps && stored.length > 0) this.items.set(`${item.target}`, item);
          return { stored, elapsed: 1 };
        }),
      get: (target) => {
        const hash = `${target}`;
        this.gets.push(hash);
        return this.#answer(() => {
          const misses = this.hidden.get(hash) ?? 0;
          this.hidden.set(hash, misses - 1);
          return misses > 0 ? undefined : this.items.get(hash);
        });
      },
      close: () => void this.open--,
    };
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

/** Time that passes only where somebody sleeps, at once. */
export class InstantClock implements Clock {
  time = 0;
  /** Every sleep, in milliseconds. */
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

/** Bytes of which no two chunks are alike up to 16 MB: byte i is (i + floor(i / 256)) mod 256. */
export function sampleBytes(size: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(size);
  for (let i = 0; i < size; i++) bytes[i] = i + (i >> 8);
  return bytes;
}

/** A stream of these bytes in pieces of `length`. */
export async function* inPieces(bytes: Uint8Array, length = 10_007): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += length) yield bytes.subarray(at, at + length);
}

/** All that an iteration yields, in one piece. */
export async function collected(pieces: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const parts: Uint8Array<ArrayBuffer>[] = [];
  for await (const piece of pieces) parts.push(piece.slice());
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}
