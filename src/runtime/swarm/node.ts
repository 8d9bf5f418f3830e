// One of many nodes in a thread: a core with a separate UDP socket, a shared timer, and all data in memory.

import { type Deadline, Deadlines, type Millis } from "../../dht/deadlines.ts";
import type { Host, NodeEvent } from "../../dht/host.ts";
import { immutableItem } from "../../dht/items/item.ts";
import { ItemStore } from "../../dht/items/item_store.ts";
import { PublishedStore } from "../../dht/items/published.ts";
import type { GetResult, PutResult } from "../../dht/items/item_operations.ts";
import { DhtNode } from "../../dht/node.ts";
import type { FindResult } from "../../dht/search/searches.ts";
import { bencodeBytes, byteStringContent } from "../../krpc/bencode.ts";
import type { Endpoint } from "../../krpc/endpoint.ts";
import { Id } from "../../krpc/id.ts";
import { CLIENT } from "../../version.ts";
import { itemCrypto, randomBytes, randomId } from "../identity/crypto.ts";
import { UdpSocket } from "../net/udp.ts";

const HOST = "127.0.0.1";

/**
 * The interval at which a joining node is checked. Checks are needed because the core emits no event when its joining
 * lookups have ended.
 */
const POLL_MS = 20;

/** Storage limit of one node in bytes. A swarm stores only a few small values. */
const STORAGE_BYTES = 16 << 20;

export interface SwarmOptions {
  readonly bucketSize: number;
  readonly alpha: number;
  readonly healthCheckIntervalMs: number;
}

/** The outcome of one store, fetch or lookup by one node. */
export interface Operation {
  /** Whether the value was stored, the expected bytes were found, or any node answered the lookup. */
  readonly ok: boolean;
  readonly ms: number;
  readonly queries: number;
}

export class SwarmNode {
  readonly core: DhtNode;
  /** If true, the node drops all packets, like a host that hangs. */
  isSilent = false;
  /** The shared timer's entry for this node's next deadline. */
  wake: Deadline | undefined;
  readonly onWake = (now: Millis) => {
    this.wake = undefined;
    this.core.tick(now);
    this.timer.arm(this);
  };
  readonly #socket: UdpSocket;
  readonly #items: ItemStore;
  #onJoined: (() => void) | undefined;

