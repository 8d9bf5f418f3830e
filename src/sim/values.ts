// The values that a run stores: whose they are, which version is the newest, and where copies of it are.

import type { Millis } from "../dht/deadlines.ts";
import {
  immutableItem,
  type Item,
  type ItemCrypto,
  mutableTarget,
  signedBytes,
} from "../dht/item.ts";
import { compareDistance, type Id } from "../krpc/id.ts";
import type { SimNode } from "./world.ts";

/** A key pair of an owner of mutable items. */
export interface Signer {
  readonly publicKey: Uint8Array;
  /** 64 bytes (RFC 8032). */
  sign(message: Uint8Array): Uint8Array;
}

/** What a run needs beside a node's own functions. */
export interface SimCrypto extends ItemCrypto {
  /** The key pair of a 32-byte seed. */
  signer(seed: Uint8Array): Signer;
}

const NO_SALT = new Uint8Array(0);

/** A value that a run has stored. */
export class SimValue {
  /** The newest version. */
  item: Item;
  /** Who stored it last, and keeps it published. */
  owner: SimNode | undefined;
  readonly #crypto: ItemCrypto;
  readonly #signer: Signer | undefined;

  /** `content`: bencoded. Immutable without a `signer`. */
  constructor(crypto: ItemCrypto, content: Uint8Array, signer: Signer | undefined) {
    this.#crypto = crypto;
    this.#signer = signer;
    this.item = signer === undefined
      ? immutableItem(crypto, content)
      : this.#signed(signer, content, 1);
  }

  get isMutable(): boolean {
    return this.#signer !== undefined;
  }

  get target(): Id {
    return this.item.target;
  }

  /** Makes the next version of a mutable value. */
  renew(content: Uint8Array): void {
    this.item = this.#signed(this.#signer!, content, this.item.signed!.seq + 1);
  }

  #signed(signer: Signer, value: Uint8Array, seq: number): Item {
    const { publicKey } = signer;
    const signature = signer.sign(signedBytes(NO_SALT, seq, value));
    const target = mutableTarget(this.#crypto, publicKey, NO_SALT);
    return { target, value, signed: { publicKey, signature, salt: NO_SALT, seq } };
  }
}

/** Where the copies of all values are at one time. */
export interface Copies {
  /** Copies of the newest version that a value has among its k closest nodes, on average. */
  readonly mean: number;
  /** Those of the value that has the fewest. */
  readonly least: number;
  /** Copies of older versions that the k closest nodes hold, of all values together. */
  readonly stale: number;
  /** Values whose newest version nobody that is up holds, and whose owner is gone. */
  readonly lost: number;
}

/** Counts the copies that values have among the k closest of `eligible` to each, of all `nodes` that there are. */
export function copiesOf(
  values: readonly SimValue[],
  nodes: readonly SimNode[],
  eligible: readonly SimNode[],
  k: number,
  now: Millis,
): Copies {
  let sum = 0, least = Infinity, stale = 0, lost = 0;
  for (const { item: { target, signed }, owner } of values) {
    const seqAt = ({ items }: SimNode) => {
      const held = items.get(target, now);
      return held && (held.signed?.seq ?? 0);
    };
    const newest = signed?.seq ?? 0;
    const versions = closest(eligible, target, k).flatMap((sim) => seqAt(sim) ?? []);
    const copies = versions.filter((seq) => seq === newest).length;
    sum += copies;
    least = Math.min(least, copies);
    stale += versions.length - copies;
    const isKept = copies > 0 || owner?.state === "up" ||
      nodes.some((sim) => sim.state === "up" && seqAt(sim) === newest);
    if (!isKept) lost++;
  }
  return { mean: sum / values.length, least, stale, lost };
}

/** The k closest nodes to `target`: one pass, in which nearly all are ruled out by a look at the farthest so far. */
function closest(nodes: readonly SimNode[], target: Id, k: number): SimNode[] {
  const found: SimNode[] = [];
  for (const sim of nodes) {
    let at = found.length;
    while (at > 0 && compareDistance(sim.node.id, found[at - 1].node.id, target) < 0) at--;
    if (at >= k) continue;
    found.splice(at, 0, sim);
    if (found.length > k) found.pop();
  }
  return found;
}
