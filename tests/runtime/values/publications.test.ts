// Published values with their pieces: listed, forgotten without damage to other values, and kept over restarts.

import assert from "node:assert/strict";
import type { StoredBlobs } from "../../../src/large_values/large_values.ts";
import { Layout } from "../../../src/large_values/layout.ts";
import { encodeReference } from "../../../src/large_values/manifest.ts";
import { OwnPieces } from "../../../src/large_values/own_pieces.ts";
import { immutableItem, type Item, mutableTarget } from "../../../src/dht/items/item.ts";
import { type Published, PublishedStore } from "../../../src/dht/items/published.ts";
import { bencodeBytes } from "../../../src/krpc/bencode.ts";
import { Id } from "../../../src/krpc/id.ts";
import { dataCrypto, itemCrypto } from "../../../src/runtime/identity/crypto.ts";
import { Publications, type StoredPart } from "../../../src/runtime/values/publications.ts";
import { inPieces, sampleBytes, SimpleBlobs } from "../../large_values/memory_network.ts";
import { setup as large } from "../../large_values/setup.ts";
import { latin1 } from "../../packets.ts";

const SEED = 7;

/** Publications, and the blobs that large values need. */
function setup(store = new PublishedStore(SEED), blobs = new SimpleBlobs()) {
  let at = 1_000;
  const save = ({ others = 1, ...part }: StoredPart): Promise<boolean> => {
    const firstAt = store.get(part.item.target)?.firstAt ?? at;
    const lastAt = others > 0 ? at : -Infinity;
    store.save({ ...part, firstAt, lastAt, nextAt: at + 100, failures: 0 });
    at++;
    return Promise.resolve(true);
  };
  const pieces = new OwnPieces({ blobs, crypto: dataCrypto });
  const discard = ({ value, ids }: StoredBlobs) => {
    blobs.remove(value);
    blobs.remove(ids);
  };
  const publications = new Publications({
    store,
    pieces,
    save,
    discard,
    seed: SEED,
    clock: { now: () => at, wall: (at) => at },
    enough: () => 2,
  });
  const advance = (ms: number) => void (at += ms);
  return { store, blobs, pieces, publications, advance };
}

/** Stores a large value. Returns its root. */
async function stored(bytes: Uint8Array, { blobs }: { blobs: SimpleBlobs }): Promise<StoredPart> {
  const { values } = large(100, { blobs });
  const tree = await values.store(inPieces(bytes));
  return { item: tree.root, replicas: tree.replicas, large: { ...tree.blobs, next: 0 } };
}

const piecesOf = (size: number) => new Layout(size).pieces;

const small = (text: string | Uint8Array): Item =>
  immutableItem(itemCrypto, bencodeBytes(typeof text === "string" ? latin1(text) : text));

function keyed(salt: Uint8Array, seq: number, value: Uint8Array): Item {
  const publicKey = new Uint8Array(32), signature = new Uint8Array(64);
  const target = mutableTarget(itemCrypto, publicKey, salt);
  return { target, value, signed: { publicKey, signature, salt, seq } };
}

const refer = (seq: number, root: Id) => keyed(latin1("key"), seq, encodeReference(root));

Deno.test("values are listed in pages, sorted by their next publication", () => {
  const { publications } = setup();
  const items = ["one", "two", "three"].map(small);
  for (const item of items) publications.keep({ item, replicas: 5 });
  const hashes = items.map(({ target }) => `${target}`);
  const listed = (...page: [number, number]) => publications.list(...page).map(({ hash }) => hash);
  assert.deepEqual(listed(0, 10), hashes);
  assert.deepEqual(listed(1, 1), [hashes[1]]);
  assert.deepEqual(listed(3, 10), []);
  publications.keep({ item: items[0], replicas: 4 });
  assert.deepEqual(listed(0, 10), [hashes[1], hashes[2], hashes[0]]);
  assert.deepEqual(publications.list(2, 1), [{
    hash: hashes[0],
    kind: "immutable",
    key: null,
    seq: null,
    size: 3,
    items: 1,
    first_at: "1970-01-01T00:00:01Z",
    last_at: "1970-01-01T00:00:01Z",
    next_at: "1970-01-01T00:00:01Z",
    replicas: 4,
    failures: 0,
    ttl: 86_400,
    lives_until: "1970-01-02T00:00:01Z",
    this_node_only: false,
    state: "safe",
    pinned: false,
  }]);
});

Deno.test("a key is listed if it is text", () => {
  const { publications } = setup();
  for (const salt of [latin1("sensor/1"), new Uint8Array([0xff]), new Uint8Array(0)]) {
    publications.keep({ item: keyed(salt, 3, bencodeBytes(latin1("v"))), replicas: 1 });
  }
  assert.deepEqual(
    publications.list(0, 10).map(({ kind, key, seq, size }) => [kind, key, seq, size]),
    [["mutable", "sensor/1", 3, 1], ["mutable", null, 3, 1], ["mutable", null, 3, 1]],
  );
});

