// What the benchmark's networks have in common: JSON requests on stdin, replies on stdout. Runs under Node and Deno.

import process from "node:process";
import { createInterface } from "node:readline";

const COLLECTIONS = 4, COLLECTION_PAUSE_MS = 100;

/** Answers each request `{id, do, ...}` with what the network's method of that name returns. */
export function serve(network) {
  const methods = {
    /** Bytes that the process holds. Only a collection as before running out of memory moves objects together. */
    async memory() {
      for (let i = 0; i < COLLECTIONS; i++) {
        globalThis.gc({ type: "major", flavor: "last-resort" });
        await new Promise((resolve) => setTimeout(resolve, COLLECTION_PAUSE_MS));
      }
      return process.memoryUsage().rss;
    },
  };
  createInterface({ input: process.stdin }).on("line", async (line) => {
    const { id, do: name, ...request } = JSON.parse(line);
    let reply;
    try {
      reply = {
        result: await (methods[name] ?? network[name].bind(network))(request),
      };
    } catch (error) {
      reply = { error: String(error?.stack ?? error) };
    }
    process.stdout.write(`${JSON.stringify({ id, ...reply })}\n`);
  }).on("close", () => process.exit(0));
}

/** The place of the node that is nearest to `target` by XOR, among those that `isAlive` takes. */
export function nearest(ids, target, isAlive) {
  let best = -1;
  ids.forEach((id, i) => {
    if (isAlive(i) && (best < 0 || isNearer(id, ids[best], target))) best = i;
  });
  return best;
}

function isNearer(x, y, target) {
  for (let i = 0; i < target.length; i++) {
    const order = (x[i] ^ target[i]) - (y[i] ^ target[i]);
    if (order !== 0) return order < 0;
  }
  return false;
}
