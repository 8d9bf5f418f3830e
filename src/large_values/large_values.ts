// Stores and reads values that are too large for one item. Several transfers may run in parallel, up to a fixed limit.

import {
  immutableItem,
  type Item,
  ITEM_LIFE_MS,
  MAX_VALUE_BYTES,
  sameBytes,
} from "../dht/items/item.ts";
import { itemCost } from "../dht/items/item_cost.ts";
import { type Id, ID_BYTES } from "../krpc/id.ts";
import { release } from "../krpc/release.ts";
import type { EventData } from "../reports/events.ts";
import { ContentGuess } from "./content_hint.ts";
import { StripeCopies } from "./durability.ts";
import type { Blobs, BlobWriter, Clock, DataCrypto, ItemNetwork } from "./item_network.ts";
import { Layout, MAX_ITEM_BYTES, MAX_SIZE, PIECE_COPIES, type Stripe } from "./layout.ts";
import { encodeRoot, type Root } from "./manifest.ts";
import { extentOf, StripeBuffer } from "./pieces.ts";
import { PieceReader } from "./reader.ts";
import { handled, type Transfer, TransferError, Transfers } from "./transfers.ts";
import { Upload } from "./upload.ts";

/** The progress of one transfer. A transfer has failed if it ends before all bytes were moved. */
export type Progress = EventData<"data.progress">;

/** The minimum number of bytes and of milliseconds between two progress reports. The final report is always sent. */
const PROGRESS_BYTES = 64 * 1024, PROGRESS_MS = 250;

/** The number of bytes per read when a value comes from this node's own disk. */
const READ_BYTES = 64 * 1024;

/**
 * With up to this many other nodes, each of them gets all data pieces and no parity. This needs no more space than
 * parity would need, and each node then has the whole value.
 */
export const MAX_WHOLE_COPIES = 6;

/** Options for storing one value. */
export interface StoreOptions {
  /** The name of the transfer in progress reports. */
  readonly label?: string | null;
  /** The size of the value in bytes, if known in advance. */
  readonly totalBytes?: number | null;
  /** The minimum number of nodes that must hold the value, by default 1. */
  readonly minReplicas?: number;
  /** How long nodes should keep the value after its latest publication, by default a day. */
  readonly lifeMs?: number;
}

/** The ids of the two blobs in which this node keeps a large value. */
export interface StoredBlobs {
  /** The id of the blob with the value's bytes. */
  readonly value: number;
  /** The blob with the ids of all pieces, 20 bytes each, in the order of their numbers. */
  readonly ids: number;
}

/** A stored large value. */
export interface StoredTree {
  readonly root: Item;
  /** The value's size in bytes. */
  readonly size: number;
  /**
   * A lower bound of the number of nodes that must fail before the value is lost, assuming that the nodes with the most
   * pieces fail first.
   */
  readonly replicas: number;
  /** The nodes that acknowledged the root item. */
  readonly nodes: readonly Id[];
  readonly blobs: StoredBlobs;
  /** Whether other nodes hold the pieces; false if there were no other nodes. */
  readonly isPlaced: boolean;
}

export interface LargeValuesOptions {
  readonly network: ItemNetwork;
  readonly blobs: Blobs;
  readonly crypto: DataCrypto;
  readonly clock: Clock;
  readonly onProgress: (progress: Progress) => void;
  /** Returns the id of the blob that contains a value; undefined if this node does not publish the value. */
  readonly ownValue: (root: Id) => number | undefined;
}

/** How a value's pieces are distributed over the network. */
export interface Spread {
  /** The number of nodes that get each piece; 0 if there are no other nodes. */
  readonly copies: number;
  /** Whether parity pieces are stored in addition to the data pieces. */
  readonly hasParity: boolean;
}

/** Chooses how to distribute pieces over `nodes` other nodes. */
export function spreadOver(nodes: number): Spread {
  return nodes <= MAX_WHOLE_COPIES
    ? { copies: nodes, hasParity: false }
    : { copies: PIECE_COPIES, hasParity: true };
}

/** Returns the cost of storing one copy of each piece of a value and of its root item; see `itemCost`. */
function storedCost(size: number, hasParity: boolean): number {
  const pieces = new Layout(size).levels
    .reduce((sum, level) => sum + (hasParity ? level.pieces : level.data), 0);
  return (1 + pieces) * itemCost({ value: { length: MAX_VALUE_BYTES } });
}

