// A hyperdht node for the load benchmark, its table filled by a network of others in a process of their own: runs until
// it is killed. Prints {"port": N} when it has joined. Run with Node.

import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import process from "node:process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
// @ts-ignore: installed for Node, by npm in that folder
import DHT from "../peers/node_modules/hyperdht/index.js";

const HOST = "127.0.0.1";

/** Enough for several full buckets. */
const OTHERS = 200;

/** Each fills the bucket that it falls into. */
const LOOKUPS = 20;

const script = fileURLToPath(new URL("../peers/hyperdht.mjs", import.meta.url));
const others = spawn(process.execPath, ["--expose-gc", script], {
  stdio: ["pipe", "pipe", "inherit"],
});
const replies = createInterface({ input: others.stdout })[Symbol.asyncIterator]();

/** Asks the network of the others, one request at a time. */
async function ask(request) {
  others.stdin.write(`${JSON.stringify({ id: 1, ...request })}\n`);
  const { result, error } = JSON.parse((await replies.next()).value);
  if (error !== undefined) throw new Error(error);
  return result;
}

await ask({ do: "start", count: OTHERS });
const bootstrap = [{ host: HOST, port: await ask({ do: "port" }) }];
const dht = new DHT({ ephemeral: false, firewalled: false, bootstrap, port: 0, host: HOST });
await dht.fullyBootstrapped();
for (let i = 0; i < LOOKUPS; i++) await dht.findNode(randomBytes(32)).finished();
console.log(JSON.stringify({ port: dht.address().port }));
