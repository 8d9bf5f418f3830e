// Large values through a network in memory: whole and in ranges, with parts missing, wrong, slow and refused.

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import fc from "fast-check";
import { bencodeBytes } from "../../src/krpc/bencode.ts";
import { Id } from "../../src/krpc/id.ts";
import { LargeValues, type Progress, wholeOrStream } from "../../src/data/large_values.ts";
import {
  capacity,
  decodeRoot,
  encodeManifest,
  levelOf,
  MAX_LEVEL,
  MAX_SIZE,
  type Root,
  type Whole,
} from "../../src/data/manifest.ts";
import {
  FIRST_PUTS,
  GETS,
  PUTS,
  TransferError,
  type TransferFailure,
  TRANSFERS,
  TRIES,
  WINDOW,
} from "../../src/data/transfers.ts";
import { immutableItem, type Item } from "../../src/dht/item.ts";
import { dataCrypto } from "../../src/runtime/crypto.ts";
import { collected, inPieces, InstantClock, MemoryNetwork, sampleBytes } from "./memory_network.ts";

function setup() {
  const network = new MemoryNetwork(), clock = new InstantClock();
  const progress: Progress[] = [];
  const values = new LargeValues({
    network,
    crypto: dataCrypto,
    clock,
    onProgress: (step) => progress.push(step),
  });
  /** Stores a value and yields how to read it. */
  const hold = async (bytes: Uint8Array) => {
    const { root: target } = await values.store(inPieces(bytes));
    const root = decodeRoot(network.items.get(`${target}`)!.value)!;
    network.gets.length = 0;
    return {
      target,
      root,
      read: (start = 0, end = root.size) => values.read(target, root, start, end),
    };
  };
  return { network, clock, progress, values, hold };
}

const failsWith = (failure: TransferFailure) => (error: unknown) =>
  error instanceof TransferError && error.failure === failure;

/** Each piece takes a tenth of a second. */
async function* slowly(pieces: AsyncIterable<Uint8Array>, clock: InstantClock) {
  for await (const piece of pieces) {
    clock.time += 100;
    yield piece;
  }
}

const soon = () => new Promise<void>((resolve) => setTimeout(resolve, 0));

const isChunk = ({ value }: Item) => value[0] !== 0x64;

Deno.test("values of every boundary size come back byte for byte", async () => {
  const { network, hold } = setup();
  const level2 = capacity(2);
  const sizes = [997, 1992, 44_819, 44_820, 44_821, 89_640, 89_641, level2 - 1, level2, level2 + 1];
  for (const size of sizes) {
    const bytes = sampleBytes(size);
    const { read, root } = await hold(bytes);
    assert.deepEqual([root.size, root.level], [size, levelOf(size)]);
    const back = await collected(read());
    assert.deepEqual(createHash("sha256").update(back).digest(), Buffer.from(root.sha256));
    assert.equal(back.length, size);
  }
  assert.equal(network.open, 0);
});

Deno.test("what fits one item is whole, all else a stream, whatever the pieces", async () => {
  for (const size of [0, 1, 995, 996, 997, 5000]) {
    const bytes = sampleBytes(size);
    for (const length of [1, 500, 996, 10_000]) {
      const given = await wholeOrStream(inPieces(bytes, length));
      assert.equal(given instanceof Uint8Array, size <= 996);
      assert.deepEqual(given instanceof Uint8Array ? given : await collected(given), bytes);
    }
  }
  let isClosed = false;
  async function* source() {
    try {
      for (;;) yield await Promise.resolve(new Uint8Array(600));
    } finally {
      isClosed = true;
    }
  }
  const given = await wholeOrStream(source());
  assert.ok(!(given instanceof Uint8Array));
  for await (const _ of given) break;
  assert.ok(isClosed, "a reader that leaves is noticed");
});

