// A network of nodes on one virtual clock, with fixed delays and without sockets. Every run is the same.

import assert from "node:assert/strict";
import { Deadlines, type Millis } from "../../src/dht/deadlines.ts";
import type { Host, NodeEvent } from "../../src/dht/host.ts";
import type { Held, Item } from "../../src/dht/items/item.ts";
import { PublishedStore } from "../../src/dht/items/published.ts";
import { ItemStore } from "../../src/dht/items/item_store.ts";
import { DhtNode, type NodeOptions } from "../../src/dht/node.ts";
import type { Endpoint } from "../../src/krpc/endpoint.ts";
import { Id } from "../../src/krpc/id.ts";
import { itemCrypto } from "../../src/runtime/identity/crypto.ts";
import {
  compact,
  decodeAny,
  type Decoded,
  encode,
  endpoint,
  latin1,
  type Value,
} from "../packets.ts";

/** Repeatable bytes (the generator is mulberry32). */
export function randomSource(seed: number): (length: number) => Uint8Array {
  const byte = () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), seed | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (t ^ (t >>> 14)) >>> 24;
  };
  return (length) => {
    const bytes = new Uint8Array(length);
    for (let i = 0; i < length; i++) bytes[i] = byte();
    return bytes;
  };
}

export interface VirtualNode {
  readonly node: DhtNode;
  /** One endpoint for each family. */
  readonly endpoints: readonly Endpoint[];
  readonly endpoint: Endpoint;
  readonly events: NodeEvent[];
  readonly items: ItemStore;
  readonly published: PublishedStore;
  /** Whether the node is unplugged: it runs, but sends and receives nothing. */
  isDown: boolean;
}

export interface VirtualNodeOptions extends Partial<NodeOptions> {
  /** Addresses of one family or of both families. */
  readonly at?: string | readonly string[];
  readonly items?: ItemStore;
  readonly published?: PublishedStore;
  /** Whether the node can't open spare sockets. */
  readonly isWithoutSockets?: boolean;
}

/** Publishes one item. Like a part of a large value on a slow disk, it is read only when the test calls `reads`. */
export class SlowStore extends PublishedStore {
  readonly reads: (() => void)[] = [];

  constructor(readonly own: Item) {
    super(1);
  }

  override has(target: Id): boolean {
    return this.own.target.equals(target);
  }

  override read(target: Id, done: (own: Held | undefined) => void): void {
    assert.ok(this.has(target));
    this.reads.push(() => done({ item: this.own, putAt: 0 }));
  }
}

/** A router between its own network and all others. */
export interface Gateway {
  /** Returns the source of an outgoing packet, as seen from outside. */
  outbound(from: Endpoint, to: Endpoint, now: Millis): Endpoint;
  /** Returns the receiver of an incoming packet; undefined if the packet is dropped. */
  inbound(to: Endpoint, from: Endpoint, now: Millis): Endpoint | undefined;
}

type Receive = (datagram: Uint8Array, from: Endpoint) => void;

export class VirtualNetwork {
  now: Millis = 1_000_000;
  readonly nodes: VirtualNode[] = [];
  /** Called with every datagram; returns what arrives, or undefined if it is lost. */
  link: (datagram: Uint8Array, from: Endpoint, to: Endpoint) => Uint8Array | undefined = (d) => d;
  readonly randomBytes: (length: number) => Uint8Array;
  readonly #due = new Deadlines();
  readonly #receivers = new Map<string, Receive>();
  readonly #arms: (() => void)[] = [];
  /** The routers by the addresses behind them, and by their external addresses. */
  readonly #inside = new Map<string, Gateway>();
  readonly #outside = new Map<string, Gateway>();
  #nextPort = 20_000;

  constructor(readonly delayMs = 10, seed = 1) {
    this.randomBytes = randomSource(seed);
  }

  randomId(): Id {
    return Id.read(this.randomBytes(20));
  }

