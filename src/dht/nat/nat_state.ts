// What the node knows about the NAT between it and the Internet.

import type { Endpoint, Family } from "../../krpc/endpoint.ts";
import type { Millis } from "../deadlines.ts";
import type { Tally } from "./address_votes.ts";

/**
 * How a NAT maps ports (RFC 4787, section 4.1). none: there is no NAT, so peers see an address of this machine.
 * endpoint_independent: all peers see the same port. symmetric: each peer sees a different port.
 */
export type NatType = "none" | "endpoint_independent" | "symmetric" | "unknown";

/**
 * Which packets a NAT or firewall lets in at a port that has already sent packets (RFC 4787, section 5). none: filters
 * nothing. address: lets in only packets from addresses to which we sent packets. address_and_port: lets in only
 * packets from endpoints to which we sent packets.
 */
export type NatFiltering = "none" | "address" | "address_and_port" | "unknown";

/** What we know about the NAT in one address family, and the evidence for it. */
export interface NatState {
  readonly family: Family;
  /** The endpoint at which most other nodes see this node; undefined if no node has reported it. */
  readonly external: Endpoint | undefined;
  readonly type: NatType;
  readonly filtering: NatFiltering;
  /** Whether unrequested packets reach this node; undefined if unknown. */
  readonly reachable: boolean | undefined;
  /** Whether this node ignores queries from strangers. It also reports this to other nodes (BEP 43). */
  readonly readOnly: boolean;
  /**
   * Whether other nodes should introduce strangers to this node, because strangers can't reach it, or we don't know yet
   * whether they can.
   */
  readonly wantsIntroducers: boolean;
  readonly evidence: NatEvidence;
}

export interface NatEvidence {
  readonly tally: Tally | undefined;
  /** Why the node counts as reachable or unreachable, as a sentence for users. */
  readonly reason: string;
  /** When we last concluded whether the node is reachable. */
  readonly checkedAt: Millis | undefined;
  /** The number of probes that other nodes promised in the latest check. */
  readonly asked: number;
  /** The number of probes that were promised in the latest check but did not arrive. */
  readonly missed: number;
  /** The senders of unrequested packets that counted as evidence. */
  readonly arrivedFrom: readonly Endpoint[];
}

/**
 * auto: the node checks whether strangers can reach it. off: the node assumes that they can. read_only: the node
 * ignores queries from strangers.
 */
export type NatMode = "auto" | "off" | "read_only";

/** Values of the field `nt` in messages: how other nodes can reach the sender. */
export const NAT_CODE = {
  unknown: 0,
  reachable: 1,
  endpoint_independent: 2,
  symmetric: 3,
} as const;
