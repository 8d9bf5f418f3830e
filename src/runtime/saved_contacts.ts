// Converts contacts to the form in which they are saved, and saved contacts to seeds for the next run.

import type { Contact, ContactRecord } from "../dht/routing/contact.ts";
import type { Seed } from "../dht/membership/membership.ts";
import type { SavedContact } from "../storage/rows.ts";

/** Upper bounds for numbers from the database. Higher values would not change a contact's score. */
const MAX_FAULTS = 100, MAX_RTT_MS = 60_000;

/**
 * Converts a contact for saving. If `hasLeft` is true, the contact has left, and gets its track record back if it
 * returns.
 */
export function savedOf(contact: Contact, hasLeft: boolean): SavedContact {
  const { id, endpoint } = contact;
  const { faults, ...record } = contact.record;
  return { id, endpoint, ...record, parts: { faults, ...(hasLeft ? { left: true } : {}) } };
}

/**
 * Returns the seeds in the order in which to try them: current contacts before former ones, and in both groups the
 * most recently seen first.
 */
export function seedsOf(saved: readonly SavedContact[]): Seed[] {
  return saved
    .map((contact) => ({ contact, hasLeft: contact.parts?.left === true }))
    .sort((x, y) =>
      Number(x.hasLeft) - Number(y.hasLeft) ||
      (y.contact.lastSeen ?? 0) - (x.contact.lastSeen ?? 0)
    )
    .map(({ contact }) => {
      const { id, endpoint } = contact;
      return { id, endpoint, record: recordOf(contact) };
    });
}

/** Returns the track record of a saved contact, or undefined if the record is missing or invalid. */
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
