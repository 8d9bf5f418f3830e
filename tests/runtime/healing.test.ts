// How a node finds its network on real sockets: dead bootstrap nodes, names, its own address, outages and restarts.

import assert from "node:assert/strict";
import { configure, type LogRecord } from "logtape";
import { until, withNodes } from "./nodes.ts";

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

/** Runs a test with a log of its own, and with nodes that check their peers every second. */
const withLog = (body: Parameters<typeof withNodes>[0]) => () => {
  records.length = 0;
  return withNodes((start, path) =>
    body((options) => start({ healthCheckInterval: 1, ...options }), path)
  )();
};

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** A UDP port that is free now. */
function freePort(): number {
  const socket = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  const { port } = socket.addr as Deno.NetAddr;
  socket.close();
  return port;
}

Deno.test(
  "a node joins through the second bootstrap node if the first one is dead",
  withLog(async (start) => {
    const live = await start();
    const node = await start({ bootstrap: `127.0.0.1:${freePort()},127.0.0.1:${live.port}` });
    assert.ok(await until(async () => (await node.readiness()).ready) < 5_000);
    assert.deepEqual(lines("No bootstrap node answered"), []);
  }),
);

Deno.test(
  "a node joins through a name despite dead addresses, and addresses of a family that it lacks",
  withLog(async (start) => {
    const live = await start();
    const asked: string[] = [];
    const resolve = (name: string) => {
      asked.push(name);
      return Promise.resolve(["127.0.0.77", "::1", "127.0.0.1", "not an address", "127.0.0.78"]);
    };
    const node = await start({ bootstrap: `seed.test:${live.port}`, resolve });
    assert.ok(await until(async () => (await node.readiness()).ready) < 5_000);
    assert.deepEqual(asked, ["seed.test"]);
  }),
);

Deno.test(
  "a node leaves itself out of the bootstrap nodes, by address and by name, and logs it once",
  withLog(async (start) => {
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
      `Bootstrap node 127.0.0.1:${port} is this node itself: the node skips it`,
    ]);
    assert.match((await alone.readiness()).reason, /first node of its network/);
    assert.ok((await alone.readiness()).ready);
    assert.deepEqual(lines("No bootstrap node answered"), []);

    const other = freePort();
    const second = await start({
      port: other,
      bootstrap: `127.0.0.1:${other},127.0.0.1:${port}`,
    });
    await until(async () =>
      (await second.readiness()).ready && (await alone.peers()).routing_table_size === 1
    );
    assert.equal(lines("itself").length, 2);
    assert.equal((await second.peers()).peers[0].node_id, alone.nodeId);
  }),
);

Deno.test(
  "a node at another address with the same port is not mistaken for the node itself",
  withLog(async (start) => {
    const port = freePort();
    // It is bound to another loopback address, so that both nodes can use the port.
    const stranger = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.2", port });
    const node = await start({ port, bootstrap: `127.0.0.2:${port}` });
    await until(() => lines("No bootstrap node answered").length > 0);
    assert.equal((await node.readiness()).ready, false);
    assert.deepEqual(lines("itself"), []);
    stranger.close();
  }),
);

Deno.test(
  "a node finds bootstrap nodes that start later, and does not flood the log meanwhile",
  withLog(async (start) => {
    const port = freePort();
    const node = await start({ bootstrap: `127.0.0.1:${port}` });
    await pause(8_000);
    assert.equal((await node.readiness()).ready, false);
    assert.match(
      (await node.readiness()).reason,
      /no peer answers; bootstrap nodes: 127\.0\.0\.1:\d+/,
    );
    assert.equal(lines("No bootstrap node answered").length, 1);
    await start({ port });
    const took = await until(async () => (await node.readiness()).ready, 30_000);
    assert.ok(took < 20_000, `${took} ms`);
    assert.equal(lines("Joined the network").length, 1);
  }),
);

Deno.test(
  "a node without contacts looks names up again, and finds new and changed addresses",
  withLog(async (start) => {
    const live = await start();
    let addresses: string[] = [];
    const resolve = () => Promise.resolve(addresses);
    const node = await start({
      bootstrap: `seed.test:${live.port}`,
      resolve,
      resolveAloneMs: 100,
    });
    await until(() => lines("DNS gives no address").length === 1);
    assert.match(
      (await node.readiness()).reason,
      /that can't be reached: seed\.test:\d+ \(DNS gives/,
    );
    await pause(500);
    assert.equal(lines("DNS gives no address").length, 1, "logged once, not at each attempt");
    addresses = ["127.0.0.77"];
    await until(() => lines("No bootstrap node answered").length === 1);
    addresses = ["127.0.0.1"];
    assert.ok(await until(async () => (await node.readiness()).ready) < 5_000);
  }),
);

Deno.test(
  "a node with saved contacts joins again without any bootstrap node",
  withLog(async (start, path) => {
    const others = [await start()];
    const bootstrap = `127.0.0.1:${others[0].port}`;
    for (let i = 0; i < 3; i++) others.push(await start({ bootstrap }));
    const node = await start({ bootstrap, dataDir: path("data") });
    await until(async () => (await node.peers()).routing_table_size === 4);
    await node.close();
    // The node that it joined through is gone too.
    await others[0].close();
    const again = await start({ dataDir: path("data") });
    assert.ok(await until(async () => (await again.readiness()).ready) < 10_000);
    assert.ok((await again.peers()).routing_table_size >= 3);
    await again.close();
  }),
);

Deno.test(
  "a node finds the others again after all of them were gone",
  withLog(async (start) => {
    const port = freePort();
    const first = await start({ port });
    const node = await start({ bootstrap: `127.0.0.1:${port}` });
    await until(async () => (await node.readiness()).ready);
    await first.close();
    await until(async () => !(await node.readiness()).ready, 60_000);
    assert.match((await node.readiness()).reason, /no peer has answered for \d+ s/);
    const back = await start({ port });
    const took = await until(async () => (await node.readiness()).ready, 30_000);
    assert.ok(took < 30_000);
    await until(async () => (await back.peers()).routing_table_size === 1);
  }),
);
