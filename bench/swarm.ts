// A swarm on loopback that fills the table of whoever joins through it: nodes that know each other, with ids in every
// bucket of the node that asks them first.

import { Writer } from "../src/krpc/bencode.ts";
import { Endpoint } from "../src/krpc/endpoint.ts";
import { compareDistance, type Id } from "../src/krpc/id.ts";
import { decode, type NodeAddress, writeResponse } from "../src/krpc/message.ts";
import { REPLY_NODES } from "../src/dht/responder.ts";
import { UdpSocket } from "../src/runtime/udp.ts";
import { CLIENT, contactIds, FULL_BUCKETS, K } from "./full_node.ts";

/** Each member has an address of its own: some implementations keep one contact an address. */
const address = (member: number) => `127.2.${member >> 8}.${member & 255}`;

export class Swarm implements AsyncDisposable {
  readonly #sockets: UdpSocket[];
  readonly #writer = new Writer(1024);
  #members: readonly NodeAddress[] = [];

  /** All members use the same port. */
  constructor(readonly port: number) {
    this.#sockets = Array.from({ length: FULL_BUCKETS * K }, (_, i) =>
      UdpSocket.bind({
        host: address(i),
        port,
        receive: (datagram, from) => this.#answer(i, datagram, from),
        onOverflow: () => {},
      }));
    for (const socket of this.#sockets) socket.start();
  }

  /** Where to join. */
  get bootstrap(): { host: string; port: number } {
    return { host: address(0), port: this.port };
  }

  /** Bucket after bucket of the node that asked first; empty before. */
  get ids(): Id[] {
    return this.#members.map(({ id }) => id);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#sockets.map((socket) => socket.close()));
  }

  /** Answers every query with the members closest to what it asks for. */
  #answer(member: number, datagram: Uint8Array, from: Endpoint): void {
    const query = decode(datagram);
    if (typeof query === "string" || query.type !== "q" || query.id === undefined) return;
    if (this.#members.length === 0) {
      this.#members = contactIds(query.id).map((id, i) => {
        return { id, endpoint: Endpoint.parse(address(i), this.port)! };
      });
    }
    const target = query.target ?? query.infoHash;
    const nodes = target && this.#members.toSorted((x, y) => compareDistance(x.id, y.id, target))
      .slice(0, query.wantCount || REPLY_NODES);
    writeResponse(this.#writer, query, from, this.#members[member].id, CLIENT, { nodes });
    this.#sockets[member].send(this.#writer.done(), from);
  }
}
