// Large values over a network in memory: whole and in ranges, with missing, wrong, slow and refused pieces.

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import fc from "fast-check";
import { bencodeBytes } from "../../src/krpc/bencode.ts";
import { ID_BYTES } from "../../src/krpc/id.ts";
import {
  MAX_WHOLE_COPIES,
  spreadOver,
  wholeOrStream,
} from "../../src/large_values/large_values.ts";
import { Layout, MAX_SIZE, PIECE_BYTES, PIECE_COPIES } from "../../src/large_values/layout.ts";
import { decodeRoot, encodeRoot, type Root } from "../../src/large_values/manifest.ts";
import { pieceItem } from "../../src/large_values/pieces.ts";
import {
  GETS,
  PUTS,
  TransferError,
  type TransferFailure,
  TRANSFERS,
  TRIES,
  WINDOW,
} from "../../src/large_values/transfers.ts";
import { immutableItem, type Item } from "../../src/dht/items/item.ts";
import { dataCrypto } from "../../src/runtime/identity/crypto.ts";
import {
  collected,
  inPieces,
  type InstantClock,
  type MemoryNetwork,
  sampleBytes,
} from "./memory_network.ts";
import { plantZeros, setup } from "./setup.ts";

const failsWith = (failure: TransferFailure) => (error: unknown) =>
  error instanceof TransferError && error.failure === failure;

/** Takes a tenth of a second for each piece. */
async function* slowly(pieces: AsyncIterable<Uint8Array>, clock: InstantClock) {
  for await (const piece of pieces) {
    clock.time += 100;
    yield piece;
  }
}

const soon = () => new Promise<void>((resolve) => setTimeout(resolve, 0));

const isRoot = ({ value }: Item) => decodeRoot(value) !== undefined;

/** The targets of all pieces of a value in order, as the value was stored. */
function targetsOf(network: MemoryNetwork): string[] {
  return [...network.items.values()].filter((item) => !isRoot(item)).map(({ target }) =>
    `${target}`
  );
}

Deno.test("values of every boundary size are read byte for byte", async () => {
  const stripe = 32 * PIECE_BYTES;
  const sizes = [
    ...[997, 1_984, 1_985, 9 * PIECE_BYTES, 9 * PIECE_BYTES + 1, stripe - 1, stripe, stripe + 1],
    ...[33 * PIECE_BYTES, 2 * stripe + 1, 500_000],
  ];
  for (const size of sizes) {
    const { network, hold } = setup();
    const { read, root } = await hold(sampleBytes(size));
    assert.equal(root.size, size);
    const back = await collected(read());
    assert.deepEqual(createHash("sha256").update(back).digest(), Buffer.from(root.sha256));
    assert.equal(back.length, size);
    assert.equal(network.open, 0);
  }
});