Deno.test("a large value is one entry, and is forgotten with its bytes and pieces", async () => {
  const it = setup(), { store, blobs, pieces, publications } = it;
  const root = await stored(sampleBytes(100_000), it), { target } = root.item;
  await publications.keep(root);
  const items = piecesOf(100_000) + 1;
  assert.deepEqual([publications.count, publications.items, blobs.bytes.size], [1, items, 2]);
  const [listed] = publications.list(0, 10);
  assert.deepEqual([listed.hash, listed.kind, listed.size, listed.items, listed.replicas], [
    `${target}`,
    "chunked",
    100_000,
    items,
    20,
  ]);
  assert.ok(pieces.get(target) !== undefined);
  assert.equal(publications.forget(target), true);
  assert.deepEqual([publications.count, store.count, pieces.count, blobs.bytes.size], [0, 0, 0, 0]);
  assert.equal(publications.forget(target), false);
});

Deno.test("the same value stored twice is kept once", async () => {
  const it = setup(), { blobs, publications } = it;
  const [one, two] = [await stored(sampleBytes(5_000), it), await stored(sampleBytes(5_000), it)];
  await publications.keep(one);
  await publications.keep(two);
  assert.deepEqual([...blobs.bytes.keys()], [one.large!.value, one.large!.ids]);
  assert.equal(publications.count, 1);
});

Deno.test("the next value under a key replaces the previous one with its bytes", async () => {
  const it = setup(), { store, blobs, publications } = it;
  const [one, two] = [await stored(sampleBytes(50_000), it), await stored(sampleBytes(2_000), it)];
  publications.keep({ item: refer(1, one.item.target), replicas: 9 }, [one]);
  const listed = () => publications.list(0, 10)[0];
  assert.deepEqual([listed().kind, listed().key, listed().size], ["chunked", "key", 50_000]);
  assert.deepEqual([listed().replicas, publications.count], [9, 1]);
  const next = refer(2, two.item.target);
  publications.keep({ item: next, replicas: 9 }, [two]);
  assert.deepEqual([publications.count, store.count, blobs.bytes.size], [1, 2, 2]);
  assert.deepEqual([listed().size, listed().items], [2_000, piecesOf(2_000) + 2]);
  publications.keep({ item: keyed(latin1("key"), 3, bencodeBytes(latin1("v"))), replicas: 9 });
  assert.deepEqual([publications.count, store.count, blobs.bytes.size], [1, 1, 0]);
});

Deno.test("a root that was also stored without a key is kept when the key gets another value", async () => {
  const it = setup(), { store, blobs, publications } = it;
  const root = await stored(sampleBytes(5_000), it);
  publications.keep(root);
  const again = await stored(sampleBytes(5_000), it);
  publications.keep({ item: refer(1, root.item.target), replicas: 9 }, [again]);
  assert.deepEqual([publications.count, blobs.bytes.size], [2, 2]);
  publications.keep({ item: keyed(latin1("key"), 2, bencodeBytes(latin1("v"))), replicas: 9 });
  assert.deepEqual([publications.count, store.count, blobs.bytes.size], [2, 2, 2]);
});

Deno.test("after a restart, values are distinguished from roots of keys, and pieces are found", async () => {
  const it = setup(), { store, blobs, publications } = it;
  const [root, ofKey] = [
    await stored(sampleBytes(50_000), it),
    await stored(sampleBytes(9_000), it),
  ];
  publications.keep(root);
  publications.keep({ item: refer(4, ofKey.item.target), replicas: 1 }, [ofKey]);
  publications.keep({ item: small("one"), replicas: 1 });
  const { item: elsewhere } = {
    item: keyed(latin1("other"), 1, encodeReference(small("x").target)),
  };
  publications.keep({ item: elsewhere, replicas: 1 });
  const again = setup(store, blobs);
  assert.equal(again.publications.count, 4);
  assert.equal(again.publications.items, 5 + piecesOf(50_000) + piecesOf(9_000));
  const sizes = again.publications.list(0, 10).map(({ size }) => size);
  assert.deepEqual(new Set(sizes), new Set([50_000, 9_000, 3, null]));
  await again.pieces.loaded();
  const ids = await blobs.read(root.large!.ids, 0, 20);
  assert.ok(await again.pieces.read(Id.read(ids)) !== undefined);
  assert.ok(again.publications.forget(root.item.target));
  assert.equal(store.count, 4);
});

