// What a node tells people of its address and its NAT.

import type { NatState } from "../dht/nat.ts";
import type { NatReport } from "./service.ts";

/** The kinds of NAT in words. */
export const NAT_WORDS: Record<NatState["type"], string> = {
  none: "no NAT",
  endpoint_independent: "behind a NAT that gives all peers one port",
  symmetric: "behind a NAT that gives each peer another port",
  unknown: "NAT not known",
};

/** One line for the log. */
export function natText({ external, type, reachable, evidence }: NatState): string {
  const where = `at ${external} (${NAT_WORDS[type]})`;
  if (reachable === undefined) {
    return `Peers see this node ${where}; whether strangers can reach it there is not known yet`;
  }
  return reachable
    ? `Strangers can reach this node ${where}: ${evidence.reason}`
    : `Strangers can't reach this node ${where}: ${evidence.reason}; it is a full client, and ` +
      "others are introduced to it";
}

/** One family's state in plain values. */
export function natReport(
  { family, external, type, filtering, reachable, readOnly, evidence }: NatState,
): NatReport {
  const { votes, voters, portVoters, samePort, by, votedAt, reason, checkedAt } = evidence;
  return {
    family,
    externalAddress: external?.toString() ?? null,
    type,
    filtering,
    reachable: reachable ?? null,
    readOnly,
    evidence: {
      votes,
      voters,
      portVoters,
      samePort,
      votedBy: by.map(String),
      votedAt: votedAt ?? null,
      reason,
      checkedAt: checkedAt ?? null,
      probes: evidence.asked,
      missed: evidence.missed,
      arrivedFrom: evidence.arrivedFrom.map(String),
    },
  };
}

/** Of the first family in which peers have told an address. */
export function natSummary(families: readonly NatReport[]) {
  const { externalAddress, type, reachable, readOnly, evidence } =
    families.find((family) => family.externalAddress !== null) ?? families[0];
  return { externalAddress, votes: evidence.votes, type, reachable, readOnly };
}
