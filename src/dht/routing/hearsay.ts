// Stores nodes that other nodes have named, and about which we know nothing else. Lookups try these nodes early, but
// nothing relies on them, and our replies never name them.

import { Endpoint, type Family } from "../../krpc/endpoint.ts";
import { Id } from "../../krpc/id.ts";
import type { Millis } from "../deadlines.ts";
import { networkMark } from "./diversity.ts";

/** A node that other nodes have named, in the form that lookups need. */
export interface NamedNode {
  readonly id: Id;
  readonly endpoint: Endpoint;
  /** The round-trip time that the node's coordinate predicted when the node was named. */
  readonly expectedMs: number;
  /** Always 0, which means unknown, because coordinates are not stored here. */
  readonly coordinateXy: 0;
  readonly coordinateZHeight: 0;
  /** Marks the node as one from which we have never received a packet. */
  readonly isNamed: true;
}

/**
 * The index of a slot has this many bits more than the prefix that k neighbours share. A group of k neighbours thus has
 * two slots.
 */
const EXTRA_BITS = 1;

/** Cap on the bits of a slot's index. With 1,024 slots, the table uses 32 kB for IPv4. */
const MAX_BITS = 10;

/** The initial number of bits of a slot's index. */
const MIN_BITS = 4;

/** The maximum age of an entry. Older entries are ignored, because the node may be gone. */
const MAX_AGE_MINUTES = 30;

/**
 * Cap on the nodes whose networks have the same mark (a hash), so that the owner of one /24 can't fill the table.
 * Different networks rarely share a mark.
 */
const MAX_PER_NETWORK = 4;

/** A mark has this many bits more than the index of a slot, so that few networks share a mark. */
const EXTRA_MARK_BITS = 1;

/**
 * The unit of stored round-trip times: a quarter of a millisecond. Longer times than the maximum are stored as the
 * maximum.
 */
const UNITS_PER_MS = 4, MAX_UNITS = 0xffff;

/**
 * The numbers of 32-bit words in a slot: for the id, for the address, and for the port, the round-trip time and the
 * minute.
 */
const ID_WORDS = 5, ADDRESS_WORDS = { 4: 1, 6: 4 } as const, OTHER_WORDS = 2;

/** The maximum number of slots that one search visits. */
const MAX_SCANNED = 64;

/**
 * A table with one slot for each prefix of ids. Of the nodes with this prefix that other nodes have named, a slot contains
 * the one with the shortest predicted round-trip time. The k neighbours that hold the same values usually share two slots
 * (`EXTRA_BITS`).
 */
export class Hearsay {
  readonly #family: Family;
  readonly #stride: number;
  #bits = MIN_BITS;
  #places: Int32Array;
  /** For each mark, the number of nodes in the table whose network has this mark. */
  #perNetwork = new Uint8Array(1 << (MIN_BITS + EXTRA_MARK_BITS));

