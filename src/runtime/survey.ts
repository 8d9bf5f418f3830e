// How many copies the items of a large value have.

import { capacity, CHUNK_BYTES, linksOf, type Root } from "../data/manifest.ts";
import { Pace } from "../data/transfers.ts";
import type { Item } from "../dht/item.ts";
import type { Id } from "../krpc/id.ts";
import type { PartsReport } from "./service.ts";

/** What a survey asks the network. */
export interface SurveyNetwork {
  get(target: Id): Promise<Item | undefined>;
  /** How many nodes hold it, and how many milliseconds it took to ask them. */
  copies(target: Id): Promise<{ readonly count: number; readonly elapsed: number }>;
}

/** Manifests that are counted at most: those of a value of 16 MiB are fewer. */
export const MAX_MANIFESTS = 400;

/** Chunks that are counted. Each is as likely to be lost as any other. */
export const MAX_CHUNKS = 20;

/** An item that has less than this share of the most copies is counted again: some answers may have been lost. */
const USUAL_SHARE = 3 / 4;

/**
 * Counts the copies of a value's manifests, from the root down, and of some chunks.
 *
 * @param rootValue the root's item, bencoded
 * @param random from 0 to 1, without 1
 */
export async function survey(
  rootTarget: Id,
  { level: top, size }: Pick<Root, "level" | "size">,
  rootValue: Uint8Array,
  network: SurveyNetwork,
  random: () => number,
): Promise<PartsReport> {
  // Like a put, a count is answered by a burst of up to 20 kB.
  const pace = new Pace();
  const counts: number[] = [];
  let most = 0;
  const countOnce = async (target: Id) => {
    await pace.take();
    try {
      const { count, elapsed } = await network.copies(target);
      most = Math.max(most, count);
      const isWhole = count >= USUAL_SHARE * most;
      pace.learn(elapsed, isWhole);
      return { count, isWhole };
    } finally {
      pace.release();
    }
  };
  const count = async (target: Id) => {
    const first = await countOnce(target);
    counts.push(
      first.isWhole ? first.count : Math.max(first.count, (await countOnce(target)).count),
    );
  };
  const childrenOf = async (target: Id) => {
    await count(target);
    const value = target === rootTarget ? rootValue : (await network.get(target))?.value;
    return value === undefined ? [] : linksOf(value);
  };
  let targets: Id[] = [rootTarget], manifests = 0;
  for (let level = top; level > 0; level--) {
    manifests += Math.ceil(size / capacity(level));
    const some = spread(targets, MAX_MANIFESTS - counts.length);
    targets = (await Promise.all(some.map(childrenOf))).flat();
  }
  const manifestsCounted = counts.length;
  const chunks = sample(targets, MAX_CHUNKS, random);
  await Promise.all(chunks.map(count));
  return {
    manifests,
    manifestsCounted,
    chunks: Math.ceil(size / CHUNK_BYTES),
    chunksCounted: chunks.length,
    least: Math.min(...counts),
    mean: counts.reduce((sum, n) => sum + n, 0) / counts.length,
  };
}

/** So many of a list, evenly. */
function spread<T>(list: readonly T[], count: number): readonly T[] {
  if (list.length <= count) return list;
  return Array.from({ length: count }, (_, i) => list[Math.floor(i * list.length / count)]);
}

/** So many of a list, by chance. */
function sample<T>(list: readonly T[], count: number, random: () => number): T[] {
  const rest = [...list], taken: T[] = [];
  while (taken.length < count && rest.length > 0) {
    taken.push(...rest.splice(Math.floor(random() * rest.length), 1));
  }
  return taken;
}