  /** Adds a node. Without an address, the node gets its own private one. */
  add(
    { at, items, published: given, isWithoutSockets, ...options }: VirtualNodeOptions = {},
  ): VirtualNode {
    const n = this.nodes.length;
    const addresses = at === undefined ? `10.0.${n >> 8}.${n & 255}:6881` : at;
    const endpoints = [addresses].flat().map(endpoint);
    const id = options.id ?? this.randomId();
    const events: NodeEvent[] = [];
    const store = items ?? new ItemStore(id, 10_000_000, 1);
    const published = given ?? new PublishedStore(1);
    const node = new DhtNode({
      ...itemCrypto,
      items: store,
      published,
      randomBytes: this.randomBytes,
      emit: (event) => void events.push(event),
      send: (datagram, to) => {
        const own = endpoints.find(({ family }) => family === to.family);
        const from = own?.withPort(kept.get(`${to}`) ?? own.port);
        if (!added.isDown && from !== undefined) this.send(datagram, from, to);
      },
      isLocal: (address) => endpoints.some((own) => own.sameAddress(address)),
      openSockets: (count, receive) => sockets(count, receive),
    }, {
      id,
      k: 20,
      alpha: 3,
      healthCheckIntervalMs: 60_000,
      families: endpoints.map((own) => own.family),
      readOnly: false,
      client: 0x444d0100,
      ...options,
    }, this.now);
    /** The ports of spare sockets, by the endpoints that they reach. */
    const kept = new Map<string, number>();
    const sockets: Host["openSockets"] = (count, receive) => {
      if (isWithoutSockets) return undefined;
      const ports = Array.from({ length: count }, () => this.#nextPort++);
      const attach = (port: number, handle: Receive) => {
        for (const own of endpoints) {
          this.attach(own.withPort(port), (datagram, from) => {
            if (added.isDown) return;
            handle(datagram, from);
            arm();
          });
        }
      };
      const close = (port: number) => {
        for (const own of endpoints) this.#receivers.delete(`${own.withPort(port)}`);
      };
      ports.forEach((port, i) =>
        attach(port, (datagram, from) => receive(i, datagram, from, this.now))
      );
      return {
        count,
        send: (index, datagram, to) => {
          const own = endpoints.find(({ family }) => family === to.family)!;
          if (!added.isDown) this.send(datagram, own.withPort(ports[index]), to);
        },
        keep: (index, to) => {
          const port = ports[index];
          ports.forEach(close);
          kept.set(`${to}`, port);
          attach(port, (datagram, from) => node.receive(datagram, from, this.now));
        },
        close: () => {
          ports.forEach(close);
          for (const [to, port] of kept) if (ports.includes(port)) kept.delete(to);
        },
      };
    };
    const added = {
      node,
      endpoints,
      endpoint: endpoints[0],
      events,
      items: store,
      published,
      isDown: false,
    };
    this.nodes.push(added);
    const arm = this.#timer(node);
    this.#arms.push(arm);
    for (const own of endpoints) {
      this.#receivers.set(`${own}`, (datagram, from) => {
        if (added.isDown) return;
        node.receive(datagram, from, this.now);
        arm();
      });
    }
    return added;
  }

  /** Adds `count` nodes, which join through the first one. */
  addJoined(count: number, options: VirtualNodeOptions = {}): VirtualNode[] {
    return Array.from({ length: count }, () => {
      const added = this.add(options);
      const first = this.nodes[0];
      if (added !== first) added.node.membership.join(first.endpoints, [], this.now);
      this.run(2_000);
      return added;
    });
  }

  /** Attaches something other than a node to an address. */
  attach(at: Endpoint, receive: Receive): void {
    this.#receivers.set(`${at}`, receive);
  }

  /** Puts a router in front of the addresses `inside`. Others see it at `outside`. */
  addGateway(gateway: Gateway, outside: string, inside: readonly string[]): void {
    this.#outside.set(outside, gateway);
    for (const address of inside) this.#inside.set(address, gateway);
  }

  /** Sends a datagram from any address to any. */
  send(datagram: Uint8Array, sender: Endpoint, to: Endpoint): void {
    const gateway = this.#inside.get(sender.host);
    // Neighbours reach each other without the router.
    const isNear = gateway !== undefined && this.#inside.get(to.host) === gateway;
    const from = gateway === undefined || isNear ? sender : gateway.outbound(sender, to, this.now);
    const arriving = this.link(datagram.slice(), from, to);
    if (arriving === undefined) return;
    this.after(this.delayMs, () => {
      const outer = this.#outside.get(to.host);
      const inner = outer === undefined ? to : outer.inbound(to, from, this.now);
      if (inner === undefined || (outer === undefined && this.#isHidden(to, from))) return;
      const receive = this.#receivers.get(`${inner}`);
      // Like a real socket, overwrite the buffer after the node has handled the packet.
      receive?.(arriving, from);
      if (receive !== undefined) arriving.fill(0xff);
    });
  }

  /** Whether an address is behind a router that `from` is not behind. */
  #isHidden(to: Endpoint, from: Endpoint): boolean {
    const gateway = this.#inside.get(to.host);
    return gateway !== undefined && this.#inside.get(from.host) !== gateway;
  }

  /** Runs something later. */
  after(ms: Millis, run: () => void): void {
    this.#due.schedule(this.now + ms, run);
  }

  /** Advances the time by `ms`. */
  run(ms: Millis): void {
    const until = this.now + ms;
    for (const arm of this.#arms) arm();
    while (this.#due.next <= until) {
      this.now = Math.max(this.now, this.#due.next);
      this.#due.run(this.now);
    }
    this.now = until;
  }

  /** Runs an operation to its end. */
  complete<T>(start: (now: Millis, done: (result: T) => void) => void): T {
    const results: T[] = [];
    start(this.now, (result) => results.push(result));
    for (let s = 0; results.length === 0 && s < 600; s++) this.run(100);
    assert.equal(results.length, 1, "the operation ends once, and within a minute");
    return results[0];
  }

  #timer(node: DhtNode): () => void {
    let armed = this.#due.schedule(Infinity, () => {});
    const arm = () => {
      if (node.nextDeadline >= armed.dueAt && armed.state === "waiting") return;
      this.#due.cancel(armed);
      armed = this.#due.schedule(Math.max(this.now, node.nextDeadline), () => {
        node.tick(this.now);
        arm();
      });
    };
    return arm;
  }
}

