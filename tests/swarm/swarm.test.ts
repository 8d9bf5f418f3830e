// Runs `dmnode swarm` as its users do: nodes in several threads join, store and find everything, and stop on a signal.

import assert from "node:assert/strict";
import { healthCheckInterval } from "../../src/cli/swarm.ts";
import { command, run } from "../program/program.ts";

const NODES = 60, STORES = 40, COPIES = 40;

const SMALL = ["swarm", "--nodes", `${NODES}`, "--threads", "2", "--api-port", "0"];

Deno.test("a swarm of 60 nodes in two threads joins, stores and finds all values, and reports as JSON", async () => {
  // Most nodes hold a copy of each value.
  const args = [...SMALL, "--k", `${COPIES}`, "--stores", `${STORES}`, "--rest", "1", "--json"];
  const { code, stdout, stderr } = await run(args);
  assert.equal(stderr, "");
  assert.equal(code, 0);
  const report = JSON.parse(stdout);
  assert.deepEqual(Object.keys(report), [
    "nodes",
    "threads",
    "health_check_interval_s",
    "join",
    "store",
    "fetch",
    "rest",
    "memory",
    "dropped",
    "api",
  ]);
  assert.equal(report.nodes, NODES);
  assert.equal(report.threads, 2);
  assert.equal(report.health_check_interval_s, 60);
  assert.ok(report.join.contacts_per_node > 20);
  assert.equal(report.store.count, STORES);
  assert.equal(report.store.stored, STORES);
  assert.equal(report.store.replicas, COPIES);
  assert.equal(report.fetch.found, STORES);
  assert.equal(report.fetch.local, 0, "fetches go to nodes without a copy");
  assert.ok(report.fetch.queries.p50 >= 1);
  for (const { latency_ms } of [report.store, report.fetch]) {
    const { mean, p50, p95, p99, max } = latency_ms;
    assert.ok(p50 <= p95 && p95 <= p99 && p99 <= max && mean <= max);
  }
  assert.ok(report.rest.packets_per_second_per_node >= 0);
  assert.ok(report.memory.bytes_per_node > 0);
});

Deno.test("a swarm stays up with an API until a signal, and then exits with 0", async () => {
  const args = [...SMALL, "--stores", "2", "--rest", "0"];
  const child = command(args, {}, "null").spawn();
  const stderr = new Response(child.stderr).text();
  let stdout = "", peers = 0;
  for await (const chunk of child.stdout.pipeThrough(new TextDecoderStream())) {
    stdout += chunk;
    const api = stdout.match(/stays up: dmnode stats --api (\S+);/)?.[1];
    if (api === undefined || peers > 0) continue;
    peers = (await (await fetch(`${api}/network/peers`)).json()).routing_table_size;
    child.kill("SIGINT");
  }
  assert.equal((await child.status).code, 0);
  assert.equal(await stderr, "");
  assert.ok(peers > 0);
});

Deno.test("a swarm that gets a signal while it joins exits with 0", async () => {
  const child = command(["swarm", "--nodes", "5000", "--api-port", "0"], {}, "null").spawn();
  const stderr = new Response(child.stderr).text();
  let stdout = "";
  for await (const chunk of child.stdout.pipeThrough(new TextDecoderStream())) {
    stdout += chunk;
    if (stdout === chunk) child.kill("SIGINT");
  }
  assert.equal((await child.status).code, 0);
  assert.equal(await stderr, "");
  assert.doesNotMatch(stdout, /Joined/);
});

Deno.test("a swarm reports wrong options in one line", async () => {
  for (const wrong of [["--nodes", "2"], ["--nodes", "many"], ["--nodes", "9", "--threads", "0"]]) {
    const { code, stdout, stderr } = await run(["swarm", "--api-port", "0", ...wrong]);
    assert.equal(code, 2);
    assert.equal(stdout, "");
    assert.match(stderr, /^dmnode: option '--(nodes|threads) <n>' .* whole number from .*\n$/);
  }
});

Deno.test("the health check interval grows with the nodes of a thread", () => {
  assert.equal(healthCheckInterval(60, 5), 60);
  assert.equal(healthCheckInterval(60, 1_250), 60);
  assert.equal(healthCheckInterval(60, 4_999.5), 240);
});
