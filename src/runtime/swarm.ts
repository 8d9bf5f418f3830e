// Many real nodes in one thread: the core on a UDP socket each, one timer for all of them, nothing on disk.

import type { Host, NodeEvent } from "../dht/host.ts";
import { type Deadline, Deadlines, type Millis } from "../dht/deadlines.ts";
import { immutableItem } from "../dht/item.ts";
import { MemoryItemStore } from "../dht/item_store.ts";
import { DhtNode, type FindResult, type GetResult, type PutResult } from "../dht/node.ts";
import { MemoryPublishedStore } from "../dht/published.ts";
import { bencodeBytes, byteStringContent } from "../krpc/bencode.ts";
import { Endpoint } from "../krpc/endpoint.ts";
import { Id, ID_BYTES, word } from "../krpc/id.ts";
import { CLIENT } from "../version.ts";
import { itemCrypto } from "./crypto.ts";
import { UdpSocket } from "./udp.ts";

const HOST = "127.0.0.1";

/** Nodes of one thread that join at a time: more would overrun the receive buffers of the bootstrap nodes. */
const JOINING = 4;

/**
 * While the thread runs later than this behind its timers, nobody joins: overdue answers are asked for again, and from
 * a certain load on that load alone would keep the thread behind for ever.
 */
const BEHIND_MS = 15;

/** Weight of the newest delay in the mean. */
const BEHIND_GAIN = 1 / 16;

/** How often a joining node is looked at. Joining is over when its lookups are, of which the core has no event. */
const POLL_MS = 20;

/**
 * Nodes whose timers run in one turn of the event loop. A turn does some 128 operations on sockets (tokio's budget), and
 * what timers send comes first: thousands of nodes that are behind would leave nothing for what they are to receive.
 */
const WAKES_AT_A_TIME = 32;

/** Bytes of values that one node holds: a swarm's are small and few. */
const STORAGE_BYTES = 16 << 20;

export interface SwarmOptions {
  readonly bucketSize: number;
  readonly alpha: number;
  readonly healthCheckIntervalMs: number;
}

/** What one operation of one node came to. */
export interface Operation {
  /** Every copy stored, the value found with the right bytes, or the true closest node found. */
  readonly ok: boolean;
  readonly ms: number;
  readonly queries: number;
}

/** What all nodes of a thread have sent and received so far, and what they know. */
export interface SwarmTotals {
  readonly nodes: number;
  readonly contacts: number;
  readonly packetsIn: number;
  readonly packetsOut: number;
  readonly bytesOut: number;
  /** Packets out by type, such as `ping.query`. */
  readonly byType: Record<string, number>;
  readonly dropped: Record<string, number>;
}

/** One thread's share of a swarm. */
export class Swarm {
  readonly nodes: SwarmNode[] = [];
  readonly #options: SwarmOptions;
  readonly #deadlines = new Deadlines();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #timerAt = Infinity;
  /** How late timers run, smoothed. */
  #behind = 0;

  constructor(options: SwarmOptions) {
    this.#options = options;
  }

