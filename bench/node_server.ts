// The node under load: dmnode's own node without API and disk, its table filled by a swarm, its items put by another
// node.
//
// deno run --allow-net --allow-read node_server.ts HOST [api]
// HOST is 127.0.0.1, or 0.0.0.0 for all addresses; with `api` it serves that too. Prints one line,
// {"port": N, "host": ADDRESS, "item": HEX40, "api": N}, when it is ready: the address is where it is bound, which may be
// ::, the item one that it holds. SIGTERM ends it in order, so that `--cpu-prof` writes what it found.

import { createApi } from "../src/api/app.ts";
import { serveApi, serveOptions } from "../src/api/server.ts";
import { loadConfig } from "../src/config.ts";
import { LocalNode } from "../src/runtime/local_node.ts";
import { FULL_BUCKETS, HEALTH_CHECK_MS, K, putItems } from "./full_node.ts";
import { Swarm } from "./swarm.ts";

const SWARM_PORT = 6881;

const [p2pHost] = Deno.args;
const swarm = new Swarm(SWARM_PORT);
const node = await LocalNode.start({
  p2pHost,
  p2pPort: 0,
  bootstrapNodes: [swarm.bootstrap],
  bucketSize: K,
  alpha: 3,
  maxPerSubnet: 2,
  healthCheckIntervalMs: HEALTH_CHECK_MS,
  dataDir: "",
  storageLimit: 1 << 30,
  nat: "off",
  relay: 0,
  allowNet: { mode: p2pHost === "127.0.0.1" ? "loopback" : "any" },
}, { persistent: false });
while (node.peers().length === 0) await new Promise((resolve) => setTimeout(resolve, 10));
// A lookup in a bucket's range asks the closest contacts, which are those of the bucket, and so takes them in.
for (let bucket = 0; bucket < FULL_BUCKETS; bucket++) {
  await node.find(swarm.ids[bucket * K].toString());
}
const { length } = node.peers();
if (length !== swarm.ids.length) {
  throw new Error(`${length} of ${swarm.ids.length} contacts were admitted`);
}
const item = await putItems(exchange);
await swarm[Symbol.asyncDispose]();
const host = node.address.slice(0, node.address.lastIndexOf(":")).replace(/^\[|\]$/g, "");
// Three quarters of them may listen to events.
const config = loadConfig({ env: { API_MAX_CONNECTIONS: "1500" } });
const api = Deno.args.includes("api")
  ? (await serveApi(createApi({ service: node, config }), { ...serveOptions(config), port: 0 }))
    .port
  : undefined;
if (Deno.build.os !== "windows") Deno.addSignalListener("SIGTERM", () => Deno.exit(0));
console.log(JSON.stringify({ port: node.port, host, item: item.toString(), api }));

/** Sends the node one query and waits for the reply. */
async function exchange(query: Uint8Array): Promise<Uint8Array> {
  const socket = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  try {
    await socket.send(query, { transport: "udp", hostname: "127.0.0.1", port: node.port });
    const [reply] = await socket.receive();
    return reply;
  } finally {
    socket.close();
  }
}
