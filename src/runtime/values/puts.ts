// Retries puts until enough nodes have acknowledged them, and summarizes refusals.

import type { Clock } from "../../large_values/item_network.ts";
import type { ItemError } from "../../dht/items/item.ts";
import type { PutResult } from "../../dht/items/item_operations.ts";
import { compareDistance, type Id } from "../../krpc/id.ts";
import { ErrorCode } from "../../krpc/message.ts";
import type { Refusal } from "../../reports/values.ts";

/** Pauses before each retry of a put. They give restarted nodes time to return and to be found. */
const PAUSES_MS = [1_000, 2_000, 4_000];

/** The codes of lasting errors. A put that is retried within seconds would fail with the same code. */
const FINAL: ReadonlySet<number> = new Set([
  ErrorCode.server,
  ErrorCode.valueTooBig,
  ErrorCode.badSignature,
  ErrorCode.saltTooBig,
  ErrorCode.casMismatch,
  ErrorCode.seqTooLow,
]);

const MAX_REFUSALS = 8;

/** The maximum length of a refusal's text, in characters. */
const MAX_TEXT = 120;

/**
 * Repeats a put a few times, until `wanted` nodes have acknowledged it or all refusals are lasting errors. `stored`
 * lists the nodes from all attempts.
 */
export async function putRepeatedly(
  { wanted, clock, signal }: {
    readonly wanted: number;
    readonly clock: Clock;
    readonly signal: AbortSignal;
  },
  put: () => Promise<PutResult>,
): Promise<PutResult> {
  let stored: readonly Id[] = [], elapsed = 0;
  for (let attempt = 0;; attempt++) {
    const result = await put();
    const added = result.stored.filter((id) => !stored.some((other) => other.equals(id)));
    stored = [...stored, ...added];
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

/** Whether a node refused a put because that node holds another version. */
export function isRival({ code }: ItemError): boolean {
  return code === ErrorCode.seqTooLow || code === ErrorCode.casMismatch;
}

/** Whether over half of the k nodes closest to the target, which may include `ownId`, have stored the item. */
export function hasMajority(
  { closest, stored }: Pick<PutResult, "closest" | "stored">,
  { target, ownId, k }: { readonly target: Id; readonly ownId: Id; readonly k: number },
): boolean {
  const isOwn = stored.some((id) => id.equals(ownId));
  const ids = [...closest.map(({ id }) => id), ...(isOwn ? [ownId] : [])]
    .sort((x, y) => compareDistance(x, y, target)).slice(0, k);
  const count = ids.filter((id) => stored.some((other) => other.equals(id))).length;
  return 2 * count > ids.length;
}

/** Groups equal refusals, the most frequent first. */
export function summaryOf(refusals: readonly ItemError[]): Refusal[] {
  const summary = new Map<string, Refusal>();
  for (const { code, text } of refusals) {
    // Clean the text, as it comes from a stranger.
    const clean = text.replace(/[^\x20-\x7e]/g, "?").slice(0, MAX_TEXT);
    const same = summary.get(`${code} ${clean}`);
    if (same !== undefined) same.nodes++;
    else summary.set(`${code} ${clean}`, { code, text: clean, nodes: 1 });
  }
  return [...summary.values()].sort((x, y) => y.nodes - x.nodes).slice(0, MAX_REFUSALS);
}
