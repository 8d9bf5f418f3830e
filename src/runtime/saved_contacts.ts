// What is kept of contacts between runs, and how it becomes what a new run begins with.

import type { Contact, ContactRecord } from "../dht/contact.ts";
import type { Seed } from "../dht/membership.ts";
import type { SavedContact } from "../storage/rows.ts";

/** Faults and round-trip times beyond these make no difference to a score. */
const MAX_FAULTS = 100, MAX_RTT_MS = 60_000;

/** `hasLeft`: it is no contact any more; what it did is to count should it come back. */
export function savedOf(contact: Contact, hasLeft: boolean): SavedContact {
  const { id, endpoint } = contact;
  const { faults, ...record } = contact.record;
  return { id, endpoint, ...record, parts: { faults, ...(hasLeft ? { left: true } : {}) } };
}

/** Those that were contacts at the end first, the latest seen of them first: the core tries the first of many. */
export function seedsOf(saved: readonly SavedContact[]): Seed[] {
  return saved
    .map((contact) => ({ contact, hasLeft: contact.parts?.left === true }))
    .sort((x, y) =>
      Number(x.hasLeft) - Number(y.hasLeft) ||
      (y.contact.lastSeen ?? 0) - (x.contact.lastSeen ?? 0)
    )
    .map(({ contact }) => ({
      id: contact.id,
      endpoint: contact.endpoint,
      record: recordOf(contact),
    }));
}

/** Undefined where an older version kept none. What the file says is taken within bounds alone. */
function recordOf(saved: SavedContact): ContactRecord | undefined {
  const { firstSeen, lastSeen, rtt = NaN, rttVariation = 0, answerRate = 1, parts } = saved;
  if (firstSeen === undefined || lastSeen === undefined) return undefined;
  if (!(firstSeen >= 0 && lastSeen >= firstSeen)) return undefined;
  const { faults } = parts ?? {};
  return {
    firstSeen,
    lastSeen,
    rtt: rtt >= 0 ? Math.min(MAX_RTT_MS, rtt) : NaN,
    rttVariation: Math.min(MAX_RTT_MS, Math.max(0, rttVariation)),
    answerRate: Math.min(1, Math.max(0, answerRate)),
    faults: typeof faults === "number" && faults > 0 ? Math.min(MAX_FAULTS, faults) : 0,
  };
}