  constructor(family: Family) {
    this.#family = family;
    this.#stride = ID_WORDS + ADDRESS_WORDS[family] + OTHER_WORDS;
    this.#places = new Int32Array(this.#stride << MIN_BITS);
  }
  /** Enlarges the table for a network in which groups of k neighbours share `depth` leading bits. */
  grow(depth: number): void {
    const bits = Math.min(MAX_BITS, depth + EXTRA_BITS);
    if (bits <= this.#bits) return;
    const before = this.#places, stride = this.#stride;
    this.#bits = bits;
    this.#places = new Int32Array(stride << bits);
    this.#perNetwork = new Uint8Array(1 << (bits + EXTRA_MARK_BITS));
    for (let at = 0; at < before.length; at += stride) {
      const place = before.subarray(at, at + stride);
      if (place[stride - 2] === 0) continue;
      const to = this.#placeOf(place[0]);
      this.#places.set(place, to);
      this.#perNetwork[this.#markOf(this.#read(to).endpoint)]++;
    }
  }

  /**
   * Records a node that another node named. `expected`: the round-trip time that the named node's coordinate predicts.
   */
  note(
    id: Id,
    endpoint: Endpoint,
    { expected, now }: { readonly expected: number; readonly now: Millis },
  ): void {
    const places = this.#places, at = this.#placeOf(id.a), last = at + this.#stride - 1;
    const mark = this.#markOf(endpoint);
    if (this.#perNetwork[mark] >= MAX_PER_NETWORK) return;
    const units = Math.min(MAX_UNITS, Math.round(expected * UNITS_PER_MS));
    if (places[last - 1] !== 0) {
      const isBetter = units < places[last] >>> 16 || this.#has(at, id) || this.#isOld(at, now);
      if (!isBetter) return;
      this.#clear(at);
    }
    this.#perNetwork[mark]++;
    places[at] = id.a, places[at + 1] = id.b, places[at + 2] = id.c;
    places[at + 3] = id.d, places[at + 4] = id.e, places[at + 5] = endpoint.a;
    if (this.#family === 6) {
      places[at + 6] = endpoint.b, places[at + 7] = endpoint.c, places[at + 8] = endpoint.d;
    }
    places[last - 1] = endpoint.port;
    places[last] = (units << 16) | minuteOf(now);
  }

  /** Removes a node, because it did not answer or answered later than its coordinate predicts. */
  forget(id: Id): void {
    const at = this.#placeOf(id.a);
    if (this.#has(at, id)) this.#clear(at);
  }

  /** Returns at most `count` nodes, from the slots nearest to `target`, but not sorted by distance. */
  near(target: Id, count: number, now: Millis): NamedNode[] {
    const found: NamedNode[] = [];
    const own = target.a >>> (32 - this.#bits), places = this.#places, stride = this.#stride;
    for (let i = 0; i < MAX_SCANNED && found.length < count; i++) {
      const at = (own ^ i) * stride;
      if (at < places.length && places[at + stride - 2] !== 0 && !this.#isOld(at, now)) {
        found.push(this.#read(at));
      }
    }
    return found;
  }

  #read(at: number): NamedNode {
    const p = this.#places, last = at + this.#stride - 1, port = p[last - 1];
    return {
      id: new Id(p[at], p[at + 1], p[at + 2], p[at + 3], p[at + 4]),
      endpoint: this.#family === 4
        ? Endpoint.ofIpv4(p[at + 5], port)
        : Endpoint.ofIpv6(p[at + 5], p[at + 6], p[at + 7], p[at + 8], port),
      expectedMs: (p[last] >>> 16) / UNITS_PER_MS,
      coordinateXy: 0,
      coordinateZHeight: 0,
      isNamed: true,
    };
  }

  /** Returns the index in `#places` at which the slot for ids with the first word `first` begins. */
  #placeOf(first: number): number {
    return (first >>> (32 - this.#bits)) * this.#stride;
  }

  #has(at: number, { a, b, c, d, e }: Id): boolean {
    const p = this.#places;
    return p[at] === a && p[at + 1] === b && p[at + 2] === c && p[at + 3] === d &&
      p[at + 4] === e &&
      p[at + this.#stride - 2] !== 0;
  }

  #markOf(endpoint: Endpoint): number {
    const bits = this.#bits + EXTRA_MARK_BITS;
    return Math.imul(networkMark(endpoint), 0x9e3779b1) >>> (32 - bits);
  }

  #isOld(at: number, now: Millis): boolean {
    const minutes = (minuteOf(now) - this.#places[at + this.#stride - 1]) & 0xffff;
    return minutes > MAX_AGE_MINUTES;
  }

  #clear(at: number): void {
    this.#perNetwork[this.#markOf(this.#read(at).endpoint)]--;
    this.#places.fill(0, at, at + this.#stride);
  }
}

/** Returns the time in minutes, reduced to the 16 bits that a slot stores. */
function minuteOf(now: Millis): number {
  return Math.floor(now / 60_000) & 0xffff;
}
