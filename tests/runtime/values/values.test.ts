// Values on real nodes: published and forgotten, too few copies, one identity on two nodes, and watches.

import assert from "node:assert/strict";
import { mutableTarget, signedBytes } from "../../../src/dht/items/item.ts";
import { bencodeBytes } from "../../../src/krpc/bencode.ts";
import { MAX_SEQ } from "../../../src/krpc/seq.ts";
import type { ServiceEvent } from "../../../src/reports/events.ts";
import { Identity, itemCrypto } from "../../../src/runtime/identity/crypto.ts";
import { writeIdentity } from "../../../src/runtime/identity/identity.ts";
import type { LocalNode } from "../../../src/runtime/local_node.ts";
import type { FetchOutcome } from "../../../src/node_service.ts";
import { Layout } from "../../../src/large_values/layout.ts";
import { sampleBytes } from "../../large_values/memory_network.ts";
import { latin1, text } from "../../packets.ts";
import { type Start, stored, until, withNodes } from "../nodes.ts";

/** Starts nodes that know each other. Those with a directory come first. */
async function network(start: Start, count: number, dataDirs: string[] = []): Promise<LocalNode[]> {
  const nodes = [await start({ dataDir: dataDirs[0] })];
  for (let i = 1; i < count; i++) {
    const bootstrap = `127.0.0.1:${nodes[0].port}`;
    const node = await start({ bootstrap, dataDir: dataDirs[i] });
    nodes.push(node);
    await until(async () =>
      (await node.readiness()).ready && (await node.stats()).lookups.active === 0
    );
  }
  for (const node of nodes) {
    await until(async () => (await node.find(node.nodeId)).nodes.length === count - 1);
  }
  return nodes;
}

const piecesOf = (size: number) => new Layout(size).pieces;

const valueOf = (outcome: FetchOutcome) =>
  outcome.outcome === "found"
    ? `${text(outcome.value.bytes)} ${outcome.value.seq}`
    : outcome.outcome;

Deno.test(
  "a node keeps every value that it stores published until it is forgotten",
  withNodes(async (start, path) => {
    const node = await start({ dataDir: path("a") });
    const one = stored(await node.store(latin1("one"), null));
    const keyed = stored(await node.store(latin1("two"), "grüße"));
    const large = stored(await node.store(sampleBytes(50_000), null));
    const largeKeyed = stored(await node.store(sampleBytes(2_000), "large"));
    const page = await node.published(0, 10);
    assert.equal(page.total, 4);
    assert.deepEqual(
      new Set(
        page.published.map(({ hash, kind, key, seq, size, items }) =>
          [hash, kind, key, seq, size, items].join(" ")
        ),
      ),
      new Set([
        `${one.hash} immutable   3 1`,
        `${keyed.hash} mutable grüße 1 3 1`,
        `${large.hash} chunked   50000 ${1 + piecesOf(50_000)}`,
        `${largeKeyed.hash} chunked large 1 2000 ${2 + piecesOf(2_000)}`,
      ]),
    );
    const { storage } = await node.stats();
    const items = 5 + piecesOf(50_000) + piecesOf(2_000);
    assert.deepEqual([storage.published, storage.published_items], [4, items]);
    // Own values take no room of other nodes' values, except for the items of the two keys.
    assert.deepEqual([storage.items, storage.replicated], [2, 0]);
    const waits = page.published.map(({ next_at, last_at }) =>
      Date.parse(next_at) - Date.parse(last_at!)
    );
    assert.ok(waits.every((ms) => ms > 3_000_000));
    for (const value of [one, keyed, large, largeKeyed, ...page.published]) {
      assert.deepEqual([value.this_node_only, value.lives_until], [true, null]);
    }

    assert.equal(await node.forget(large.hash), true);
    assert.equal(await node.forget(large.hash), false);
    stored(await node.store(latin1("small now"), "large"));
    await node.close();
    const again = await start({ dataDir: path("a") });
    assert.deepEqual(
      new Set((await again.published(0, 10)).published.map(({ hash }) => hash)),
      new Set([one.hash, keyed.hash, largeKeyed.hash]),
    );
    assert.equal((await again.stats()).storage.published_items, 3);
  }),
);

