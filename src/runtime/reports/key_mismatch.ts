// Detects nodes that lack this node's network key or have another one, which is a mistake in their
// settings or in ours.

import type { Millis } from "../../dht/deadlines.ts";
import type { Endpoint } from "../../krpc/endpoint.ts";

/**
 * How long a mismatch is reported after the latest packet without our network key. By then, the other node is fixed or
 * gone.
 */
const FORGOTTEN_AFTER_MS = 10 * 60_000;

/** At most one packet is examined per interval of this length, because anyone can send many packets. */
const INTERVAL_MS = 1_000;

/** The first and the last byte of every KRPC message: `d` and `e`. */
const FIRST = 0x64, LAST = 0x65;

export class KeyMismatch {
  #nextAt = -Infinity;
  #text = "";
  #notedAt = -Infinity;

  /** @param isBootstrap whether this is one of the node's bootstrap nodes */
  constructor(private readonly isBootstrap: (from: Endpoint) => boolean) {}

  /**
   * Records a packet that was not sealed with the network key. Returns the line for the log, if there is one. Strangers
   * on the Internet send such packets all the time, so only bootstrap nodes and local addresses count.
   */
  note(packet: Uint8Array, from: Endpoint, now: Millis): string | undefined {
    if (now < this.#nextAt) return undefined;
    this.#nextAt = now + INTERVAL_MS;
    if (from.scope === "global" && !this.isBootstrap(from)) return undefined;
    const isPlain = packet[0] === FIRST && packet[packet.length - 1] === LAST;
    this.#notedAt = now;
    return this.#text = isPlain
      ? `${from} has no network key: start it with the NETWORK_KEY of this node`
      : `${from} has another network key than this node: give both the same NETWORK_KEY`;
  }

  /** The latest mismatch; null if there was none in the last ten minutes. */
  latest(now: Millis): string | null {
    return now - this.#notedAt < FORGOTTEN_AFTER_MS ? this.#text : null;
  }
}
