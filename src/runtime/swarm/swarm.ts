// Runs many real nodes in one thread.

import { Endpoint } from "../../krpc/endpoint.ts";
import { pause, SharedTimer, SwarmNode, type SwarmOptions } from "./node.ts";

/**
 * Maximum number of nodes per thread that join at the same time. More joining nodes would overflow the bootstrap nodes'
 * receive buffers.
 */
const MAX_JOINING = 4;

/**
 * Maximum timer delay at which further nodes join. On a slower thread, retried queries could keep the thread busy
 * forever.
 */
const MAX_LAG_MS = 15;

/**
 * Totals over all nodes of one thread: the numbers of their contacts, and of the packets that they have sent and
 * received so far.
 */
export interface SwarmTotals {
  readonly nodes: number;
  readonly contacts: number;
  readonly packetsIn: number;
  readonly packetsOut: number;
  readonly bytesOut: number;
  /** The numbers of sent packets, by message type, such as `ping.query`. */
  readonly byType: Record<string, number>;
  readonly dropped: Record<string, number>;
}

/** The nodes of a swarm that run in one thread. */
export class Swarm {
  readonly nodes: SwarmNode[] = [];
  readonly #timer = new SharedTimer();

  constructor(private readonly options: SwarmOptions) {}

  /** Adds nodes that join through all of `bootstrap`. Resolves when the last one has joined. */
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
        while (this.#timer.lag > MAX_LAG_MS) await pause();
        const node = new SwarmNode(this.#timer, this.options);
        this.nodes.push(node);
        await node.join(endpoints);
        onJoin(++joined);
      }
    };
    await Promise.all(Array.from({ length: MAX_JOINING }, startInTurn));
  }

  totals(): SwarmTotals {
    let contacts = 0, packetsIn = 0, packetsOut = 0, bytesOut = 0;
    const byType: Record<string, number> = {}, dropped: Record<string, number> = {};
    const add = (sums: Record<string, number>, name: string, count: number) =>
      void (sums[name] = (sums[name] ?? 0) + count);
    for (const { core } of this.nodes) {
      const { traffic } = core;
      contacts += core.tables.size;
      packetsIn += traffic.in.messages;
      packetsOut += traffic.out.messages;
      bytesOut += traffic.out.bytes;
      for (const [type, { messages }] of Object.entries(traffic.out.byType())) {
        add(byType, type, messages);
      }
      for (const [reason, count] of Object.entries(traffic.dropped)) add(dropped, reason, count);
    }
    return { nodes: this.nodes.length, contacts, packetsIn, packetsOut, bytesOut, byType, dropped };
  }

  async close(): Promise<void> {
    this.#timer.close();
    await Promise.all(this.nodes.map((node) => node.close()));
  }
}

function parseEndpoint(address: string): Endpoint {
  const colon = address.lastIndexOf(":");
  return Endpoint.parse(address.slice(0, colon), Number(address.slice(colon + 1)))!;
}
