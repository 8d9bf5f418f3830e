// The node under load: a dmnode without API and disk. A swarm fills its table, and another node puts its items.
//
// deno run --allow-net --allow-read --allow-ffi node_server.ts HOST [api] [batches] [KEY]
// HOST is 127.0.0.1, or 0.0.0.0 for all addresses. With `api` it serves the API too, with `batches` it receives and sends
// datagrams in batches, as the executables do on Linux, and with KEY it has this network key. When it is ready, it prints
// one line
// {"port": N, "host": ADDRESS, "item": HEX40, "api": N}: the address it is bound to, which may be ::, and an item that it
// holds. SIGTERM ends it properly, so that `--cpu-prof` writes its profile.

import { ApiThread } from "../src/api/thread/thread.ts";
import { loadConfig } from "../src/config.ts";
import { NetworkKey } from "../src/config/network_key.ts";
import { Endpoint } from "../src/krpc/endpoint.ts";
import { LocalNode } from "../src/runtime/local_node.ts";
import { openLibrary } from "../src/runtime/net/message_batch.ts";
import { PacketSeal, TICK_MS } from "../src/runtime/net/packet_seal.ts";
import { UdpSocket } from "../src/runtime/net/udp.ts";
import { FULL_BUCKETS, HEALTH_CHECK_MS, K, putItems } from "./full_node.ts";
import { Swarm } from "./swarm.ts";

const SWARM_PORT = 6881;

/** How many times each bucket is looked up before the benchmark fails. */
const MAX_TRIES = 5;

const [p2pHost, ...options] = Deno.args;
openLibrary();
const networkKeys = options.filter((text) => text.startsWith("dmkey"))
  .map((text) => NetworkKey.parse(text) as NetworkKey);
async function newSeal(): Promise<PacketSeal | undefined> {
  if (networkKeys.length === 0) return undefined;
  const seal = await PacketSeal.create(networkKeys, { drop: () => {} });
  setInterval(() => seal.tick(), TICK_MS);
  return seal;
}
// A seal may resend a message through any socket that has it, so `exchange` shares none with the swarm.
const seal = await newSeal(), exchangeSeal = await newSeal();
// With and without a key, servers can run at the same time.
const swarm = new Swarm(seal === undefined ? SWARM_PORT : SWARM_PORT + 100, seal);
const node = await LocalNode.start({
  ...loadConfig({ flags: {}, env: {} }),
  p2pHost,
  p2pPort: 0,
  networkKeys,
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
// A lookup in a bucket's range queries the nodes of that bucket, which adds them to the table. All members share one seal,
// which makes only some hundred offers a second to one address. So a fast node needs several lookups for each bucket.
let length = 0;
for (let tries = 0; tries < MAX_TRIES && length < swarm.ids.length; tries++) {
  for (let bucket = 0; bucket < FULL_BUCKETS; bucket++) {
    await node.find(swarm.ids[bucket * K].toString());
  }
  length = (await node.peers()).routing_table_size;
  if (length < swarm.ids.length) await new Promise((resolve) => setTimeout(resolve, TICK_MS));
}
if (length !== swarm.ids.length) {
  throw new Error(`${length} of ${swarm.ids.length} contacts were admitted`);
}
// With a key, a node makes a limited number of offers a second to new addresses. So all exchanges use one socket.
let onReply = (_reply: Uint8Array) => {};
const exchanger = UdpSocket.bind({
  host: "127.0.0.1",
  port: 0,
  seal: exchangeSeal,
  receive: (reply) => onReply(reply),
  onOverflow: () => {},
});
exchanger.start();
const item = await putItems(exchange);
await exchanger.close();
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
function exchange(query: Uint8Array): Promise<Uint8Array> {
  const { promise, resolve } = Promise.withResolvers<Uint8Array>();
  onReply = (reply) => resolve(reply.slice());
  const send = () => exchanger.send(query, Endpoint.parse("127.0.0.1", node.port)!);
  // The node drops a first packet without a proof if it has just made too many offers.
  const resend = setInterval(send, 500);
  send();
  return promise.finally(() => clearInterval(resend));
}
