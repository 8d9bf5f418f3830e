// The interface through which a node proves its identity to other nodes.

import type { Endpoint } from "../krpc/endpoint.ts";
import type { Id } from "../krpc/id.ts";
import type { Millis } from "./deadlines.ts";

export interface Prover {
  /**
   * Signs another node's challenge with our identity. Returns undefined if the answer should
   * contain no key. Only hosts of private networks have this method.
   */
  prove?(
    challenge: Uint8Array,
    asker: Id,
    context: { readonly seenAs: Endpoint; readonly now: Millis },
  ): { publicKey: Uint8Array; signature: Uint8Array } | undefined;
}
