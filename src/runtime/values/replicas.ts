// Counts the nodes that hold a value. For a large value, also counts the copies of its pieces.

import { Id } from "../../krpc/id.ts";
import { type LargeValues, spreadOver } from "../../large_values/large_values.ts";
import { PIECE_COPIES } from "../../large_values/layout.ts";
import type { Root } from "../../large_values/manifest.ts";
import { Pace, TransferError } from "../../large_values/transfers.ts";
import type { ReplicasOutcome } from "../../node_service.ts";
import type { Parts, Replicas } from "../../reports/values.ts";
import type { NetworkItems } from "./items.ts";
import { findRoot, saltOf } from "./reader.ts";

/** Maximum number of large values whose copies are counted at a time: each count needs hundreds of lookups. */
const MAX_SURVEYS = 2;

export class ReplicaCounter {
  #surveys = 0;

  constructor(
    private readonly options: {
      readonly items: NetworkItems;
      readonly largeValues: LargeValues;
      readonly bucketSize: number;
    },
  ) {}

  async count(hash: string, key: string | null): Promise<ReplicasOutcome> {
    const { items, bucketSize } = this.options, target = Id.from(hash);
    // Count before reading the value: reading a mutable value updates old copies of it.
    const { replicas } = await items.replicas(target, saltOf(key));
    const { item, saltUnknown } = await items.get(target, saltOf(key));
    if (item === undefined) return { outcome: saltUnknown ? "key_needed" : "not_found" };
    const isMutable = item.signed !== undefined;
    const report: Replicas = {
      hash,
      kind: isMutable ? "mutable" : "immutable",
      seq: item.signed?.seq ?? null,
      holders: replicas.map(({ id, endpoint, seq, ageMs }) => ({
        node_id: `${id}`,
        address: endpoint?.toString() ?? null,
        seq: isMutable ? seq ?? null : null,
        age_s: ageMs === undefined ? null : ageMs / 1000,
      })),
      count: replicas.length,
      wanted: bucketSize,
      parts: null,
    };
    const large = await findRoot(items, item);
    if ("outcome" in large) return { outcome: "found", report };
    if (this.#surveys >= MAX_SURVEYS) return { outcome: "busy" };
    this.#surveys++;
    try {
      const parts = await this.#survey(large.root);
      return { outcome: "found", report: { ...report, kind: "chunked", parts } };
    } catch (error) {
      if (!(error instanceof TransferError)) throw error;
      // The ids of the pieces could not be read, so report only the holders of the item itself.
      return { outcome: "found", report: { ...report, kind: "chunked" } };
    } finally {
      this.#surveys--;
    }
  }

  async #survey(root: Root): Promise<Parts> {
    const { items, largeValues } = this.options;
    const { copies: wanted, hasParity } = spreadOver(items.size());
    const { pieces, targets } = await largeValues.sample(root, {
      count: MAX_PIECES,
      hasParity,
      random: Math.random,
    });
    const copies = async (target: Id) => {
      const { replicas, elapsed } = await items.replicas(target);
      return { count: replicas.length, elapsed };
    };
    return { pieces, wanted: wanted || PIECE_COPIES, ...await survey(targets, copies) };
  }
}

/**
 * Maximum number of pieces of one value whose copies are counted. A sample is enough, as all pieces are equally likely
 * to be lost.
 */
const MAX_PIECES = 40;

/** If an item's count is less than this share of the highest count, count again, as answers may have been lost. */
const USUAL_SHARE = 3 / 4;

/**
 * Counts the copies of some pieces. `copies` returns the number of nodes that hold a piece, and the
 * time that its queries took in milliseconds.
 */
export async function survey(
  targets: readonly Id[],
  copies: (target: Id) => Promise<{ readonly count: number; readonly elapsed: number }>,
): Promise<Pick<Parts, "counted" | "lost" | "mean">> {
  // Limit the rate of counts, as each count causes a burst of up to 20 kB of answers, just like a put.
  const pace = new Pace();
  const counts: number[] = [];
  let highest = 0;
  const countOnce = async (target: Id) => {
    await pace.take();
    try {
      const { count, elapsed } = await copies(target);
      highest = Math.max(highest, count);
      const isWhole = count >= USUAL_SHARE * highest;
      pace.learn(elapsed, isWhole);
      return { count, isWhole };
    } finally {
      pace.release();
    }
  };
  const count = async (target: Id) => {
    const { count, isWhole } = await countOnce(target);
    counts.push(isWhole ? count : Math.max(count, (await countOnce(target)).count));
  };
  await Promise.all(targets.map(count));
  return {
    counted: counts.length,
    lost: counts.filter((count) => count === 0).length,
    mean: counts.reduce((sum, n) => sum + n, 0) / counts.length,
  };
}
