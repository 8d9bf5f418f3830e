// What all parts of a node know of it.

import type { Id } from "../krpc/id.ts";

/**
 * A node's id, which may change (BEP 42). One object for all parts: with a getter of its own each part's view of the
 * node would be a dictionary to V8, slower to read and half a kilobyte larger.
 */
export interface Self {
  readonly id: Id;
}
