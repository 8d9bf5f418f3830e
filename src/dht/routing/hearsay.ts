// Nodes that other nodes have named, and that we know nothing else about. Lookups try them first,
// but nothing relies on them, and they are never named to others.

import { Endpoint, type Family } from "../../krpc/endpoint.ts";
import { Id } from "../../krpc/id.ts";
import type { Millis } from "../deadlines.ts";
import { networkMark } from "./diversity.ts";

/** A node that was named, in the form in which a lookup takes it. */
export interface NamedNode {
  readonly id: Id;
  readonly endpoint: Endpoint;
  /** The round trip that the node's coordinate suggested when it was named. */
  readonly expectedMs: number;
  /** Zeros: the coordinate itself is not kept. */
  readonly coordinateXy: 0;
  readonly coordinateZHeight: 0;
  /** Marks the node as one that we have never heard from. */
  readonly isNamed: true;
}

/** An id's place has this many bits more than k neighbours share, so that they have two places. */
const EXTRA_BITS = 1;

/** Cap on the bits: 1,024 places, which take 32 kB for IPv4. */
const MAX_BITS = 10;

/** The number of bits at first. */
const MIN_BITS = 4;

/** A node that was named longer ago is ignored, because it may be gone. */
const MAX_AGE_MINUTES = 30;

/**
 * Cap on the nodes from networks with the same mark, so that the owner of one /24 can't fill the
 * table. Different networks rarely share a mark.
 */
const MAX_PER_NETWORK = 4;

/** A mark has this many bits more than a place, so that few networks share one. */
const EXTRA_MARK_BITS = 1;

/** Expected round trips are stored in quarters of a millisecond. */
const UNITS_PER_MS = 4, MAX_UNITS = 0xffff;

/** The words of a place: the id, the address, the port, and one for the round trip and the minute. */
const ID_WORDS = 5, ADDRESS_WORDS = { 4: 1, 6: 4 } as const, OTHER_WORDS = 2;

/** Cap on the places that one search looks at. */
const MAX_SCANNED = 64;

/**
 * One place for each prefix of ids. It has the node with the shortest expected round trip among
 * those that were named. A group of neighbours, who hold the same values, has a few places.
 */
export class Hearsay {
  readonly #family: Family;
  readonly #stride: number;
  #bits = MIN_BITS;
  #places: Int32Array;
  /** The number of nodes from each network, by its mark. */
  #perNetwork = new Uint8Array(1 << (MIN_BITS + EXTRA_MARK_BITS));

  constructor(family: Family) {
    this.#family = family;
    this.#stride = ID_WORDS + ADDRESS_WORDS[family] + OTHER_WORDS;
    this.#places = new Int32Array(this.#stride << MIN_BITS);
  }
  /** Makes room for a network in which groups of k neighbours share `depth` leading bits. */
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

  /** Notes a node that another node named. `expected`: the round trip that its coordinate suggests. */
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

  /** Drops a node that did not answer, or answered later than its coordinate suggests. */
  forget(id: Id): void {
    const at = this.#placeOf(id.a);
    if (this.#has(at, id)) this.#clear(at);
  }

  /** At most `count` nodes, from the places nearest to `target`, but not in the order of their distances. */
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

  /** The index of the place for ids with the first word `first`. */
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

/** The time in minutes, as the 16 bits that a place keeps. */
function minuteOf(now: Millis): number {
  return Math.floor(now / 60_000) & 0xffff;
}
