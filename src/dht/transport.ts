// How a node sends datagrams: through its own sockets, or through spare sockets on other ports.

import type { Endpoint } from "../krpc/endpoint.ts";
import type { Millis } from "./deadlines.ts";

export interface Transport {
  /** Sends a datagram. It may get lost, as with UDP. The bytes are only valid during the call. */
  send(datagram: Uint8Array, to: Endpoint): void;
  /** Whether an address belongs to this machine. The port does not matter. */
  isLocal(endpoint: Endpoint): boolean;
  /** Opens up to `count` temporary sockets; undefined if none can be opened. `receive` must not keep the bytes. */
  openSockets(
    count: number,
    receive: (index: number, datagram: Uint8Array, from: Endpoint, now: Millis) => void,
  ): SpareSockets | undefined;
}

/** Sockets on other ports than the node's own. */
export interface SpareSockets {
  readonly count: number;
  /** Sends a datagram from socket `index`. It may get lost, as with UDP. */
  send(index: number, datagram: Uint8Array, to: Endpoint): void;
  /** Closes all sockets except one, which stays open for packets to and from `to` until `close`. */
  keep(index: number, to: Endpoint): void;
  /** Closes all open sockets once their packets have left. */
  close(): void;
}
