// A virtual Internet: shipped nodes on one virtual clock, and links that delay, lose, double and reorder.

import type { Millis } from "../dht/deadlines.ts";
import type { Host, NodeEvent, SpareSockets } from "../dht/host.ts";
import type { ItemCrypto } from "../dht/item.ts";
import { MemoryItemStore } from "../dht/item_store.ts";
import { DhtNode, type NodeOptions } from "../dht/node.ts";
import { MemoryPublishedStore } from "../dht/published.ts";
import { Endpoint } from "../krpc/endpoint.ts";
import { ID_BYTES, putWord } from "../krpc/id.ts";
import { secureId } from "../dht/secure_id.ts";
import { EventQueue } from "./events.ts";
import type { LatencyMatrix } from "./latency.ts";
import { type NatTraits, SimNat } from "./nat.ts";
import { SeededRandom } from "./random.ts";
import { Ticks } from "./ticks.ts";
import { Totals } from "./totals.ts";

/** One way from a node to the backbone: the median of wired access lines, with a long tail. */
export const ACCESS_MEDIAN_MS = 4;
/** Standard deviation of its logarithm: one line in a hundred takes over 20 ms. */
export const ACCESS_SIGMA = 0.7;

/** Jitter of a packet: the mean of an exponential delay on top of the path's, as a share of the path's. */
export const JITTER_SHARE = 0.02;

/**
 * Delays are whole multiples of 1/1024 ms. Sums of such times are exact, and the last bit of a logarithm, which
 * machines need not agree on, is rounded away.
 */
const TIME_GRAIN = 1024;

/** All nodes use one port; addresses tell them apart. */
const PORT = 6881;

/** Where a machine's further sockets begin. */
const SPARE_PORT = 20_000;

/** How links behave, besides their latency. */
export interface LinkOptions {
  readonly latency: LatencyMatrix;
  /** Share of packets lost, of either direction. */
  readonly loss: number;
  /** Share of packets that arrive twice. */
  readonly duplication: number;
  /** Share of packets that are held back by up to their delay again, and so overtaken. */
  readonly reordering: number;
}

/** Answers a query in place of the node's own code: undefined leaves the packet to that. */
export type Impostor = (
  sim: SimNode,
  datagram: Uint8Array,
  from: Endpoint,
) => Uint8Array | undefined;

/** What a node is like, apart from its code. */
export interface Traits {
  /** The NAT that it is behind, if it is. */
  readonly nat?: NatTraits;
  /** Added to each packet's way in and out. */
  readonly extraDelayMs?: number;
  /** Lost on top of the links' loss. */
  readonly extraLoss?: number;
  /** What answers for it, where that is not the node. */
  readonly impostor?: Impostor;
}

/**
 * up: takes part. silent: its socket is open, but its process hangs: it answers and asks nothing any more. departed:
 * gone without notice.
 */
export type NodeState = "up" | "silent" | "departed";

/** One simulated machine with its node. */
export interface SimNode {
  /** The number of nodes that were added before it. */
  readonly serial: number;
  readonly endpoint: Endpoint;
  readonly region: number;
  readonly accessMs: number;
  readonly traits: Traits;
  readonly node: DhtNode;
  readonly items: MemoryItemStore;
  readonly published: MemoryPublishedStore;
  readonly addedAt: Millis;
  /** When its own join had ended; Infinity before. */
  joinedAt: Millis;
  state: NodeState;
  /** Packets pass between nodes of the same side only. */
  side: number;
  readonly nat: SimNat | undefined;
  /** What handles packets at other ports than the node's, and by which of them some are written to. */
  ports: Map<number, (datagram: Uint8Array, from: Endpoint) => void>;
  routes: Map<string, number>;
  nextPort: number;
  /** UDP payload. */
  bytesSent: number;
  packetsSent: number;
}

/** A packet on its way. Used again and again: the collector would carry each about until it arrives. */
interface Packet {
  readonly kind: "packet";
  to: SimNode;
  port: number;
  from: Endpoint;
  datagram: Uint8Array;
}

type Event = Packet | { readonly kind: "call"; readonly run: (now: Millis) => void };

