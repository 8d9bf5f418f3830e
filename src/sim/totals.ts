// What nodes have done, added up.

import type { SimNode } from "./world.ts";

/** Messages of one type, and their bytes. */
export interface Sent {
  readonly messages: number;
  readonly bytes: number;
}

/** What keeping values alive has come to. */
export interface Replication {
  /** Times that nodes published values of their own again. */
  readonly published: number;
  /** Times that holders counted the copies of an item. */
  readonly completed: number;
  /** Copies that they made where some were missing. */
  readonly copies: number;
}

/** Sums over nodes, of those that departed too. */
export class Totals {
  readonly #sent = new Map<string, Sent>();
  replication: Replication = { published: 0, completed: 0, copies: 0 };

  /** Adds what a node has done since its start. */
  add({ node }: SimNode): void {
    for (const [type, { messages, bytes }] of Object.entries(node.traffic.out.byType())) {
      this.#count(type, messages, bytes);
    }
    this.#replicate(node.replication);
  }

  /** Adds what others have come to. */
  addAll({ sent, replication }: Pick<Totals, "sent" | "replication">): void {
    for (const [type, { messages, bytes }] of sent) this.#count(type, messages, bytes);
    this.#replicate(replication);
  }

  /** What nodes have sent, by type of message such as `find_node.query`. */
  get sent(): ReadonlyMap<string, Sent> {
    return this.#sent;
  }

  #count(type: string, messages: number, bytes: number): void {
    const before = this.#sent.get(type) ?? { messages: 0, bytes: 0 };
    this.#sent.set(type, { messages: before.messages + messages, bytes: before.bytes + bytes });
  }

  #replicate({ published, completed, copies }: Replication): void {
    const { replication: before } = this;
    this.replication = {
      published: before.published + published,
      completed: before.completed + completed,
      copies: before.copies + copies,
    };
  }
}
