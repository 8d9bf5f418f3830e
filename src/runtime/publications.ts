// The values that this node keeps published, each with the items that it consists of.

import { decodeReference, decodeRoot, linksOf } from "../data/manifest.ts";
import type { Item } from "../dht/item.ts";
import type { Published, PublishedStore } from "../dht/published.ts";
import { byteStringContent } from "../krpc/bencode.ts";
import { type Id, IdMap } from "../krpc/id.ts";
import type { PublishedValue } from "./service.ts";

/** An item, and how many nodes acknowledged it. */
export interface StoredPart {
  readonly item: Item;
  readonly replicas: number;
}

export class Publications {
  readonly #store: PublishedStore;
  readonly #keep: (part: StoredPart) => Promise<unknown>;
  readonly #seed: number;
  /** Targets of whole values: what is not here is published because one of these leads to it. */
  readonly #values: IdMap<true>;

  /**
   * What an earlier run left in `store` is taken for a value of its own where nothing else leads to it.
   *
   * @param keep adds an item to `store`; resolves when it is as safe there as it gets
   * @param seed any 32-bit integer that strangers don't know
   */
  constructor(store: PublishedStore, keep: (part: StoredPart) => Promise<unknown>, seed: number) {
    this.#store = store;
    this.#keep = keep;
    this.#seed = seed;
    this.#values = new IdMap(seed);
    const parts = new IdMap<true>(seed);
    for (const { item } of store.entries()) {
      for (const child of linksOf(item.value)) parts.set(child, true);
    }
    for (const { item: { target } } of store.entries()) {
      if (!parts.has(target)) this.#values.set(target, true);
    }
  }

  /** How many values. */
  get count(): number {
    return this.#values.size;
  }

  /** How many items. */
  get items(): number {
    return this.#store.count;
  }

  /**
   * Keeps a value published from now on, `parts` being the items that its own leads to. Resolves when that will survive
   * the end of the process.
   */
  async keep(value: StoredPart, parts: readonly StoredPart[] = []): Promise<void> {
    const { target } = value.item;
    const before = this.#store.get(target)?.item.value;
    const kept = [...parts, value].map((part) => this.#keep(part));
    this.#values.set(target, true);
    // What a key referred to before is not published for ever more.
    if (before !== undefined) this.#sweep(linksOf(before));
    await Promise.all(kept);
  }

  /** Publishes a value, and those of its items that no other value needs, no more; false where it did not. */
  forget(target: Id): boolean {
    const published = this.#store.get(target);
    if (published === undefined || !this.#values.delete(target)) return false;
    this.#sweep([target]);
    return true;
  }

  /** The next to be published first. */
  list(offset: number, limit: number): PublishedValue[] {
    const all: Published[] = [];
    for (const [target] of this.#values.entries()) {
      const published = this.#store.get(target);
      if (published !== undefined) all.push(published);
    }
    return all.sort((x, y) =>
      x.nextAt - y.nextAt || (`${x.item.target}` < `${y.item.target}` ? -1 : 1)
    )
      .slice(offset, offset + limit)
      .map((published) => this.#describe(published));
  }

  #describe({ item, firstAt, lastAt, nextAt }: Published): PublishedValue {
    let replicas = Infinity, failures = 0;
    const tree = this.#reach([item.target]);
    for (const [target] of tree.entries()) {
      const part = this.#store.get(target)!;
      replicas = Math.min(replicas, part.replicas);
      failures = Math.max(failures, part.failures);
    }
    const { target, value, signed } = item;
    const rootTarget = signed && decodeReference(value);
    const top = rootTarget === undefined ? value : this.#store.get(rootTarget)?.item.value;
    const root = top && decodeRoot(top);
    const isChunked = root !== undefined || rootTarget !== undefined;
    return {
      hash: `${target}`,
      kind: isChunked ? "chunked" : signed === undefined ? "immutable" : "mutable",
      key: signed === undefined ? null : textOf(signed.salt),
      seq: signed?.seq ?? null,
      size: isChunked ? root?.size ?? null : (byteStringContent(value) ?? value).length,
      items: tree.size,
      firstAt,
      lastAt: lastAt === -Infinity ? null : lastAt,
      nextAt,
      replicas,
      failures,
    };
  }

  /** All published items that lie at or below these. */
  #reach(targets: Iterable<Id>): IdMap<true> {
    const reached = new IdMap<true>(this.#seed);
    const open = [...targets];
    for (let target = open.pop(); target !== undefined; target = open.pop()) {
      const published = this.#store.get(target);
      if (published === undefined || reached.has(target)) continue;
      reached.set(target, true);
      for (const child of linksOf(published.item.value)) open.push(child);
    }
    return reached;
  }

  /** Removes what lies at or below these and is needed no more. */
  #sweep(targets: readonly Id[]): void {
    const candidates = this.#reach(targets);
    if (candidates.size === 0) return;
    const values = Array.from(this.#values.entries(), ([target]) => target);
    const needed = this.#reach(values);
    for (const [target] of candidates.entries()) {
      if (!needed.has(target)) this.#store.remove(target);
    }
  }
}

/** A salt as the key that it is; null where it is no text, or there is none. */
function textOf(salt: Uint8Array): string | null {
  if (salt.length === 0) return null;
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(salt);
  } catch {
    return null;
  }
}