export class World {
  now: Millis = 0;
  /** All but the departed. */
  readonly nodes: SimNode[] = [];
  /** Delivered so far. */
  packets = 0;
  /** Sent so far, by all that ever were. */
  bytesSent = 0;
  packetsSent = 0;
  readonly #queue = new EventQueue<Event>();
  /** Apart from the queue, for they are put off again and again: each answer makes a timer needless. */
  readonly #ticks = new Ticks();
  /** By their serials; a departed one leaves its place empty. */
  readonly #bySerial: (SimNode | undefined)[] = [];
  readonly #byAddress = new Map<number, SimNode>();
  readonly #random: SeededRandom;
  readonly #links: LinkOptions;
  readonly #crypto: ItemCrypto;
  /** Buffers of packets that have arrived, by their length: a copy a packet would keep the collector busy. */
  readonly #spare: Uint8Array[][] = [];
  readonly #sparePackets: Packet[] = [];
  /** Uptime of those that departed, and what they had done. */
  #departedMs = 0;
  readonly #departed = new Totals();

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
    const serial = this.#bySerial.length;
    const random = new SeededRandom(this.#random.word(), serial);
    const endpoint = this.#freeEndpoint();
    const id = secureId(endpoint, random.bytes(ID_BYTES));
    const items = new MemoryItemStore(id, limitBytes, random.word());
    const published = new MemoryPublishedStore(random.word());
    const host: Host = {
      sha1: this.#crypto.sha1,
      verify: this.#crypto.verify,
      items,
      published,
      randomBytes: (length) => random.bytes(length),
      send: (datagram, to) => {
        const port = sim.routes.size === 0 ? PORT : sim.routes.get(`${to}`) ?? PORT;
        this.#send(sim, port, datagram, to);
      },
      emit: (event) => hear(sim, event, this.now),
      isLocal: (address) => traits.nat === undefined && address.sameAddress(endpoint),
      openSockets: (count, receive) => this.#openSockets(sim, count, receive),
    };
    const sim: SimNode = {
      serial,
      endpoint,
      // Evenly over the regions, whatever the number of nodes.
      region: serial % this.#links.latency.regions.length,
      accessMs: ACCESS_MEDIAN_MS * Math.exp(ACCESS_SIGMA * this.#random.normal()),
      traits,
      node: new DhtNode(host, { ...options, id, families: [4] }, this.now),
      items,
      published,
      addedAt: this.now,
      joinedAt: Infinity,
      state: "up",
      side: 0,
      nat: traits.nat && new SimNat(traits.nat, endpoint, random),
      ports: NO_PORTS,
      routes: NO_ROUTES,
      nextPort: SPARE_PORT,
      bytesSent: 0,
      packetsSent: 0,
    };
    this.nodes.push(sim);
    this.#bySerial.push(sim);
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
    if (sim.state === "departed") return;
    sim.state = "departed";
    this.#ticks.set(sim.serial, Infinity);
    this.#bySerial[sim.serial] = undefined;
    this.#byAddress.delete(sim.endpoint.a);
    this.nodes.splice(this.nodes.indexOf(sim), 1);
    this.#departedMs += this.now - sim.addedAt;
    this.#departed.add(sim);
  }

  /** Its process hangs from now on. */
  silence(sim: SimNode): void {
    if (sim.state !== "up") return;
    sim.state = "silent";
    this.#ticks.set(sim.serial, Infinity);
  }

  /** Cuts the network: packets pass between nodes of one side only. What is under way still arrives. */
  partition(sideOf: (sim: SimNode) => number): void {
    for (const sim of this.nodes) sim.side = sideOf(sim);
  }

  heal(): void {
    this.partition(() => 0);
  }

  /** The uptimes of all nodes that ever were, added up. */
  get nodeMs(): number {
    return this.nodes.reduce((sum, sim) => sum + this.now - sim.addedAt, this.#departedMs);
  }

  /** What all nodes that ever were have done. */
  totals(): Totals {
    const totals = new Totals();
    totals.addAll(this.#departed);
    for (const sim of this.nodes) totals.add(sim);
    return totals;
  }

  /** Lets time pass until `until`, or until `isDone`. */
  run(until: Millis, isDone: () => boolean = () => false): void {
    const queue = this.#queue, ticks = this.#ticks;
    for (;;) {
      const next = Math.min(queue.next, ticks.next);
      if (next > until) break;
      if (isDone()) return;
      this.now = next;
      if (queue.next === next) this.#happen(queue.take());
      else this.#tick(this.#bySerial[ticks.first]!);
    }
    this.now = Math.max(this.now, until);
  }

  #happen(event: Event): void {
    if (event.kind === "packet") {
      const { to, port, from, datagram } = event;
      const inner = to.nat === undefined ? port : to.nat.inbound(port, from, this.now);
      if (to.state === "up" && inner !== undefined) this.#deliver(to, inner, from, datagram);
      (this.#spare[datagram.length] ??= []).push(datagram);
      this.#sparePackets.push(event);
    } else event.run(this.now);
  }

  #tick(sim: SimNode): void {
    sim.node.tick(this.now);
    this.#arm(sim);
  }

  #deliver(to: SimNode, port: number, from: Endpoint, datagram: Uint8Array): void {
    if (port !== PORT) {
      const receive = to.ports.get(port);
      if (receive === undefined) return;
      this.packets++;
      receive(datagram, from);
      return this.#arm(to);
    }
    this.packets++;
    const reply = to.traits.impostor?.(to, datagram, from);
    if (reply !== undefined) return this.#send(to, PORT, reply, from);
    to.node.receive(datagram, from, this.now);
    this.#arm(to);
  }

  /** See `Host.openSockets`. */
  #openSockets(
    sim: SimNode,
    count: number,
    receive: (index: number, datagram: Uint8Array, from: Endpoint, now: Millis) => void,
  ): SpareSockets {
    // Most machines never open any: these share empty maps until they do.
    if (sim.ports === NO_PORTS) sim.ports = new Map(), sim.routes = new Map();
    const { ports, routes } = sim;
    const opened = Array.from({ length: count }, () => sim.nextPort++);
    opened.forEach((port, i) => {
      ports.set(port, (datagram, from) => receive(i, datagram, from, this.now));
    });
    return {
      count,
      send: (index, datagram, to) => this.#send(sim, opened[index], datagram, to),
      keep: (index, to) => {
        const kept = opened[index];
        for (const port of opened) if (port !== kept) ports.delete(port);
        ports.set(kept, (datagram, from) => sim.node.receive(datagram, from, this.now));
        routes.set(`${to}`, kept);
      },
      close: () => {
        for (const port of opened) ports.delete(port);
        for (const [to, port] of routes) if (opened.includes(port)) routes.delete(to);
      },
    };
  }

