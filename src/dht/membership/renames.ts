// Counts how often the node at an address answers under a new id. A node keeps its id for months, so one that keeps
// changing it is broken or hostile.

import type { Endpoint } from "../../krpc/endpoint.ts";
import { BoundedMap } from "../bounded_map.ts";
import type { Millis } from "../deadlines.ts";

/** The id changes of an address are forgotten if this time passes without another change. */
const KEPT_MS = 60 * 60_000;

/** Cap on the remembered addresses, because strangers choose them. */
const MAX_ADDRESSES = 256;

/** Fewer changes are normal: a node may start with a new id, and then bind that id to its address (BEP 42). */
const MIN_CHANGES = 3;

export class Renames {
  readonly #changes = new BoundedMap<string, { readonly count: number; readonly at: Millis }>(
    MAX_ADDRESSES,
  );

  note(endpoint: Endpoint, now: Millis): void {
    const last = this.#changes.get(`${endpoint}`);
    const count = last !== undefined && now - last.at < KEPT_MS ? last.count : 0;
    this.#changes.set(`${endpoint}`, { count: count + 1, at: now });
  }

  /** The number of addresses with many changes, and the address with the most changes. */
  report(now: Millis) {
    const [worst, ...others] = [...this.#changes]
      .filter(([, { count, at }]) => count >= MIN_CHANGES && now - at < KEPT_MS)
      .sort(([, x], [, y]) => y.count - x.count);
    if (worst === undefined) return { addresses: 0, worst: null, changes: 0 };
    const [address, { count }] = worst;
    return { addresses: others.length + 1, worst: address, changes: count };
  }
}
