// dmnode nodes on loopback sockets, in the test's own process, for the interoperability suite.

import { Endpoint } from "../../src/krpc/endpoint.ts";
import { Id } from "../../src/krpc/id.ts";
import { MemoryPublishedStore } from "../../src/dht/published.ts";
import { MemoryItemStore } from "../../src/dht/item_store.ts";
import { type AnnounceResult, DhtNode, type PeersResult } from "../../src/dht/node.ts";
import { parseAllowNet } from "../../src/config.ts";
import { itemCrypto } from "../../src/runtime/crypto.ts";
import { LocalNode } from "../../src/runtime/local_node.ts";
import { UdpSocket } from "../../src/runtime/udp.ts";
import { CLIENT } from "../../src/version.ts";
import { eventually, randomHex } from "./peers.ts";

const K = 20, ALPHA = 3;

/** The nodes of one test, which stop with it. */
export class Dmnodes implements AsyncDisposable {
  #running: (LocalNode | CoreNode)[] = [];

  /**
   * A node as `dmnode start` runs it, without a disk; resolves once it has joined. One that is `dual` listens on
   * IPv4 and IPv6.
   */
  async start(bootstrap: readonly string[] = [], dual = false): Promise<LocalNode> {
    const node = await LocalNode.start({
      p2pHost: dual ? "::" : "127.0.0.1",
      p2pPort: 0,
      bootstrapNodes: bootstrap.map(hostPort),
      bucketSize: K,
      alpha: ALPHA,
      maxPerSubnet: 2,
      healthCheckIntervalMs: 60_000,
      dataDir: "",
      storageLimit: 2 ** 24,
      nat: "off",
      relay: 0,
      allowNet: dual ? parseAllowNet("127.0.0.0/8,::1") : { mode: "loopback" },
    }, { persistent: false });
    this.#running.push(node);
    if (bootstrap.length > 0) {
      await eventually(`dmnode joins through ${bootstrap}`, () => node.peers().length > 0);
    }
    return node;
  }

  /** A core on a socket: for what NodeService does not offer. */
  async startCore(bootstrap: string): Promise<CoreNode> {
    const node = new CoreNode(hostPort(bootstrap).host.includes(":") ? "::1" : "127.0.0.1");
    this.#running.push(node);
    node.join(bootstrap);
    await eventually(`the core joins through ${bootstrap}`, () => node.contactCount > 0);
    return node;
  }

  /**
   * Stops all, and puts nodes that hold nothing in their places: nobody has to wait for the dead. They have the same
   * ids, or each would take two places among the 8 closest that libtorrent asks.
   */
  async replace(): Promise<void> {
    const stopped = this.#running;
    await this[Symbol.asyncDispose]();
    this.#running = stopped.map(({ nodeId, port }) => new CoreNode("127.0.0.1", port, nodeId));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#running.map((node) => node.close()));
  }
}

/** The bare core, for announcements and swarms. */
export class CoreNode {
  readonly #node: DhtNode;
  readonly #socket: UdpSocket;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #closed = false;

  constructor(host: string, port = 0, readonly nodeId = randomHex(20)) {
    const id = Id.parse(nodeId)!;
    const items = new MemoryItemStore(id, 2 ** 24, id.a);
    const effects = {
      ...itemCrypto,
      items,
      published: new MemoryPublishedStore(id.a),
      randomBytes,
      emit: () => {},
      isLocal: () => true,
      openSockets: () => undefined,
      send: (datagram: Uint8Array, to: Endpoint) => this.#socket.send(datagram, to),
    };
    this.#node = new DhtNode(effects, {
      id,
      k: K,
      alpha: ALPHA,
      healthCheckIntervalMs: 60_000,
      families: host.includes(":") ? [6] : [4],
      readOnly: false,
      client: CLIENT,
    }, performance.now());
    this.#socket = UdpSocket.bind({
      host,
      port,
      receive: (datagram, from) => this.#do((now) => this.#node.receive(datagram, from, now)),
      onOverflow: () => {},
    });
    this.#socket.start();
  }

  get port(): number {
    return this.#socket.port;
  }

  get contactCount(): number {
    return this.#node.contactCount;
  }

  join(address: string): void {
    const { host, port } = hostPort(address);
    this.#do((now) => this.#node.join([Endpoint.parse(host, port)!], [], now));
  }

  /** Without a port: announces the one that its packets come from. */
  announce(infoHash: string, port?: number): Promise<AnnounceResult> {
    return this.#ask((now, done) => this.#node.announce(Id.parse(infoHash)!, port, now, done));
  }

  async peers(infoHash: string): Promise<string[]> {
    const result = await this.#ask<PeersResult>((now, done) =>
      this.#node.getPeers(Id.parse(infoHash)!, now, done)
    );
    return result.peers.map(String);
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    await this.#socket.close();
  }

  #ask<T>(start: (now: number, done: (result: T) => void) => void): Promise<T> {
    return new Promise((resolve) => this.#do((now) => start(now, resolve)));
  }

  #do(run: (now: number) => void): void {
    run(performance.now());
    clearTimeout(this.#timer);
    if (this.#closed) return;
    const wait = Math.max(0, this.#node.nextDeadline - performance.now());
    this.#timer = setTimeout(() => this.#do((now) => this.#node.tick(now)), wait);
  }
}

/** Packets that a node could not make sense of, by reason: none, if it speaks its neighbours' language. */
export function misunderstood(node: LocalNode): Record<string, number> {
  const { dropped } = node.stats().traffic;
  // A reply to a query that was sent twice comes twice, and is unmatched then.
  const reasons = ["malformed", "no_transaction", "unknown_type"].filter((reason) =>
    dropped[reason] > 0
  );
  return Object.fromEntries(reasons.map((reason) => [reason, dropped[reason]]));
}

function randomBytes(length: number): Uint8Array {
  return crypto.getRandomValues(new Uint8Array(length));
}

function hostPort(address: string): { host: string; port: number } {
  const { hostname, port } = new URL(`udp://${address}`);
  return { host: hostname.replace(/[[\]]/g, ""), port: Number(port) };
}
