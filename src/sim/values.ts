// The values that a simulation stores, and a function that counts their copies.

import type { Millis } from "../dht/deadlines.ts";
import { newestHeld } from "../dht/items/held.ts";
import { immutableItem, type Item, mutableTarget, signedBytes } from "../dht/items/item.ts";
import { compareDistance, type Id } from "../krpc/id.ts";
import { nextSeq, type Seq } from "../krpc/seq.ts";
import { type Identity, itemCrypto } from "../runtime/identity/crypto.ts";
import type { SimNode } from "./world.ts";

const NO_SALT = new Uint8Array(0);

export class SimValue {
  item: Item;
  /** The node that stored the newest version and keeps the value published. */
  owner: SimNode | undefined;
  readonly #signer: Identity | undefined;

  /** Creates a value from bencoded `content`. Without a `signer`, the value is immutable. */
  constructor(content: Uint8Array, signer?: Identity) {
    this.#signer = signer;
    this.item = signer === undefined
      ? immutableItem(itemCrypto, content)
      : signed(signer, content, 1);
  }

  get isMutable(): boolean {
    return this.#signer !== undefined;
  }

  get target(): Id {
    return this.item.target;
  }

  renew(content: Uint8Array): void {
    this.item = signed(this.#signer!, content, nextSeq(this.item.signed!.seq)!);
  }
}

function signed(signer: Identity, value: Uint8Array, seq: Seq): Item {
  const { publicKey } = signer;
  const signature = signer.sign(signedBytes(NO_SALT, seq, value));
  const target = mutableTarget(itemCrypto, publicKey, NO_SALT);
  return { target, value, signed: { publicKey, signature, salt: NO_SALT, seq } };
}

/**
 * Counts each value's copies on the `k` closest of the `eligible` nodes. `mean` and `least` are the average and the
 * lowest number of copies of a value's newest version. `stale` is the number of copies of older versions. `lost` is the
 * number of values whose owner is gone and whose newest version is not on any of the `nodes`.
 */
export function copiesOf(
  values: readonly SimValue[],
  { nodes, eligible, k }: {
    readonly nodes: readonly SimNode[];
    readonly eligible: readonly SimNode[];
    readonly k: number;
  },
  now: Millis,
) {
  let sum = 0, least = Infinity, stale = 0, lost = 0;
  for (const { item: { target, signed }, owner } of values) {
    const seqAt = (sim: SimNode) => {
      const held = newestHeld(sim, target, now)?.item;
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

/** Returns the k nodes closest to `target`. Most nodes are only compared with the farthest node found so far. */
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
