// The load of a soak: requests to the REST API, listeners, and a light attack over UDP.

import fc from "fast-check";
import { hex } from "../../src/krpc/hex.ts";
import { SeededRandom } from "../../src/sim/random.ts";
import { Client } from "../durability/client.ts";
import { mutate, mutations, queryPackets, replyPackets, SENDER } from "../fuzz/packets.ts";
import { decodeAny, encode, latin1, text } from "../packets.ts";
import type { SoakNode } from "./nodes.ts";

/** Values without a key that the nodes keep published. Older ones are deleted, so that their number stays the same. */
const MAX_PUBLISHED = 300;

/** Keys under which each node stores values. */
const KEYS = 10;

/** Values that the nodes keep pinned. */
const MAX_PINS = 50;

/** Maximum size of a small value. Larger values are stored in pieces. */
const SMALL_BYTES = 996;

const LARGE_BYTES = 100_000;

/** How long a listener stays connected. */
const LISTENER_MS = 45_000;

/** The timeout of a request. */
const REQUEST_MS = 60_000;

interface Stored {
  readonly hash: string;
  readonly owner: SoakNode;
}

/** Counts the outcomes of a soak's requests. */
export class Outcomes {
  readonly statuses = new Map<string, number>();
  /** Answers that no working node gives. */
  readonly failures: string[] = [];
  fetches = 0;
  found = 0;

  note(request: string, status: number | "no answer"): void {
    const name = `${request} ${status}`;
    this.statuses.set(name, (this.statuses.get(name) ?? 0) + 1);
    if (status === 500) this.failures.push(name);
  }
}

/** Sends requests to nodes, one after the other. */
export class Load {
  readonly outcomes = new Outcomes();
  readonly #nodes: readonly SoakNode[];
  readonly #random: SeededRandom;
  readonly #published: Stored[] = [];
  readonly #pins: Stored[] = [];
  readonly #operations: readonly (readonly [weight: number, run: () => Promise<unknown>])[];

