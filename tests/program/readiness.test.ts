// Readiness as /readyz tells it, of a process among five: lost when nobody answers any more, and soon regained.

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

/** Seconds until /readyz has this status. */
async function until(node: NodeProcess, status: number, withinS: number): Promise<Ready> {
  const begun = Date.now();
  for (;;) {
    const state = await ready(node);
    if (state.status === status) return state;
    assert.ok(Date.now() - begun < withinS * 1000, `${withinS} s in vain: ${state.reason}`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

// To a node it is all the same whether a firewall drops the packets or nobody is there to answer; that takes no root.
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
    assert.equal((await ready(others[0])).status, 200, "who slept itself has missed nothing");
  }),
});
