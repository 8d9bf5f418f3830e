// Puts that have to reach a number of nodes, and what those say that refuse.

import type { Clock } from "../data/item_network.ts";
import type { ItemError } from "../dht/item.ts";
import type { PutResult } from "../dht/node.ts";
import { compareDistance, type Id } from "../krpc/id.ts";
import { ErrorCode } from "../krpc/message.ts";
import type { Refusal } from "./service.ts";

/** Pauses before a put is repeated: nodes that were restarting are back, and others have learned of them. */
const PAUSES_MS = [1_000, 2_000, 4_000];

/** What no repetition changes. */
const FINAL: ReadonlySet<number> = new Set([
  ErrorCode.valueTooBig,
  ErrorCode.badSignature,
  ErrorCode.saltTooBig,
  ErrorCode.casMismatch,
  ErrorCode.seqTooLow,
]);

/** Kinds of refusals that are told, and the characters of each. */
const MAX_REFUSALS = 8, MAX_TEXT = 120;

/** Puts, and puts again, until `wanted` nodes have acknowledged; `stored` then names those of all attempts. */
export async function putOften(
  put: () => Promise<PutResult>,
  wanted: number,
  clock: Clock,
  signal: AbortSignal,
): Promise<PutResult> {
  let stored: readonly Id[] = [], elapsed = 0;
  for (let attempt = 0;; attempt++) {
    const result = await put();
    const before = stored;
    stored = [
      ...before,
      ...result.stored.filter((id) => !before.some((other) => other.equals(id))),
    ];
    elapsed += result.elapsed;
    const isFinal = stored.length === 0 && result.refusals.length > 0 &&
      result.refusals.every(({ code }) => FINAL.has(code));
    if (
      stored.length >= wanted || isFinal || result.item === undefined ||
      attempt === PAUSES_MS.length || signal.aborted
    ) return { ...result, stored, elapsed };
    await clock.sleep(PAUSES_MS[attempt], signal);
    elapsed += PAUSES_MS[attempt];
  }
}

/** Whether a node refused because it has another version. */
export function isRival({ code }: ItemError): boolean {
  return code === ErrorCode.seqTooLow || code === ErrorCode.casMismatch;
}

/** Whether more than half of the k closest, `own` among them where it is one, have stored it. */
export function hasMajority(
  { closest, stored }: PutResult,
  target: Id,
  own: Id,
  k: number,
): boolean {
  const isOwn = stored.some((id) => id.equals(own));
  const ids = [...closest.map(({ id }) => id), ...(isOwn ? [own] : [])]
    .sort((x, y) => compareDistance(x, y, target)).slice(0, k);
  const count = ids.filter((id) => stored.some((other) => other.equals(id))).length;
  return 2 * count > ids.length;
}

/** Refusals by what they say, the most frequent first. */
export function summaryOf(refusals: readonly ItemError[]): Refusal[] {
  const summary = new Map<string, Refusal>();
  for (const { code, text } of refusals) {
    // Whoever refuses may be anybody.
    const clean = text.replace(/[^\x20-\x7e]/g, "?").slice(0, MAX_TEXT);
    const same = summary.get(`${code} ${clean}`);
    if (same !== undefined) same.nodes++;
    else summary.set(`${code} ${clean}`, { code, text: clean, nodes: 1 });
  }
  return [...summary.values()].sort((x, y) => y.nodes - x.nodes).slice(0, MAX_REFUSALS);
}
