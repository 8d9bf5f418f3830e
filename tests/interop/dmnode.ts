// Runs dmnode nodes on loopback sockets in the test's own process, for the interoperability suite.

import { Endpoint } from "../../src/krpc/endpoint.ts";
import { Id } from "../../src/krpc/id.ts";
import { PublishedStore } from "../../src/dht/items/published.ts";
import { ItemStore } from "../../src/dht/items/item_store.ts";
import { DhtNode } from "../../src/dht/node.ts";
import type { AnnounceResult, PeersResult } from "../../src/dht/serving/swarms.ts";
import { parseAllowNet } from "../../src/config/addresses.ts";
import { itemCrypto } from "../../src/runtime/identity/crypto.ts";
import { loadConfig } from "../../src/config.ts";
import { LocalNode } from "../../src/runtime/local_node.ts";
import { UdpSocket } from "../../src/runtime/net/udp.ts";
import { CLIENT } from "../../src/version.ts";
import { eventually, randomHex } from "./peers.ts";

const K = 20, ALPHA = 3;

/** The nodes of one test. They stop when the test ends. */
export class Dmnodes implements AsyncDisposable {
  #running: (LocalNode | CoreNode)[] = [];

  get count(): number {
    return this.#running.length;
  }

  /**
   * Starts a node as `dmnode start` does, but without a disk. Resolves when the node has joined. A `dual` node listens
   * on IPv4 and IPv6, and others on `host`.
   */
  async start(
    bootstrap: readonly string[] = [],
    { dual = false, host = "127.0.0.1" }: { dual?: boolean; host?: string } = {},
  ): Promise<LocalNode> {
    const node = await LocalNode.start({
      ...loadConfig({ flags: {}, env: {} }),
      p2pHost: dual ? "::" : host,
      p2pPort: 0,
      bootstrapNodes: bootstrap.map(hostPort),
      bucketSize: K,
      alpha: ALPHA,
      maxPerSubnet: 2,
      testNetworks: [],
      healthCheckIntervalMs: 60_000,
      dataDir: "",
      storageLimit: 2 ** 24,
      nat: "off",
      udpBatches: "off",
      relay: 0,
      allowNet: parseAllowNet(dual ? "127.0.0.0/8,::1" : "127.0.0.0/8"),
    }, { persistent: false });
    this.#running.push(node);
    if (bootstrap.length > 0) {
      await eventually(
        `dmnode joins through ${bootstrap}`,
        async () => (await node.peers()).routing_table_size > 0,
      );
    }
    return node;
  }

  /** Starts a core on a socket, for operations that NodeService does not offer. */
  async startCore(bootstrap: string): Promise<CoreNode> {
    const node = new CoreNode(hostPort(bootstrap).host.includes(":") ? "::1" : "127.0.0.1");
    this.#running.push(node);
    node.join(bootstrap);
    await eventually(`the core joins through ${bootstrap}`, () => node.contactCount > 0);
    return node;
  }

  /**
   * Replaces all nodes by empty ones, so that other nodes don't wait for dead ones. The new nodes have the same ids:
   * otherwise each would take two places among the 8 closest nodes that libtorrent queries.
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

/** A bare core, for announcements and swarms. */
export class CoreNode {
  readonly #node: DhtNode;
  readonly #socket: UdpSocket;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #closed = false;

  constructor(host: string, port = 0, readonly nodeId = randomHex(20)) {
    const id = Id.parse(nodeId)!;
    const items = new ItemStore(id, 2 ** 24, id.a);
    const effects = {
      ...itemCrypto,
      items,
      published: new PublishedStore(id.a),
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
    return this.#node.tables.size;
  }

  join(address: string): void {
    const { host, port } = hostPort(address);
    this.#do((now) => this.#node.membership.join([Endpoint.parse(host, port)!], [], now));
  }

  /** Without a port, the node announces the source port of its packets. */
  announce(infoHash: string, port?: number): Promise<AnnounceResult> {
    return this.#ask((now, done) =>
      this.#node.swarms.announce({ infoHash: Id.parse(infoHash)!, port }, now, done)
    );
  }

  async peers(infoHash: string): Promise<string[]> {
    const result = await this.#ask<PeersResult>((now, done) =>
      this.#node.swarms.getPeers({ infoHash: Id.parse(infoHash)! }, now, done)
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

/** Packets that a node could not read, by reason. Empty if the implementations understand each other. */
export async function misunderstood(node: LocalNode): Promise<Record<string, number>> {
  const { dropped } = (await node.stats()).traffic;
  // A query that was sent twice gets two replies. The second one matches no query.
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
