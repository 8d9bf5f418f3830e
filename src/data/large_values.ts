// Stores and reads values that are too large for one item, many at a time within fixed bounds.

import type { Item } from "../dht/item.ts";
import { byteStringContent } from "../krpc/bencode.ts";
import type { Id } from "../krpc/id.ts";
import { Chunker } from "./chunker.ts";
import { ContentGuess } from "./content_hint.ts";
import type { Clock, DataCrypto, ItemNetwork } from "./item_network.ts";
import { CHUNK_BYTES, MAX_SIZE, type Root } from "./manifest.ts";
import { ChunkedReader } from "./reader.ts";
import { Transfers } from "./transfers.ts";
import { Upload } from "./upload.ts";

/** How far a large value has come. */
export interface Progress {
  /** Tells the transfers of one node apart. */
  readonly transfer: number;
  /** What whoever stores it calls it. */
  readonly label: string | null;
  /** The root's hash; null while it is not known yet: of a store until its end. */
  readonly hash: string | null;
  readonly direction: "store" | "fetch";
  /** Bytes of the value that nodes have acknowledged, or that its reader has taken. */
  readonly doneBytes: number;
  /** All that are to be moved; null where the end of a stream is not in sight. */
  readonly totalBytes: number | null;
  /** Failed: it ended before all was moved, for whatever reason. */
  readonly state: "moving" | "done" | "failed";
}

/** Progress is told when so many more bytes are done and so much time has passed, and at the end. */
const PROGRESS_BYTES = 64 * 1024, PROGRESS_MS = 250;

/** What a caller may say of a value that it stores. */
export interface StoreOptions {
  /** It serves the progress alone, as `totalBytes` does. */
  readonly label?: string | null;
  /** The value's size, where it is known. */
  readonly totalBytes?: number | null;
  /** Nodes that have to acknowledge each of its items: 1 unless told. */
  readonly minReplicas?: number;
}

/** A large value on the network. */
export interface StoredTree {
  readonly root: Id;
  /** Bytes. */
  readonly size: number;
  /** The least number of nodes that acknowledged any of its items. */
  readonly replicas: number;
  /** The nodes that acknowledged the root. */
  readonly nodes: readonly Id[];
}

export interface LargeValuesOptions {
  readonly network: ItemNetwork;
  readonly crypto: DataCrypto;
  readonly clock: Clock;
  readonly onProgress: (progress: Progress) => void;
}

/** The large values that one node moves. */
export class LargeValues {
  readonly #options: LargeValuesOptions;
  readonly #transfers: Transfers;
  readonly #meters = new Set<Meter>();
  #count = 0;

  constructor(options: LargeValuesOptions) {
    this.#options = options;
    this.#transfers = new Transfers(options.clock);
  }

  /**
   * Stores a value of more than one item: all of its parts, then the root. `onStored` hears of each item how many nodes
   * acknowledged it. Errors of `source` are passed on.
   *
   * @throws {TransferError} `busy`, `not_stored` or `aborted`
   * @throws {RangeError} where the value is over {@link MAX_SIZE}
   */
  async store(
    source: AsyncIterable<Uint8Array>,
    { label = null, totalBytes = null, minReplicas = 1 }: StoreOptions = {},
    onStored: (item: Item, replicas: number) => void = () => {},
  ): Promise<StoredTree> {
    const { network, crypto } = this.#options;
    const transfer = this.#transfers.open(network);
    const meter = this.#meter({ direction: "store", label, hash: null, totalBytes });
    try {
      const upload = new Upload(transfer, minReplicas, (item, replicas) => {
        meter.add(byteStringContent(item.value)?.length ?? 0);
        onStored(item, replicas);
      });
      const chunker = new Chunker(crypto), guess = new ContentGuess(), hash = crypto.sha256();
      for await (const bytes of source) {
        transfer.move();
        if (chunker.size + bytes.length > MAX_SIZE) {
          throw new RangeError(`a value of over ${MAX_SIZE} bytes`);
        }
        guess.add(bytes);
        hash.update(bytes);
        for (const item of chunker.add(bytes)) await upload.begin(item);
      }
      for (const item of chunker.end()) await upload.begin(item);
      await upload.finish();
      // The root goes last: whoever finds it finds the rest.
      const root = chunker.root({ sha256: hash.digest(), hint: guess.end() });
      const nodes = await upload.put(root);
      meter.end("done", `${root.target}`);
      return { root: root.target, size: chunker.size, replicas: upload.replicas, nodes };
    } finally {
      transfer.close();
      this.#meters.delete(meter);
      meter.end("failed");
    }
  }