  constructor(nodes: readonly SoakNode[], seed: number) {
    this.#nodes = nodes;
    this.#random = new SeededRandom(seed);
    this.#operations = [
      [30, () => this.#fetch()],
      [15, () => this.#store(1 + this.#random.below(SMALL_BYTES))],
      [10, () => this.#storeUnderKey()],
      [2, () => this.#store(LARGE_BYTES)],
      [10, () => this.#get(`/network/find/${this.#randomHash()}`)],
      [10, () => this.#pin()],
      [5, () => this.#get("/network/peers")],
      [5, () => this.#get("/network/published?limit=10")],
      [5, () => this.#get("/network/stats")],
      [4, () => this.#get(`/data/${this.#randomHash()}`)],
      [4, () => this.#listen()],
    ];
  }

  /** Runs one operation, chosen at random. */
  async step(): Promise<void> {
    const total = this.#operations.reduce((sum, [weight]) => sum + weight, 0);
    let at = this.#random.below(total);
    const [, run] = this.#operations.find(([weight]) => (at -= weight) < 0)!;
    await run();
  }

  #node(): SoakNode {
    const up = this.#nodes.filter(({ isUp }) => isUp);
    return up[this.#random.below(up.length)];
  }

  #randomHash(): string {
    return hex(this.#random.bytes(20));
  }

  /** Sends a request, and returns its answer if it was a success. */
  async #request(
    name: string,
    node: SoakNode,
    path: string,
    init: RequestInit = {},
  ): Promise<Uint8Array | undefined> {
    try {
      const signal = AbortSignal.timeout(REQUEST_MS);
      const response = await fetch(`${node.api}${path}`, { ...init, signal });
      const body = await response.bytes();
      this.outcomes.note(name, response.status);
      return response.ok ? body : undefined;
    } catch {
      // The node was killed.
      this.outcomes.note(name, "no answer");
      return undefined;
    }
  }

  async #get(path: string): Promise<void> {
    await this.#request(`GET ${path.replace(/[0-9a-f]{40}/, "…")}`, this.#node(), path);
  }

  async #store(bytes: number): Promise<void> {
    const owner = this.#node();
    const init = { method: "POST", body: this.#random.bytes(bytes) as Uint8Array<ArrayBuffer> };
    const answer = await this.#request("store", owner, "/network/store", init);
    if (answer === undefined) return;
    this.#published.push({ hash: JSON.parse(new TextDecoder().decode(answer)).hash, owner });
    if (this.#published.length <= MAX_PUBLISHED) return;
    const [oldest] = this.#published.splice(0, 1);
    if (!oldest.owner.isUp) return;
    await this.#request("delete", oldest.owner, `/data/${oldest.hash}`, { method: "DELETE" });
  }

  async #storeUnderKey(): Promise<void> {
    const body = this.#random.bytes(100) as Uint8Array<ArrayBuffer>;
    const path = `/network/store?key=${this.#random.below(KEYS)}`;
    await this.#request("store under a key", this.#node(), path, { method: "POST", body });
  }

  async #fetch(): Promise<void> {
    const { length } = this.#published;
    if (length === 0) return;
    const { hash, owner } = this.#published[this.#random.below(length)];
    // While its owner is down, a value may be short of copies.
    if (owner.role === "killed") return;
    this.outcomes.fetches++;
    if (await this.#request("fetch", this.#node(), `/data/${hash}`)) this.outcomes.found++;
  }

  async #pin(): Promise<void> {
    const { length } = this.#published;
    if (length === 0) return;
    const { hash } = this.#published[this.#random.below(length)], owner = this.#node();
    const init = {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ hash }),
    };
    if (await this.#request("pin", owner, "/network/pin", init) === undefined) return;
    this.#pins.push({ hash, owner });
    if (this.#pins.length <= MAX_PINS) return;
    const [oldest] = this.#pins.splice(0, 1);
    if (!oldest.owner.isUp) return;
    const path = `/network/pin/${oldest.hash}`;
    await this.#request("unpin", oldest.owner, path, { method: "DELETE" });
  }

  /** Listens for a while to the events of a node, and to the versions of a value. */
  #listen(): Promise<void> {
    const url = this.#node().api.replace("http", "ws");
    const socket = new WebSocket(`${url}/ws?types=*&watch=${this.#randomHash()}`);
    this.outcomes.note("listen", 101);
    socket.onerror = () => {};
    const timer = setTimeout(() => socket.close(), LISTENER_MS);
    socket.onclose = () => clearTimeout(timer);
    return Promise.resolve();
  }
}

/** Attacks nodes with few packets: hostile ones, queries from ever new ids, and puts of ever new values. */
export class Attack {
  readonly #socket = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  readonly #random: SeededRandom;
  readonly #seeds = [
    ...queryPackets(latin1("8 bytes.")),
    ...replyPackets(latin1("abcd"), SENDER.toBytes()),
  ];
  packets = 0;

  constructor(private readonly nodes: readonly SoakNode[], seed: number) {
    this.#random = new SeededRandom(seed, 1);
    void this.#answer();
  }

  /** Answers all queries, each time with another id, until the socket is closed. */
  async #answer(): Promise<void> {
    try {
      for await (const [packet, from] of this.#socket) {
        const { t, y } = decodeAny(packet);
        if (text(y) !== "q") continue;
        const id = this.#random.bytes(20);
        await this.#socket.send(encode({ t, y: "r", r: { id, nodes: "" } }), from);
      }
    } catch (error) {
      if (!(error instanceof Deno.errors.BadResource)) throw error;
    }
  }

  /** Attacks one node with a hostile packet, a query from a new id, and a put. */
  async step(): Promise<void> {
    const up = this.nodes.filter(({ isUp }) => isUp);
    const { udp } = up[this.#random.below(up.length)];
    const [hostname, port] = udp.split(":");
    const to: Deno.NetAddr = { transport: "udp", hostname, port: Number(port) };
    const [mutation] = fc.sample(mutations, { numRuns: 1, seed: this.#random.word() });
    const query = { t: "aa", y: "q", q: "ping", a: { id: this.#random.bytes(20) } };
    await this.#socket.send(mutate(this.#seeds, mutation).subarray(0, 1_400), to);
    await this.#socket.send(encode(query), to);
    const client = new Client(udp);
    try {
      await client.put(hex(this.#random.bytes(400)));
      this.packets += 4;
    } catch {
      // The node was killed.
    } finally {
      client.close();
    }
  }

  close(): void {
    this.#socket.close();
  }
}
