// Tests beacons on loopback, where several nodes of one machine hear each other.

import assert from "node:assert/strict";
import { NetworkKey } from "../../../src/config/network_key.ts";
import { Beacons } from "../../../src/runtime/net/beacons.ts";

/** Starts beacons of a node with this port, runs the test, and closes them. Their nodes are collected by port. */
async function withBeacons(
  keys: Record<number, NetworkKey>,
  test: (heard: Record<number, Set<number>>) => Promise<void>,
  allows = () => true,
): Promise<void> {
  const heard: Record<number, Set<number>> = {}, all: Beacons[] = [];
  try {
    for (const [text, key] of Object.entries(keys)) {
      const port = Number(text), ports = heard[port] = new Set<number>();
      const beacons = await Beacons.start({
        keys: [key],
        port,
        addresses: () => ["127.0.0.1"],
        allows,
        now: () => performance.now(),
        onNode: (endpoint) => ports.add(endpoint.port),
      });
      assert.ok(beacons !== undefined);
      all.push(beacons);
    }
    await test(heard);
  } finally {
    for (const beacons of all) beacons.close();
  }
}

async function until(holds: () => boolean): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!holds()) {
    assert.ok(Date.now() < deadline, "in vain");
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

Deno.test({
  name: "nodes with one key hear each other's beacons, and those with another key do not",
  ignore: Deno.build.os !== "linux",
  fn: async () => {
    const ours = NetworkKey.random(), theirs = NetworkKey.random();
    await withBeacons({ 9001: ours, 9002: ours, 9003: theirs, 9004: theirs }, async (heard) => {
      await until(() =>
        heard[9001].has(9002) && heard[9002].has(9001) && heard[9003].has(9004) &&
        heard[9004].has(9003)
      );
      for (const port of [9003, 9004]) {
        assert.ok(!heard[9001].has(port) && !heard[9002].has(port));
        assert.ok(!heard[port].has(9001) && !heard[port].has(9002));
      }
    });
  },
});
