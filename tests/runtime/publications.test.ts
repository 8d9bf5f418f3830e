// What is kept published: whole values with their items, ends that take no other value along, and restarts.

import assert from "node:assert/strict";
import { LargeValues } from "../../src/data/large_values.ts";
import { encodeReference } from "../../src/data/manifest.ts";
import { immutableItem, type Item, mutableTarget } from "../../src/dht/item.ts";
import { MemoryPublishedStore } from "../../src/dht/published.ts";
import { bencodeBytes } from "../../src/krpc/bencode.ts";
import type { Id } from "../../src/krpc/id.ts";
import { dataCrypto, itemCrypto } from "../../src/runtime/crypto.ts";
import { Publications, type StoredPart } from "../../src/runtime/publications.ts";
import { inPieces, InstantClock, MemoryNetwork, sampleBytes } from "../data/memory_network.ts";
import { latin1 } from "../packets.ts";

const SEED = 7;

function setup(store = new MemoryPublishedStore(SEED)) {
  let at = 1_000;
  const keep = ({ item, replicas }: StoredPart): Promise<void> => {
    const firstAt = store.get(item.target)?.firstAt ?? at;
    store.save({ item, firstAt, lastAt: at, nextAt: at + 100, replicas, failures: 0 });
    at++;
    return Promise.resolve();
  };
  return { store, publications: new Publications(store, keep, SEED) };
}

/** The items of a large value, the root last. */
async function tree(bytes: Uint8Array): Promise<StoredPart[]> {
  const network = new MemoryNetwork();
  const large = new LargeValues({
    network,
    crypto: dataCrypto,
    clock: new InstantClock(),
    onProgress: () => {},
  });
  const parts: StoredPart[] = [];
  await large.store(inPieces(bytes), {}, (item, replicas) => void parts.push({ item, replicas }));
  return parts;
}

const small = (text: string | Uint8Array): Item =>
  immutableItem(itemCrypto, bencodeBytes(typeof text === "string" ? latin1(text) : text));

function keyed(salt: Uint8Array, seq: number, value: Uint8Array): Item {
  const publicKey = new Uint8Array(32), signature = new Uint8Array(64);
  const target = mutableTarget(itemCrypto, publicKey, salt);
  return { target, value, signed: { publicKey, signature, salt, seq } };
}

const refer = (seq: number, root: Id) => keyed(latin1("key"), seq, encodeReference(root));

Deno.test("values of one item are listed by when they are due, page by page", () => {
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
    firstAt: 1_000,
    lastAt: 1_003,
    nextAt: 1_103,
    replicas: 4,
    failures: 0,
  }]);
});

Deno.test("a key is told where it is text", () => {
  const { publications } = setup();
  for (const salt of [latin1("sensor/1"), new Uint8Array([0xff]), new Uint8Array(0)]) {
    publications.keep({ item: keyed(salt, 3, bencodeBytes(latin1("v"))), replicas: 1 });
  }
  assert.deepEqual(
    publications.list(0, 10).map(({ kind, key, seq, size }) => [kind, key, seq, size]),
    [["mutable", "sensor/1", 3, 1], ["mutable", null, 3, 1], ["mutable", null, 3, 1]],
  );
});

Deno.test("a large value is one entry, and ends with all of its items", async () => {
  const { store, publications } = setup();
  const parts = await tree(sampleBytes(100_000));
  const root = parts.pop()!;
  parts[50] = { ...parts[50], replicas: 2 };
  publications.keep(root, parts);
  assert.deepEqual([publications.count, publications.items], [1, 105]);
  const [{ hash, kind, size, items, replicas }] = publications.list(0, 10);
  assert.deepEqual([hash, kind, size, items, replicas], [
    `${root.item.target}`,
    "chunked",
    100_000,
    105,
    2,
  ]);
  assert.equal(publications.forget(parts[3].item.target), false, "a part is no value");
  assert.equal(publications.forget(root.item.target), true);
  assert.deepEqual([publications.count, store.count], [0, 0]);
  assert.equal(publications.forget(root.item.target), false);
});

Deno.test("what another value needs stays", async () => {
  const { store, publications } = setup();
  const bytes = sampleBytes(60_000);
  const [long, short] = [await tree(bytes), await tree(bytes.slice(0, 50_000))];
  const own = small(bytes.slice(996, 2 * 996));
  publications.keep({ item: own, replicas: 3 });
  for (const parts of [long, short]) publications.keep(parts.at(-1)!, parts.slice(0, -1));
  assert.equal(publications.count, 3);
  const has = (parts: StoredPart[]) =>
    parts.every(({ item }) => store.get(item.target) !== undefined);
  assert.ok(publications.forget(long.at(-1)!.item.target));
  assert.ok(has(short) && !has(long));
  assert.ok(publications.forget(short.at(-1)!.item.target));
  assert.deepEqual([publications.count, store.count], [1, 1]);
  assert.ok(publications.forget(own.target));
  assert.equal(store.count, 0);
});

Deno.test("under a key the next value takes the place of the last, all of it", async () => {
  const { store, publications } = setup();
  const [one, two] = [await tree(sampleBytes(50_000)), await tree(sampleBytes(2_000))];
  publications.keep({ item: refer(1, one.at(-1)!.item.target), replicas: 9 }, one);
  const listed = () => publications.list(0, 10)[0];
  assert.deepEqual([listed().kind, listed().key, listed().size], ["chunked", "key", 50_000]);
  assert.equal(publications.count, 1);
  const next = refer(2, two.at(-1)!.item.target);
  publications.keep({ item: next, replicas: 9 }, two);
  assert.deepEqual([publications.count, store.count], [1, two.length + 1]);
  assert.deepEqual([listed().size, listed().items], [2_000, two.length + 1]);
  publications.keep({ item: next, replicas: 9 }, two);
  assert.equal(store.count, two.length + 1, "the very same again loses nothing");
  publications.keep({ item: keyed(latin1("key"), 3, bencodeBytes(latin1("v"))), replicas: 9 });
  assert.deepEqual([publications.count, store.count, listed().kind], [1, 1, "mutable"]);
});

Deno.test("a root that was also stored without a key stays when the key moves on", async () => {
  const { store, publications } = setup();
  const parts = await tree(sampleBytes(5_000));
  publications.keep(parts.at(-1)!, parts.slice(0, -1));
  publications.keep({ item: refer(1, parts.at(-1)!.item.target), replicas: 9 }, parts);
  assert.equal(publications.count, 2);
  publications.keep({ item: keyed(latin1("key"), 2, bencodeBytes(latin1("v"))), replicas: 9 });
  assert.deepEqual([publications.count, store.count], [2, parts.length + 1]);
});

Deno.test("after a restart values and parts are told apart; a reference may lead elsewhere", async () => {
  const { store, publications } = setup();
  const parts = await tree(sampleBytes(50_000));
  publications.keep(parts.at(-1)!, parts.slice(0, -1));
  publications.keep({ item: small("one"), replicas: 1 });
  publications.keep({ item: refer(4, small("elsewhere").target), replicas: 1 });
  const again = setup(store).publications;
  assert.deepEqual([again.count, again.items], [3, parts.length + 2]);
  const sizes = again.list(0, 10).map(({ size }) => size);
  assert.deepEqual(new Set(sizes), new Set([50_000, 3, null]));
  assert.ok(again.forget(parts.at(-1)!.item.target));
  assert.equal(store.count, 2);
});
