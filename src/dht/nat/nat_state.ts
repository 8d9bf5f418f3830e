// What the node knows about the NAT in front of it.

import type { Endpoint, Family } from "../../krpc/endpoint.ts";
import type { Millis } from "../deadlines.ts";
import type { Tally } from "./address_votes.ts";

/**
 * How a NAT maps ports (RFC 4787, section 4.1). none: peers see an address of this machine. endpoint_independent: all
 * peers see the same port. symmetric: each peer sees a different port.
 */
export type NatType = "none" | "endpoint_independent" | "symmetric" | "unknown";

/**
 * Which packets a NAT or firewall lets in at a port that we have used to send packets (RFC 4787,
 * section 5). none: all packets. address: only packets from addresses to which we sent packets.
 * address_and_port: only packets from endpoints to which we sent packets.
 */
export type NatFiltering = "none" | "address" | "address_and_port" | "unknown";

/** What we know about the NAT in one address family, and the evidence for it. */
export interface NatState {
  readonly family: Family;
  /** The endpoint at which most other nodes say that they see this node; undefined if none has said so. */
  readonly external: Endpoint | undefined;
  readonly type: NatType;
  readonly filtering: NatFiltering;
  /** Whether unrequested packets reach this node; undefined if unknown. */
  readonly reachable: boolean | undefined;
  /** Whether this node ignores queries from strangers, and tells other nodes so (BEP 43). */
  readonly readOnly: boolean;
  /**
   * Whether other nodes should introduce strangers to this node, because strangers can't reach it,
   * or because we don't know yet whether they can.
   */
  readonly wantsIntroducers: boolean;
  readonly evidence: NatEvidence;
}

export interface NatEvidence {
  readonly tally: Tally | undefined;
  /** Why the node counts as reachable or unreachable, as a text for people. */
  readonly reason: string;
  /** When we last decided whether the node is reachable. */
  readonly checkedAt: Millis | undefined;
  /** How many nodes promised a probe in the latest check. */
  readonly asked: number;
  /** How many of the probes promised in the latest check did not arrive. */
  readonly missed: number;
  /** The senders of unrequested packets that counted as evidence. */
  readonly arrivedFrom: readonly Endpoint[];
}

/**
 * auto: the node checks whether it is reachable. off: the node assumes that it is reachable.
 * read_only: the node ignores queries from strangers.
 */
export type NatMode = "auto" | "off" | "read_only";

/** The values of the field `nt` in messages, which tells other nodes how they can reach the sender. */
export const NAT_CODE = {
  unknown: 0,
  reachable: 1,
  endpoint_independent: 2,
  symmetric: 3,
} as const;