  #arm(sim: SimNode): void {
    if (sim.state !== "up") return;
    const next = Math.max(sim.node.nextDeadline, this.now);
    if (next !== this.#ticks.at(sim.serial)) this.#ticks.set(sim.serial, next);
  }

  #send(from: SimNode, port: number, datagram: Uint8Array, endpoint: Endpoint): void {
    if (from.state !== "up") return;
    const { length } = datagram;
    from.packetsSent++;
    from.bytesSent += length;
    this.packetsSent++;
    this.bytesSent += length;
    const seen = from.nat !== undefined
      ? from.nat.outbound(port, endpoint, this.now)
      : port === PORT
      ? from.endpoint
      : from.endpoint.withPort(port);
    const to = this.#byAddress.get(endpoint.a);
    if (to === undefined || from.side !== to.side) return;
    const target = endpoint.port;
    const random = this.#random;
    const { loss, duplication, reordering } = this.#links;
    const arrives = (1 - loss) * (1 - (from.traits.extraLoss ?? 0)) *
      (1 - (to.traits.extraLoss ?? 0));
    if (random.fraction() >= arrives) return;
    const delay = this.#delay(from, to);
    const isHeldBack = reordering > 0 && random.fraction() < reordering;
    const first = isHeldBack ? delay * (1 + random.fraction()) : delay;
    this.#carry(seen, to, target, datagram, first);
    if (duplication > 0 && random.fraction() < duplication) {
      this.#carry(seen, to, target, datagram, this.#delay(from, to));
    }
  }

  #carry(from: Endpoint, to: SimNode, port: number, datagram: Uint8Array, delay: Millis): void {
    const copy = this.#spare[datagram.length]?.pop() ?? new Uint8Array(datagram.length);
    copy.set(datagram);
    const at = this.now + Math.ceil(delay * TIME_GRAIN) / TIME_GRAIN;
    let packet = this.#sparePackets.pop();
    if (packet === undefined) packet = { kind: "packet", to, port, from, datagram: copy };
    else packet.to = to, packet.port = port, packet.from = from, packet.datagram = copy;
    this.#queue.add(at, packet);
  }

  /** One way: half the regions' round trip, both access lines, jitter, and what the machines themselves add. */
  #delay(from: SimNode, to: SimNode): number {
    const path = this.#links.latency.rtt[from.region][to.region] / 2 + from.accessMs + to.accessMs;
    const added = (from.traits.extraDelayMs ?? 0) + (to.traits.extraDelayMs ?? 0);
    return path + added + this.#random.exponential(path * JITTER_SHARE);
  }

  /** An address of its own in public space, scattered, so that networks of addresses mean nothing. */
  #freeEndpoint(): Endpoint {
    for (;;) {
      const endpoint = this.randomEndpoint();
      if (!this.#byAddress.has(endpoint.a)) return endpoint;
    }
  }

  /** An address in public space, whether anybody has it or not. */
  randomEndpoint(): Endpoint {
    const bytes = new Uint8Array(6);
    for (;;) {
      putWord(bytes, 0, this.#random.word());
      bytes[4] = PORT >> 8;
      bytes[5] = PORT & 255;
      const endpoint = Endpoint.read(bytes, 0, 4);
      if (endpoint.scope === "global") return endpoint;
    }
  }
}

/** Notes in `sim` what its node tells. */
function hear(sim: SimNode, event: NodeEvent, now: Millis): void {
  const hasJoined = event.type === "bootstrap" && event.state === "joined";
  if (hasJoined) sim.joinedAt = Math.min(sim.joinedAt, now);
}

const NO_PORTS: SimNode["ports"] = new Map();
const NO_ROUTES: SimNode["routes"] = new Map();