Deno.test("a value that fits in one item is returned whole, and a larger one as a stream", async () => {
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

Deno.test("a range equals a slice of the value, and only its own data pieces are fetched", async () => {
  for (const size of [1000, 50_000, 300_000]) {
    const { network, hold } = setup();
    const bytes = sampleBytes(size);
    const { read, root } = await hold(bytes);
    const { levels } = new Layout(root.size);
    const parity = new Set(
      levels.flatMap(({ first, data, pieces }) =>
        idsBetween(network, first + data, first + pieces)
      ),
    );
    await fc.assert(
      fc.asyncProperty(fc.nat(size), fc.nat(size), async (x, y) => {
        const start = Math.min(x, y), end = Math.max(x, y);
        network.gets.length = 0;
        assert.deepEqual(await collected(read(start, end)), bytes.slice(start, end));
        const pieces = start === end
          ? 0
          : Math.floor((end - 1) / PIECE_BYTES) - Math.floor(start / PIECE_BYTES) + 1;
        // A piece of ids covers 49 pieces. A range touches one or two more of each level.
        const ids = pieces / 49 + 3 * levels.length;
        assert.ok(network.gets.length >= pieces && network.gets.length <= pieces + ids);
        assert.equal(new Set(network.gets).size, network.gets.length, "nothing is asked for twice");
        assert.ok(network.gets.every((hash) => !parity.has(hash)), "nothing is decoded");
      }),
      { numRuns: 40 },
    );
  }
});

/** The targets of the pieces with these numbers. */
function idsBetween(network: MemoryNetwork, start: number, end: number): string[] {
  return Array.from(network.items.values(), ({ target, value }) => {
    const number = isRoot({ target, value, signed: undefined }) ? -1 : numberOf(value);
    return number >= start && number < end ? [`${target}`] : [];
  }).flat();
}

function numberOf(value: Uint8Array): number {
  const at = value.indexOf(0x3a) + 1;
  return new DataView(value.buffer, value.byteOffset + at).getUint32(0);
}

Deno.test("60 % of all nodes vanish, and the value is restored from the other pieces", async () => {
  const { network, clock, hold } = setup(1000);
  const bytes = sampleBytes(2_000_000);
  const { read, target } = await hold(bytes);
  const root = network.items.get(`${target}`)!;
  network.vanish((node) => (node * 7919 + 13) % 10 < 6);
  network.items.set(`${target}`, root);
  assert.deepEqual(await collected(read()), bytes);
  assert.deepEqual(await collected(read(1_234_567, 1_234_999)), bytes.slice(1_234_567, 1_234_999));
  assert.deepEqual(clock.slept, [], "a missing piece is not waited for");
  const inOrder = new Layout(bytes.length).levels[0].data;
  assert.ok(network.gets.length < 1.9 * inOrder, `${network.gets.length} of ${inOrder}`);
});

Deno.test("a value of zeros survives as well: all of its pieces differ", async () => {
  const { network, hold } = setup(1000);
  const { read } = await hold(new Uint8Array(100_000));
  assert.equal(network.items.size, new Layout(100_000).pieces + 1);
  network.vanish((node) => node % 2 === 0);
  assert.deepEqual(await collected(read()), new Uint8Array(100_000));
});

Deno.test("if too few pieces are left, they are requested again, with growing pauses", async () => {
  const { network, clock, hold } = setup();
  const bytes = sampleBytes(5_000);
  const { read } = await hold(bytes);
  for (const hash of targetsOf(network)) network.hidden.set(hash, 2);
  assert.deepEqual(await collected(read()), bytes);
  assert.deepEqual(clock.slept, [250, 500]);
});

Deno.test("a stripe with too few pieces ends the reading, after the bytes before it", async () => {
  const { network, clock, hold } = setup();
  const bytes = sampleBytes(100_000);
  const { read } = await hold(bytes);
  const [level] = new Layout(bytes.length).levels;
  const { firstData, columns, firstParity, parity, start } = level.stripe(2);
  const gone = [
    ...idsBetween(network, firstData, firstData + columns),
    ...idsBetween(network, firstParity, firstParity + parity - columns + 1),
  ];
  for (const hash of gone) network.items.delete(hash);
  const parts: Uint8Array[] = [];
  await assert.rejects(async () => {
    for await (const part of read()) parts.push(part);
  }, failsWith("missing"));
  assert.equal(parts.length, start);
  assert.equal(clock.slept.length, TRIES - 1);
  const after = (start + columns) * PIECE_BYTES;
  assert.deepEqual(await collected(read(after, 100_000)), bytes.slice(after));
  assert.equal(network.open, 0);
});

Deno.test("if a reader stops, only the window is fetched", async () => {
  const { network, hold } = setup();
  const { read } = await hold(sampleBytes(500_000));
  const pieces = read();
  let taken = 0;
  for (; taken < 100; taken++) await pieces.next();
  for (let i = 0; i < 20; i++) await soon();
  assert.ok(network.gets.length <= taken + WINDOW + 12, `${network.gets.length}`);
  assert.ok(network.mostActive <= Math.max(GETS, PUTS));
  await pieces.return(undefined);
  const before = network.gets.length;
  for (let i = 0; i < 20; i++) await soon();
  assert.equal(network.gets.length, before);
  assert.equal(network.open, 0);
});

Deno.test("a reader that leaves while it waits ends at once", async () => {
  const { network, values, hold } = setup();
  const { target, root } = await hold(sampleBytes(5000));
  const { promise: never } = Promise.withResolvers<void>();
  network.delay = () => never;
  const leaving = new AbortController();
  const pieces = values.read(target, root, { start: 0, end: 5000, signal: leaving.signal });
  const next = pieces.next();
  await soon();
  leaving.abort();
  await assert.rejects(next, failsWith("aborted"));
  await assert.rejects(
    values.read(target, root, { start: 0, end: 9, signal: leaving.signal }).next(),
    failsWith("aborted"),
  );
  assert.equal(network.open, 0);
});

Deno.test("stopping ends all transfers and all requests, and leaves nothing on disk", async () => {
  const { network, blobs, values, hold } = setup();
  const { read, tree } = await hold(sampleBytes(50_000));
  values.discard(tree.blobs);
  const { promise: never } = Promise.withResolvers<void>();
  network.delay = () => never;
  // More readers than slots: those that wait for a slot end too.
  const all: Promise<unknown>[] = Array.from({ length: 40 }, () => read().next());
  for (let i = 0; i < 20; i++) all.push(values.store(inPieces(sampleBytes(50_000))));
  for (let i = 0; i < 10; i++) await soon();
  values.close();
  for (const end of all) await assert.rejects(end, failsWith("aborted"));
  assert.deepEqual([network.open, values.progress(), blobs.bytes.size], [0, [], 0]);
});

/** Adds pieces with this content, from number 0 on, and returns a root that refers to them. */
function plant(network: MemoryNetwork, size: number, contents: (number: number) => Item): Root {
  const { top } = new Layout(size), pieces = new Uint8Array(top.pieces * ID_BYTES);
  for (let i = 0; i < top.pieces; i++) {
    const item = contents(i);
    network.items.set(`${item.target}`, item);
    network.held.set(`${item.target}`, new Set([`${item.target}`]));
    item.target.write(pieces, i * ID_BYTES);
  }
  return { size, pieces, sha256: new Uint8Array(32), hint: "binary" };
}

Deno.test("a value is refused at the first piece that does not fit", async () => {
  const { network, values } = setup();
  const good = (number: number) =>
    pieceItem(dataCrypto, number, sampleBytes(number === 1 ? 8 : PIECE_BYTES));
  const bad: [string, Item][] = [
    ["a short piece", pieceItem(dataCrypto, 0, sampleBytes(PIECE_BYTES - 1))],
    ["another number", pieceItem(dataCrypto, 1, sampleBytes(PIECE_BYTES))],
    ["a list", immutableItem(dataCrypto, new TextEncoder().encode("le"))],
    ["no number", immutableItem(dataCrypto, bencodeBytes(sampleBytes(3)))],
  ];
  for (const [what, item] of bad) {
    const root = plant(network, 1000, (number) => number === 0 ? item : good(number));
    await assert.rejects(
      collected(values.read(item.target, root, { start: 0, end: 9 })),
      failsWith("invalid"),
      what,
    );
  }
  const root = plant(network, 1000, good);
  const { target } = good(0);
  assert.equal((await collected(values.read(target, root, { start: 1, end: 1000 }))).length, 999);
  await assert.rejects(
    collected(values.read(target, root, { start: 0, end: 1000 })),
    failsWith("mismatch"),
  );
  // The owner has published parity that does not belong to the data.
  network.items.delete(`${target}`);
  await assert.rejects(
    collected(values.read(target, root, { start: 0, end: 9 })),
    failsWith("invalid"),
    "parity",
  );
});

Deno.test("if the SHA-256 is wrong, the last piece is not delivered", async () => {
  const { network, hold, values } = setup();
  const bytes = sampleBytes(100_000);
  const { root, target } = await hold(bytes);
  const forged = { ...root, sha256: root.sha256.map((byte) => byte ^ 1) };
  let received = 0;
  await assert.rejects(async () => {
    for await (const piece of values.read(target, forged, { start: 0, end: 100_000 })) {
      received += piece.length;
    }
  }, failsWith("mismatch"));
  assert.equal(received, Math.floor(100_000 / PIECE_BYTES) * PIECE_BYTES);
  const part = await collected(values.read(target, forged, { start: 1, end: 100_000 }));
  assert.equal(part.length, 99_999, "a part can't be checked against it");
  assert.equal(network.open, 0);
});

Deno.test("a mutable item is refused as a piece", async () => {
  const { network, hold } = setup();
  const { read } = await hold(sampleBytes(5000));
  const [hash, item] = [...network.items][2];
  const bytes = new Uint8Array(64);
  const signed = { publicKey: bytes.slice(32), signature: bytes, salt: bytes.slice(64), seq: 1 };
  network.items.set(hash, { ...item, signed });
  await assert.rejects(collected(read()), failsWith("invalid"));
});

Deno.test("reading the end of a value of four gigabytes fetches only a few pieces", async () => {
  const { network, values } = setup();
  const root = plantZeros(network, MAX_SIZE),
    { target } = pieceItem(dataCrypto, 0, new Uint8Array(1));
  const end = await collected(
    values.read(target, root, { start: MAX_SIZE - 2_000, end: MAX_SIZE }),
  );
  assert.deepEqual(end, new Uint8Array(2_000));
  assert.ok(network.gets.length <= 3 + 2 * new Layout(MAX_SIZE).levels.length);
  let pieces = 0;
  for await (const _ of values.read(target, root, { start: 0, end: MAX_SIZE })) {
    if (++pieces === 1000) break;
  }
  assert.ok(network.gets.length < 1_150, `${network.gets.length}`);
});

Deno.test("a store writes all of the value to disk before its first packet", async () => {
  const { network, values } = setup();
  async function* source() {
    for (let i = 0; i < 50; i++) {
      assert.equal(network.puts, 0);
      yield await Promise.resolve(new Uint8Array(10_000).fill(i));
    }
  }
  const { size } = await values.store(source());
  assert.equal(size, 500_000);
  assert.ok(network.puts > 0);
  assert.ok(network.mostActive <= PUTS, `${network.mostActive} puts at a time`);
});

Deno.test("a value without room is refused before its first packet, and leaves nothing on disk", async () => {
  const asked: [bytes: number, copies: number][] = [];
  const hasRoom = (...room: [number, number]) => {
    asked.push(room);
    return Promise.resolve(false);
  };
  const { network, blobs, values } = setup();
  async function* source() {
    yield await Promise.reject(new Error("read"));
  }
  await assert.rejects(
    values.store(source(), { totalBytes: 5_000 }, hasRoom),
    failsWith("no_room"),
  );
  await assert.rejects(
    values.store(inPieces(sampleBytes(5_000)), {}, hasRoom),
    failsWith("no_room"),
  );
  // Both times, the announced or received size was the same.
  assert.deepEqual(asked[0], asked[1]);
  assert.ok(asked[0][0] > 6 / 2 * 5_000 && asked[0][1] === PIECE_COPIES, `${asked[0]}`);
  assert.deepEqual([network.puts, blobs.bytes.size], [0, 0]);
  network.resize(3);
  await assert.rejects(
    values.store(inPieces(sampleBytes(50_000)), {}, hasRoom),
    failsWith("no_room"),
  );
  const data = new Layout(50_000).levels.reduce((sum, level) => sum + level.data, 0);
  const perItem = asked[2][0] / (data + 1);
  assert.ok(perItem > 1_000 && perItem < 3_000, "each node gets the data once, and the root");
  assert.equal(asked[2][1], 3);
});

Deno.test("two values that are stored at once don't count on the same room", async () => {
  const { values } = setup();
  const rooms: number[] = [];
  const store = (bytes: Uint8Array) =>
    values.store(inPieces(bytes), { totalBytes: bytes.length }, (room) => {
      rooms.push(room);
      return Promise.resolve(room < 1.5 * rooms[0]);
    });
  const [first, second] = await Promise.allSettled([1, 2].map(() => store(sampleBytes(50_000))));
  assert.deepEqual([first.status, second.status], ["fulfilled", "rejected"]);
  assert.equal(rooms[1], 2 * rooms[0]);
  await store(sampleBytes(50_000));
  assert.equal(rooms[2], rooms[0], "stores that have ended need no more room");
});

Deno.test("each piece gets two copies, and the root comes last", async () => {
  const { network, values } = setup();
  const copies = new Set<number>();
  let isLast = false;
  network.delay = soon;
  network.replicasOf = (item, _, count) => {
    assert.ok(!isLast);
    if (isRoot(item)) {
      assert.equal(network.active, 1, "all pieces are acknowledged");
      isLast = true;
    } else copies.add(count);
    return count;
  };
  const tree = await values.store(inPieces(sampleBytes(150_000)));
  assert.ok(isLast);
  assert.deepEqual(copies, new Set([PIECE_COPIES]));
  assert.equal(tree.nodes.length, 20);
  assert.equal(tree.replicas, 20);
});

Deno.test("in a small network, each node gets all data pieces and no parity", async () => {
  for (let nodes = 1; nodes <= MAX_WHOLE_COPIES; nodes++) {
    const { network, values } = setup(nodes);
    const bytes = sampleBytes(100_000);
    const tree = await values.store(inPieces(bytes));
    assert.equal(tree.replicas, nodes + 1, "this node counts too");
    const data = new Layout(bytes.length).levels.reduce((sum, level) => sum + level.data, 0);
    assert.equal(network.items.size, data + 1);
    network.vanish((node) => node > 0);
    network.items.set(`${tree.root.target}`, tree.root);
    const root = decodeRoot(tree.root.value)!;
    assert.deepEqual(
      await collected(values.read(tree.root.target, root, { start: 0, end: 100_000 })),
      bytes,
    );
  }
  assert.deepEqual(spreadOver(MAX_WHOLE_COPIES + 1), { copies: PIECE_COPIES, hasParity: true });
});

Deno.test("a node that is alone stores a value only on itself", async () => {
  const { network, blobs, values } = setup(0);
  const { isPlaced, replicas, blobs: { value, ids } } = await values.store(
    inPieces(sampleBytes(50_000)),
  );
  assert.deepEqual([isPlaced, replicas, network.items.size], [false, 1, 1]);
  assert.deepEqual(await blobs.read(value, 0, 50_000), sampleBytes(50_000));
  const { length } = await blobs.read(ids, 0, Infinity);
  assert.equal(length, new Layout(50_000).pieces * ID_BYTES);
});

Deno.test("a value's root is the same in every network", async () => {
  const roots = await Promise.all([0, 3, 1000].map(async (nodes) => {
    const { root } = await setup(nodes).values.store(inPieces(sampleBytes(50_000)));
    return `${root.target}`;
  }));
  assert.equal(new Set(roots).size, 1);
});

Deno.test("a published value is read from disk, without any request", async () => {
  let own: number | undefined = undefined;
  const { network, values, hold } = setup(100, { ownValue: () => own });
  const bytes = sampleBytes(300_000);
  const { read, tree } = await hold(bytes);
  own = tree.blobs.value;
  assert.deepEqual(await collected(read()), bytes);
  assert.deepEqual(await collected(read(70_001, 200_003)), bytes.slice(70_001, 200_003));
  assert.deepEqual([network.gets, values.progress()], [[], []]);
});

Deno.test("a piece that too few nodes accept is put again, and one that none accepts ends the store", async () => {
  const { network, blobs, clock, values } = setup();
  network.replicasOf = (_, put, copies) => put === 30 ? 1 : put === 31 ? 0 : copies;
  const tree = await values.store(inPieces(sampleBytes(100_000)));
  assert.equal(tree.replicas, 20);
  assert.equal(clock.slept.length, 2);
  values.discard(tree.blobs);
  const refused = new Set<string>();
  network.replicasOf = (item, put, copies) => {
    if (put === 450) refused.add(`${item.target}`);
    return refused.has(`${item.target}`) ? 0 : copies;
  };
  await assert.rejects(values.store(inPieces(sampleBytes(100_000))), failsWith("not_stored"));
  assert.deepEqual([network.open, blobs.bytes.size], [0, 0]);
});

Deno.test("a value gets the requested number of replicas, or the store ends", async () => {
  const { network, blobs, clock, values } = setup();
  const tree = await values.store(inPieces(sampleBytes(10_000)), { minReplicas: 10 });
  assert.ok(tree.replicas >= 10);
  values.discard(tree.blobs);
  network.replicasOf = (item, _, copies) => isRoot(item) ? 9 : copies;
  const isTooFew = (error: unknown) =>
    failsWith("not_stored")(error) && (error as TransferError).acknowledged === 9;
  const store = () => values.store(inPieces(sampleBytes(10_000)), { minReplicas: 10 });
  await assert.rejects(store(), isTooFew);
  assert.deepEqual(clock.slept, [1_000, 2_000, 4_000]);
  network.resize(8);
  network.puts = 0;
  await assert.rejects(store(), isTooFew);
  assert.deepEqual([network.puts, blobs.bytes.size], [0, 0], "nothing is sent in vain");
});

Deno.test("a shrinking network is not asked for more copies than it has nodes", async () => {
  const { network, clock, values } = setup();
  network.replicasOf = (_, put, copies) => put < 20 ? copies : Math.min(1, copies);
  const tree = await values.store(inPieces(sampleBytes(200_000)));
  assert.equal(tree.replicas, 1);
  assert.ok(clock.slept.length <= WINDOW * (TRIES - 1), `${clock.slept.length} pauses`);
});

Deno.test("errors of the source are rethrown, and leave nothing on disk", async () => {
  const { network, blobs, values } = setup();
  const broken = new Error("reset");
  async function* source() {
    yield await Promise.resolve(sampleBytes(5000));
    throw broken;
  }
  await assert.rejects(values.store(source()), (error) => error === broken);
  assert.deepEqual([network.open, network.puts, values.progress()], [0, 0, []]);
  assert.equal(blobs.bytes.size, 0);
});

Deno.test("a copy has the same bytes and piece ids as the original", async () => {
  const { blobs, values, hold } = setup();
  const { target, root, tree } = await hold(sampleBytes(100_000));
  const copy = await values.copy(target, root);
  const bytesOf = (id: number) => blobs.bytes.get(id)![0];
  assert.deepEqual(bytesOf(copy.value), bytesOf(tree.blobs.value));
  assert.deepEqual(bytesOf(copy.ids), bytesOf(tree.blobs.ids));
});

Deno.test("a copy that fails leaves nothing on disk", async () => {
  const { network, blobs, values, hold } = setup();
  const { target, root, tree } = await hold(sampleBytes(100_000));
  values.discard(tree.blobs);
  const wrong = { ...root, sha256: new Uint8Array(32) };
  await assert.rejects(values.copy(target, wrong), failsWith("mismatch"));
  network.vanish((node) => node % 10 !== 0);
  await assert.rejects(values.copy(target, root), failsWith("missing"));
  assert.deepEqual([network.open, values.progress(), blobs.bytes.size], [0, [], 0]);
});

Deno.test("all readers share the limit on requests", async () => {
  const { network, values, hold } = setup();
  const bytes = sampleBytes(30_000);
  const { read, target, root } = await hold(bytes);
  network.delay = soon;
  network.mostActive = 0;
  const all = Array.from({ length: TRANSFERS }, () => collected(read()));
  await assert.rejects(values.read(target, root, { start: 0, end: 5 }).next(), failsWith("busy"));
  for (const back of await Promise.all(all)) assert.deepEqual(back, bytes);
  assert.equal(network.mostActive, GETS);
  assert.deepEqual(await collected(read(0, 5)), bytes.slice(0, 5));
});

Deno.test("progress is reported while a value is received, and then while it is stored", async () => {
  const { progress, values, network, clock } = setup();
  const bytes = sampleBytes(300_000);
  network.delay = () => {
    clock.time += 1;
    return Promise.resolve();
  };
  const tree = await values.store(slowly(inPieces(bytes), clock), { label: "mine" });
  for (const state of ["receiving", "moving"]) {
    const done = progress.filter((step) => step.state === state).map((step) => step.done_bytes);
    assert.ok(done.length >= 2, `${state}: ${done}`);
    assert.deepEqual(done, done.toSorted((x, y) => x - y));
  }
  assert.deepEqual([progress[0].state, progress[0].total_bytes], ["receiving", null]);
  const { transfer } = progress[0];
  assert.deepEqual(progress.at(-1), {
    transfer,
    label: "mine",
    hash: `${tree.root.target}`,
    direction: "store",
    done_bytes: 300_000,
    total_bytes: 300_000,
    state: "done",
  });
});

Deno.test("progress is reported while a value is read, and at the end", async () => {
  const { progress, values, hold } = setup();
  const { read, target } = await hold(sampleBytes(300_000));
  progress.length = 0;
  const pieces = read(0, 200_000);
  await pieces.next();
  await pieces.next();
  assert.deepEqual(
    values.progress().map((step) => [step.hash, step.done_bytes, step.total_bytes]),
    [[`${target}`, PIECE_BYTES, 200_000]],
  );
  await collected(pieces);
  assert.deepEqual(
    [progress.at(-1)?.direction, progress.at(-1)?.done_bytes, values.progress()],
    ["fetch", 200_000, []],
  );
  const given = read(0, 200_000);
  await given.next();
  await given.return(undefined);
  assert.deepEqual([progress.at(-1)?.state, progress.at(-1)?.done_bytes], ["failed", 0]);
});

Deno.test("a sample has different pieces of all levels, with or without parity", async () => {
  const { network, values, hold } = setup();
  const { root } = await hold(sampleBytes(100_000));
  const random = () => Math.random();
  const all = await values.sample(root, { count: 1e9, hasParity: true, random });
  assert.equal(all.pieces, new Layout(root.size).pieces);
  assert.deepEqual(new Set(all.targets.map(String)), new Set(targetsOf(network)));
  const data = await values.sample(root, { count: 30, hasParity: false, random });
  assert.equal(new Set(data.targets.map(String)).size, 30);
  assert.equal(encodeRoot(root).length <= 1000, true);
});
