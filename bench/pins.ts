// Measures a pin of 16 MiB in a network of ten nodes of this process: its time, traffic and room on disk. Usage:
// deno run --allow-all bench/pins.ts

import { loadConfig } from "../src/config.ts";
import { LocalNode } from "../src/runtime/local_node.ts";

const NODES = 10, SIZE = 16 << 20;

const start = (bootstrap: string, dataDir?: string) => {
  const flags = { p2pPort: "0", bootstrap, ...(dataDir === undefined ? {} : { dataDir }) };
  const config = loadConfig({ flags, env: {} });
  return LocalNode.start(config, { persistent: dataDir !== undefined });
};

async function ready(node: LocalNode): Promise<void> {
  while (!(await node.readiness()).ready) await new Promise((resolve) => setTimeout(resolve, 20));
}

const nodes = [await start("")];
const first = `127.0.0.1:${nodes[0].port}`;
for (let i = 1; i < NODES; i++) {
  nodes.push(await start(first));
  await ready(nodes[i]);
}
const value = Uint8Array.from({ length: SIZE }, () => Math.random() * 256);
const stored = await nodes[1].store(value, null);
if (stored.outcome !== "stored") throw new Error(stored.outcome);

const directory = await Deno.makeTempDir();
const pinner = await start(first, directory);
await ready(pinner);
const before = (await pinner.stats()).traffic, begun = performance.now();
const { outcome } = await pinner.pin({ hash: stored.report.hash, key: null });
const elapsedS = (performance.now() - begun) / 1000;
const { traffic } = await pinner.stats();
await pinner.close();
let disk = 0;
for (const { name } of Deno.readDirSync(directory)) {
  disk += Deno.statSync(`${directory}/${name}`).size;
}
const times = (bytes: number) => `${(bytes / SIZE).toFixed(2)} times the value`;
console.log(`${outcome} in ${elapsedS.toFixed(1)} s`);
console.log(`received ${times(traffic.in.bytes - before.in.bytes)}`);
console.log(`sent ${times(traffic.out.bytes - before.out.bytes)}`);
console.log(`on disk ${times(disk)}`);
await Promise.all(nodes.map((node) => node.close()));
await Deno.remove(directory, { recursive: true });