Deno.test("any range is what a slice would be, and asks for its own parts alone", async () => {
  const { network, hold } = setup();
  for (const size of [1000, 50_000, 300_000]) {
    const bytes = sampleBytes(size);
    const { read } = await hold(bytes);
    await fc.assert(
      fc.asyncProperty(fc.nat(size), fc.nat(size), async (x, y) => {
        const start = Math.min(x, y), end = Math.max(x, y);
        network.gets.length = 0;
        assert.deepEqual(await collected(read(start, end)), bytes.slice(start, end));
        const chunks = start === end
          ? 0
          : Math.floor((end - 1) / 996) - Math.floor(start / 996) + 1;
        const manifests = Math.ceil(chunks / 45) + 1;
        assert.ok(network.gets.length >= chunks && network.gets.length <= chunks + 2 * manifests);
        assert.equal(new Set(network.gets).size, network.gets.length, "nothing is asked for twice");
      }),
      { numRuns: 60 },
    );
  }
});

Deno.test("a part that is not found is asked for again by itself, more and more slowly", async () => {
  const { network, clock, hold } = setup();
  const bytes = sampleBytes(100_000);
  const { read } = await hold(bytes);
  const targets = [...network.items.keys()];
  network.hidden.set(targets[3], TRIES - 1);
  const manifest = targets.find((hash) => !isChunk(network.items.get(hash)!))!;
  network.hidden.set(manifest, 1);
  assert.deepEqual(await collected(read()), bytes);
  assert.deepEqual(clock.slept.toSorted((x, y) => x - y), [250, 250, 500, 1000]);
  for (const hash of new Set(network.gets)) {
    const times = network.gets.filter((other) => other === hash).length;
    assert.equal(times, hash === targets[3] ? TRIES : hash === manifest ? 2 : 1);
  }
});

Deno.test("a part that nobody has ends the reading, after what comes before it", async () => {
  const { network, hold } = setup();
  const bytes = sampleBytes(100_000);
  const { read } = await hold(bytes);
  const chunks = [...network.items.values()].filter(isChunk);
  network.items.delete(`${chunks[50].target}`);
  const parts: Uint8Array[] = [];
  await assert.rejects(async () => {
    for await (const part of read()) parts.push(part);
  }, failsWith("missing"));
  assert.equal(parts.length, 50);
  assert.deepEqual(await collected(read(51 * 996, 60 * 996)), bytes.slice(51 * 996, 60 * 996));
  assert.equal(network.open, 0);
});

Deno.test("a reader that stops is followed no further than the window", async () => {
  const { network, hold } = setup();
  const { read, root } = await hold(sampleBytes(500_000));
  const pieces = read();
  let taken = 0;
  for (; taken < 100; taken++) await pieces.next();
  for (let i = 0; i < 20; i++) await soon();
  assert.ok(network.gets.length <= taken + WINDOW + 2 * root.level + 2, `${network.gets.length}`);
  assert.ok(network.mostActive <= GETS);
  await pieces.return(undefined);
  const before = network.gets.length;
  for (let i = 0; i < 20; i++) await soon();
  assert.equal(network.gets.length, before);
  assert.equal(network.open, 0);
});

Deno.test("a reader that leaves while it waits is let go at once", async () => {
  const { network, values, hold } = setup();
  const { target, root } = await hold(sampleBytes(5000));
  const { promise: never } = Promise.withResolvers<void>();
  network.delay = () => never;
  const leaving = new AbortController();
  const pieces = values.read(target, root, 0, 5000, leaving.signal);
  const next = pieces.next();
  await soon();
  leaving.abort();
  await assert.rejects(next, failsWith("aborted"));
  await assert.rejects(
    values.read(target, root, 0, 9, leaving.signal).next(),
    failsWith("aborted"),
  );
  assert.equal(network.open, 0);
});

Deno.test("a node that stops ends all transfers, and asks for nothing more", async () => {
  const { network, values, hold } = setup();
  const { read } = await hold(sampleBytes(50_000));
  const { promise: never } = Promise.withResolvers<void>();
  network.delay = () => never;
  // More than get a turn: those who wait for one are let go too.
  const all: Promise<unknown>[] = Array.from({ length: 40 }, () => read().next());
  for (let i = 0; i < 20; i++) all.push(values.store(inPieces(sampleBytes(50_000))));
  await soon();
  values.close();
  for (const end of all) await assert.rejects(end, failsWith("aborted"));
  assert.deepEqual([network.open, values.progress()], [0, []]);
});

