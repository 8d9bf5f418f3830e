// A swarm on loopback that fills the table of a node that joins through it. Its members know each other, and have ids in
// every bucket of the first node that queries them.

import { Writer } from "../src/krpc/bencode.ts";
import { Endpoint } from "../src/krpc/endpoint.ts";
import { compareDistance, type Id } from "../src/krpc/id.ts";
import { decode, type NodeAddress, REPLY_NODES, writeResponse } from "../src/krpc/message.ts";
import type { PacketSeal } from "../src/runtime/net/packet_seal.ts";
import { UdpSocket } from "../src/runtime/net/udp.ts";
import { CLIENT, contactIds, FULL_BUCKETS, K } from "./full_node.ts";

/** Each member has its own address, because some implementations keep one contact per address. */
const address = (member: number) => `127.2.${member >> 8}.${member & 255}`;

export class Swarm implements AsyncDisposable {
  readonly #sockets: UdpSocket[];
  readonly #writer = new Writer(1024);
  #members: readonly NodeAddress[] = [];

  /** All members use the same port, and the same seal if there is one. */
  constructor(readonly port: number, seal?: PacketSeal) {
    this.#sockets = Array.from({ length: FULL_BUCKETS * K }, (_, i) =>
      UdpSocket.bind({
        host: address(i),
        port,
        seal,
        receive: (datagram, from) => this.#answer(i, datagram, from),
        onOverflow: () => {},
      }));
    for (const socket of this.#sockets) socket.start();
  }

  /** The endpoint to join through. */
  get bootstrap(): { host: string; port: number } {
    return { host: address(0), port: this.port };
  }

  /** Members for each bucket of the first querying node; empty before its query. */
  get ids(): Id[] {
    return this.#members.map(({ id }) => id);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#sockets.map((socket) => socket.close()));
  }

  /** Answers every query with the members closest to its target. */
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