  /**
   * Reads the bytes from `start` up to and without `end`. Nothing is fetched before the first piece is asked for, and
   * little more than what is asked for after that; ending the iteration early stops it, and so does `signal`.
   *
   * @throws {TransferError} `busy`, `missing`, `invalid`, `mismatch` or `aborted`
   */
  async *read(
    target: Id,
    root: Root,
    start: number,
    end: number,
    signal?: AbortSignal,
  ): AsyncGenerator<Uint8Array> {
    const { network, crypto } = this.#options;
    const transfer = this.#transfers.open(network);
    const meter = this.#meter({
      direction: "fetch",
      label: null,
      hash: target.toString(),
      totalBytes: end - start,
    });
    const onAbort = () => transfer.abort("its reader left");
    try {
      signal?.addEventListener("abort", onAbort);
      if (signal?.aborted) onAbort();
      for await (const bytes of new ChunkedReader(root, crypto, transfer).read(start, end)) {
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

  /** What is under way. */
  progress(): Progress[] {
    return Array.from(this.#meters, (meter) => meter.progress);
  }

  /** Stops all that is under way. */
  close(): void {
    this.#transfers.close();
  }

  #meter(what: Omit<Progress, "transfer" | "doneBytes" | "state">): Meter {
    const { clock, onProgress } = this.#options;
    const meter = new Meter({ ...what, transfer: this.#count++ }, clock, onProgress);
    this.#meters.add(meter);
    return meter;
  }
}

/** Counts what is done, and tells now and then. */
class Meter {
  readonly #what: Omit<Progress, "doneBytes" | "state">;
  readonly #clock: Clock;
  readonly #tell: (progress: Progress) => void;
  #done = 0;
  #state: Progress["state"] = "moving";
  #told = 0;
  #toldAt: number;

  constructor(
    what: Omit<Progress, "doneBytes" | "state">,
    clock: Clock,
    tell: (progress: Progress) => void,
  ) {
    this.#what = what;
    this.#clock = clock;
    this.#tell = tell;
    this.#toldAt = clock.now();
  }

  get progress(): Progress {
    return { ...this.#what, doneBytes: this.#done, state: this.#state };
  }

  add(bytes: number): void {
    this.#done += bytes;
    if (this.#done - this.#told < PROGRESS_BYTES) return;
    const now = this.#clock.now();
    if (now - this.#toldAt < PROGRESS_MS) return;
    this.#told = this.#done;
    this.#toldAt = now;
    this.#tell(this.progress);
  }

  /** The first end counts. */
  end(state: "done" | "failed", hash = this.#what.hash): void {
    if (this.#state !== "moving") return;
    this.#state = state;
    this.#tell({ ...this.progress, hash });
  }
}

/**
 * A value as one piece where it fits one item, else as the stream that it is; at most two of its pieces are held.
 * Errors of `source` are passed on.
 */
export async function wholeOrStream(
  source: AsyncIterable<Uint8Array>,
): Promise<Uint8Array | AsyncIterable<Uint8Array>> {
  const iterator = source[Symbol.asyncIterator]();
  const head = new Uint8Array(CHUNK_BYTES);
  let length = 0;
  for (;;) {
    const { done, value } = await iterator.next();
    if (done) return head.slice(0, length);
    if (length + value.length > CHUNK_BYTES) {
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
  try {
    yield* pieces;
    for (;;) {
      const { done, value } = await iterator.next();
      if (done) return;
      yield value;
    }
  } finally {
    await iterator.return?.();
  }
}
