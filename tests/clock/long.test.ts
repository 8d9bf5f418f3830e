// Networks of real nodes live for 26 hours, which pass in minutes because all clocks run faster (libfaketime).

import assert from "node:assert/strict";
import { type NodeProcess, withNodes } from "../program/program.ts";
import { accelerated, isMissing } from "./faketime.ts";

const HOUR_S = 3_600;

/** How long the values must stay readable: two hours longer than a holder keeps a value that nobody publishes. */
const HOURS = 26;

/** After this time, the value of an owner that left is still readable. The rest of its day allows for the start. */
const KEPT_HOURS = 22;

/**
 * After this time of the slowest clock, it is gone everywhere. On a quiet machine, that happens after 24 hours. A busy
 * machine pauses the processes in turn. Each time, the copy of the paused node stays younger, and the others take over
 * its age.
 */
const GONE_BY_HOURS = 60;

/**
 * The networks, how many times faster than real time they live, and the interval of their health checks in seconds. Ten
 * nodes send so many health checks that two cores could not run them as fast.
 */
const NETWORKS = [
  { nodes: 1, factor: 600, healthCheckS: 60 },
  { nodes: 3, factor: 400, healthCheckS: 60 },
  { nodes: 10, factor: 250, healthCheckS: 600 },
];

/** A busy machine may answer a single request too late: a second is ten minutes here. */
const TRIES = 5;

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

async function tried<T>(run: () => Promise<T>, isRight: (result: T) => boolean): Promise<T> {
  for (let i = 1;; i++) {
    try {
      const result = await run();
      if (isRight(result) || i === TRIES) return result;
    } catch (error) {
      if (i === TRIES) throw error;
    }
    await pause(300);
  }
}

async function store({ api }: NodeProcess, value: string, key?: string): Promise<string> {
  const query = key === undefined ? "" : `?key=${key}`;
  const headers = { "content-type": "text/plain" };
  const request = { method: "POST", body: value, headers };
  const { status, body } = await tried(async () => {
    const response = await fetch(`${api}/network/store${query}`, request);
    return { status: response.status, body: await response.json() };
  }, ({ status }) => status === 201);
  assert.equal(status, 201, JSON.stringify(body));
  return body.hash;
}

async function value({ api }: NodeProcess, hash: string): Promise<string | undefined> {
  const response = await fetch(`${api}/data/${hash}`);
  const text = await response.text();
  return response.status === 200 ? text : undefined;
}

async function uptime({ api }: NodeProcess): Promise<number> {
  const stats = () => fetch(`${api}/network/stats`).then((response) => response.json());
  return (await tried(stats, () => true)).uptime_s;
}

/** How long each node has run by its own clock, in hours. */
async function ages(nodes: readonly NodeProcess[]): Promise<number[]> {
  return (await Promise.all(nodes.map(uptime))).map((seconds) => seconds / HOUR_S);
}

for (const { nodes: count, factor, healthCheckS } of NETWORKS) {
  Deno.test({
    name:
      `nodes: ${count}, for ${HOURS} hours: values whose owners stay are kept, others end after a day`,
    ignore: isMissing,
    fn: withNodes(async (start) => {
      const env = { ...accelerated(factor), HEALTH_CHECK_INTERVAL: `${healthCheckS}` };
      const nodes: NodeProcess[] = [];
      for (let i = 0; i < count; i++) {
        const bootstrap = i === 0 ? [] : ["--bootstrap", nodes[0].udp];
        nodes.push(await start(`${i}`, bootstrap, { env }));
      }
      const owner = await start("owner", ["--bootstrap", nodes[0].udp], { env });
      const stored: { readonly hash: string; readonly text: string }[] = [];
      for (const [i, node] of nodes.entries()) {
        const texts = [`value of node ${i}`, `${i} `.repeat(10_000)];
        for (const text of texts) stored.push({ hash: await store(node, text), text });
        const text = `keyed value of node ${i}`;
        stored.push({ hash: await store(node, text, "key"), text });
      }
      const orphan = { hash: await store(owner, "orphan"), text: "orphan" };
      await owner.stop();

      const assertRead = async ({ hash, text }: typeof orphan) => {
        for (const [i, node] of nodes.entries()) {
          const found = await tried(() => value(node, hash), (found) => found === text);
          assert.ok(found === text, `node ${i} reads ${text.slice(0, 30)}`);
        }
      };
      while (Math.max(...await ages(nodes)) < KEPT_HOURS) await pause(1_000);
      await assertRead(orphan);
      while (Math.min(...await ages(nodes)) < HOURS) await pause(1_000);
      for (const one of stored) await assertRead(one);
      for (const [i, node] of nodes.entries()) {
        while (await value(node, orphan.hash) !== undefined) {
          const hours = Math.min(...await ages(nodes));
          assert.ok(hours < GONE_BY_HOURS, `node ${i} reads an orphan after ${hours} h`);
          await pause(500);
        }
      }
    }),
  });
}
