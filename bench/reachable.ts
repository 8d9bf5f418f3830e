// How soon after the start of its process a node behind each kind of NAT can be reached, in a network with one public node:
// by the public node, at which it registers, and by a node behind another NAT. Needs root (tests/natlab/run.sh). DMNODE is
// the path of the executable; without it, the node runs from source. Run: deno run -A bench/reachable.ts [RUNS]

import { type Kind, Lab, type Node } from "../tests/natlab/lab.ts";

/** All kinds in which others can reach the node. */
const KINDS: readonly Kind[] = [
  "full-cone",
  "restricted",
  "port-restricted",
  "linux",
  "linux-random",
  "double",
  "short-timeout",
  "firewall",
  "symmetric",
];

const ASKERS = ["the public node", "a node behind a NAT"] as const;

const GIVE_UP_MS = 60_000;

/** The wait after an attempt that failed. */
const POLL_MS = 100;

/** Starts a node behind this kind of NAT. Returns the time until its API answers, and until the asker reaches the node. */
async function measure(
  kind: Kind,
  by: typeof ASKERS[number],
): Promise<[started: number, reached: number]> {
  await using lab = await Lab.open();
  const { nodes: [first], bootstrap } = await lab.publicNodes(1);
  const asker = by === "the public node" ? first : await hiddenAsker(lab, bootstrap);
  const { hosts: [host] } = await lab.site(kind);
  const begun = performance.now();
  const node = await host.start(bootstrap);
  const started = performance.now() - begun;
  for (;;) {
    const { node_id } = await node.stats();
    const { status } = await asker.request(`/network/ping/${node_id}`);
    const ms = performance.now() - begun;
    if (status === 200 || ms > GIVE_UP_MS) return [started, ms];
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

async function hiddenAsker(lab: Lab, bootstrap: readonly string[]): Promise<Node> {
  const { hosts: [host] } = await lab.site("port-restricted");
  const node = await host.start(bootstrap);
  await node.until("registered", ({ nat }) => nat.introducers > 0);
  return node;
}

function seconds(times: readonly number[]): string {
  return times.map((ms) => (ms / 1000).toFixed(1)).join(" ");
}

const runs = Number(Deno.args[0] ?? 3);
const all: number[] = [];
console.log("seconds until the API answers, and until the node is reached");
for (const by of ASKERS) {
  for (const kind of KINDS) {
    const started: number[] = [], reached: number[] = [];
    for (let i = 0; i < runs; i++) {
      const [start, reach] = await measure(kind, by);
      started.push(start);
      reached.push(reach);
    }
    all.push(...reached);
    console.log(`${kind}, by ${by}: ${seconds(started)}, ${seconds(reached)}`);
  }
}
all.sort((x, y) => x - y);
console.log(`95 % within ${seconds([all[Math.ceil(0.95 * all.length) - 1]])} s`);