Deno.test(
  "an item that a client has signed is kept published too",
  withNodes(async (start) => {
    const node = await start();
    const owner = Identity.generate();
    const signature = owner.sign(latin1("3:seqi5e1:v4:mine"));
    const hash = Array.from(
      new Uint8Array(await crypto.subtle.digest("SHA-1", owner.publicKey.slice())),
      (byte) => byte.toString(16).padStart(2, "0"),
    ).join("");
    const item = { publicKey: owner.publicKey, signature, seq: 5, salt: null, cas: null };
    stored(await node.storeSigned(hash, { ...item, value: latin1("mine") }));
    const [value] = (await node.published(0, 10)).published;
    assert.deepEqual([value.hash, value.key, value.seq], [hash, null, 5]);
  }),
);

Deno.test(
  "a store with fewer copies than requested fails, and the value is not kept published",
  withNodes(async (start) => {
    const [node] = await network(start, 2);
    const begun = performance.now();
    const [small, large] = await Promise.all([
      node.store(latin1("v"), null, { minReplicas: 3 }),
      node.store(sampleBytes(2_000), null, { minReplicas: 3 }),
    ]);
    assert.ok(performance.now() - begun >= 7_000);
    const few = {
      outcome: "too_few",
      acknowledged: 2,
      wanted: 3,
      known: 2,
      refusals: [],
      isFull: false,
    };
    assert.deepEqual(small, { ...few, isPublished: false });
    // The hash would be known only after its parts were stored.
    assert.deepEqual(large, { ...few, isPublished: undefined });
    assert.equal((await node.published(0, 10)).total, 0);
    stored(await node.store(latin1("v"), null));
    const again = await node.store(latin1("v"), null, { minReplicas: 3 });
    assert.deepEqual(
      again,
      { ...few, isPublished: true },
      "what an earlier store has published stays",
    );
    assert.equal((await node.published(0, 10)).total, 1);
    const waiting = node.store(latin1("w"), "key", { minReplicas: 3 });
    await new Promise((resolve) => setTimeout(resolve, 300));
    await start({ bootstrap: `127.0.0.1:${node.port}` });
    assert.equal(stored(await waiting).replicas, 3, "a node that joins meanwhile takes a copy");
    assert.equal(
      stored(await node.store(sampleBytes(2_000), null, { minReplicas: 3 })).replicas,
      3,
    );
  }),
);

Deno.test(
  "replicas reports the holders of a value and their versions, and the copies of a large one",
  withNodes(async (start) => {
    const [node, other] = await network(start, 3);
    const { hash } = stored(await node.store(latin1("v"), "key"));
    const outcome = await other.replicas(hash, null);
    if (outcome.outcome !== "found") return assert.fail(outcome.outcome);
    const { kind, seq, holders, wanted, parts } = outcome.report;
    assert.deepEqual([kind, seq, holders.length, wanted, parts], ["mutable", 1, 3, 20, null]);
    assert.ok(holders.every((holder) => holder.seq === 1 && holder.age_s! < 60));
    assert.deepEqual(
      new Map(holders.map(({ node_id, address }) => [node_id, address])).get(other.nodeId),
      null,
    );
    const large = stored(await node.store(sampleBytes(50_000), null));
    const counted = await other.replicas(large.hash, null);
    if (counted.outcome !== "found") return assert.fail(counted.outcome);
    assert.equal(counted.report.kind, "chunked");
    // Each of the other two nodes has all data pieces, and the owner counts too.
    const pieces = new Layout(50_000).levels.reduce((sum, { data }) => sum + data, 0);
    assert.deepEqual(counted.report.parts, { pieces, wanted: 2, counted: 40, lost: 0, mean: 3 });
    assert.equal((await other.replicas("77".repeat(20), null)).outcome, "not_found");
  }),
);

Deno.test(
  "with cas, a version replaces only the expected one, also for large values",
  withNodes(async (start) => {
    const [node] = await network(start, 3);
    const put = async (value: Uint8Array, cas: number) => {
      const outcome = await node.store(value, "key", { cas });
      return outcome.outcome === "stored" ? outcome.report.seq : outcome;
    };
    assert.deepEqual(await put(latin1("one"), 1), { outcome: "cas_mismatch", seq: 0 });
    assert.equal(await put(latin1("one"), 0), 1);
    assert.deepEqual(await put(latin1("two"), 0), { outcome: "cas_mismatch", seq: 1 });
    assert.equal(await put(sampleBytes(2_000), 1), 2);
    assert.deepEqual(await put(sampleBytes(3_000), 1), { outcome: "cas_mismatch", seq: 2 });
    assert.equal(await put(latin1("three"), 2), 3);
  }),
);

