// UDP sockets beside the node's own: opened for a moment, to find a way through a NAT, and kept where they found one.

import type { SpareSockets } from "../dht/host.ts";
import { Endpoint } from "../krpc/endpoint.ts";
import { UdpSocket } from "./udp.ts";

/** Sockets that are kept at a time: each is a way to one node. */
const MAX_KEPT = 16;

/** A socket is closed after this: what was handed to it has long been sent. */
const FLUSH_MS = 100;

/** Addresses of which is remembered whether they are this machine's, and for how long. */
const MAX_ADDRESSES = 16, ADDRESS_MS = 60_000;

export interface SpareOptions {
  /** The address that the node's own socket is bound to. */
  readonly host: string;
  /** Sees what arrives at a socket that is kept; the bytes are overwritten once it returns. */
  readonly receive: (datagram: Uint8Array, from: Endpoint) => void;
  /** Whether packets may be exchanged with an address. */
  readonly allows: (endpoint: Endpoint) => boolean;
}

/** One that is kept, and whom it leads to. */
interface Kept {
  readonly to: Endpoint;
  readonly socket: UdpSocket;
}

export class SparePorts {
  readonly #options: SpareOptions;
  readonly #open = new Set<UdpSocket>();
  #kept: Kept[] = [];

  constructor(options: SpareOptions) {
    this.#options = options;
  }

  /** Sends by the socket that is kept for `to`; false where there is none. */
  send(datagram: Uint8Array, to: Endpoint): boolean {
    for (const kept of this.#kept) {
      if (!kept.to.equals(to)) continue;
      kept.socket.send(datagram, to);
      return true;
    }
    return false;
  }

  /** See `Host.openSockets`. */
  open(
    count: number,
    receive: (index: number, datagram: Uint8Array, from: Endpoint) => void,
  ): SpareSockets | undefined {
    const { allows, host } = this.#options;
    const sockets: (UdpSocket | undefined)[] = [];
    let keptIndex = -1;
    try {
      while (sockets.length < count) {
        const index = sockets.length;
        const socket = UdpSocket.bind({
          host,
          port: 0,
          receive: (datagram, from) => {
            if (!allows(from)) return;
            if (index === keptIndex) this.#options.receive(datagram, from);
            else receive(index, datagram, from);
          },
          onOverflow: () => {},
        });
        this.#open.add(socket);
        socket.start();
        sockets.push(socket);
      }
    } catch {
      // As many as the system lets a process have are enough to try with.
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
        this.#kept = this.#kept.filter((other) => !other.to.equals(to));
        this.#kept.push({ to, socket });
        if (this.#kept.length > MAX_KEPT) this.#close(this.#kept.shift()!.socket);
      },
      close: () => {
        this.#kept = this.#kept.filter(({ socket }) => socket !== sockets[keptIndex]);
        keptIndex = -1;
        close();
      },
    };
  }

  #close(socket: UdpSocket): void {
    if (this.#open.delete(socket)) void socket.close();
  }

  /** Closes all; resolves when nothing arrives any more. */
  async close(): Promise<void> {
    const sockets = [...this.#open];
    this.#open.clear();
    this.#kept = [];
    await Promise.all(sockets.map((socket) => socket.close()));
  }
}

/** Tells which addresses are this machine's: to bind a socket to another one fails. */
export class LocalAddresses {
  readonly #known = new Map<string, { readonly isLocal: boolean; readonly at: number }>();

  has({ host }: Endpoint, now: number): boolean {
    const known = this.#known.get(host);
    // The machine may be in another network by now.
    if (known !== undefined && now - known.at < ADDRESS_MS) return known.isLocal;
    const isLocal = canBind(host);
    this.#known.delete(host);
    this.#known.set(host, { isLocal, at: now });
    if (this.#known.size > MAX_ADDRESSES) this.#known.delete(this.#known.keys().next().value!);
    return isLocal;
  }
}

function canBind(hostname: string): boolean {
  try {
    Deno.listenDatagram({ transport: "udp", hostname, port: 0 }).close();
    return true;
  } catch {
    return false;
  }
}
