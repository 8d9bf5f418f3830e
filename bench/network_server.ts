// A network of this project's nodes in one process, with default settings.

import { loadConfig } from "../src/config.ts";
import { Id } from "../src/krpc/id.ts";
import type { Operation, SwarmNode } from "../src/runtime/swarm/node.ts";
import { Swarm } from "../src/runtime/swarm/swarm.ts";
import { nearest, serve } from "./peers/serve.mjs";

class Network {
  readonly #swarm: Swarm;

  constructor() {
    const { bucketSize, alpha, healthCheckIntervalMs } = loadConfig({ flags: {}, env: {} });
    this.#swarm = new Swarm({ bucketSize, alpha, healthCheckIntervalMs });
  }

  async start({ count }: { count: number }): Promise<void> {
    const { nodes } = this.#swarm;
    if (nodes.length === 0) await this.#swarm.grow(1, []);
    await this.#swarm.grow(count - nodes.length, [nodes[0].address]);
  }

  packets(): number {
    return this.#swarm.totals().packetsOut;
  }

  silence({ nodes }: { nodes: number[] }): void {
    for (const i of nodes) this.#swarm.nodes[i].isSilent = true;
  }

  async lookup({ node }: { node: number }): Promise<Operation> {
    const { nodes } = this.#swarm;
    const target = crypto.getRandomValues(new Uint8Array(20));
    const ids = nodes.map(({ core }) => core.id.toBytes());
    const best = nearest(ids, target, (i: number) => i !== node && !nodes[i].isSilent);
    return await counted(nodes[node], async (from) => {
      const found = await from.find(`${Id.read(target)}`);
      return { ...found, ok: found.closest === `${nodes[best].core.id}` };
    });
  }

  async put({ node, value }: { node: number; value: string }) {
    let key = "";
    const timed = await counted(this.#swarm.nodes[node], async (from) => {
      const stored = await from.store(new TextEncoder().encode(value));
      key = stored.hash;
      return stored;
    });
    return { ...timed, key };
  }

  get({ node, key, value }: { node: number; key: string; value: string }): Promise<Operation> {
    const bytes = new TextEncoder().encode(value);
    return counted(this.#swarm.nodes[node], (from) => from.fetch(key, bytes));
  }
}

/** Counts all queries that the node sent, repeated ones and those of a put included, like the other networks. */
async function counted(
  node: SwarmNode,
  run: (node: SwarmNode) => Promise<Operation>,
): Promise<Operation> {
  const sent = () =>
    Object.entries(node.core.traffic.out.byType())
      .reduce((sum, [type, { messages }]) => type.endsWith(".query") ? sum + messages : sum, 0);
  const queries = sent(), start = performance.now();
  const { ok } = await run(node);
  return { ok, ms: performance.now() - start, queries: sent() - queries };
}

serve(new Network());