/** The properties of a transfer that are known when it begins. */
type MeterStart = Omit<Progress, "transfer" | "done_bytes" | "state">;

/** A running transfer that writes blobs. */
interface Writing {
  readonly transfer: Transfer;
  readonly meter: Meter;
  /** Creates a blob. If the transfer fails, the blob is removed. */
  readonly create: () => BlobWriter;
}

/**
 * The space on other nodes that one store operation still needs. `total` is the sum over all running store operations.
 */
class Reservation {
  #bytes = 0;

  constructor(private readonly total: { bytes: number }) {}

  set(bytes: number): void {
    this.total.bytes += bytes - this.#bytes;
    this.#bytes = bytes;
  }

  /** Called after other nodes have stored another item. */
  shrink(bytes: number): void {
    this.set(Math.max(0, this.#bytes - bytes));
  }
}

/** Runs the transfers of large values for one node. */
export class LargeValues {
  readonly #options: LargeValuesOptions;
  readonly #transfers: Transfers;
  readonly #meters = new Set<Meter>();
  /** The space on other nodes that the running store operations still need. */
  readonly #reserved = { bytes: 0 };
  #count = 0;

  constructor(options: LargeValuesOptions) {
    this.#options = options;
    this.#transfers = new Transfers(options.clock);
  }

  /**
   * Stores a value that is too large for one item. First writes the whole value to disk, so that a value that can't be
   * stored causes no network traffic. Then stores all pieces, and finally the root item. Rethrows the errors of
   * `source`. If the store operation fails, nothing of the value remains on disk. If it succeeds, the caller must keep
   * or `discard` the blobs.
   *
   * `hasRoom` checks whether the network has room. In a small network, each of `copies` nodes needs room for all
   * pieces, which take `bytes`. In a larger network, each node needs room only for its share.
   *
   * @throws {TransferError} `busy`, `no_room`, `not_stored` or `aborted`
   * @throws {RangeError} if the value is larger than {@link MAX_SIZE}
   */
  async store(
    source: AsyncIterable<Uint8Array>,
    { label = null, totalBytes = null, minReplicas = 1, lifeMs }: StoreOptions = {},
    hasRoom: (bytes: number, copies: number) => Promise<boolean> = () => Promise.resolve(true),
  ): Promise<StoredTree> {
    const { network, crypto } = this.#options;
    const reservation = new Reservation(this.#reserved);
    const checkRoom = async (size: number) => {
      const { copies, hasParity } = spreadOver(network.size());
      // Reserve the space, so that no two store operations that run at the same time count on the same space.
      reservation.set(storedCost(size, hasParity));
      if (await hasRoom(this.#reserved.bytes, copies)) return;
      throw new TransferError("no_room", "The network has no room for the value.");
    };
    const progress = { label, direction: "store", hash: null, total_bytes: totalBytes } as const;
    const store = async (writing: Writing) => {
      const { transfer, meter } = writing;
      // A value that fits in one item is not stored as a large value, so it needs no check here.
      if (totalBytes !== null && totalBytes > MAX_ITEM_BYTES) await checkRoom(totalBytes);
      const { id, ...spooled } = await this.#spool(source, writing);
      if (totalBytes !== spooled.size) await checkRoom(spooled.size);
      transfer.check();
      meter.begin(spooled.size);
      const nodes = network.size();
      if (nodes + 1 < minReplicas) throw tooFew(nodes + 1, minReplicas);
      const spread = spreadOver(nodes);
      const pieces = await this.#storePieces({
        ...spooled,
        ...spread,
        ...{ id, transfer, meter, reservation },
      });
      const ids = await this.#writeIds(pieces.ids, writing);
      const top = new Layout(spooled.size).top;
      const root = immutableItem(
        crypto,
        encodeRoot({ ...spooled, pieces: pieces.ids.subarray(top.first * ID_BYTES) }),
      );
      // Store the root item last, so that a reader who finds it also finds all pieces.
      const holders = await transfer.putRoot(root, minReplicas);
      // This node's own copy counts as one replica.
      const replicas = Math.min(holders.length, pieces.tolerance + 1);
      if (replicas < minReplicas) throw tooFew(replicas, minReplicas);
      meter.end("done", `${root.target}`);
      return {
        root,
        size: spooled.size,
        replicas,
        nodes: holders,
        blobs: { value: id, ids },
        isPlaced: spread.copies > 0,
      };
    };
    try {
      return await this.#write(progress, pieceLifeOf(lifeMs), store);
    } finally {
      reservation.set(0);
    }
  }

  /**
   * Copies a value from the network to this node's disk. If the copy fails, nothing of the value remains on disk. If it
   * succeeds, the caller must keep or `discard` the blobs.
   *
   * @throws {TransferError} `busy`, `missing`, `invalid`, `mismatch` or `aborted`
   */
  async copy(target: Id, root: Root): Promise<StoredBlobs> {
    const { size } = root;
    const progress = {
      label: null,
      direction: "fetch",
      hash: `${target}`,
      total_bytes: size,
    } as const;
    return await this.#write(progress, undefined, async (writing) => {
      const { transfer, meter } = writing;
      const pieces = new PieceReader(root, this.#options.crypto, transfer).read(0, size);
      const { id } = await this.#spool(pieces, writing);
      // Compute the ids of all pieces. With 0 copies, no piece is sent to any node.
      const { ids } = await this.#storePieces({
        id,
        size,
        copies: 0,
        hasParity: false,
        transfer,
        meter,
      });
      const top = ids.subarray(new Layout(size).top.first * ID_BYTES);
      if (!sameBytes(top, root.pieces)) {
        throw new TransferError("invalid", `Value ${target} has other pieces than its root says.`);
      }
      const blobs = { value: id, ids: await this.#writeIds(ids, writing) };
      meter.end("done");
      return blobs;
    });
  }

  /** Runs a transfer that writes blobs. If the transfer fails, removes all of its blobs. */
  async #write<T>(
    progress: MeterStart,
    lifeMs: number | undefined,
    run: (writing: Writing) => Promise<T>,
  ): Promise<T> {
    const { network, blobs } = this.#options, writers: BlobWriter[] = [];
    const transfer = this.#transfers.open(network, lifeMs), meter = this.#meter(progress);
    const create = () => {
      const writer = blobs.create();
      writers.push(writer);
      return writer;
    };
    try {
      return await run({ transfer, meter, create });
    } catch (error) {
      for (const writer of writers) writer.abandon();
      throw error;
    } finally {
      transfer.close();
      this.#meters.delete(meter);
      meter.end("failed");
    }
  }

