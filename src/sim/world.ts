// A virtual Internet: shipped nodes on one virtual clock, and links that delay, lose, double and reorder.

import type { Millis } from "../dht/deadlines.ts";
import type { Host, NodeEvent } from "../dht/host.ts";
import type { ItemCrypto } from "../dht/item.ts";
import { MemoryItemStore } from "../dht/item_store.ts";
import { DhtNode, type NodeOptions } from "../dht/node.ts";
import { Endpoint } from "../krpc/endpoint.ts";
import { Id, ID_BYTES, putWord } from "../krpc/id.ts";
import { EventQueue } from "./events.ts";
import type { LatencyMatrix } from "./latency.ts";
import { SeededRandom } from "./random.ts";

/** One way from a node to the backbone: the median of wired access lines, with a long tail. */
export const ACCESS_MEDIAN_MS = 4;
/** Standard deviation of its logarithm: one line in a hundred takes over 20 ms. */
export const ACCESS_SIGMA = 0.7;

/** Jitter of a packet: the mean of an exponential delay on top of the path's, as a share of the path's. */
export const JITTER_SHARE = 0.02;

/** All nodes use one port; addresses tell them apart. */
const PORT = 6881;

/** How links behave, besides their latency. */
export interface LinkOptions {
  readonly latency: LatencyMatrix;
  /** Share of packets lost, of either direction. */
  readonly loss: number;
  /** Share of packets that arrive twice. */
  readonly duplication: number;
  /** Share of packets that are held back by up to one more round trip, and so overtaken. */
  readonly reordering: number;
}

/** What a node is like, apart from its code. */
export interface Traits {
  /** Never answers: its socket is open, its process hangs. */
  readonly isSilent?: boolean;
  /** Behind a NAT that passes only what comes from an address that was written to, for this long. */
  readonly natMs?: number;
  /** Added to each packet's way in and out. */
  readonly extraDelayMs?: number;
  /** Lost on top of the links' loss. */
  readonly extraLoss?: number;
}

/** One simulated machine with its node. */
export interface SimNode {
  readonly index: number;
  readonly endpoint: Endpoint;
  readonly region: number;
  readonly accessMs: number;
  readonly traits: Traits;
  readonly node: DhtNode;
  readonly items: MemoryItemStore;
  /** False once it has departed. */
  isUp: boolean;
  /** When a tick is queued for it; Infinity where none is. */
  tickAt: Millis;
  /** Where a NAT lets packets in from, and until when. */
  readonly mappings: Map<number, Millis> | undefined;
  bytesSent: number;
  packetsSent: number;
}

type Event =
  | {
    readonly kind: "packet";
    readonly to: SimNode;
    readonly from: Endpoint;
    readonly datagram: Uint8Array;
  }
  | { readonly kind: "tick"; readonly node: SimNode }
  | { readonly kind: "call"; readonly run: (now: Millis) => void };

export class World {
  now: Millis = 0;
  readonly nodes: SimNode[] = [];
  packets = 0;
  /** Whether packets pass between two nodes: partitions. */
  passes: (from: SimNode, to: SimNode) => boolean = () => true;
  /** Hears what nodes tell. */
  onEvent: ((node: SimNode, event: NodeEvent) => void) | undefined;
  readonly #queue = new EventQueue<Event>();
  readonly #byAddress = new Map<number, SimNode>();
  readonly #random: SeededRandom;
  readonly #links: LinkOptions;
  readonly #crypto: ItemCrypto;

  constructor(links: LinkOptions, crypto: ItemCrypto, seed: number) {
    this.#links = links;
    this.#crypto = crypto;
    this.#random = new SeededRandom(seed, 1);
  }