  /** Adds nodes, each of which joins through all of `bootstrap`; resolves when the last has joined. */
  async grow(
    count: number,
    bootstrap: readonly string[],
    onJoin: (joined: number) => void = () => {},
  ): Promise<void> {
    const endpoints = bootstrap.map(parseEndpoint);
    let started = 0, joined = 0;
    const startInTurn = async () => {
      while (started < count) {
        started++;
        while (this.#behind > BEHIND_MS) await pause();
        const node = new SwarmNode(this, this.#options);
        this.nodes.push(node);
        await node.join(endpoints);
        onJoin(++joined);
      }
    };
    await Promise.all(Array.from({ length: JOINING }, startInTurn));
  }

  totals(): SwarmTotals {
    let contacts = 0, packetsIn = 0, packetsOut = 0, bytesOut = 0;
    const byType: Record<string, number> = {}, dropped: Record<string, number> = {};
    const add = (sums: Record<string, number>, name: string, count: number) =>
      void (sums[name] = (sums[name] ?? 0) + count);
    for (const { core } of this.nodes) {
      contacts += core.contactCount;
      packetsIn += core.traffic.in.messages;
      packetsOut += core.traffic.out.messages;
      bytesOut += core.traffic.out.bytes;
      for (const [type, { messages }] of Object.entries(core.traffic.out.byType())) {
        add(byType, type, messages);
      }
      for (const [reason, count] of Object.entries(core.traffic.dropped)) {
        add(dropped, reason, count);
      }
    }
    return { nodes: this.nodes.length, contacts, packetsIn, packetsOut, bytesOut, byType, dropped };
  }

  /** Stops all nodes. */
  async close(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timerAt = -Infinity;
    await Promise.all(this.nodes.map((node) => node.close()));
  }

  /** Sees to it that a node's next deadline is kept; a node has at most one entry, which may be early. */
  arm(node: SwarmNode): void {
    const next = node.core.nextDeadline;
    if (node.wake !== undefined && node.wake.dueAt <= next) return;
    this.#deadlines.cancel(node.wake);
    if (next === Infinity) return;
    node.wake = this.#deadlines.schedule(next, node.onWake);
    this.#armTimer();
  }

  #armTimer(): void {
    const { next } = this.#deadlines;
    if (next >= this.#timerAt) return;
    clearTimeout(this.#timer);
    this.#timerAt = next;
    this.#timer = setTimeout(() => {
      const now = clock();
      this.#behind += BEHIND_GAIN * (now - this.#timerAt - this.#behind);
      this.#timerAt = Infinity;
      this.#deadlines.run(now, WAKES_AT_A_TIME);
      this.#armTimer();
    }, Math.max(0, next - clock()));
  }
}

/** One node of a swarm. */
export class SwarmNode {
  readonly core: DhtNode;
  /** When the swarm's timer comes back to it. */
  wake: Deadline | undefined;
  readonly onWake = (now: Millis) => {
    this.wake = undefined;
    this.core.tick(now);
    this.#swarm.arm(this);
  };
  /** Its socket is open, but it hears and says nothing, like a host that hangs. */
  isSilent = false;
  readonly #swarm: Swarm;
  readonly #socket: UdpSocket;
  #onBootstrap: (() => void) | undefined;

  constructor(swarm: Swarm, { bucketSize, alpha, healthCheckIntervalMs }: SwarmOptions) {
    this.#swarm = swarm;
    this.#socket = UdpSocket.bind({
      host: HOST,
      port: 0,
      receive: (datagram, from) => {
        if (this.isSilent) return;
        this.core.receive(datagram, from, clock());
        swarm.arm(this);
      },
      onOverflow: () => this.core.traffic.drop("send_queue_full"),
    });
    const id = Id.read(randomBytes(ID_BYTES));
    const host: Host = {
      ...itemCrypto,
      items: new MemoryItemStore(id, STORAGE_BYTES, word(randomBytes(4), 0)),
      published: new MemoryPublishedStore(word(randomBytes(4), 0)),
      randomBytes,
      send: (datagram, to) => {
        if (!this.isSilent) this.#socket.send(datagram, to);
      },
      emit: (event) => this.#onEvent(event),
      // All are on this machine.
      isLocal: () => true,
      openSockets: () => undefined,
    };
    this.core = new DhtNode(host, {
      id,
      k: bucketSize,
      alpha,
      healthCheckIntervalMs,
      families: [4],
      readOnly: false,
      nat: false,
      client: CLIENT,
    }, clock());
    this.#socket.start();
  }

  get address(): string {
    return this.#socket.address;
  }

  /** Resolves when the node has found its place and filled its table; without end where nobody answers. */
  async join(bootstrap: readonly Endpoint[]): Promise<void> {
    if (bootstrap.length === 0) return this.#swarm.arm(this);
    const joined = new Promise<void>((resolve) => this.#onBootstrap = resolve);
    this.#do((at) => this.core.join(bootstrap, [], at));
    await joined;
    while (this.core.lookups.active > 0) {
      await pause();
    }
  }

  async store(value: Uint8Array): Promise<Operation & { hash: string; replicas: number }> {
    const item = immutableItem(itemCrypto, bencodeBytes(value));
    const { elapsed, asked, stored } = await this.#ask<PutResult>((at, done) =>
      this.core.put(item.target, undefined, undefined, () => item, at, done)
    );
    return {
      ok: stored.length > 0,
      ms: elapsed,
      queries: asked.length,
      hash: `${item.target}`,
      replicas: stored.length,
    };
  }

  /** Fetches an immutable value from the network; `ok` where it is this one. */
  async fetch(hash: string, expected: Uint8Array): Promise<Operation> {
    const target = Id.parse(hash)!;
    const { elapsed, asked, item } = await this.#ask<GetResult>((at, done) =>
      this.core.get(target, undefined, at, done)
    );
    const found = item && byteStringContent(item.value);
    const ok = found?.length === expected.length && found.every((byte, i) => byte === expected[i]);
    return { ok, ms: elapsed, queries: asked.length };
  }

  /** Looks up the nodes closest to `target`; `closest` is the nearest that answered. */
  async find(target: string): Promise<Operation & { closest: string | null }> {
    const { elapsed, asked, closest } = await this.#ask<FindResult>((at, done) =>
      this.core.find(Id.parse(target)!, at, done)
    );
    const nearest = closest.length === 0 ? null : `${closest[0].id}`;
    return { ok: nearest !== null, ms: elapsed, queries: asked.length, closest: nearest };
  }

  async close(): Promise<void> {
    await this.#socket.close();
  }

  #onEvent(event: NodeEvent): void {
    if (event.type !== "bootstrap" || event.state !== "joined") return;
    this.#onBootstrap?.();
    this.#onBootstrap = undefined;
  }

  #ask<T>(start: (at: Millis, done: (result: T) => void) => void): Promise<T> {
    return new Promise((resolve) => this.#do((at) => start(at, resolve)));
  }

  #do(run: (at: Millis) => void): void {
    run(clock());
    this.#swarm.arm(this);
  }
}

