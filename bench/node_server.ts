// The node under load: a dmnode without API and disk. A swarm fills its table, and another node puts its items.
//
// deno run --allow-net --allow-read --allow-ffi node_server.ts HOST [api] [batches]
// HOST is 127.0.0.1, or 0.0.0.0 for all addresses. With `api` it serves the API too, and with `batches` it receives and
// sends datagrams in batches, as the executables do on Linux. When it is ready, it prints one line
// {"port": N, "host": ADDRESS, "item": HEX40, "api": N}: the address it is bound to, which may be ::, and an item that it
// holds. SIGTERM ends it properly, so that `--cpu-prof` writes its profile.

import { ApiThread } from "../src/api/thread/thread.ts";
import { loadConfig } from "../src/config.ts";
import { LocalNode } from "../src/runtime/local_node.ts";
import { openLibrary } from "../src/runtime/net/message_batch.ts";
import { FULL_BUCKETS, HEALTH_CHECK_MS, K, putItems } from "./full_node.ts";
import { Swarm } from "./swarm.ts";

const SWARM_PORT = 6881;

const [p2pHost, ...options] = Deno.args;
openLibrary();
const swarm = new Swarm(SWARM_PORT);
const node = await LocalNode.start({
  ...loadConfig({ flags: {}, env: {} }),
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
  udpBatches: options.includes("batches") ? "auto" : "off",
  relay: 0,
  allowNet: { mode: p2pHost === "127.0.0.1" ? "loopback" : "any" },
}, { persistent: false });
while ((await node.peers()).routing_table_size === 0) {
  await new Promise((resolve) => setTimeout(resolve, 10));
}
// A lookup in a bucket's range queries the nodes of that bucket, which adds them to the table.
for (let bucket = 0; bucket < FULL_BUCKETS; bucket++) {
  await node.find(swarm.ids[bucket * K].toString());
}
const { routing_table_size: length } = await node.peers();
if (length !== swarm.ids.length) {
  throw new Error(`${length} of ${swarm.ids.length} contacts were admitted`);
}
const item = await putItems(exchange);
await swarm[Symbol.asyncDispose]();
const host = node.address.slice(0, node.address.lastIndexOf(":")).replace(/^\[|\]$/g, "");
// Three quarters of the connections may listen to events.
const config = loadConfig({ env: { API_MAX_CONNECTIONS: "1500", API_PORT: "0" } });
const api = options.includes("api")
  ? (await new ApiThread().serve({ service: node, config })).port
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
