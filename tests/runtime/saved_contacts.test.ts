// What a restart keeps of contacts: their scores, and what made them; also of those that were dropped.

import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { loadConfig } from "../../src/config.ts";
import { Contact } from "../../src/dht/contact.ts";
import { LocalNode } from "../../src/runtime/local_node.ts";
import { savedOf, seedsOf } from "../../src/runtime/saved_contacts.ts";
import type { PeerDetail } from "../../src/runtime/service.ts";
import { endpoint, id } from "../packets.ts";
import { inTemporaryDirectory } from "../storage/temporary.ts";

const HOUR = 3_600_000;

function start(dataDir: string | undefined, bootstrap = ""): Promise<LocalNode> {
  const flags = { p2pPort: "0", bootstrap, dataDir, healthCheckInterval: "1" };
  return LocalNode.start(loadConfig({ flags, env: {} }), { persistent: dataDir !== undefined });
}

async function until(holds: () => boolean): Promise<void> {
  const deadline = performance.now() + 20_000;
  while (!holds()) {
    assert.ok(performance.now() < deadline, `in vain: ${holds}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Runs a node until it knows `peer`, and tells what it thinks of it. */
async function meet(dataDir: string, peer: LocalNode, bootstrap = ""): Promise<PeerDetail> {
  const node = await start(dataDir, bootstrap);
  await until(() => node.peer(peer.nodeId)?.health === "healthy");
  const detail = node.peer(peer.nodeId)!;
  await node.close();
  return detail;
}

Deno.test("score, first_seen and rtt survive a restart; an old record counts less", async () => {
  await inTemporaryDirectory(async (path) => {
    const peer = await start(undefined);
    const data = path("data");
    const before = await meet(data, peer, `127.0.0.1:${peer.port}`);
    const again = await meet(data, peer);
    assert.equal(again.firstSeen, before.firstSeen);
    assert.ok(Math.abs(again.score - before.score) < 0.05, `${before.score}, ${again.score}`);
    assert.ok(again.scoreParts.tenure >= before.scoreParts.tenure);

    const write = (lastSeen: number) => {
      const db = new DatabaseSync(`${data}/dmnode.sqlite`);
      db.prepare(
        `UPDATE contacts SET first_seen = ?, last_seen = ?, rtt = 800, rtt_variation = 20,
          answer_rate = 0.2, parts = '{"faults":4}'`,
      ).run(before.firstSeen - 10 * HOUR, lastSeen);
      db.close();
    };
    write(Date.now());
    const bad = await meet(data, peer);
    assert.equal(bad.firstSeen, before.firstSeen - 10 * HOUR);
    // Each answer since takes an eighth off: five to seven of them by now, and fifteen leave a hundred.
    assert.ok(bad.rttMs! > 100, `${bad.rttMs}`);
    assert.ok(bad.faults > 3 && bad.scoreParts.honesty < 0.3, `${bad.faults}`);
    assert.ok(bad.score < before.score / 4);

    write(Date.now() - 24 * HOUR);
    const old = await meet(data, peer);
    assert.ok(old.faults < 0.3 && old.score > 2 * bad.score, `${old.faults}, ${old.score}`);
    await peer.close();
  });
});

Deno.test("who was dropped is remembered too, and is tried after the others", async () => {
  await inTemporaryDirectory(async (path) => {
    const stays = await start(undefined);
    const bootstrap = `127.0.0.1:${stays.port}`;
    const leaves = await start(undefined, bootstrap);
    const node = await start(path("data"), bootstrap);
    await until(() => node.peers().length === 2);
    await leaves.close();
    await until(() => node.peer(leaves.nodeId)?.health === "gone");
    const { history, nextCheck, bucket } = node.peer(leaves.nodeId)!;
    assert.deepEqual(history.map(({ what }) => what), ["joined", "degraded", "unhealthy", "left"]);
    assert.match(history.at(-1)!.reason!, /no answer/);
    assert.deepEqual([nextCheck, bucket], [null, null]);
    const kept = node.peer(stays.nodeId)!;
    assert.ok(kept.nextCheck! > Date.now() - 1000 && kept.bucket === 0 && kept.misses === 0);
    assert.equal(node.peer("77".repeat(20)), undefined);
    await node.close();

    const db = new DatabaseSync(path("data/dmnode.sqlite"));
    const rows = db.prepare("SELECT parts FROM contacts").all();
    db.close();
    const parts = rows.map((row) => JSON.parse(row.parts as string));
    assert.deepEqual(parts.map(({ left }) => left ?? false).toSorted(), [false, true]);
    await stays.close();
  });
});

Deno.test("seeds are in order of promise, and what the file says is taken within bounds", () => {
  const contact = (n: number, seen: number) => {
    const made = new Contact(id(`${10 + n}`), endpoint(`1.2.3.4:${n}`), seen);
    made.answered(seen, 20);
    return made;
  };
  const dropped = contact(1, 9_000);
  dropped.failed();
  const saved = [savedOf(dropped, true), savedOf(contact(2, 5_000), false)];
  const seeds = seedsOf([...saved, savedOf(contact(3, 7_000), false)]);
  assert.deepEqual(seeds.map(({ endpoint: { port } }) => port), [3, 2, 1]);
  assert.equal(seeds[2].record!.faults, 1);
  assert.deepEqual(seeds[0].record, contact(3, 7_000).record);

  const { id: node, endpoint: at } = saved[0];
  const bare = { id: node, endpoint: at };
  const odd = { firstSeen: 1, lastSeen: 2, rtt: -5, rttVariation: -1, answerRate: 7 };
  const [early, bounded, text, none] = seedsOf([
    { ...bare, firstSeen: -1e300, lastSeen: 2 },
    { ...bare, ...odd, parts: { faults: 1e300 } },
    { ...bare, ...odd, parts: { faults: "many" } },
    bare,
  ]);
  assert.deepEqual([none.record, early.record], [undefined, undefined]);
  assert.deepEqual(bounded.record, {
    firstSeen: 1,
    lastSeen: 2,
    rtt: NaN,
    rttVariation: 0,
    answerRate: 1,
    faults: 100,
  });
  assert.equal(text.record!.faults, 0);
});
