// Pins: values that a node keeps alive without owning them, with real nodes and disks.

import assert from "node:assert/strict";
import type { PinOutcome } from "../../../src/node_service.ts";
import type { LocalNode } from "../../../src/runtime/local_node.ts";
import { latin1, text } from "../../packets.ts";
import { sampleBytes } from "../../large_values/memory_network.ts";
import { bytesOf } from "../../network/nodes.ts";
import { type Start, stored, until, withNodes } from "../nodes.ts";

const pinned = (outcome: PinOutcome) => {
  assert.equal(outcome.outcome, "pinned", JSON.stringify(outcome));
  return outcome.outcome === "pinned" ? outcome : assert.fail();
};

/** The bytes of a value as text; undefined if it is not found. */
async function read(node: LocalNode, hash: string): Promise<string | undefined> {
  const outcome = await node.fetch(hash, null);
  if (outcome.outcome === "found") return text(outcome.value.bytes);
  if (outcome.outcome !== "large") return undefined;
  let all = "";
  for await (const bytes of bytesOf(node, outcome.value)) all += text(bytes);
  return all;
}

/** An owner, a node that pins, and another holder. */
async function network(start: Start, path: (name: string) => string) {
  const owner = await start({ dataDir: path("owner") });
  const bootstrap = `127.0.0.1:${owner.port}`;
  const pinner = await start({ dataDir: path("pinner"), bootstrap });
  const holder = await start({ bootstrap });
  const all = [owner, pinner, holder];
  await until(async () => {
    const sizes = await Promise.all(all.map(async (one) => (await one.peers()).peers.length));
    return sizes.every((size) => size === 2);
  });
  return { owner, pinner, holder };
}

Deno.test(
  "a pinned value survives its owner, all holders and a restart, and ends when it is unpinned",
  withNodes(async (start, path) => {
    const { owner, pinner, holder } = await network(start, path);
    const small = stored(await owner.store(latin1("small"), null)).hash;
    const keyed = stored(await owner.store(latin1("keyed"), "a key")).hash;
    const bytes = sampleBytes(100_000);
    const large = stored(await owner.store(bytes, null)).hash;
    const largeKeyed = stored(await owner.store(sampleBytes(5_000), "large")).hash;
    const { public_key } = await owner.stats();
    const byKey = { key: "a key", publicKey: public_key };
    for (const request of [{ hash: small, key: null }, byKey, { hash: large, key: null }]) {
      const { isNew, report } = pinned(await pinner.pin(request));
      assert.deepEqual([isNew, report.pinned, report.this_node_only], [true, true, false]);
      assert.equal(pinned(await pinner.pin(request)).isNew, false);
    }
    assert.equal(pinned(await pinner.pin({ hash: largeKeyed, key: null })).report.size, 5_000);
    await owner.close();
    await holder.close();
    await pinner.close();

    const again = await start({ dataDir: path("pinner") });
    const stranger = await start({ bootstrap: `127.0.0.1:${again.port}` });
    const texts = { [small]: "small", [keyed]: "keyed", [large]: text(bytes) };
    texts[largeKeyed] = text(sampleBytes(5_000));
    for (const [hash, value] of Object.entries(texts)) {
      await until(async () => await read(stranger, hash) === value);
    }
    const { total, pins } = await again.pins(0, 10);
    assert.deepEqual([total, new Set(pins.map(({ hash }) => hash))], [
      4,
      new Set(Object.keys(texts)),
    ]);
    const { storage } = await again.stats();
    assert.deepEqual([storage.pins, storage.published], [4, 4]);

    for (const hash of Object.keys(texts)) {
      assert.equal(await again.unpin(hash), true);
      assert.equal(await again.unpin(hash), false);
    }
    assert.deepEqual(await again.pins(0, 10), { total: 0, offset: 0, pins: [] });
    assert.equal((await again.published(0, 10)).total, 0);
    await stranger.close();
    await again.close();
    const last = await start({ dataDir: path("pinner") });
    assert.deepEqual([(await last.pins(0, 10)).total, (await last.published(0, 10)).total], [0, 0]);
  }),
);