/** Puts a tree together by hand. */
function plant(network: MemoryNetwork, value: Uint8Array): Id {
  const item = immutableItem(dataCrypto, value);
  network.items.set(`${item.target}`, item);
  return item.target;
}

function targets(...ids: Id[]): Uint8Array {
  const bytes = new Uint8Array(20 * ids.length);
  ids.forEach((id, i) => id.write(bytes, 20 * i));
  return bytes;
}

const NO_HASH: Whole = { sha256: new Uint8Array(32), hint: "binary" };

Deno.test("a tree whose parts don't fit is refused where it does not", async () => {
  const { network, values } = setup();
  const full = plant(network, bencodeBytes(sampleBytes(996)));
  const four = plant(network, bencodeBytes(sampleBytes(4)));
  const short = plant(network, bencodeBytes(sampleBytes(995)));
  const long = plant(network, bencodeBytes(sampleBytes(5)));
  const list = plant(network, new TextEncoder().encode("l" + "1:a".repeat(300) + "e"));
  const bad: [string, Id, Id][] = [
    ["a short chunk", short, four],
    ["a long last chunk", full, long],
    ["a list for a chunk", list, four],
    ["a manifest for a chunk", plant(network, encodeManifest(1, 1000, targets(full, four))), four],
  ];
  for (const [what, ...children] of bad) {
    const root: Root = { level: 1, size: 1000, children: targets(...children), ...NO_HASH };
    await assert.rejects(
      collected(values.read(full, root, 0, 999)),
      (error) => failsWith("invalid")(error) || what === "a long last chunk",
      what,
    );
    await assert.rejects(collected(values.read(full, root, 0, 1000)), failsWith("invalid"), what);
  }
  const size = capacity(1) + 4;
  const fullManifest = encodeManifest(1, capacity(1), targets(...Array(45).fill(full)));
  const left = plant(network, fullManifest);
  const right = plant(network, encodeManifest(1, 4, targets(four)));
  const wrong: [string, Id, Id][] = [
    ["another size", left, plant(network, encodeManifest(1, 5, targets(four)))],
    ["another level", left, plant(network, encodeManifest(2, 4, targets(four)))],
    ["too many children", left, plant(network, encodeManifest(1, 4, targets(four, four)))],
    ["itself again", right, right],
    ["a root", left, plant(network, encodeManifest(1, 4, targets(four), NO_HASH))],
    ["a chunk", left, four],
  ];
  for (const [what, ...children] of wrong) {
    const root: Root = { level: 2, size, children: targets(...children), ...NO_HASH };
    await assert.rejects(collected(values.read(full, root, 0, size)), failsWith("invalid"), what);
  }
  const root: Root = { level: 2, size, children: targets(left, right), ...NO_HASH };
  assert.equal((await collected(values.read(full, root, 1, size))).length, size - 1);
  assert.equal(network.open, 0);
});

Deno.test("parts that fit but are not the value: the last piece never comes", async () => {
  const { network, hold, values } = setup();
  const bytes = sampleBytes(100_000);
  const { root, target } = await hold(bytes);
  const forged = { ...root, sha256: root.sha256.map((byte) => byte ^ 1) };
  let received = 0;
  await assert.rejects(async () => {
    for await (const piece of values.read(target, forged, 0, 100_000)) received += piece.length;
  }, failsWith("mismatch"));
  assert.equal(received, Math.floor(100_000 / 996) * 996);
  const part = await collected(values.read(target, forged, 1, 100_000));
  assert.equal(part.length, 99_999, "a part can't be checked against it");
  assert.equal(network.open, 0);
});

Deno.test("a mutable item is no part of anything", async () => {
  const { network, hold } = setup();
  const { read } = await hold(sampleBytes(5000));
  const [hash, item] = [...network.items][2];
  const bytes = new Uint8Array(64);
  const signed = { publicKey: bytes.slice(32), signature: bytes, salt: bytes.slice(64), seq: 1 };
  network.items.set(hash, { ...item, signed });
  await assert.rejects(collected(read()), failsWith("invalid"));
});

