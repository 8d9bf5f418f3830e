// The facts about a node that are in every message it sends.

import type { Family } from "../krpc/endpoint.ts";
import type { Id } from "../krpc/id.ts";

/**
 * The properties of a node that its messages contain. All parts of a node share one such object,
 * because the id and the read-only flags change. Objects with getters would be slower and take half
 * a kilobyte more each, because V8 would store them as dictionaries.
 */
export class Self {
  /**
   * Whether the node is read-only in IPv4: it answers no strangers, and says so in its queries (BEP 43). NAT detection
   * sets this.
   */
  isReadOnly4 = false;
  isReadOnly6 = false;
  /**
   * Whether our id is new and will change once we know our address. Until then, no public node should keep us as a
   * contact (BEP 43).
   */
  isUnbound = false;

  /** `id` may change (BEP 42). `client` is our client and version (`v`) as a 32-bit integer. */
  constructor(public id: Id, readonly client: number) {}

  isReadOnly(family: Family): boolean {
    return family === 4 ? this.isReadOnly4 : this.isReadOnly6;
  }

  /** Whether another node's `v` says that it runs this project's software, of any version. */
  isSameSoftware(client: number): boolean {
    return client >>> 16 === this.client >>> 16;
  }
}
