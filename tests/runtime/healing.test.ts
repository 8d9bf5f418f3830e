// How a node finds its network on real sockets: through dead bootstrap nodes, names, itself, outages and restarts.

import assert from "node:assert/strict";
import { configure, type LogRecord } from "logtape";
import { loadConfig } from "../../src/config.ts";
import { LocalNode, type LocalNodeOptions } from "../../src/runtime/local_node.ts";
import { inTemporaryDirectory } from "../storage/temporary.ts";

interface Start extends Partial<LocalNodeOptions> {
  readonly bootstrap?: string;
  readonly port?: number;
  readonly dataDir?: string;
}

const records: LogRecord[] = [];
await configure({
  sinks: { memory: (record) => void records.push(record) },
  loggers: [
    { category: "dmnode", lowestLevel: "info", sinks: ["memory"] },
    { category: ["logtape", "meta"], lowestLevel: "error", sinks: ["memory"] },
  ],
});
const lines = (part: string) =>
  records.map(({ message }) => message.join("")).filter((line) => line.includes(part));

/** Runs a test with nodes that are closed at its end, and a log of its own. */
function withNodes(body: (start: (how?: Start) => Promise<LocalNode>) => Promise<void>) {
  return async () => {
    records.length = 0;
    const nodes: LocalNode[] = [];
    try {
      await body(async ({ bootstrap = "", port = 0, dataDir, ...options } = {}) => {
        const flags = { p2pPort: `${port}`, bootstrap, healthCheckInterval: "1", dataDir };
        const config = loadConfig({ flags, env: {} });
        const node = await LocalNode.start(config, {
          persistent: dataDir !== undefined,
          ...options,
        });
        nodes.push(node);
        return node;
      });
    } finally {
      await Promise.all(nodes.map((node) => node.close()));
    }
  };
}

/** Resolves to how long it took. */
async function until(holds: () => boolean, withinMs = 20_000): Promise<number> {
  const begun = performance.now();
  while (!holds()) {
    assert.ok(performance.now() - begun < withinMs, `in vain: ${holds}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return performance.now() - begun;
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** A UDP port that is free now. */
function freePort(): number {
  const socket = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  const { port } = socket.addr as Deno.NetAddr;
  socket.close();
  return port;
}

Deno.test(
  "a dead first bootstrap node does not keep it from the second",
  withNodes(async (start) => {
    const live = await start();
    const node = await start({ bootstrap: `127.0.0.1:${freePort()},127.0.0.1:${live.port}` });
    assert.ok(await until(() => node.readiness().ready) < 5_000);
    assert.deepEqual(lines("No bootstrap node answered"), []);
  }),
);

Deno.test(
  "of a name's addresses those that are dead, or of a family that it lacks, do no harm",
  withNodes(async (start) => {
    const live = await start();
    const asked: string[] = [];
    const resolve = (name: string) => {
      asked.push(name);
      return Promise.resolve(["127.0.0.77", "::1", "127.0.0.1", "not an address", "127.0.0.78"]);
    };
    const node = await start({ bootstrap: `seed.test:${live.port}`, resolve });
    assert.ok(await until(() => node.readiness().ready) < 5_000);
    assert.deepEqual(asked, ["seed.test"]);
  }),
);

Deno.test(
  "a bootstrap node that is itself is left out, with one line, by address and by name",
  withNodes(async (start) => {
    const port = freePort();
    let lookups = 0;
    const resolve = () => {
      lookups++;
      return Promise.resolve(["127.0.0.1"]);
    };
    const bootstrap = `127.0.0.1:${port},me.test:${port}`;
    const alone = await start({ port, bootstrap, resolve, resolveAloneMs: 50 });
    await until(() => lookups > 3);
    assert.deepEqual(lines("itself"), [
      `Bootstrap node 127.0.0.1:${port} is this node itself: it is left out`,
    ]);
    assert.match(alone.readiness().reason, /first node of its network/);
    assert.ok(alone.readiness().ready);
    assert.deepEqual(lines("No bootstrap node answered"), []);

    const other = freePort();
    const second = await start({
      port: other,
      bootstrap: `127.0.0.1:${other},127.0.0.1:${port}`,
    });
    await until(() => second.readiness().ready && alone.peers().length === 1);
    assert.equal(lines("itself").length, 2);
    assert.equal(second.peers()[0].nodeId, alone.nodeId);
  }),
);

Deno.test(
  "who answers at its own port elsewhere is not taken for itself",
  withNodes(async (start) => {
    const port = freePort();
    // Bound to another loopback address, so that both can have the port.
    const stranger = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.2", port });
    const node = await start({ port, bootstrap: `127.0.0.2:${port}` });
    await until(() => lines("No bootstrap node answered").length > 0);
    assert.equal(node.readiness().ready, false);
    assert.deepEqual(lines("itself"), []);
    stranger.close();
  }),
);

Deno.test(
  "bootstrap nodes that come up later are found, and the log is not flooded meanwhile",
  withNodes(async (start) => {
    const port = freePort();
    const node = await start({ bootstrap: `127.0.0.1:${port}` });
    await pause(8_000);
    assert.equal(node.readiness().ready, false);
    assert.match(node.readiness().reason, /no peer answers; bootstrap nodes: 127\.0\.0\.1:\d+/);
    assert.equal(lines("No bootstrap node answered").length, 1);
    await start({ port });
    const took = await until(() => node.readiness().ready, 30_000);
    assert.ok(took < 20_000, `${took} ms`);
    assert.equal(lines("Joined the network").length, 1);
  }),
);

Deno.test(
  "names are looked up again while it is alone: one that had no address, and one that moved",
  withNodes(async (start) => {
    const live = await start();
    let addresses: string[] = [];
    const resolve = () => Promise.resolve(addresses);
    const node = await start({
      bootstrap: `seed.test:${live.port}`,
      resolve,
      resolveAloneMs: 100,
    });
    await until(() => lines("has no address").length === 1);
    assert.match(node.readiness().reason, /without an address: seed\.test/);
    await pause(500);
    assert.equal(lines("has no address").length, 1, "told once, not at each attempt");
    addresses = ["127.0.0.77"];
    await until(() => lines("No bootstrap node answered").length === 1);
    addresses = ["127.0.0.1"];
    assert.ok(await until(() => node.readiness().ready) < 5_000);
  }),
);

Deno.test(
  "with its saved table it comes back without any bootstrap node",
  withNodes((start) =>
    inTemporaryDirectory(async (path) => {
      const others = [await start()];
      const bootstrap = `127.0.0.1:${others[0].port}`;
      for (let i = 0; i < 3; i++) others.push(await start({ bootstrap }));
      const node = await start({ bootstrap, dataDir: path("data") });
      await until(() => node.peers().length === 4);
      await node.close();
      // Not even the one that it came through.
      await others[0].close();
      const again = await start({ dataDir: path("data") });
      assert.ok(await until(() => again.readiness().ready) < 10_000);
      assert.ok(again.peers().length >= 3);
      await again.close();
    })
  ),
);

Deno.test(
  "when all others are gone and come back, it finds them by itself",
  withNodes(async (start) => {
    const port = freePort();
    const first = await start({ port });
    const node = await start({ bootstrap: `127.0.0.1:${port}` });
    await until(() => node.readiness().ready);
    await first.close();
    await until(() => !node.readiness().ready, 60_000);
    assert.match(node.readiness().reason, /no peer has answered for \d+ s/);
    const back = await start({ port });
    const took = await until(() => node.readiness().ready, 30_000);
    assert.ok(took < 30_000);
    await until(() => back.peers().length === 1);
  }),
);
