// A virtual Internet that runs the real node code on a virtual clock. Links delay, lose, duplicate and reorder packets.

import { Agenda, type Millis, NO_SLOT, type Slot } from "../dht/deadlines.ts";
import type { Host, NodeEvent } from "../dht/host.ts";
import { ItemStore } from "../dht/items/item_store.ts";
import { DhtNode, type NodeOptions } from "../dht/node.ts";
import { PublishedStore } from "../dht/items/published.ts";
import { Endpoint } from "../krpc/endpoint.ts";
import { type Id, ID_BYTES, putWord } from "../krpc/id.ts";
import { itemCrypto } from "../runtime/identity/crypto.ts";
import { secureId } from "../dht/routing/secure_id.ts";
import type { LatencyMatrix } from "./latency.ts";
import { type NatTraits, SimNat } from "./nat.ts";
import { SeededRandom } from "./random.ts";
import { type Counters, type Totals, totalsOf } from "./measures.ts";

/** The median one-way delay between a machine and its Internet provider. These delays are log-normally distributed. */
const ACCESS_MEDIAN_MS = 4;

/**
 * The standard deviation of the logarithm of the one-way delay to the provider: one machine in a
 * hundred has a delay of over 20 ms.
 */
const ACCESS_SIGMA = 0.7;

/** The mean jitter of a packet, as a share of the delay of its path. Jitter is exponentially distributed. */
const JITTER_SHARE = 0.02;

/** Delays are rounded up to 1/1024 ms. Sums are then exact, so that all machines compute the same times. */
const TIME_GRAIN = 1024;

/** The port that every node uses. No two nodes share an IP address. */
const PORT = 6881;

/** The first of the ports that a node opens in addition to `PORT`. */
const SPARE_PORT = 20_000;

export interface LinkOptions {
  readonly latency: LatencyMatrix;
  /** Share of packets lost in each direction. */
  readonly loss: number;
  /** Share of packets that arrive twice. */
  readonly duplication: number;
  /** Share of packets that take up to twice as long as usual, so that other packets overtake them. */
  readonly reordering: number;
}

export interface Traits {
  readonly nat?: NatTraits;
  /**
   * The id and the address, if the node should have certain ones. By default, both are random, and
   * the id fits the address.
   */
  readonly place?: { readonly id: Id; readonly endpoint: Endpoint };
  /** Additional delay of each packet that the node sends or receives. */
  readonly extraDelayMs?: number;
  /** Share of packets to and from the node that are lost, in addition to the loss of the links. */
  readonly extraLoss?: number;
  /** Answers packets instead of the node. If this function returns undefined, the node itself handles the packet. */
  impostor?(sim: SimNode, datagram: Uint8Array, from: Endpoint): Uint8Array | undefined;
}

export interface SimNode {
  /** The number of nodes that were added before this one. */
  readonly serial: number;
  readonly endpoint: Endpoint;
  readonly region: number;
  readonly accessMs: number;
  readonly traits: Traits;
  readonly node: DhtNode;
  readonly items: ItemStore;
  readonly published: PublishedStore;
  readonly addedAt: Millis;
  /** The time of the node's next wake-up; NaN before one is set. */
  tickAt: Millis;
  /** The slot in the agenda of the node's next wake-up. */
  tickSlot: Slot;
  /** The time when the node finished joining; Infinity until then. */
  joinedAt: Millis;
  /** `up` means that the node works, `silent` that its process hangs, `departed` that it left without notice. */
  state: "up" | "silent" | "departed";
  /** The side of a partition that the node is on. Packets pass only between nodes on the same side. */
  side: number;
  readonly nat: SimNat | undefined;
  ports: Map<number, (datagram: Uint8Array, from: Endpoint) => void>;
  /** Maps endpoints, as text, to the additional port from which the node sends packets to them. */
  routes: Map<string, number>;
  nextPort: number;
  /** Bytes of UDP payload that the node has sent. */
  bytesSent: number;
  packetsSent: number;
}

/**
 * A packet in transit. Packet objects are reused, because the garbage collector would copy each new object several
 * times.
 */
interface Packet {
  readonly kind: "packet";
  to: SimNode;
  port: number;
  from: Endpoint;
  datagram: Uint8Array;
}

interface Call {
  readonly kind: "call";
  readonly run: () => void;
}

