// Maps that can't grow beyond a limit, no matter what strangers send.

import type { Millis } from "./deadlines.ts";

/**
 * A map with at most `capacity` entries. `set` moves its entry to the end. If the map is full, it
 * evicts the first entry.
 */
export class BoundedMap<K, V> extends Map<K, V> {
  constructor(readonly capacity: number) {
    super();
  }

  override set(key: K, value: V): this {
    this.delete(key);
    super.set(key, value);
    if (this.size > this.capacity) this.delete(this.keys().next().value!);
    return this;
  }
}

/** Remembers names for `keepMs` milliseconds, and at most `capacity` names. */
export class Recent {
  readonly #notedAt: BoundedMap<string, Millis>;

  constructor(readonly keepMs: Millis, capacity: number) {
    this.#notedAt = new BoundedMap(capacity);
  }

  has(name: string, now: Millis): boolean {
    const at = this.#notedAt.get(name);
    return at !== undefined && now - at < this.keepMs;
  }

  add(name: string, now: Millis): void {
    // Round the time down, because V8 stores small integers without an allocation.
    this.#notedAt.set(name, Math.floor(now));
  }

  forget(name: string): void {
    this.#notedAt.delete(name);
  }
}
