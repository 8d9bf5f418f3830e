// Contacts over a restart: their scores and records, and those of former contacts.

import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { Contact } from "../../src/dht/routing/contact.ts";
import type { LocalNode } from "../../src/runtime/local_node.ts";
import { savedOf, seedsOf } from "../../src/runtime/saved_contacts.ts";
import type { PeerDetail } from "../../src/reports/peers.ts";
import { endpoint, id } from "../packets.ts";
import { inTemporaryDirectory } from "../storage/temporary.ts";
import { startNode, until } from "./nodes.ts";

const HOUR = 3_600_000;

function start(dataDir: string | undefined, bootstrap?: string): Promise<LocalNode> {
  return startNode({ dataDir, bootstrap, healthCheckInterval: 1 });
}

/** Runs a node until it knows `peer`, and returns its report of that peer. */
async function meet(dataDir: string, peer: LocalNode, bootstrap = ""): Promise<PeerDetail> {
  const node = await start(dataDir, bootstrap);
  await until(async () => (await node.peer(peer.nodeId))?.health === "healthy");
  const detail = (await node.peer(peer.nodeId))!;
  await node.close();
  return detail;
}

Deno.test("score, first_seen and rtt survive a restart, and an old record counts less", async () => {
  await inTemporaryDirectory(async (path) => {
    const peer = await start(undefined);
    const data = path("data");
    const before = await meet(data, peer, `127.0.0.1:${peer.port}`);
    const again = await meet(data, peer);
    assert.equal(again.first_seen, before.first_seen);
    assert.ok(Math.abs(again.score - before.score) < 0.05, `${before.score}, ${again.score}`);
    assert.ok(again.score_parts.tenure >= before.score_parts.tenure);

    const firstSeen = Date.parse(before.first_seen);
    const write = (lastSeen: number) => {
      const db = new DatabaseSync(`${data}/dmnode.sqlite`);
      db.prepare(
        `UPDATE contacts SET first_seen = ?, last_seen = ?, rtt = 800, rtt_variation = 20,
          answer_rate = 0.2, parts = '{"faults":4}'`,
      ).run(firstSeen - 10 * HOUR, lastSeen);
      db.close();
    };
    write(Date.now());
    const bad = await meet(data, peer);
    assert.equal(Date.parse(bad.first_seen), firstSeen - 10 * HOUR);
    // Each answer since then reduces the old value by an eighth. There were five to seven of them.
    assert.ok(bad.rtt_ms! > 100, `${bad.rtt_ms}`);
    assert.ok(bad.faults > 3 && bad.score_parts.honesty < 0.3, `${bad.faults}`);
    assert.ok(bad.score < before.score / 4);

    write(Date.now() - 24 * HOUR);
    const old = await meet(data, peer);
    assert.ok(old.faults < 0.3 && old.score > 2 * bad.score, `${old.faults}, ${old.score}`);
    await peer.close();
  });
});

Deno.test("a dropped contact is saved too, and is tried after the others", async () => {
  await inTemporaryDirectory(async (path) => {
    const stays = await start(undefined);
    const bootstrap = `127.0.0.1:${stays.port}`;
    const leaves = await start(undefined, bootstrap);
    const node = await start(path("data"), bootstrap);
    await until(async () => (await node.peers()).routing_table_size === 2);
    await leaves.close();
    await until(async () => (await node.peer(leaves.nodeId))?.health === "gone");
    const { history, next_check, bucket } = (await node.peer(leaves.nodeId))!;
    assert.deepEqual(history.map(({ what }) => what), ["joined", "degraded", "unhealthy", "left"]);
    assert.match(history.at(-1)!.reason!, /no answer/);
    assert.deepEqual([next_check, bucket], [null, null]);
    const kept = (await node.peer(stays.nodeId))!;
    assert.ok(
      Date.parse(kept.next_check!) > Date.now() - 2000 && kept.bucket === 0 && kept.misses === 0,
    );
    assert.equal(await node.peer("77".repeat(20)), undefined);
    await node.close();

    const db = new DatabaseSync(path("data/dmnode.sqlite"));
    const rows = db.prepare("SELECT parts FROM contacts").all();
    db.close();
    const parts = rows.map((row) => JSON.parse(row.parts as string));
    assert.deepEqual(parts.map(({ left }) => left ?? false).toSorted(), [false, true]);
    await stays.close();
  });
});

Deno.test("seeds are sorted by their prospects, and values of the file are bounded", () => {
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