  /** Removes the blobs of a value that is no longer needed. */
  discard({ value, ids }: StoredBlobs): void {
    this.#options.blobs.remove(value);
    this.#options.blobs.remove(ids);
  }

  /** Writes a value to disk. */
  async #spool(source: AsyncIterable<Uint8Array>, { transfer, meter, create }: Writing) {
    const guess = new ContentGuess(), hash = this.#options.crypto.sha256();
    const writer = create();
    let size = 0;
    for await (const bytes of source) {
      transfer.move();
      transfer.check();
      size += bytes.length;
      if (size > MAX_SIZE) throw new RangeError(`a value of over ${MAX_SIZE} bytes`);
      guess.add(bytes);
      hash.update(bytes);
      await writer.append(bytes);
      meter.add(bytes.length);
    }
    await writer.finish();
    return { id: writer.id, size, sha256: hash.digest(), hint: guess.end() };
  }

  /**
   * Stores all pieces. Returns their ids, and a lower bound of the number of nodes that must fail before any stripe is
   * lost.
   */
  async #storePieces(
    { id, size, copies, hasParity, transfer, meter, reservation }: Spread & {
      readonly id: number;
      readonly size: number;
      readonly transfer: Transfer;
      readonly meter: Meter;
      readonly reservation?: Reservation;
    },
  ): Promise<{ readonly ids: Uint8Array; readonly tolerance: number }> {
    const { crypto, blobs } = this.#options;
    const layout = new Layout(size), ids = new Uint8Array(layout.pieces * ID_BYTES);
    const upload = new Upload(transfer, copies);
    // Buffers whose stripes are stored completely, so that the buffers can be reused.
    const buffers: StripeBuffer[] = [];
    let tolerance = Infinity;
    for (const level of layout.levels) {
      const isValue = level.first === 0;
      const below = (level.first - level.size / ID_BYTES) * ID_BYTES;
      const read = (stripe: Stripe) => {
        const [offset, length] = extentOf(level, stripe);
        return isValue
          ? blobs.read(id, offset, length)
          : Promise.resolve(ids.subarray(below + offset, below + offset + length));
      };
      let next = read(level.stripe(0));
      for (let i = 0; i < level.stripes; i++) {
        const stripe = level.stripe(i), data = await next;
        if (i + 1 < level.stripes) next = handled(read(level.stripe(i + 1)));
        const holders = new StripeCopies(stripe.columns);
        const buffer = buffers.pop() ?? new StripeBuffer();
        let missing = stripe.columns + (hasParity ? stripe.parity : 0);
        for (const { number, item } of buffer.items(crypto, stripe, data)) {
          item.target.write(ids, number * ID_BYTES);
          const piece = number - level.first, isData = piece < level.data;
          const length = isValue && isData ? level.lengthOf(piece) : 0;
          if (copies === 0) meter.addPlaced(length);
          else if (isData || hasParity) {
            await upload.begin(item, (nodes) => {
              meter.addPlaced(length);
              reservation?.shrink(itemCost(item));
              holders.add(nodes);
              if (--missing > 0) return;
              tolerance = Math.min(tolerance, holders.tolerance);
              buffers.push(buffer);
            });
          }
        }
        // Free these bytes early, because the buffer has a copy of them.
        release(data);
        if (copies === 0) buffers.push(buffer);
      }
    }
    await upload.finish();
    return { ids, tolerance: copies === 0 ? 0 : tolerance };
  }

  async #writeIds(ids: Uint8Array, { create }: Writing): Promise<number> {
    const writer = create();
    await writer.append(ids);
    await writer.finish();
    return writer.id;
  }

  /**
   * Reads the bytes from `start` to `end` (exclusive). If this node publishes the value, reads from its disk.
   * Otherwise, fetching starts with the first `next()` and stays only a little ahead of the reader. It stops when the
   * iteration ends early or `signal` is aborted.
   *
   * @throws {TransferError} `busy`, `missing`, `invalid`, `mismatch` or `aborted`
   */
  async *read(
    target: Id,
    root: Root,
    { start, end, signal }: {
      readonly start: number;
      readonly end: number;
      readonly signal?: AbortSignal;
    },
  ): AsyncGenerator<Uint8Array> {
    const { network, crypto, ownValue } = this.#options, own = ownValue(target);
    const transfer = this.#transfers.open(network);
    const meter = this.#meter({
      label: null,
      direction: "fetch",
      hash: target.toString(),
      total_bytes: end - start,
    });
    const onAbort = () => transfer.abort("its reader left");
    try {
      signal?.addEventListener("abort", onAbort);
      if (signal?.aborted) onAbort();
      const pieces = own === undefined
        ? new PieceReader(root, crypto, transfer).read(start, end)
        : this.#readOwn(own, start, end);
      for await (const bytes of pieces) {
        yield bytes;
        meter.add(bytes.length);
      }
      meter.end("done");
    } finally {
      signal?.removeEventListener("abort", onAbort);
      transfer.close();
      this.#meters.delete(meter);
      meter.end("failed");
    }
  }

  async *#readOwn(blob: number, start: number, end: number): AsyncGenerator<Uint8Array> {
    for (let at = start; at < end; at += READ_BYTES) {
      yield await this.#options.blobs.read(blob, at, Math.min(READ_BYTES, end - at));
    }
  }

  /**
   * Returns the ids of up to `count` randomly chosen pieces, and the number of pieces from which they were chosen, with
   * or without parity.
   * @throws {TransferError} `busy`, `missing`, `invalid` or `aborted`
   */
  async sample(
    root: Root,
    { count, hasParity, random }: {
      readonly count: number;
      readonly hasParity: boolean;
      readonly random: () => number;
    },
  ): Promise<{ readonly pieces: number; readonly targets: readonly Id[] }> {
    const { network, crypto } = this.#options;
    const transfer = this.#transfers.open(network);
    try {
      const reader = new PieceReader(root, crypto, transfer);
      const { levels } = new Layout(root.size);
      const sizes = levels.map(({ data, pieces }) => hasParity ? pieces : data);
      const pieces = sizes.reduce((sum, size) => sum + size, 0);
      const chosen = new Set<number>();
      while (chosen.size < Math.min(count, pieces)) chosen.add(Math.floor(random() * pieces));
      const targets = Array.from(chosen, (index) => {
        let depth = 0, rest = index;
        while (rest >= sizes[depth]) rest -= sizes[depth++];
        return reader.target(depth, levels[depth].first + rest);
      });
      return { pieces, targets: await Promise.all(targets) };
    } finally {
      transfer.close();
    }
  }

  progress(): Progress[] {
    return Array.from(this.#meters, (meter) => meter.progress);
  }

  /** Stops all transfers. */
  close(): void {
    this.#transfers.close();
  }

  #meter(fixed: MeterStart): Meter {
    const meter = new Meter({ transfer: this.#count++, ...fixed }, this.#options);
    this.#meters.add(meter);
    return meter;
  }
}

/**
 * Returns how long nodes should keep the pieces of a value. This is at least a day, because it takes hours to republish
 * all pieces.
 */
export function pieceLifeOf(lifeMs: number | undefined): number | undefined {
  return lifeMs === undefined ? undefined : Math.max(lifeMs, ITEM_LIFE_MS);
}

function tooFew(replicas: number, wanted: number): TransferError {
  const text = `${replicas} of ${wanted} nodes would hold the value.`;
  return new TransferError("not_stored", text, replicas);
}

/** Counts the bytes of one transfer, and reports its progress. */
class Meter {
  readonly #fixed: Omit<Progress, "total_bytes" | "done_bytes" | "state">;
  readonly #options: Pick<LargeValuesOptions, "clock" | "onProgress">;
  #total: number | null;
  #done = 0;
  #state: Progress["state"];
  #reported = 0;
  #reportedAt: number;

  constructor(
    { total_bytes, ...fixed }: Omit<Progress, "done_bytes" | "state">,
    options: Pick<LargeValuesOptions, "clock" | "onProgress">,
  ) {
    this.#fixed = fixed;
    this.#options = options;
    this.#total = total_bytes;
    this.#state = fixed.direction === "store" ? "receiving" : "moving";
    this.#reportedAt = options.clock.now();
  }

  get progress(): Progress {
    return {
      ...this.#fixed,
      done_bytes: this.#done,
      total_bytes: this.#total,
      state: this.#state,
    };
  }

  /** Called when all `total` bytes of a value have been received: starts to count the bytes that other nodes store. */
  begin(total: number): void {
    this.#state = "moving";
    this.#total = total;
    this.#done = this.#reported = 0;
  }

  add(bytes: number): void {
    this.#done += bytes;
    if (this.#done - this.#reported < PROGRESS_BYTES) return;
    const now = this.#options.clock.now();
    if (now - this.#reportedAt < PROGRESS_MS) return;
    this.#reported = this.#done;
    this.#reportedAt = now;
    this.#options.onProgress(this.progress);
  }

  /** Counts bytes that other nodes have stored. Has no effect during a fetch, which stores nothing there. */
  addPlaced(bytes: number): void {
    if (this.#fixed.direction === "store") this.add(bytes);
  }

  /** Reports the outcome of the transfer. Further calls have no effect. */
  end(state: "done" | "failed", hash = this.#fixed.hash): void {
    if (this.#state === "done" || this.#state === "failed") return;
    this.#state = state;
    this.#options.onProgress({ ...this.progress, hash });
  }
}

/**
 * Returns a value as one array if it fits in one item, and otherwise as a stream. Buffers at most one item and one
 * chunk of `source`. Rethrows the errors of `source`.
 */
export async function wholeOrStream(
  source: AsyncIterable<Uint8Array>,
): Promise<Uint8Array | AsyncIterable<Uint8Array>> {
  const iterator = source[Symbol.asyncIterator]();
  const head = new Uint8Array(MAX_ITEM_BYTES);
  let length = 0;
  for (;;) {
    const { done, value } = await iterator.next();
    if (done) return head.slice(0, length);
    if (length + value.length > MAX_ITEM_BYTES) {
      return prepend([head.subarray(0, length), value], iterator);
    }
    head.set(value, length);
    length += value.length;
  }
}

async function* prepend(
  pieces: readonly Uint8Array[],
  iterator: AsyncIterator<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  const rest = { [Symbol.asyncIterator]: () => iterator };
  try {
    yield* pieces;
    yield* rest;
  } finally {
    await iterator.return?.();
  }
}