  constructor(
    private readonly timer: SharedTimer,
    { bucketSize, alpha, healthCheckIntervalMs }: SwarmOptions,
  ) {
    this.#socket = UdpSocket.bind({
      host: HOST,
      port: 0,
      receive: (datagram, from) => {
        if (this.isSilent) return;
        this.core.receive(datagram, from, performance.now());
        timer.arm(this);
      },
      onOverflow: () => this.core.traffic.drop("send_queue_full"),
    });
    const id = randomId();
    this.#items = new ItemStore(id, STORAGE_BYTES, randomId().a);
    const host: Host = {
      ...itemCrypto,
      items: this.#items,
      published: new PublishedStore(randomId().a),
      randomBytes,
      send: (datagram, to) => {
        if (!this.isSilent) this.#socket.send(datagram, to);
      },
      emit: (event) => this.#onEvent(event),
      // All nodes of a swarm are on this machine.
      isLocal: () => true,
      openSockets: () => undefined,
    };
    // Let the core's time begin with the thread, because V8 stores small numbers directly in objects.
    this.core = new DhtNode(host, {
      id,
      k: bucketSize,
      alpha,
      healthCheckIntervalMs,
      families: [4],
      readOnly: false,
      nat: false,
      client: CLIENT,
    }, performance.now());
    this.#socket.start();
  }

  get address(): string {
    return this.#socket.address;
  }

  /** Resolves when the node has joined and filled its table. Never resolves if nobody answers. */
  async join(bootstrap: readonly Endpoint[]): Promise<void> {
    if (bootstrap.length === 0) return this.timer.arm(this);
    await this.#ask<void>((at, done) => {
      this.#onJoined = done;
      this.core.membership.join(bootstrap, [], at);
    });
    while (this.core.searches.statistics.active > 0) await pause();
  }

  async store(value: Uint8Array): Promise<Operation & { hash: string; replicas: number }> {
    const item = immutableItem(itemCrypto, bencodeBytes(value));
    const { elapsed, asked, stored } = await this.#ask<PutResult>((at, done) =>
      this.core.items.put({ target: item.target, make: () => item }, at, done)
    );
    return {
      ok: stored.length > 0,
      ms: elapsed,
      queries: asked.length,
      hash: `${item.target}`,
      replicas: stored.length,
    };
  }

  /** Whether the node holds a copy of a value. */
  holds(hash: string): boolean {
    return this.#items.get(Id.from(hash), performance.now()) !== undefined;
  }

  /** Fetches an immutable value from the network, and compares it with `expected`. */
  async fetch(hash: string, expected: Uint8Array): Promise<Operation> {
    const { elapsed, asked, item } = await this.#ask<GetResult>((at, done) =>
      this.core.items.get({ target: Id.from(hash) }, at, done)
    );
    const found = item && byteStringContent(item.value);
    const ok = found?.length === expected.length && found.every((byte, i) => byte === expected[i]);
    return { ok, ms: elapsed, queries: asked.length };
  }

  /** Looks up the nodes closest to `target`. `closest` is the closest one that answered. */
  async find(target: string): Promise<Operation & { closest: string | null }> {
    const { elapsed, asked, closest } = await this.#ask<FindResult>((at, done) =>
      this.core.find(Id.from(target), at, done)
    );
    const nearest = closest.length === 0 ? null : `${closest[0].id}`;
    return { ok: nearest !== null, ms: elapsed, queries: asked.length, closest: nearest };
  }

  async close(): Promise<void> {
    await this.#socket.close();
  }

  #onEvent(event: NodeEvent): void {
    if (event.type !== "bootstrap" || event.state !== "joined") return;
    this.#onJoined?.();
    this.#onJoined = undefined;
  }

  #ask<T>(start: (at: Millis, done: (result: T) => void) => void): Promise<T> {
    return new Promise((resolve) => {
      start(performance.now(), resolve);
      this.timer.arm(this);
    });
  }
}

export function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, POLL_MS));
}

/**
 * Maximum number of nodes whose timers run in one iteration of the event loop. An iteration performs about 128 socket
 * operations (tokio's budget), sends before receives. If thousands of nodes with late timers ran in one iteration,
 * nothing would be received.
 */
const MAX_WAKES = 32;

/** Weight of the newest delay in the moving average of timer delays. */
const LAG_GAIN = 1 / 16;

/** One timer for the cores of all nodes in a thread. */
export class SharedTimer {
  /** The delay with which timers run, as a moving average in milliseconds. */
  lag = 0;
  readonly #deadlines = new Deadlines();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #timerAt = Infinity;

  /** Schedules a node's next deadline. Each node has at most one entry, which may be due earlier than the deadline. */
  arm(node: SwarmNode): void {
    const next = node.core.nextDeadline;
    if (node.wake !== undefined && node.wake.dueAt <= next) return;
    this.#deadlines.cancel(node.wake);
    if (next === Infinity) return;
    node.wake = this.#deadlines.schedule(next, node.onWake);
    this.#set();
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#timerAt = -Infinity;
  }

  #set(): void {
    const { next } = this.#deadlines;
    if (next >= this.#timerAt) return;
    clearTimeout(this.#timer);
    this.#timerAt = next;
    this.#timer = setTimeout(() => {
      const now = performance.now();
      this.lag += LAG_GAIN * (now - this.#timerAt - this.lag);
      this.#timerAt = Infinity;
      this.#deadlines.run(now, MAX_WAKES);
      this.#set();
    }, Math.max(0, next - performance.now()));
  }
}