/** A stranger at one address, which sends the packets of a test and stores those that arrive. */
export class Stranger {
  readonly at: Endpoint;
  readonly received: { packet: Uint8Array; from: Endpoint }[] = [];
  /** Returns the answer to a packet; undefined for none. */
  answer: ((packet: Uint8Array, from: Endpoint) => Uint8Array | undefined) | undefined;

  constructor(readonly network: VirtualNetwork, at: string) {
    this.at = endpoint(at);
    network.attach(this.at, (datagram, from) => {
      this.received.push({ packet: datagram.slice(), from });
      const answer = this.answer?.(datagram, from);
      if (answer !== undefined) network.send(answer, this.at, from);
    });
  }

  send(packet: Uint8Array, to: Endpoint): void {
    this.network.send(packet, this.at, to);
  }

  /** Sends a query and returns the raw reply; undefined if none comes. */
  askRaw(packet: Uint8Array, to: Endpoint): Uint8Array | undefined {
    const before = this.received.length;
    this.send(packet, to);
    this.network.run(3 * this.network.delayMs);
    return this.received.slice(before).map(({ packet }) => packet)
      .find((reply) => ["r", "e"].includes(typeOf(reply)));
  }

  /** Like `askRaw`, but decoded. */
  ask(packet: Uint8Array, to: Endpoint): Decoded {
    const reply = this.askRaw(packet, to);
    return reply && decodeAny(reply);
  }
}

/** A stranger that answers all queries after `delayMs` with its id and, if `sees` is set, with the address it sees. */
export class Answering extends Stranger {
  id: Id;
  /** The address at which it claims to see a node (`ip`, BEP 42). */
  sees: ((from: Endpoint) => Endpoint | undefined) | undefined;
  delayMs = 0;
  /** Its client and version, if it names them. */
  client: string | undefined;

  constructor(network: VirtualNetwork, at: string) {
    super(network, at);
    this.id = network.randomId();
    this.answer = (packet, from) => {
      const { t, y } = decodeAny(packet);
      if (String.fromCharCode(...y) !== "q") return undefined;
      const seen = this.sees?.(from);
      const own = { id: this.id.toBytes() };
      const v: { [key: string]: Value } = this.client === undefined
        ? {}
        : { v: latin1(this.client) };
      const reply = seen === undefined
        ? encode({ t, y: "r", r: own, ...v })
        : encode({ t, y: "r", ip: compact(seen), r: own, ...v });
      network.after(this.delayMs, () => this.send(reply, from));
      return undefined;
    };
  }

  /** Makes the stranger a contact of a node. */
  meet({ node }: VirtualNode): this {
    node.ping(this.at, this.network.now, () => {});
    this.network.run(2 * this.network.delayMs + this.delayMs + 10);
    return this;
  }
}

function typeOf(packet: Uint8Array): string {
  return String.fromCharCode(...decodeAny(packet).y);
}
