// How soon after the start of its process a node behind each kind of NAT can be reached by a node behind another NAT, in
// a network with one public node. Needs root (tests/natlab/run.sh). Run: deno run -A bench/reachable.ts [RUNS]

import { type Kind, Lab } from "../tests/natlab/lab.ts";

/** All kinds in which others can reach the node. */
const KINDS: readonly Kind[] = [
  "full-cone",
  "restricted",
  "port-restricted",
  "linux",
  "double",
  "short-timeout",
  "firewall",
  "symmetric",
];

const GIVE_UP_MS = 60_000;

const runs = Number(Deno.args[0] ?? 3);
const all: number[] = [];
for (const kind of KINDS) {
  const times: number[] = [];
  for (let i = 0; i < runs; i++) {
    await using lab = await Lab.open();
    const { bootstrap } = await lab.publicNodes(1);
    const { hosts: [near] } = await lab.site("port-restricted");
    const asker = await near.start(bootstrap);
    await asker.until("unreachable", ({ nat }) => nat.reachable === false);
    const { hosts: [host] } = await lab.site(kind);
    const begun = performance.now();
    const node = await host.start(bootstrap);
    for (;;) {
      const { node_id } = await node.stats();
      const { status } = await asker.request(`/network/ping/${node_id}`);
      const ms = performance.now() - begun;
      if (status === 200 || ms > GIVE_UP_MS) {
        times.push(ms);
        break;
      }
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }
  all.push(...times);
  console.log(`${kind}: ${times.map((ms) => (ms / 1000).toFixed(1)).join(", ")} s`);
}
all.sort((x, y) => x - y);
console.log(`95 % within ${(all[Math.ceil(0.95 * all.length) - 1] / 1000).toFixed(1)} s`);