Deno.test(
  "of two nodes with one identity, one wins with cas, else the last one, and all read the same",
  withNodes(async (start, path) => {
    const identity = Identity.generate();
    for (const name of ["a", "b"]) {
      Deno.mkdirSync(path(name));
      writeIdentity(path(name), identity);
    }
    const nodes = await network(start, 5, [path("a"), path("b")]);
    const [a, b, ...others] = nodes;
    assert.equal((await a.stats()).public_key, (await b.stats()).public_key);
    const { hash } = stored(await a.store(latin1("first"), "key"));
    let seq = stored(await b.store(latin1("second"), "key")).seq!;
    assert.equal(seq, 2);

    const agreed = async () => {
      const values = await Promise.all(
        nodes.map(async (node) => valueOf(await node.fetch(hash, "key"))),
      );
      assert.equal(new Set(values).size, 1, values.join(", "));
      return values[0];
    };
    for (let round = 0; round < 10; round++) {
      const both = await Promise.all(
        [a, b].map((node, i) => node.store(latin1(`${round} of ${i}`), "key", { cas: seq })),
      );
      const won = both.map(({ outcome }) => outcome === "stored");
      assert.ok(!(won[0] && won[1]), "not both");
      if (!won[0] && !won[1]) {
        // In a tie both fail, and the next attempt decides.
        seq = stored(await a.store(latin1("settled"), "key")).seq!;
        continue;
      }
      const winner = won[0] ? 0 : 1;
      seq = stored(both[winner]).seq!;
      assert.match(both[1 - winner].outcome, /^(overtaken|cas_mismatch)$/);
      assert.equal(await agreed(), `${round} of ${winner} ${seq}`);
    }
    for (let round = 0; round < 10; round++) {
      const both = await Promise.all(
        [a, b].map((node, i) => node.store(latin1(`${round} from ${i}`), "key")),
      );
      const seqs = both.map((outcome) => stored(outcome).seq!);
      assert.notEqual(seqs[0], seqs[1]);
      const last = seqs[0] > seqs[1] ? 0 : 1;
      assert.equal(await agreed(), `${round} from ${last} ${seqs[last]}`);
    }
    assert.equal(others.length, 3);
  }),
);

Deno.test(
  "two networks that meet agree on one value of two with the same seq, and tell its other owner",
  withNodes(async (start, path) => {
    const identity = Identity.generate();
    for (const name of ["left", "right"]) {
      Deno.mkdirSync(path(name));
      writeIdentity(path(name), identity);
    }
    const left = await network(start, 2, [path("left")]);
    const right = await network(start, 2, [path("right")]);
    const { hash } = stored(await left[0].store(latin1("value 1"), "key"));
    assert.equal(stored(await right[0].store(latin1("another 2"), "key")).seq, 1);
    const events: ServiceEvent[] = [];
    left[0].onEvent((event) => events.push(event));
    const watch = await left[1].openWatch(hash, "key", null);
    const first = await left[1].nextVersion(watch!, 10_000);
    assert.equal(typeof first === "object" && first.size, "value 1".length);

    const met = { host: "127.0.0.1", port: right[0].port };
    for (const node of left) assert.equal((await node.pingAddress(met)).outcome, "pong");
    await until(async () => valueOf(await left[1].fetch(hash, "key")) === "another 2 1");
    for (const node of [...left, ...right]) {
      await until(async () => valueOf(await node.fetch(hash, "key")) === "another 2 1");
    }
    const second = await left[1].nextVersion(watch!, 20_000);
    assert.deepEqual(
      typeof second === "object" && [second.seq, second.size],
      [1, "another 2".length],
    );
    const size = "another 2".length;
    assert.deepEqual(events.filter(({ type }) => type === "data.adopt"), [
      { type: "data.adopt", data: { hash, seq: 1, former_seq: 1, size } },
    ]);
    for (const node of [left[0], right[0]]) {
      const { published } = await node.published(0, 10);
      assert.deepEqual(published.map((value) => [value.hash, value.seq, value.size]), [
        [hash, 1, size],
      ]);
    }
  }),
);