/** What a thread of a swarm can be asked to do; answered in order of completion. */
export type SwarmRequest =
  | { readonly do: "open"; readonly options: SwarmOptions }
  | { readonly do: "grow"; readonly count: number; readonly bootstrap: readonly string[] }
  | { readonly do: "store"; readonly node: number; readonly value: Uint8Array }
  | {
    readonly do: "fetch";
    readonly node: number;
    readonly hash: string;
    readonly value: Uint8Array;
  }
  | { readonly do: "totals" }
  | { readonly do: "addresses"; readonly count: number };

/** What it answers, by request. */
export interface SwarmReplies {
  readonly open: null;
  readonly grow: null;
  readonly store: Operation & { hash: string; replicas: number };
  readonly fetch: Operation;
  readonly totals: SwarmTotals;
  /** Of its first nodes. */
  readonly addresses: readonly string[];
}

/** Messages from a thread: that it is there, how many nodes have joined, or a reply. */
export type SwarmMessage =
  | { readonly type: "ready" }
  | { readonly type: "joined"; readonly nodes: number }
  | { readonly type: "reply"; readonly id: number; readonly reply: unknown }
  | { readonly type: "failed"; readonly id: number; readonly error: string };

/** Serves requests that come to this thread, which is a worker; never returns to the program. */
export function serveSwarm(): void {
  const thread = globalThis as unknown as {
    onmessage: (event: MessageEvent) => void;
    postMessage(message: SwarmMessage): void;
  };
  let swarm: Swarm;
  const answer = async (request: SwarmRequest): Promise<unknown> => {
    switch (request.do) {
      case "open":
        swarm = new Swarm(request.options);
        return null;
      case "grow":
        await swarm.grow(
          request.count,
          request.bootstrap,
          (nodes) => thread.postMessage({ type: "joined", nodes }),
        );
        return null;
      case "store":
        return await swarm.nodes[request.node].store(request.value);
      case "fetch":
        return await swarm.nodes[request.node].fetch(request.hash, request.value);
      case "totals":
        return swarm.totals();
      case "addresses":
        return swarm.nodes.slice(0, request.count).map((node) => node.address);
    }
  };
  thread.onmessage = async ({ data: { id, request } }) => {
    try {
      thread.postMessage({ type: "reply", id, reply: await answer(request) });
    } catch (error) {
      const text = error instanceof Error ? error.message : String(error);
      thread.postMessage({ type: "failed", id, error: text });
    }
  };
  thread.postMessage({ type: "ready" });
}

/** Milliseconds since the start of the thread: V8 keeps small numbers in the objects that have them. */
function clock(): Millis {
  return performance.now();
}

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, POLL_MS));
}

function randomBytes(length: number): Uint8Array {
  return crypto.getRandomValues(new Uint8Array(length));
}

function parseEndpoint(address: string): Endpoint {
  const colon = address.lastIndexOf(":");
  return Endpoint.parse(address.slice(0, colon), Number(address.slice(colon + 1)))!;
}
