// Tests nodes with a network key on one local network, without bootstrap nodes: their beacons cross a bridge.

import assert from "node:assert/strict";
import { join } from "node:path";
import { NetworkKey } from "../../src/config/network_key.ts";
import { Lab } from "./lab.ts";

Deno.test("nodes with one key find each other on a local network, and nodes with another key do not", async () => {
  await using lab = await Lab.open();
  const { hosts } = await lab.site("linux", { hosts: 3 });
  const directory = await Deno.makeTempDir({ prefix: "dmnode-lan-" });
  try {
    const keys = [0, 1].map((i) => join(directory, `${i}.key`));
    for (const key of keys) {
      await Deno.writeTextFile(key, `${NetworkKey.random().secretText()}\n`, { mode: 0o600 });
    }
    const start = (host: number, key: number) =>
      lab.startNode(hosts[host], ["--network-key-file", keys[key], "--nat", "off"]);
    const other = await start(2, 1), first = await start(0, 0), second = await start(1, 0);
    for (const node of [first, second]) {
      await node.until("the other node is a peer", ({ peers }) => peers.healthy === 1);
    }
    assert.equal((await other.stats()).routing_table_size, 0);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