Deno.test("a tree of four gigabytes out of five items costs what is read of it", async () => {
  const { network, values } = setup();
  let child = plant(network, bencodeBytes(sampleBytes(996)));
  for (let level = 1; level < MAX_LEVEL; level++) {
    child = plant(
      network,
      encodeManifest(level, capacity(level), targets(...Array(45).fill(child))),
    );
  }
  const children = targets(...Array(45).fill(child));
  const root: Root = { level: MAX_LEVEL, size: MAX_SIZE, children, ...NO_HASH };
  assert.deepEqual(decodeRoot(encodeManifest(MAX_LEVEL, MAX_SIZE, children, root)), root);
  const last = await collected(values.read(child, root, MAX_SIZE - 10, MAX_SIZE));
  assert.deepEqual(last, sampleBytes(996).slice(-10));
  assert.equal(network.gets.length, MAX_LEVEL);
  let pieces = 0;
  for await (const _ of values.read(child, root, 0, MAX_SIZE)) if (++pieces === 1000) break;
  assert.ok(network.gets.length < 1100);
});

Deno.test("what is stored is streamed: the source is never far ahead of the network", async () => {
  const { network, values } = setup();
  network.keeps = false;
  let pulled = 0, most = 0, acknowledged = 0;
  async function* source() {
    for (let i = 0; i < 200; i++) {
      pulled += 10_000;
      most = Math.max(most, pulled - acknowledged);
      yield await Promise.resolve(new Uint8Array(10_000).fill(i));
    }
  }
  network.replicasOf = (item) => {
    if (isChunk(item)) acknowledged += item.value.length - 4;
    return 20;
  };
  network.delay = soon;
  const { size } = await values.store(source());
  assert.equal(size, 2_000_000);
  assert.ok(most <= 10_000 + (WINDOW + 2) * 996 + 10_000, `${most} bytes ahead`);
  assert.ok(network.mostActive <= PUTS, `${network.mostActive} puts at a time`);
});

Deno.test("a few items are put at first, and each that is stored lets one more be put at a time", async () => {
  const { network, values } = setup();
  network.delay = soon;
  // The pace of the whole node is at its height after this.
  await values.store(inPieces(sampleBytes(600_000)));
  assert.equal(network.mostActive, PUTS);
  let stored = 0;
  const tooMany: string[] = [];
  network.replicasOf = () => (stored++, 20);
  network.delay = () => {
    if (network.active > FIRST_PUTS + stored) tooMany.push(`${network.active} after ${stored}`);
    return soon();
  };
  network.mostActive = 0;
  await values.store(inPieces(sampleBytes(100_000)));
  assert.deepEqual(tooMany, []);
  assert.equal(network.mostActive, WINDOW);
});

Deno.test("the root is put when all its parts are acknowledged, and replicas are the fewest", async () => {
  const { network, values } = setup();
  const last: Item[] = [];
  network.delay = soon;
  network.replicasOf = (item, put) => {
    if (decodeRoot(item.value) !== undefined) last.push(item);
    if (last.length > 0) assert.equal(network.active, 1);
    return put === 30 ? 14 : 20;
  };
  const tree = await values.store(inPieces(sampleBytes(150_000)));
  assert.ok(last[0].target.equals(tree.root));
  assert.equal(tree.replicas, 14);
  assert.equal(tree.nodes.length, 20);
});

Deno.test("an item that few nodes take is put again; one that none takes ends the store", async () => {
  const { network, clock, values } = setup();
  network.replicasOf = (_, put) => put === 30 ? 3 : put === 31 ? 0 : 20;
  const tree = await values.store(inPieces(sampleBytes(100_000)));
  assert.equal(tree.replicas, 20);
  assert.equal(clock.slept.length, 2);
  let isClosed = false;
  async function* source() {
    try {
      for (;;) yield await Promise.resolve(sampleBytes(5000));
    } finally {
      isClosed = true;
    }
  }
  const refused = new Set<string>();
  network.replicasOf = (item, put) => {
    if (put === 150) refused.add(`${item.target}`);
    return refused.has(`${item.target}`) ? 0 : 20;
  };
  await assert.rejects(values.store(source()), failsWith("not_stored"));
  assert.ok(isClosed && network.open === 0);
});

