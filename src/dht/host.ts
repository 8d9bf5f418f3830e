// Everything the core may do to the world, and everything it tells.

import type { Endpoint } from "../krpc/endpoint.ts";
import type { Id } from "../krpc/id.ts";
import type { Contact, Health } from "./contact.ts";
import type { Millis } from "./deadlines.ts";
import type { Item, ItemCrypto } from "./item.ts";
import type { ItemStore } from "./item_store.ts";
import type { Candidate, StepState } from "./lookup.ts";
import type { NatState } from "./nat.ts";
import type { PublishedStore } from "./published.ts";

/** What a node runs on: real sockets and clocks, or simulated ones. All calls return at once. */
export interface Host extends ItemCrypto {
  /** Sends a datagram, or loses it, like UDP. The bytes are valid during the call only. */
  send(datagram: Uint8Array, to: Endpoint): void;
  emit(event: NodeEvent): void;
  /** Unpredictable bytes, in a new array. */
  randomBytes(length: number): Uint8Array;
  /** Whether an address, whatever the port, is one of this machine's. */
  isLocal(endpoint: Endpoint): boolean;
  /**
   * Opens sockets beside the node's own, for a moment: as many as there can be, undefined where there can be none.
   * `receive` sees what arrives at them; the bytes are valid during the call only.
   */
  openSockets(
    count: number,
    receive: (index: number, datagram: Uint8Array, from: Endpoint, now: Millis) => void,
  ): SpareSockets | undefined;
  /** Where items of the network are kept. */
  readonly items: ItemStore;
  /** Where the values that this node publishes are kept. */
  readonly published: PublishedStore;
}

/** Sockets at other ports than the node's own. */
export interface SpareSockets {
  readonly count: number;
  /** Sends from one of them, or loses it. */
  send(index: number, datagram: Uint8Array, to: Endpoint): void;
  /**
   * Keeps one and closes the others: from now on whatever the node sends to `to` leaves from it, and what arrives at
   * it is given to the node's `receive`, until `close`.
   */
  keep(index: number, to: Endpoint): void;
  /** Closes all that are open, when what they sent is gone. */
  close(): void;
}

/** What happened inside the node, for those who watch it. */
export type NodeEvent =
  | { readonly type: "peer.join"; readonly contact: Contact }
  | { readonly type: "peer.leave"; readonly contact: Contact; readonly reason: string }
  | {
    readonly type: "peer.health";
    readonly contact: Contact;
    readonly from: Health;
    readonly to: Health;
    readonly reason: string;
  }
  | { readonly type: "data.store"; readonly item: Item; readonly from: Endpoint }
  /** An item that we hold was given to nodes that lacked it. */
  | { readonly type: "data.replicate"; readonly item: Item; readonly to: readonly Id[] }
  | { readonly type: "data.expire"; readonly target: Id }
  /** The node has taken an id that is bound to its address (BEP 42). */
  | { readonly type: "id"; readonly id: Id; readonly former: Id; readonly address: Endpoint }
  /** Where the node is seen, its kind of NAT, whether it can be reached, or whether it is read-only has changed. */
  | { readonly type: "nat"; readonly state: NatState }
  | { readonly type: "lookup"; readonly lookup: LookupEvent }
  /** While the node's `tellsSteps` is set. */
  | { readonly type: "lookup.step"; readonly step: LookupStep }
  | { readonly type: "bootstrap"; readonly state: "joined" | "failed"; readonly contacts: number };

/** A lookup that ended. */
export interface LookupEvent {
  /** Tells the lookups of this node apart. */
  readonly lookup: number;
  readonly target: Id;
  readonly method: "find_node" | "get_peers" | "get";
  readonly hops: number;
  readonly queries: number;
  readonly elapsed: number;
  /** Whether any node answered. */
  readonly success: boolean;
}

/** How one query of a lookup fares. */
export interface LookupStep {
  readonly lookup: number;
  readonly target: Id;
  readonly state: StepState;
  /** As it is now; it goes on to change. */
  readonly candidate: Candidate;
}
