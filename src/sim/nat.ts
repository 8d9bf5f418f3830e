// Simulated NATs: how they map ports and filter incoming packets (RFC 4787, sections 4 and 5).

import type { Millis } from "../dht/deadlines.ts";
import type { Endpoint } from "../krpc/endpoint.ts";
import type { SeededRandom } from "./random.ts";

/**
 * The kinds of NAT, by the incoming packets that they admit:
 *
 * - `full_cone`: all packets.
 * - `address_restricted`: packets from IP addresses that the node has sent to.
 * - `port_restricted`: packets from endpoints that the node has sent to.
 * - `symmetric`: like `port_restricted`, but each endpoint sees the node at a different port.
 */
type NatKind = "full_cone" | "address_restricted" | "port_restricted" | "symmetric";

export interface NatTraits {
  readonly kind: NatKind;
  /** How long the NAT admits replies after the node has sent a packet. */
  readonly timeoutMs: Millis;
}

/**
 * The share of each kind of NAT. In a survey by Ford, Srisuresh and Kegel (2005), hole punching worked with 82 % of
 * NATs. The other 18 % are simulated as symmetric NATs. How the 82 % are divided among the other kinds is an
 * assumption.
 */
const SHARES: readonly (readonly [NatKind, number])[] = [
  ["full_cone", 0.12],
  ["address_restricted", 0.2],
  ["port_restricted", 0.5],
  ["symmetric", 0.18],
];

/** The range of the random timeouts: from the shortest in real NATs to the two minutes that RFC 4787 requires. */
const SHORTEST_MS = 30_000, LONGEST_MS = 120_000;

/** A table with this many entries drops its expired entries before it grows. */
const MAX_ENTRIES = 4_096;

const FIRST_PORT = 1_024, PORTS = 65_536 - FIRST_PORT;

export function drawNat(random: SeededRandom): NatTraits {
  const timeoutMs = SHORTEST_MS + Math.floor(random.fraction() * (LONGEST_MS - SHORTEST_MS));
  let drawn = random.fraction();
  for (const [kind, share] of SHARES) {
    if (drawn < share) return { kind, timeoutMs };
    drawn -= share;
  }
  return { kind: "port_restricted", timeoutMs };
}

interface Mapping {
  readonly inner: number;
  readonly outer: Endpoint;
  /** The remote endpoint of this mapping, encoded as a number. */
  readonly key: number;
  until: Millis;
}

/** The NAT in front of one machine, with an address that no other machine shares. */
export class SimNat {
  /**
   * For each port of the node, the senders that are admitted and the end of each admission. Symmetric NATs don't use
   * this.
   */
  readonly #open = new Map<number, Map<number, Millis>>();
  /** The mappings of a symmetric NAT, by the node's own port and the remote endpoint. */
  readonly #mappings = new Map<number, Map<number, Mapping>>();
  /** The mappings of a symmetric NAT, by the port that the remote endpoint sees. */
  readonly #byPort = new Map<number, Mapping>();

  constructor(
    private readonly traits: NatTraits,
    private readonly address: Endpoint,
    private readonly random: SeededRandom,
  ) {}

  /** Handles a packet that the node sends from `port`. Returns the sender's endpoint, as `to` sees it. */
  outbound(port: number, to: Endpoint, now: Millis): Endpoint {
    const { kind, timeoutMs } = this.traits;
    if (kind === "symmetric") return this.#map(port, to, now);
    const open = mapAt(this.#open, port);
    if (open.size >= MAX_ENTRIES) forget(open, now);
    open.set(this.#filterKey(to), now + timeoutMs);
    return this.address.port === port ? this.address : this.address.withPort(port);
  }

  /** Returns the port at which the node receives a packet from outside. Undefined if the NAT drops the packet. */
  inbound(port: number, from: Endpoint, now: Millis): number | undefined {
    if (this.traits.kind === "symmetric") {
      const mapping = this.#byPort.get(port);
      const isOpen = mapping !== undefined && mapping.until >= now &&
        mapping.key === endpointKey(from);
      return isOpen ? mapping.inner : undefined;
    }
    const until = this.#open.get(port)?.get(this.#filterKey(from)) ?? -Infinity;
    return until >= now ? port : undefined;
  }

  #filterKey(of: Endpoint): number {
    const { kind } = this.traits;
    return kind === "full_cone" ? 0 : kind === "address_restricted" ? of.a : endpointKey(of);
  }

  #map(port: number, to: Endpoint, now: Millis): Endpoint {
    const mappings = mapAt(this.#mappings, port);
    const key = endpointKey(to);
    let mapping = mappings.get(key);
    if (mapping === undefined || mapping.until < now) {
      if (mapping !== undefined) this.#byPort.delete(mapping.outer.port);
      if (this.#byPort.size >= MAX_ENTRIES) this.#forget(now);
      const outer = this.address.withPort(this.#freePort());
      mapping = { inner: port, outer, key, until: 0 };
      mappings.set(key, mapping);
      this.#byPort.set(outer.port, mapping);
    }
    mapping.until = now + this.traits.timeoutMs;
    return mapping.outer;
  }

  #forget(now: Millis): void {
    for (const [port, { inner, key, until }] of this.#byPort) {
      if (until >= now) continue;
      this.#byPort.delete(port);
      this.#mappings.get(inner)?.delete(key);
    }
  }

  #freePort(): number {
    for (;;) {
      const port = FIRST_PORT + Math.floor(this.random.fraction() * PORTS);
      if (!this.#byPort.has(port)) return port;
    }
  }
}

function endpointKey({ a, port }: Endpoint): number {
  return (a >>> 0) * 65_536 + port;
}

function mapAt<V>(maps: Map<number, Map<number, V>>, at: number): Map<number, V> {
  let map = maps.get(at);
  if (map === undefined) maps.set(at, map = new Map());
  return map;
}

function forget(open: Map<number, Millis>, now: Millis): void {
  for (const [key, until] of open) if (until < now) open.delete(key);
}
