// /readyz of one node of five: not ready once no peer answers, and ready again soon after they do.

import assert from "node:assert/strict";
import { type NodeProcess, withNodes } from "./program.ts";

interface Ready {
  readonly status: number;
  readonly reason: string;
}

async function ready({ api }: NodeProcess): Promise<Ready> {
  const response = await fetch(`${api}/readyz`);
  return { status: response.status, reason: (await response.json()).reason };
}

/** Waits until /readyz has this status; returns the seconds that this took. */
async function until(node: NodeProcess, status: number, withinS: number): Promise<Ready> {
  const begun = Date.now();
  for (;;) {
    const state = await ready(node);
    if (state.status === status) return state;
    assert.ok(Date.now() - begun < withinS * 1000, `${withinS} s in vain: ${state.reason}`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

// Pauses the peers: to the node this looks like a firewall that drops all packets, but needs no root.
Deno.test({
  name: "without answers /readyz turns 503 within a minute, and 200 within 30 s of their return",
  ignore: Deno.build.os === "windows",
  fn: withNodes(async (start) => {
    const others = [await start("0")];
    for (const name of ["1", "2", "3"]) {
      others.push(await start(name, ["--bootstrap", others[0].udp]));
    }
    const node = await start("4", ["--bootstrap", others[0].udp]);
    await until(node, 200, 20);
    const stats = async () => (await fetch(`${node.api}/network/stats`)).json();
    assert.equal((await stats()).readiness.ready, true);

    for (const other of others) other.signal("SIGSTOP");
    try {
      const { reason } = await until(node, 503, 60);
      assert.match(
        reason,
        /no peer has answered for \d+ s; the last answer came from [0-9a-f]{40}/,
      );
      const { readiness } = await stats();
      assert.deepEqual([readiness.ready, readiness.answers < readiness.queries], [false, true]);
    } finally {
      for (const other of others) other.signal("SIGCONT");
    }
    await until(node, 200, 30);
    await node.line((line) => line.message.startsWith("Ready again"));
    const lost = node.lines.filter(({ message }) => message.startsWith("Not ready any more"));
    assert.equal(lost.length, 1);
    assert.equal(
      (await ready(others[0])).status,
      200,
      "a node that was paused itself has missed nothing",
    );
  }),
});

Deno.test(
  "the log says Ready as soon as a peer answers, and not before",
  withNodes(async (start) => {
    const first = await start("first");
    const port = first.udp.split(":").at(-1)!;
    await first.stop();
    const node = await start("node", ["--bootstrap", `127.0.0.1:${port}`]);
    const isReady = ({ message }: { message: string }) => message.startsWith("Ready: ");
    await node.line(({ message }) => message.startsWith("No bootstrap node answered"));
    assert.equal((await ready(node)).status, 503);
    assert.equal(node.lines.filter(isReady).length, 0);
    await start("first", ["--p2p-port", port]);
    const line = await node.line(isReady);
    assert.deepEqual([line.udp, line.api], [node.udp, node.api]);
    await until(node, 200, 20);
  }),
);