export class World {
  now: Millis = 0;
  /** All nodes that have not departed. */
  readonly nodes: SimNode[] = [];
  packets = 0;
  /** The targets that nodes have reported as crowded, in the order of the reports. */
  readonly alarms: Id[] = [];
  /** Called with each event of a node. It must not call the node. */
  onEvent: ((sim: SimNode, event: NodeEvent) => void) | undefined;
  /** Bytes that all nodes, including departed nodes, have sent so far. */
  bytesSent = 0;
  packetsSent = 0;
  readonly #queue = new Agenda<Packet | Call>();
  /** The nodes, ordered by their next deadline. Unlike events in the queue, deadlines are often postponed. */
  readonly #ticks = new Agenda<SimNode>();
  #added = 0;
  readonly #byAddress = new Map<number, SimNode>();
  readonly #random: SeededRandom;
  /** Unused packet buffers, by length. Reusing them saves work for the garbage collector. */
  readonly #spare: Uint8Array[][] = [];
  readonly #sparePackets: Packet[] = [];
  #departedMs = 0;
  readonly #departed: Counters[] = [];

  constructor(private readonly links: LinkOptions, seed: number) {
    this.#random = new SeededRandom(seed, 1);
  }

  /** Adds a node on a new machine. The node does not join the network yet. */
  add(
    options: Omit<NodeOptions, "id" | "families">,
    traits: Traits = {},
    limitBytes = 2 ** 30,
  ): SimNode {
    const serial = this.#added++;
    const random = new SeededRandom(this.#random.word(), serial);
    const { id, endpoint } = traits.place ?? this.#freePlace(random);
    const items = new ItemStore(id, limitBytes, random.word());
    const published = new PublishedStore(random.word());
    const host: Host = {
      ...itemCrypto,
      items,
      published,
      randomBytes: (length) => random.bytes(length),
      send: (datagram, to) => {
        const port = sim.routes.size === 0 ? PORT : sim.routes.get(`${to}`) ?? PORT;
        this.#send(sim, port, datagram, to);
      },
      emit: (event) => {
        this.onEvent?.(sim, event);
        if (event.type === "lookup.crowded") this.alarms.push(event.target);
        const hasJoined = event.type === "bootstrap" && event.state === "joined";
        if (hasJoined) sim.joinedAt = Math.min(sim.joinedAt, this.now);
      },
      isLocal: (address) => traits.nat === undefined && address.sameAddress(endpoint),
      openSockets: (count, receive) => this.#openSockets(sim, count, receive),
    };
    const sim: SimNode = {
      serial,
      endpoint,
      // Distribute the nodes evenly across the regions.
      region: serial % this.links.latency.regions.length,
      accessMs: ACCESS_MEDIAN_MS * Math.exp(ACCESS_SIGMA * this.#random.normal()),
      traits,
      node: new DhtNode(host, { ...options, id, families: [4] }, this.now),
      items,
      published,
      addedAt: this.now,
      tickAt: NaN,
      tickSlot: NO_SLOT,
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
    this.#byAddress.set(endpoint.a, sim);
    this.#arm(sim);
    return sim;
  }

  /** An unused address, and an id that fits it. */
  #freePlace(random: SeededRandom): { id: Id; endpoint: Endpoint } {
    let endpoint = this.randomEndpoint();
    while (this.#byAddress.has(endpoint.a)) endpoint = this.randomEndpoint();
    return { id: secureId(endpoint, random.bytes(ID_BYTES)), endpoint };
  }

  /** The node at an endpoint; undefined if there is none. */
  nodeAt({ a }: Endpoint): SimNode | undefined {
    return this.#byAddress.get(a);
  }

  act<T>(sim: SimNode, run: (node: DhtNode, now: Millis) => T): T {
    const result = run(sim.node, this.now);
    this.#arm(sim);
    return result;
  }

  at(time: Millis, run: () => void): void {
    this.#queue.set({ kind: "call", run }, NO_SLOT, time);
  }

  /** Sends a packet that the node itself would not send. */
  send(from: SimNode, datagram: Uint8Array, to: Endpoint): void {
    this.#send(from, PORT, datagram, to);
  }

  /** Removes a node without notice. Packets in transit to the node are lost. */
  depart(sim: SimNode): void {
    if (sim.state === "departed") return;
    sim.state = "departed";
    this.#ticks.remove(sim, sim.tickSlot);
    this.#byAddress.delete(sim.endpoint.a);
    this.nodes.splice(this.nodes.indexOf(sim), 1);
    this.#departedMs += this.now - sim.addedAt;
    const { traffic, replication } = sim.node;
    this.#departed.push({ traffic, replication });
  }

  /** Makes the process of a node hang from now on. */
  silence(sim: SimNode): void {
    if (sim.state !== "up") return;
    sim.state = "silent";
    this.#ticks.remove(sim, sim.tickSlot);
  }

  /**
   * Puts each node on a side of a partition; by default, all on the same side. Packets that are in transit still
   * arrive.
   */
  partition(sideOf: (sim: SimNode) => number = () => 0): void {
    for (const sim of this.nodes) sim.side = sideOf(sim);
  }

  /** The total uptime of all nodes, including departed nodes. */
  get nodeMs(): number {
    return this.nodes.reduce((sum, sim) => sum + this.now - sim.addedAt, this.#departedMs);
  }

  /** Returns the traffic and replication totals of all nodes, including departed nodes. */
  totals(): Totals {
    return totalsOf([...this.#departed, ...this.nodes.map(({ node }) => node)]);
  }

  /** Runs until virtual time `until`, or until `isDone` returns true. */
  run(until: Millis, isDone: () => boolean = () => false): void {
    const queue = this.#queue, ticks = this.#ticks;
    for (;;) {
      const next = Math.min(queue.next, ticks.next);
      if (next > until) break;
      if (isDone()) return;
      this.now = next;
      if (queue.next === next) this.#happen(queue.take(next)!);
      else this.act(ticks.first!, (node) => node.tick(next));
    }
    this.now = Math.max(this.now, until);
  }

  #happen(event: Packet | Call): void {
    if (event.kind === "call") return event.run();
    const { to, port, from, datagram } = event;
    const inner = to.nat === undefined ? port : to.nat.inbound(port, from, this.now);
    if (to.state === "up" && inner !== undefined) this.#deliver(event, inner);
    (this.#spare[datagram.length] ??= []).push(datagram);
    this.#sparePackets.push(event);
  }

  /**
   * Delivers a packet at a port of the receiving node. A NAT may have translated the port to which
   * the packet was sent.
   */
  #deliver({ to, from, datagram }: Packet, port: number): void {
    const receive = port === PORT ? undefined : to.ports.get(port);
    if (port !== PORT && receive === undefined) return;
    this.packets++;
    if (receive !== undefined) {
      receive(datagram, from);
      return this.#arm(to);
    }
    const reply = to.traits.impostor?.(to, datagram, from);
    if (reply !== undefined) return this.#send(to, PORT, reply, from);
    to.node.receive(datagram, from, this.now);
    this.#arm(to);
  }

  #openSockets(
    sim: SimNode,
    ...[count, receive]: Parameters<Host["openSockets"]>
  ): ReturnType<Host["openSockets"]> {
    // Most nodes never open spare sockets. Until a node does, it shares two empty maps with all other nodes.
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
    if (next === sim.tickAt) return;
    sim.tickAt = next;
    sim.tickSlot = this.#ticks.set(sim, sim.tickSlot, next);
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
    const target = endpoint.port, random = this.#random;
    const { loss, duplication, reordering } = this.links;
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
    if (packet === undefined) {
      packet = { kind: "packet", to, port, from, datagram: copy };
    } else packet.to = to, packet.port = port, packet.from = from, packet.datagram = copy;
    this.#queue.set(packet, NO_SLOT, at);
  }

  /** Returns a one-way delay: half the regions' round-trip time, plus both access delays, extra delays and jitter. */
  #delay(from: SimNode, to: SimNode): number {
    const path = this.links.latency.rtt[from.region][to.region] / 2 + from.accessMs + to.accessMs;
    const added = (from.traits.extraDelayMs ?? 0) + (to.traits.extraDelayMs ?? 0);
    return path + added + this.#random.exponential(path * JITTER_SHARE);
  }

  /** Returns a random public endpoint. A node may already use it. */
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

const NO_PORTS: SimNode["ports"] = new Map();
const NO_ROUTES: SimNode["routes"] = new Map();
