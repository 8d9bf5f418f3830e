// What has become of each peer lately: why it came, missed, and went.

import type { Contact } from "../dht/contact.ts";
import type { Millis } from "../dht/deadlines.ts";
import type { NodeEvent } from "../dht/host.ts";
import type { PeerChange } from "./service.ts";

/** Peers whose changes are kept, those that have left among them, and changes kept of each. */
const MAX_PEERS = 1_000, MAX_CHANGES = 20;

/** One peer's latest changes. */
export interface PeerRecord {
  /** As it is now, or was when it left. */
  readonly contact: Contact;
  /** When it left; undefined while it is in the table. */
  readonly goneAt: Millis | undefined;
  /** Oldest first. */
  readonly changes: readonly PeerChange[];
}

/** The latest changes of the latest peers, in memory. */
export class PeerHistory {
  /** By id; who changed last is last. */
  readonly #peers = new Map<string, PeerRecord>();

  /** Takes in an event of the node; those that are not about peers are passed over. */
  note(event: NodeEvent, now: Millis): void {
    switch (event.type) {
      case "peer.join":
        return this.#add(event.contact, undefined, now, "joined", null);
      case "peer.health":
        return this.#add(event.contact, undefined, now, event.to, event.reason);
      case "peer.leave": {
        const what = event.reason.startsWith("replaced") ? "replaced" : "left";
        return this.#add(event.contact, now, now, what, event.reason);
      }
    }
  }

  #add(
    contact: Contact,
    goneAt: Millis | undefined,
    at: Millis,
    what: PeerChange["what"],
    reason: string | null,
  ): void {
    const id = `${contact.id}`;
    const before = this.#peers.get(id)?.changes ?? [];
    this.#peers.delete(id);
    if (this.#peers.size >= MAX_PEERS) this.#peers.delete(this.#leastWanted());
    const changes = [...before.slice(1 - MAX_CHANGES), { at, what, reason }];
    this.#peers.set(id, { contact, goneAt, changes });
  }

  /** The one that left longest ago, else the one that is longest without a change. */
  #leastWanted(): string {
    for (const [id, { goneAt }] of this.#peers) if (goneAt !== undefined) return id;
    return this.#peers.keys().next().value!;
  }

  /** The peer with this id, in lower-case hex; undefined where nothing is known of it. */
  get(id: string): PeerRecord | undefined {
    return this.#peers.get(id);
  }

  /** Peers that have left since then, the latest first. */
  leftSince(since: Millis): Contact[] {
    return [...this.#peers.values()]
      .filter(({ goneAt }) => goneAt !== undefined && goneAt >= since)
      .map(({ contact }) => contact)
      .reverse();
  }
}
