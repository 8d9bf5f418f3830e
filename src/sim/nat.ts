// Simulated NATs: how they map ports, whom they let in, and for how long (RFC 4787, sections 4 and 5).

import type { Millis } from "../dht/deadlines.ts";
import type { Endpoint } from "../krpc/endpoint.ts";
import type { SeededRandom } from "./random.ts";

/**
 * full_cone: lets in everybody. address_restricted, port_restricted: only whom was written to, at any port or at that
 * one. symmetric: likewise, and each is written to from another port.
 */
export type NatKind = "full_cone" | "address_restricted" | "port_restricted" | "symmetric";

export interface NatTraits {
  readonly kind: NatKind;
  /** How long it remembers a packet out. */
  readonly timeoutMs: Millis;
}

/**
 * Shares of the kinds. Of the NATs that users of a test program had, 82 % let UDP holes be punched (Ford, Srisuresh and
 * Kegel, 2005): the rest are symmetric. How the others filter is an assumption.
 */
const SHARES: readonly (readonly [NatKind, number])[] = [
  ["full_cone", 0.12],
  ["address_restricted", 0.2],
  ["port_restricted", 0.5],
  ["symmetric", 0.18],
];

/** Time-outs are drawn between those of the strictest in use and RFC 4787's two minutes. */
const SHORTEST_MS = 30_000, LONGEST_MS = 120_000;

/** Entries after which those that have ended are cleared out. */
const MAX_ENTRIES = 4_096;

/** Ports that a symmetric NAT gives out. */
const FIRST_PORT = 1_024, PORTS = 65_536 - FIRST_PORT;

/** A NAT of the kinds that are met. */
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
  /** Whom it is for. */
  readonly key: number;
  until: Millis;
}

/** One machine's NAT, at an address of its own. */
export class SimNat {
  readonly #traits: NatTraits;
  readonly #address: Endpoint;
  readonly #random: SeededRandom;
  /** By inner port: whom it lets in until when. All but symmetric ones keep the port. */
  readonly #open = new Map<number, Map<number, Millis>>();
  /** Of a symmetric one, by inner port and whom it is for; and by outer port. */
  readonly #mappings = new Map<number, Map<number, Mapping>>();
  readonly #byPort = new Map<number, Mapping>();

  constructor(traits: NatTraits, address: Endpoint, random: SeededRandom) {
    this.#traits = traits;
    this.#address = address;
    this.#random = random;
  }

  get kind(): NatKind {
    return this.#traits.kind;
  }

  /** Where a packet from `port` comes from, as `to` sees it. */
  outbound(port: number, to: Endpoint, now: Millis): Endpoint {
    const { kind, timeoutMs } = this.#traits;
    if (kind === "symmetric") return this.#map(port, to, now);
    const open = mapAt(this.#open, port);
    if (open.size >= MAX_ENTRIES) forget(open, now);
    open.set(this.#filterKey(to), now + timeoutMs);
    return this.#address.port === port ? this.#address : this.#address.withPort(port);
  }

  /** The port inside that a packet from outside goes to; undefined where it is dropped. */
  inbound(port: number, from: Endpoint, now: Millis): number | undefined {
    if (this.#traits.kind === "symmetric") {
      const mapping = this.#byPort.get(port);
      const isOpen = mapping !== undefined && mapping.until >= now &&
        mapping.key === endpointKey(from);
      return isOpen ? mapping.inner : undefined;
    }
    const until = this.#open.get(port)?.get(this.#filterKey(from)) ?? -Infinity;
    return until >= now ? port : undefined;
  }

  #filterKey(of: Endpoint): number {
    const { kind } = this.#traits;
    return kind === "full_cone" ? 0 : kind === "address_restricted" ? of.a : endpointKey(of);
  }

  #map(port: number, to: Endpoint, now: Millis): Endpoint {
    const mappings = mapAt(this.#mappings, port);
    const key = endpointKey(to);
    let mapping = mappings.get(key);
    if (mapping === undefined || mapping.until < now) {
      if (mapping !== undefined) this.#byPort.delete(mapping.outer.port);
      if (this.#byPort.size >= MAX_ENTRIES) this.#forget(now);
      const outer = this.#address.withPort(this.#freePort());
      mapping = { inner: port, outer, key, until: 0 };
      mappings.set(key, mapping);
      this.#byPort.set(outer.port, mapping);
    }
    mapping.until = now + this.#traits.timeoutMs;
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
      const port = FIRST_PORT + Math.floor(this.#random.fraction() * PORTS);
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
