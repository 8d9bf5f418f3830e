// Additional UDP sockets, opened briefly to find a way through a NAT and kept if they find one.

import type { SpareSockets } from "../../dht/transport.ts";
import type { Endpoint, Family } from "../../krpc/endpoint.ts";
import type { PacketSeal } from "./packet_seal.ts";
import { UdpSocket } from "./udp.ts";

/** The maximum number of kept sockets. Each is used to reach one other node. */
const MAX_KEPT = 16;

/** Delay before a socket is closed, so that its last datagrams are still sent. */
const FLUSH_MS = 100;

export interface SpareOptions {
  readonly host: string;
  /** The only address family that the sockets serve, if one socket can't serve both families. */
  readonly onlyFamily?: Family;
  /** Called with each datagram of a kept socket. The bytes are overwritten after the call. */
  readonly receive: (datagram: Uint8Array, from: Endpoint) => void;
  readonly allows: (endpoint: Endpoint) => boolean;
  readonly seal?: PacketSeal;
  /** The name of the only interface that the sockets use; undefined if they may use any. */
  readonly interfaceName?: string;
}

export class SparePorts {
  readonly #open = new Set<UdpSocket>();
  /** The kept sockets, each with the endpoint of the node that it reaches. */
  #routes: { readonly to: Endpoint; readonly socket: UdpSocket }[] = [];

  constructor(private readonly options: SpareOptions) {}

  /** Sends through the socket that is kept for `to`. Returns false if there is no such socket. */
  send(datagram: Uint8Array, to: Endpoint): boolean {
    for (const route of this.#routes) {
      if (!route.to.equals(to)) continue;
      route.socket.send(datagram, to);
      return true;
    }
    return false;
  }

  /** Opens up to `count` sockets; see `Host.openSockets`. */
  open(
    count: number,
    receive: (index: number, datagram: Uint8Array, from: Endpoint) => void,
  ): SpareSockets | undefined {
    const { allows, host, interfaceName, onlyFamily, seal } = this.options;
    const sockets: (UdpSocket | undefined)[] = [];
    let keptIndex = -1;
    try {
      while (sockets.length < count) {
        const index = sockets.length;
        const socket = UdpSocket.bind({
          host,
          interfaceName,
          onlyFamily,
          port: 0,
          allows,
          seal,
          receive: (datagram, from) => {
            if (index === keptIndex) this.options.receive(datagram, from);
            else receive(index, datagram, from);
          },
          onOverflow: () => {},
        });
        this.#open.add(socket);
        socket.start();
        sockets.push(socket);
      }
    } catch {
      // Continue with the sockets that are open. The system limits the number of sockets of a process.
    }
    if (sockets.length === 0) return undefined;
    const close = () => {
      for (let i = 0; i < sockets.length; i++) {
        const socket = sockets[i];
        if (socket === undefined || i === keptIndex) continue;
        sockets[i] = undefined;
        setTimeout(() => this.#close(socket), FLUSH_MS);
      }
    };
    return {
      count: sockets.length,
      send: (index, datagram, to) => {
        if (allows(to)) sockets[index]?.send(datagram, to);
      },
      keep: (index, to) => {
        const socket = sockets[index];
        if (socket === undefined) return;
        keptIndex = index;
        close();
        this.#routes = this.#routes.filter((other) => !other.to.equals(to));
        this.#routes.push({ to, socket });
        if (this.#routes.length > MAX_KEPT) this.#close(this.#routes.shift()!.socket);
      },
      close: () => {
        this.#routes = this.#routes.filter(({ socket }) => socket !== sockets[keptIndex]);
        keptIndex = -1;
        close();
      },
    };
  }

  #close(socket: UdpSocket): void {
    if (this.#open.delete(socket)) void socket.close();
  }

  /** Closes all sockets. Resolves once no more datagrams will arrive. */
  async close(): Promise<void> {
    const sockets = [...this.#open];
    this.#open.clear();
    this.#routes = [];
    await Promise.all(sockets.map((socket) => socket.close()));
  }
}