Deno.test("after a restart, a key that another key refers to is still a value", () => {
  const { store, publications } = setup();
  const referred = keyed(latin1("referred"), 1, bencodeBytes(latin1("small")));
  publications.keep({ item: referred, replicas: 5 });
  publications.keep({ item: refer(1, referred.target), replicas: 5 });
  const again = setup(store).publications;
  assert.deepEqual([publications.count, again.count], [2, 2]);
  again.keep({ item: small("another"), replicas: 5 });
  assert.ok(again.has(referred.target), "keeping another value removes nothing");
});

Deno.test("a value with few, refused or expiring copies has a state, and each change is reported once", () => {
  const { publications, store, advance } = setup();
  const HOUR = 3_600_000, DAY = 24 * HOUR, item = small("watched"), hash = `${item.target}`;
  const told = () => publications.changes().map(({ hash, from, to }) => `${hash}: ${from} ${to}`);
  publications.keep({ item, replicas: 5 });
  assert.deepEqual(told(), []);
  const set = (changes: Partial<Published>) =>
    store.save({ ...store.get(item.target)!, ...changes });
  set({ replicas: 1 });
  assert.deepEqual([told(), told()], [[`${hash}: safe short`], []]);
  set({ failures: 1 });
  assert.deepEqual(told(), [`${hash}: short failing`]);
  advance(18 * HOUR - 1_000);
  assert.deepEqual(told(), []);
  advance(2_000);
  assert.deepEqual(told(), [`${hash}: failing ending`]);
  assert.deepEqual(publications.counts, { safe: 0, short: 0, failing: 0, ending: 1, pinned: 0 });
  const [{ state, lives_until, this_node_only }] = publications.list(0, 1);
  assert.deepEqual([state, this_node_only], ["ending", false]);
  assert.equal(lives_until, "1970-01-02T00:00:01Z");
  advance(DAY);
  assert.deepEqual(
    publications.list(0, 1).map((value) => [value.lives_until, value.this_node_only]),
    [[null, true]],
  );
  publications.keep({ item, replicas: 5 });
  assert.deepEqual(told(), [`${hash}: ending safe`]);
  publications.keep({ item, replicas: 1, others: 0 });
  assert.deepEqual(told(), [`${hash}: safe failing`]);
  publications.forget(item.target);
  assert.deepEqual(told(), []);
});

Deno.test("a value lives as long as its ttl says, and its state follows", () => {
  const { publications, advance } = setup(), HOUR = 3_600_000;
  publications.keep({ item: small("short"), replicas: 5, lifeMs: HOUR });
  publications.keep({ item: small("long"), replicas: 5, lifeMs: 168 * HOUR });
  advance(0.8 * HOUR);
  const { ending, safe } = publications.counts;
  assert.deepEqual([ending, safe], [1, 1]);
  assert.deepEqual(publications.list(0, 2).map(({ ttl }) => ttl), [3_600, 604_800]);
});

Deno.test("the parts of a pinned value stay until its new version is here, also after a restart", async () => {
  const it = setup(), { store, publications } = it;
  const [one, two] = [await stored(sampleBytes(2_000), it), await stored(sampleBytes(3_000), it)];
  await publications.pin({ item: refer(1, one.item.target), replicas: 1 }, [one]);
  store.adopt(refer(2, two.item.target));
  publications.tidy();
  assert.deepEqual(publications.incompletePins(), [refer(2, two.item.target).target]);
  assert.ok(publications.contentOf(one.item.target));
  const after = setup(store, it.blobs).publications;
  assert.deepEqual(after.list(0, 10).map(({ seq, pinned }) => [seq, pinned]), [[2, true]]);
  await after.pin({ item: refer(2, two.item.target), replicas: 1 }, [two]);
  assert.deepEqual([after.incompletePins(), after.contentOf(one.item.target)], [[], undefined]);
  assert.equal(after.unpin(refer(2, two.item.target).target), true);
  assert.deepEqual([store.count, it.blobs.bytes.size], [0, 0]);
});

Deno.test("the root of a large value can be pinned as well as the key that refers to it", async () => {
  const it = setup(), { store, publications } = it;
  const root = await stored(sampleBytes(2_000), it), reference = refer(1, root.item.target);
  await publications.pin({ item: reference, replicas: 1 }, [root]);
  await publications.pin({ ...root, large: store.get(root.item.target)!.large });
  assert.equal(publications.counts.pinned, 2);
  assert.equal(publications.unpin(root.item.target), true);
  assert.equal(publications.unpin(root.item.target), false);
  assert.deepEqual([publications.count, store.count, it.blobs.bytes.size], [1, 2, 2]);
  publications.unpin(reference.target);
  assert.deepEqual([store.count, it.blobs.bytes.size], [0, 0]);
});