Deno.test("where so many copies are asked for, each item has them or the store ends", async () => {
  const { network, clock, values } = setup();
  network.replicasOf = (_, put) => put === 3 ? 7 : 10;
  const replicas: number[] = [];
  const tree = await values.store(
    inPieces(sampleBytes(10_000)),
    { minReplicas: 10 },
    (_, count) => void replicas.push(count),
  );
  assert.deepEqual([tree.replicas, clock.slept], [10, [1_000]]);
  assert.deepEqual(replicas, Array(12).fill(10), "of the root as well");
  network.replicasOf = () => 9;
  await assert.rejects(
    values.store(inPieces(sampleBytes(10_000)), { minReplicas: 10 }),
    (error: unknown) =>
      failsWith("not_stored")(error) && (error as { acknowledged: number }).acknowledged === 9,
  );
  assert.deepEqual(clock.slept.slice(1).toSorted((x, y) => x - y).slice(-1), [4_000]);
});

Deno.test("a network that becomes smaller is not asked for more than it has", async () => {
  const { network, clock, values } = setup();
  network.replicasOf = (_, put) => put < 20 ? 20 : 5;
  const tree = await values.store(inPieces(sampleBytes(200_000)));
  assert.equal(tree.replicas, 5);
  assert.ok(clock.slept.length <= WINDOW * (TRIES - 1), `${clock.slept.length} pauses`);
});

Deno.test("what the source fails with is passed on", async () => {
  const { network, values } = setup();
  const broken = new Error("reset");
  async function* source() {
    yield await Promise.resolve(sampleBytes(5000));
    throw broken;
  }
  await assert.rejects(values.store(source()), (error) => error === broken);
  assert.deepEqual([network.open, values.progress()], [0, []]);
});

Deno.test("many readers share what the node asks for at a time", async () => {
  const { network, values, hold } = setup();
  const bytes = sampleBytes(30_000);
  const { read, target, root } = await hold(bytes);
  network.delay = soon;
  network.mostActive = 0;
  const all = Array.from({ length: TRANSFERS }, () => collected(read()));
  await assert.rejects(values.read(target, root, 0, 5).next(), failsWith("busy"));
  for (const back of await Promise.all(all)) assert.deepEqual(back, bytes);
  assert.equal(network.mostActive, GETS);
  assert.deepEqual(await collected(read(0, 5)), bytes.slice(0, 5));
});

Deno.test("progress is told on the way and at the end, for each transfer by itself", async () => {
  const { progress, values, hold, clock } = setup();
  const bytes = sampleBytes(300_000);
  await values.store(inPieces(bytes), { label: "at once", totalBytes: 300_000 });
  assert.deepEqual(progress.map((step) => step.doneBytes), [300_000], "no time has passed");
  progress.length = 0;
  const { root } = await values.store(slowly(inPieces(bytes), clock), {
    label: "mine",
    totalBytes: 300_000,
  });
  assert.ok(progress.length >= 4 && progress.length <= 6);
  const { transfer } = progress[0];
  assert.deepEqual(progress.at(-1), {
    transfer,
    label: "mine",
    hash: `${root}`,
    direction: "store",
    doneBytes: 300_000,
    totalBytes: 300_000,
    state: "done",
  });
  assert.deepEqual([progress[0].hash, progress[0].state], [null, "moving"]);
  const done = progress.map((step) => step.doneBytes);
  assert.deepEqual(done, done.toSorted((x, y) => x - y));
  const { read, target } = await hold(bytes);
  progress.length = 0;
  const pieces = read(0, 200_000);
  await pieces.next();
  await pieces.next();
  assert.deepEqual(values.progress().map((step) => [step.hash, step.doneBytes, step.totalBytes]), [
    [`${target}`, 996, 200_000],
  ]);
  await collected(pieces);
  assert.deepEqual(
    [progress.at(-1)?.direction, progress.at(-1)?.doneBytes, values.progress()],
    ["fetch", 200_000, []],
  );
  assert.notEqual(progress.at(-1)?.transfer, transfer);
  const given = read(0, 200_000);
  await given.next();
  await given.return(undefined);
  assert.deepEqual([progress.at(-1)?.state, progress.at(-1)?.doneBytes], ["failed", 0]);
});