Deno.test(
  "a key whose version has the largest seq takes no further version",
  withNodes(async (start, path) => {
    const identity = Identity.generate();
    Deno.mkdirSync(path("a"));
    writeIdentity(path("a"), identity);
    const node = await start({ dataDir: path("a") });
    const salt = latin1("key"), value = latin1("last");
    const signature = identity.sign(signedBytes(salt, MAX_SEQ, bencodeBytes(value)));
    const { publicKey } = identity;
    const hash = `${mutableTarget(itemCrypto, publicKey, salt)}`;
    const item = { publicKey, signature, seq: MAX_SEQ, salt, value, cas: null };
    assert.equal(stored(await node.storeSigned(hash, item)).seq, MAX_SEQ);
    const exhausted = { outcome: "seq_exhausted", seq: MAX_SEQ };
    assert.deepEqual(await node.store(latin1("next"), "key"), exhausted);
    assert.deepEqual(await node.store(latin1("next"), "key", { cas: MAX_SEQ }), exhausted);
    assert.deepEqual(await node.store(sampleBytes(3_000), "key"), exhausted);
    assert.equal(valueOf(await node.fetch(hash, "key")), `last ${MAX_SEQ}`);
  }),
);

Deno.test(
  "a reader updates the old version of a holder that was away",
  withNodes(async (start, path) => {
    const [first, second, third] = await network(start, 3, [path("1"), path("2"), path("3")]);
    const { hash } = stored(await first.store(latin1("old"), "key"));
    await third.close();
    assert.equal(stored(await first.store(latin1("new"), "key")).seq, 2);
    const bootstrap = `127.0.0.1:${first.port}`;
    const again = await start({ dataDir: path("3"), bootstrap, port: third.port });
    await until(async () => (await again.readiness()).ready);
    const seqs = async () => {
      const outcome = await second.replicas(hash, null);
      if (outcome.outcome !== "found") return assert.fail(outcome.outcome);
      return new Map(outcome.report.holders.map(({ node_id, seq }) => [node_id, seq]));
    };
    await until(async () => (await seqs()).get(again.nodeId) === 1);
    assert.equal((await seqs()).get(second.nodeId), 2);
    assert.equal(valueOf(await second.fetch(hash, null)), "new 2");
    await until(async () => (await seqs()).get(again.nodeId) === 2);
  }),
);

Deno.test(
  "a watch reports the first version, and those put by this node, held here, and put elsewhere",
  withNodes(async (start) => {
    const [owner, other] = await network(start, 3);
    const watchBy = async (node: LocalNode) => {
      const watch = (await node.openWatch(hash, null, null))!;
      return async () => {
        const version = await node.nextVersion(watch, 10_000);
        return typeof version === "object" ? [version.seq, version.size] : version;
      };
    };
    const { hash } = stored(await owner.store(latin1("one"), "key"));
    const watches = await Promise.all([owner, other].map(watchBy));
    for (const next of watches) assert.deepEqual(await next(), [1, 3]);
    const begun = performance.now();
    stored(await owner.store(latin1("three"), "key"));
    for (const next of watches) assert.deepEqual(await next(), [2, 5]);
    stored(await owner.store(sampleBytes(2_000), "key"));
    for (const next of watches) assert.deepEqual(await next(), [3, 2_000]);
    assert.ok(performance.now() - begun < 4_000, "it comes sooner than by polling");
    await other.close();
    assert.equal(await watches[1](), undefined);
  }),
);

Deno.test(
  "a watched value that this node does not hold is polled",
  withNodes(async (start) => {
    const nodes = [await start({ k: 2 })];
    for (let i = 1; i < 8; i++) {
      nodes.push(await start({ k: 2, bootstrap: `127.0.0.1:${nodes[0].port}` }));
    }
    for (const node of nodes) await until(async () => (await node.readiness()).ready);
    const [owner] = nodes;
    const { hash, nodes: holders } = stored(await owner.store(latin1("one"), "key"));
    const reader = nodes.find((node) => node !== owner && !holders.includes(node.nodeId))!;
    const watch = (await reader.openWatch(hash, null, 1))!;
    assert.equal(await reader.nextVersion(watch, 1_000), "quiet");
    stored(await owner.store(latin1("two!"), "key"));
    // Three polls, in case the lookups of a loaded machine miss both holders.
    const version = await reader.nextVersion(watch, 30_000);
    assert.deepEqual(typeof version === "object" && [version.seq, version.size], [2, 4]);
  }),
);
