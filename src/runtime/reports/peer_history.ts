// The latest changes of each peer: when it joined, when it missed checks, and when and why it left.

import { BoundedMap } from "../../dht/bounded_map.ts";
import type { Contact } from "../../dht/routing/contact.ts";
import type { Millis } from "../../dht/deadlines.ts";
import type { NodeEvent } from "../../dht/host.ts";
import type { PeerDetail } from "../../reports/peers.ts";

const MAX_PEERS = 1_000;

const MAX_CHANGES = 20;

/** A change, with its node time. */
export interface PeerChange extends Omit<PeerDetail["history"][number], "at"> {
  readonly at: Millis;
}

/** One peer's latest changes. */
export interface PeerRecord {
  /** The peer's current state, or its state when it left. */
  readonly contact: Contact;
  readonly goneAt: Millis | undefined;
  /** The latest changes of the peer, oldest first. */
  readonly changes: readonly PeerChange[];
}

/** The latest changes of up to MAX_PEERS peers, in memory. */
export class PeerHistory {
  /** The records by peer id. The peer that changed last is at the end. */
  readonly #peers = new BoundedMap<string, PeerRecord>(MAX_PEERS);

  /** Records a change of a peer; ignores other events. */
  note(event: NodeEvent, now: Millis): void {
    switch (event.type) {
      case "peer.join":
        return this.#add(event.contact, { at: now, what: "joined", reason: null });
      case "peer.health":
        return this.#add(event.contact, { at: now, what: event.to, reason: event.reason.text });
      case "peer.leave": {
        const what = event.reason.kind === "replaced" ? "replaced" : "left";
        return this.#add(event.contact, { at: now, what, reason: event.reason.text }, now);
      }
    }
  }

  #add(contact: Contact, change: PeerChange, goneAt?: Millis): void {
    const id = `${contact.id}`;
    const before = this.#peers.get(id)?.changes ?? [];
    if (!this.#peers.has(id) && this.#peers.size >= MAX_PEERS) this.#evictDeparted();
    const changes = [...before.slice(1 - MAX_CHANGES), change];
    this.#peers.set(id, { contact, goneAt, changes });
  }

  /** Evicts the peer that left longest ago, if any has left. Otherwise, the map evicts its oldest entry. */
  #evictDeparted(): void {
    for (const [id, { goneAt }] of this.#peers) {
      if (goneAt !== undefined) return void this.#peers.delete(id);
    }
  }

  /** Returns the record of the peer with this id, in lower-case hex. */
  get(id: string): PeerRecord | undefined {
    return this.#peers.get(id);
  }

  /** Returns the peers that left at `since` or later, the latest first. */
  leftSince(since: Millis): Contact[] {
    return [...this.#peers.values()]
      .filter(({ goneAt }) => goneAt !== undefined && goneAt >= since)
      .map(({ contact }) => contact)
      .reverse();
  }
}
