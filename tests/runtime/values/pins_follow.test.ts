// Following pinned values: the bytes of a version that is no longer needed are removed, and no others.

import assert from "node:assert/strict";
import { type Item, mutableTarget } from "../../../src/dht/items/item.ts";
import type { LargeContent } from "../../../src/dht/items/published.ts";
import type { LargeValues, StoredBlobs } from "../../../src/large_values/large_values.ts";
import { encodeReference } from "../../../src/large_values/manifest.ts";
import { dataCrypto } from "../../../src/runtime/identity/crypto.ts";
import type { NetworkItems } from "../../../src/runtime/values/items.ts";
import { Pins } from "../../../src/runtime/values/pins.ts";
import type { Publications } from "../../../src/runtime/values/publications.ts";
import { sampleBytes } from "../../large_values/memory_network.ts";
import { setup } from "../../large_values/setup.ts";

/** Follows a pinned value that gets another version while its root is put. Returns the blobs that were discarded. */
async function discardedBlobs(kept: LargeContent | undefined): Promise<StoredBlobs[]> {
  const { hold } = setup();
  const root = (await hold(sampleBytes(5_000))).tree.root;
  const publicKey = new Uint8Array(32), salt = new Uint8Array(0);
  const target = mutableTarget(dataCrypto, publicKey, salt);
  let seq = 1;
  const version = (): Item => {
    const signed = { publicKey, salt, signature: new Uint8Array(64), seq };
    return { target, value: encodeReference(root.target), signed };
  };
  const discarded: StoredBlobs[] = [];
  const items = {
    others: () => [],
    get: () => Promise.resolve({ item: root }),
    put: () => {
      seq = 2;
      return Promise.resolve({ stored: [] });
    },
  };
  const publications = {
    incompletePins: () => [target],
    itemOf: version,
    lifeOf: () => undefined,
    contentOf: () => kept,
    pin: () => assert.fail("an old version is not pinned"),
    tidy: () => {},
  };
  const largeValues = {
    copy: () => Promise.resolve({ value: 8, ids: 9 }),
    discard: ({ value, ids }: StoredBlobs) => void discarded.push({ value, ids }),
  };
  const pins = new Pins({
    items: items as unknown as NetworkItems,
    publications: publications as unknown as Publications,
    largeValues: largeValues as unknown as LargeValues,
    publicKey,
    maxValueSize: 10_000,
    now: () => 0,
    sync: () => Promise.resolve(true),
  });
  await pins.follow();
  return discarded;
}

Deno.test("the copy of a version that has become outdated meanwhile is removed", async () => {
  assert.deepEqual(await discardedBlobs(undefined), [{ value: 8, ids: 9 }]);
});

Deno.test("the bytes of another published value stay, even if an outdated version has the same", async () => {
  assert.deepEqual(await discardedBlobs({ value: 1, ids: 2, next: 0 }), []);
});
