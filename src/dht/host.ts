// The interface between a node and its host: the effects of the node, and the events that it reports.

import type { Endpoint } from "../krpc/endpoint.ts";
import type { Id } from "../krpc/id.ts";
import type { ItemEvent, ItemHost } from "./items/item_operations.ts";
import type { CloneEvent } from "./membership/clones.ts";
import type { ContactEvent } from "./membership/contacts.ts";
import type { BootstrapEvent } from "./membership/membership.ts";
import type { NatState } from "./nat/nat_state.ts";
import type { LookupEvent } from "./search/searches.ts";
import type { AnnounceEvent } from "./serving/announcements.ts";
import type { WatchEvent } from "./serving/watching.ts";
import type { Prover } from "./prover.ts";
import type { Transport } from "./transport.ts";

/** Every effect that a node has on the world, real or simulated. All calls return immediately. */
export interface Host extends Transport, ItemHost, Prover {
  emit(event: NodeEvent): void;
  /** Returns unpredictable bytes in a new array. */
  randomBytes(length: number): Uint8Array;
}

/** An event inside the node, reported to its host. */
export type NodeEvent =
  | ContactEvent
  | CloneEvent
  | BootstrapEvent
  | ItemEvent
  | LookupEvent
  | AnnounceEvent
  | WatchEvent
  /** The node has changed its id to one that is bound to its address (BEP 42). */
  | { readonly type: "id"; readonly id: Id; readonly former: Id; readonly address: Endpoint }
  /**
   * In one address family, the external address, the kind of NAT, the reachability or the read-only
   * state has changed.
   */
  | { readonly type: "nat"; readonly state: NatState };