Deno.test(
  "of a pinned value under a key, the newest version is kept, large or small, and the old one is not",
  withNodes(async (start, path) => {
    const { owner, pinner } = await network(start, path);
    const { hash } = stored(await owner.store(sampleBytes(50_000), "key"));
    pinned(await pinner.pin({ hash, key: null }));
    const listed = async () => {
      const [{ seq, size, items }] = (await pinner.pins(0, 1)).pins;
      return { seq, size, items };
    };
    const first = await listed();
    assert.deepEqual([first.seq, first.size], [1, 50_000]);
    stored(await owner.store(sampleBytes(20_000), "key"));
    await until(async () => {
      const { seq, size } = await listed();
      return seq === 2 && size === 20_000;
    }, 60_000);
    assert.ok((await pinner.stats()).storage.published_items < first.items);
    stored(await owner.store(latin1("small now"), "key"));
    await until(async () => (await listed()).seq === 3);
    await until(async () => (await pinner.stats()).storage.published_items === 1, 60_000);
    await owner.close();
    assert.equal(await read(pinner, hash), "small now");
    assert.equal((await pinner.pins(0, 1)).pins[0].seq, 3, "a pin never makes a version");
  }),
);

Deno.test(
  "a value that is stored and pinned here needs neither of both for the other",
  withNodes(async (start, path) => {
    const { owner } = await network(start, path);
    const { hash } = stored(await owner.store(latin1("both"), null));
    assert.equal(pinned(await owner.pin({ hash, key: null })).isNew, true);
    assert.equal(await owner.forget(hash), true);
    assert.equal(await owner.forget(hash), false);
    assert.equal((await owner.pins(0, 1)).total, 1);
    stored(await owner.store(latin1("both"), null));
    assert.equal(await owner.unpin(hash), true);
    assert.equal((await owner.published(0, 1)).total, 1);
    assert.equal(await owner.forget(hash), true);
    assert.equal((await owner.published(0, 1)).total, 0);
  }),
);

Deno.test(
  "a value that is not there, too large, or whose key is not known can't be pinned",
  withNodes(async (start, path) => {
    const { owner, pinner } = await network(start, path);
    const hash = "12".repeat(20);
    assert.deepEqual(await pinner.pin({ hash, key: null }), { outcome: "not_found" });
    assert.deepEqual(await pinner.pin({ key: "no such key" }), { outcome: "not_found" });
    const small = await start({ maxValueSize: 2_000, bootstrap: `127.0.0.1:${owner.port}` });
    const large = stored(await owner.store(sampleBytes(3_000), null)).hash;
    assert.deepEqual(await small.pin({ hash: large, key: null }), {
      outcome: "too_large",
      size: 3_000,
      limit: 2_000,
    });
    assert.equal((await small.pins(0, 1)).total, 0);
  }),
);

Deno.test(
  "other nodes keep a value for its ttl, which the answer names",
  withNodes(async (start, path) => {
    const { owner, pinner, holder } = await network(start, path);
    const HOUR = 3_600_000, from = Date.now();
    const hours = ({ lives_until }: { lives_until: string | null }) =>
      Math.round((Date.parse(lives_until!) - from) / HOUR);
    const usual = stored(await owner.store(latin1("a day"), null));
    assert.deepEqual([hours(usual), usual.this_node_only], [24, false]);
    const long = stored(await owner.store(latin1("a week"), null, { ttl: 604_800 }));
    assert.equal(hours(long), 168);
    const large = stored(await owner.store(sampleBytes(5_000), "key", { ttl: 172_800 }));
    assert.equal(hours(large), 48);
    const { published } = await owner.published(0, 10);
    const listed = new Map(published.map((value) => [value.hash, value]));
    assert.deepEqual(
      [usual, long, large].map(({ hash }) => [listed.get(hash)!.ttl, hours(listed.get(hash)!)]),
      [[86_400, 24], [604_800, 168], [172_800, 48]],
    );
    const pin = pinned(await pinner.pin({ hash: usual.hash, key: null, ttl: 259_200 }));
    assert.deepEqual([pin.report.ttl, hours(pin.report)], [259_200, 72]);
    assert.equal(pinned(await pinner.pin({ hash: usual.hash, key: null })).report.ttl, 259_200);
    assert.equal((await holder.stats()).storage.expiring_within_hour, 0);
  }),
);

Deno.test(
  "a value that only this node has is said to be so, until another node has it",
  withNodes(async (start) => {
    const node = await start();
    const { hash, this_node_only, lives_until } = stored(await node.store(latin1("alone"), null));
    assert.deepEqual([this_node_only, lives_until], [true, null]);
    const [listed] = (await node.published(0, 1)).published;
    assert.deepEqual([listed.state, listed.this_node_only], ["failing", true]);
    await start({ bootstrap: `127.0.0.1:${node.port}` });
    await until(async () => (await node.peers()).peers.length === 1);
    const again = stored(await node.store(latin1("alone"), null));
    assert.deepEqual([again.hash, again.this_node_only], [hash, false]);
    assert.equal((await node.published(0, 1)).published[0].state, "safe");
  }),
);
