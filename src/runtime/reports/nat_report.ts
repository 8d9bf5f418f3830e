// Reports about the node's address and its NAT.

import type { NatState } from "../../dht/nat/nat_state.ts";
import type { NatFamily } from "../../reports/stats.ts";
import { optionalTime } from "../../reports/time.ts";

/** The names of the NAT types for the log. */
export const NAT_WORDS: Record<NatState["type"], string> = {
  none: "no NAT",
  endpoint_independent: "behind a NAT with one port for all peers",
  symmetric: "behind a NAT with a different port for each peer",
  unknown: "NAT not known",
};

/** Describes the NAT of one address family in one line for the log. */
export function natText({ external, type, reachable, evidence }: NatState): string {
  const where = `at ${external} (${NAT_WORDS[type]})`;
  if (reachable === undefined) {
    return `Peers see this node ${where}; whether strangers can reach it there is not known yet`;
  }
  return reachable
    ? `Strangers can reach this node ${where}: ${evidence.reason}`
    : `Strangers can't reach this node ${where}: ${evidence.reason}; it can still store and ` +
      "fetch, and other nodes are introduced to it";
}

export function natReport(state: NatState): NatFamily {
  const { family, external, type, filtering, reachable, readOnly, evidence } = state;
  const { tally, reason, checkedAt } = evidence;
  return {
    family,
    external_address: external?.toString() ?? null,
    type,
    filtering,
    reachable: reachable ?? null,
    read_only: readOnly,
    evidence: {
      votes: tally?.votes ?? 0,
      voters: tally?.voters ?? 0,
      port_voters: tally?.votes ?? 0,
      same_port: tally?.samePort ?? 0,
      voted_by: tally?.by.map(String) ?? [],
      voted_at: optionalTime(tally?.at),
      reason,
      checked_at: optionalTime(checkedAt),
      probes: evidence.asked,
      missed: evidence.missed,
      arrived_from: evidence.arrivedFrom.map(String),
    },
  };
}

/** Returns the state of the first family for which peers reported an address. */
export function natSummary(families: readonly NatFamily[]) {
  const { external_address, type, reachable, read_only, evidence } =
    families.find((family) => family.external_address !== null) ?? families[0];
  return { external_address, votes: evidence.votes, type, reachable, read_only };
}