  /** Adds a machine and starts its node; it has not joined yet. */
  add(
    options: Omit<NodeOptions, "id" | "families">,
    traits: Traits = {},
    limitBytes = 2 ** 30,
  ): SimNode {
    const index = this.nodes.length;
    const random = new SeededRandom(this.#random.word(), index);
    const endpoint = this.#freeEndpoint();
    const id = Id.read(random.bytes(ID_BYTES));
    const items = new MemoryItemStore(id, limitBytes, random.word());
    const host: Host = {
      sha1: this.#crypto.sha1,
      verify: this.#crypto.verify,
      items,
      randomBytes: (length) => random.bytes(length),
      send: (datagram, to) => this.#send(sim, datagram, to),
      emit: (event) => this.onEvent?.(sim, event),
    };
    const sim: SimNode = {
      index,
      endpoint,
      // Evenly over the regions, whatever the number of nodes.
      region: index % this.#links.latency.regions.length,
      accessMs: ACCESS_MEDIAN_MS * Math.exp(ACCESS_SIGMA * this.#random.normal()),
      traits,
      node: new DhtNode(host, { ...options, id, families: [4] }, this.now),
      items,
      isUp: true,
      tickAt: Infinity,
      mappings: traits.natMs === undefined ? undefined : new Map(),
      bytesSent: 0,
      packetsSent: 0,
    };
    this.nodes.push(sim);
    this.#byAddress.set(endpoint.a, sim);
    this.#arm(sim);
    return sim;
  }

  /** Lets a node do something now. */
  act<T>(sim: SimNode, run: (node: DhtNode, now: Millis) => T): T {
    const result = run(sim.node, this.now);
    this.#arm(sim);
    return result;
  }

  /** Does something later. */
  at(time: Millis, run: (now: Millis) => void): void {
    this.#queue.add(time, { kind: "call", run });
  }

  /** A departure without notice: whatever is under way to it is lost. */
  depart(sim: SimNode): void {
    sim.isUp = false;
    this.#byAddress.delete(sim.endpoint.a);
  }

  /** Lets time pass until `until`, or until `isDone`. */
  run(until: Millis, isDone: () => boolean = () => false): void {
    while (this.#queue.next <= until && !isDone()) {
      this.now = this.#queue.next;
      this.#happen(this.#queue.take());
    }
    if (this.#queue.next > until) this.now = Math.max(this.now, until);
  }

  #happen(event: Event): void {
    if (event.kind === "call") return event.run(this.now);
    if (event.kind === "tick") {
      const { node: sim } = event;
      // A tick that was brought forward since is superseded.
      if (sim.tickAt !== this.now || !sim.isUp) return;
      sim.tickAt = Infinity;
      sim.node.tick(this.now);
      return this.#arm(sim);
    }
    const { to, from, datagram } = event;
    if (!to.isUp || to.traits.isSilent || !this.#isLetIn(to, from)) return;
    this.packets++;
    to.node.receive(datagram, from, this.now);
    this.#arm(to);
  }

  #isLetIn({ mappings }: SimNode, from: Endpoint): boolean {
    return mappings === undefined || (mappings.get(from.a) ?? -Infinity) >= this.now;
  }

  #arm(sim: SimNode): void {
    const next = sim.node.nextDeadline;
    if (next >= sim.tickAt) return;
    sim.tickAt = Math.max(next, this.now);
    this.#queue.add(sim.tickAt, { kind: "tick", node: sim });
  }

  #send(from: SimNode, datagram: Uint8Array, endpoint: Endpoint): void {
    if (!from.isUp) return;
    from.packetsSent++;
    from.bytesSent += datagram.length;
    from.mappings?.set(endpoint.a, this.now + from.traits.natMs!);
    const to = this.#byAddress.get(endpoint.a);
    if (to === undefined || endpoint.port !== PORT || !this.passes(from, to)) return;
    const random = this.#random;
    const { loss, duplication, reordering } = this.#links;
    const extra = (from.traits.extraLoss ?? 0) + (to.traits.extraLoss ?? 0);
    if (random.fraction() < loss + extra) return;
    const copy = datagram.slice();
    const delay = this.#delay(from, to);
    const late = reordering > 0 && random.fraction() < reordering
      ? delay * (1 + random.fraction())
      : 0;
    const packet = { kind: "packet", to, from: from.endpoint, datagram: copy } as const;
    this.#queue.add(this.now + delay + late, packet);
    if (duplication > 0 && random.fraction() < duplication) {
      this.#queue.add(this.now + this.#delay(from, to), { ...packet, datagram: copy.slice() });
    }
  }

  /** One way: half the regions' round trip, both access lines, jitter, and what the machines themselves add. */
  #delay(from: SimNode, to: SimNode): number {
    const path = this.#links.latency.rtt[from.region][to.region] / 2 + from.accessMs + to.accessMs;
    const added = (from.traits.extraDelayMs ?? 0) + (to.traits.extraDelayMs ?? 0);
    return path + added + this.#random.exponential(path * JITTER_SHARE);
  }

  /** An address of its own in public space, scattered, so that networks of addresses mean nothing. */
  #freeEndpoint(): Endpoint {
    const bytes = new Uint8Array(6);
    for (;;) {
      putWord(bytes, 0, this.#random.word());
      bytes[4] = PORT >> 8;
      bytes[5] = PORT & 255;
      const endpoint = Endpoint.read(bytes, 0, 4);
      if (endpoint.scope === "global" && !this.#byAddress.has(endpoint.a)) return endpoint;
    }
  }
}
