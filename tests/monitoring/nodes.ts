// Starts a small network of real nodes. One of them serves the API and has a disk.

import { createApi } from "../../src/api/app.ts";
import { type ApiServer, serveApi } from "../../src/api/server.ts";
import { loadConfig } from "../../src/config.ts";
import { LocalNode } from "../../src/runtime/local_node.ts";
import { startNetwork, until } from "../network/nodes.ts";

/** The node that serves the API, and the other nodes. */
export interface ServedNode {
  readonly node: LocalNode;
  readonly url: string;
}

/** Runs `body` with a node that has joined a network of `others` nodes. `env` configures the node. */
export async function withServedNode(
  others: number,
  body: (served: ServedNode) => Promise<void>,
  env: Readonly<Record<string, string>> = {},
): Promise<void> {
  const dataDir = await Deno.makeTempDir({ prefix: "dmnode-served-" });
  const nodes = await startNetwork(others);
  let server: ApiServer | undefined;
  try {
    const bootstrap = `127.0.0.1:${nodes[0].port}`;
    const config = loadConfig({ flags: { p2pPort: "0", dataDir, bootstrap }, env });
    const node = await LocalNode.start(config, { persistent: true });
    nodes.push(node);
    await until(async () => (await node.readiness()).ready, "the node is ready");
    const api = createApi({ service: node, config });
    server = await serveApi(api, { hostnames: ["127.0.0.1"], port: 0 });
    await body({ node, url: server.url });
  } finally {
    await server?.close();
    await Promise.all(nodes.map((node) => node.close()));
    await Deno.remove(dataDir, { recursive: true });
  }
}

/** Stores and fetches some values, so that there is something to measure. */
export async function useApi(url: string): Promise<void> {
  const store = async (body: BodyInit) => {
    const response = await fetch(`${url}/network/store`, { method: "POST", body });
    return (await response.json()).hash as string;
  };
  const hashes = [await store("a value"), await store(new Uint8Array(20_000))];
  for (const hash of hashes) await (await fetch(`${url}/data/${hash}`)).bytes();
  await (await fetch(`${url}/data/${"0".repeat(40)}`)).bytes();
  await (await fetch(`${url}/network/find/${"0".repeat(40)}`)).bytes();
}
