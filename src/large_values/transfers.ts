// Transfers of large values, and the limits on how many operations run at once.

import type { Item } from "../dht/items/item.ts";
import type { Id } from "../krpc/id.ts";
import { ErrorCode } from "../krpc/message.ts";
import type { Clock, ItemBatch, ItemNetwork } from "./item_network.ts";

/**
 * The number of items that one transfer fetches or stores at once. It is enough for long round trips. If the reader
 * pauses, only 64 kB have been fetched ahead.
 */
export const WINDOW = 64;

/**
 * The initial number of items of one value that are stored at once. Each stored item adds one. The number is small,
 * because the first puts need searches. About 20 nodes answer each search with up to 1 kB, and a receive buffer holds
 * only about 90 such packets.
 */
export const FIRST_PUTS = 2;

/**
 * The maximum number of items that all transfers together fetch at once. Each fetch sends at most ALPHA packets at
 * once.
 */
export const GETS = 32;

/**
 * The maximum number of pieces that all transfers together store at once. Each put sends two packets of 1.1 kB. Linux's
 * default receive buffer holds about 90 such packets, or 250 replies.
 */
export const PUTS = 64;

/**
 * If the mean duration of puts exceeds the lowest mean by this factor, we assume that puts are queueing somewhere. More
 * simultaneous puts would then not help.
 */
const QUEUED_FACTOR = 2;

/**
 * The weight of the newest put in the moving average of the durations of puts. With a larger weight, a few fast puts in a
 * row could lower the lowest mean so far that the usual mean is more than `QUEUED_FACTOR` times as high. We would then
 * wrongly assume that puts are queueing.
 */
const MEAN_GAIN = 1 / 64;

/** The number of measured puts from which on the mean duration is used. Until then, few puts run at once. */
const FIRST_MEAN_PUTS = 16;

/** While the mean duration of puts is too high, each put multiplies the limit on simultaneous puts by this factor. */
const BACK_OFF = 0.9;

/** If a put reaches less than this share of the nodes that the best put reached, we assume that packets were lost. */
const USUAL_SHARE = 3 / 4;

/**
 * A put that reaches less than this share of the nodes that the best put reached is repeated, because a value is lost
 * if any of its items is lost.
 */
const SUFFICIENT_SHARE = 2 / 3;

/** The maximum number of simultaneous transfers. Each transfer uses about 100 kB of memory. */
export const TRANSFERS = 64;

/** A transfer without progress for this time may be aborted, if a new transfer needs its slot. */
export const IDLE_MS = 30_000;

/**
 * The maximum number of attempts to fetch or store an item, and the pause after the first attempt. The pause doubles
 * with each attempt.
 */
export const TRIES = 4, RETRY_MS = 250;

/** The pause after the first attempt if too few nodes stored an item. The missing nodes may be restarting. */
export const FEW_RETRY_MS = 1_000;

/** Why a large value could not be stored or fetched. */
export type TransferFailure =
  /** One of the value's items was not found on any node. */
  | "missing"
  /** The content of an item is not what the root requires. */
  | "invalid"
  /** All items were found, but the whole value does not have the SHA-256 that is in its root. */
  | "mismatch"
  /** Too few nodes acknowledged one of the value's items. */
  | "not_stored"
  /** The network has no room for the value. */
  | "no_room"
  /** All transfer slots are taken. */
  | "busy"
  /** The node is stopping, or another transfer needed the slot. */
  | "aborted";

/** Thrown if a transfer failed. */
export class TransferError extends Error {
  override readonly name = "TransferError";

  /**
   * @param message one sentence
   * @param acknowledged the number of nodes that acknowledged the item, if the failure is `not_stored`
   */
  constructor(readonly failure: TransferFailure, message: string, readonly acknowledged = 0) {
    super(message);
  }
}

/** A limited number of slots. Callers wait in a queue until a slot is free. */
export class Slots {
  #taken = 0;
  readonly #waiting: (() => void)[] = [];

  /** @param limit the number of slots. If it is reduced, slots that are taken stay taken. */
  constructor(protected limit: number) {}

  /** Waits until a slot is free, and takes the slot. */
  async take(): Promise<void> {
    if (this.#taken < Math.floor(this.limit)) this.#taken++;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  release(): void {
    this.#taken--;
    while (this.#waiting.length > 0 && this.#taken < Math.floor(this.limit)) {
      this.#taken++;
      this.#waiting.shift()!();
    }
  }

  /** Adds one slot, up to `maximum` slots. */
  widen(maximum: number): void {
    this.limit = Math.min(maximum, this.limit + 1);
  }

  get isIdle(): boolean {
    return this.#taken === 0;
  }
}

/**
 * Slots for puts. Their number adapts: it rises until each put takes much longer. If this node or a small network is
 * the bottleneck, only a few puts run at once. With long round-trip times, up to {@link PUTS} do. (Based on TCP Vegas,
 * Brakmo and Peterson, 1995.)
 */
export class Pace extends Slots {
  /** The number of puts in the current measurement. */
  #count = 0;
  #mean = 0;
  #leastMean = Infinity;

  constructor() {
    super(FIRST_PUTS);
  }

  override async take(): Promise<void> {
    // After an idle time, measure anew, because earlier results may be outdated.
    if (this.isIdle) this.#count = 0, this.#leastMean = Infinity;
    await super.take();
  }

  /** Records the duration of a put, and whether as many nodes as usual acknowledged it. */
  learn(elapsedMs: number, isWhole: boolean): void {
    const gain = Math.max(MEAN_GAIN, 1 / ++this.#count);
    this.#mean += gain * (elapsedMs - this.#mean);
    if (this.#count >= FIRST_MEAN_PUTS) this.#leastMean = Math.min(this.#leastMean, this.#mean);
    if (!isWhole) this.limit /= 2;
    else if (this.#mean > QUEUED_FACTOR * this.#leastMean) this.limit *= BACK_OFF;
    else if (this.#count >= FIRST_MEAN_PUTS) this.limit += 1 / this.limit;
    this.limit = Math.min(PUTS, Math.max(1, this.limit));
  }
}

/** All transfers of a node, which share the limits on simultaneous gets and puts. */
export class Transfers {
  readonly #clock: Clock;
  readonly #open = new Set<Transfer>();
  readonly #gets = new Slots(GETS);
  readonly #puts = new Pace();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Opens a transfer, which the caller must close. @throws {TransferError} `busy` */
  open(network: ItemNetwork, lifeMs?: number): Transfer {
    if (this.#open.size >= TRANSFERS) this.#makeRoom();
    const transfer: Transfer = new Transfer({
      batch: network.batch({ lifeMs }),
      clock: this.#clock,
      gets: this.#gets,
      puts: this.#puts,
      onClose: () => this.#open.delete(transfer),
    });
    this.#open.add(transfer);
    return transfer;
  }

  #makeRoom(): void {
    const [leastActive] = [...this.#open].sort((x, y) => x.movedAt - y.movedAt);
    if (this.#clock.now() - leastActive.movedAt < IDLE_MS) {
      throw new TransferError("busy", `${TRANSFERS} large values are being moved; try again.`);
    }
    leastActive.abort("it stood still, and others wait");
  }

  /** Aborts all transfers. */
  close(): void {
    for (const transfer of this.#open) transfer.abort("the node stops");
  }
}

interface TransferOptions {
  readonly batch: ItemBatch;
  readonly clock: Clock;
  readonly gets: Slots;
  readonly puts: Pace;
  readonly onClose: () => void;
}

/** The transfer of one large value. */
export class Transfer {
  /** The time when the client last sent or received any bytes. */
  movedAt: number;
  readonly #options: TransferOptions;
  readonly #controller = new AbortController();
  /** The largest number of nodes that have acknowledged one item so far. */
  #mostReplicas = 0;

  constructor(options: TransferOptions) {
    this.#options = options;
    this.movedAt = options.clock.now();
  }

  /** Records that the client has sent or received bytes just now. */
  move(): void {
    this.movedAt = this.#options.clock.now();
  }

  /** Aborts the transfer. All pending operations of the transfer throw a TransferError. */
  abort(reason: string): void {
    this.close(`The transfer was stopped: ${reason}.`);
  }

  /** Ends the transfer and frees its slot. Results of pending operations are ignored. */
  close(message = "The transfer has ended."): void {
    if (this.#controller.signal.aborted) return;
    this.#controller.abort(new TransferError("aborted", message));
    this.#options.batch.close();
    this.#options.onClose();
  }

  /** @throws {TransferError} `aborted` if the transfer was aborted or closed */
  check(): void {
    this.#controller.signal.throwIfAborted();
  }

  /** Fetches an item. Returns undefined if no node has the item. @throws {TransferError} `aborted` */
  get(target: Id): Promise<Item | undefined> {
    const { batch, gets } = this.#options;
    return this.#run(gets, () => batch.get(target));
  }

  /**
   * Stores a piece on `copies` nodes. Retries a few times if clearly fewer nodes acknowledge this piece than other
   * pieces of the value. Returns all nodes that acknowledged the piece.
   * @throws {TransferError} `aborted` or `no_room`
   */
  async putPiece(item: Item, copies: number): Promise<readonly Id[]> {
    const { batch, puts } = this.#options;
    let all: readonly Id[] = [];
    for (let tries = 1;; tries++) {
      const put = await this.#run(puts, () => batch.putPiece(item, copies));
      const { stored, elapsed, refusals } = put;
      if (stored.length === 0 && refusals.some(({ code }) => code === ErrorCode.server)) {
        throw new TransferError("no_room", `The network has no room for part ${item.target}.`);
      }
      all = union(all, stored);
      this.#mostReplicas = Math.max(this.#mostReplicas, stored.length);
      puts.learn(elapsed, stored.length >= USUAL_SHARE * this.#mostReplicas);
      if (all.length >= Math.max(1, SUFFICIENT_SHARE * this.#mostReplicas)) return all;
      if (tries === TRIES) {
        // The network has probably become smaller, so expect fewer nodes from now on.
        this.#mostReplicas = all.length;
        return all;
      }
      await this.pause(tries);
    }
  }

  /**
   * Stores the root item, and retries a few times if fewer than `wanted` nodes acknowledge it. Returns all nodes that
   * did.
   * @throws {TransferError} `aborted`
   */
  async putRoot(item: Item, wanted: number): Promise<readonly Id[]> {
    const { batch, puts } = this.#options;
    let all: readonly Id[] = [];
    for (let tries = 1;; tries++) {
      all = union(all, (await this.#run(puts, () => batch.putRoot(item))).stored);
      if (all.length >= wanted || tries === TRIES) return all;
      await this.pause(tries, FEW_RETRY_MS);
    }
  }

  /** Waits before the next attempt. The wait doubles with each attempt. @throws {TransferError} `aborted` */
  async pause(tries: number, firstMs = RETRY_MS): Promise<void> {
    await this.#options.clock.sleep(firstMs * 2 ** (tries - 1), this.#controller.signal);
    this.check();
  }

  async #run<T>(line: Slots, run: () => Promise<T>): Promise<T> {
    const release = () => line.release();
    const turn = line.take();
    try {
      await this.#unlessAborted(turn);
      this.check();
    } catch (error) {
      turn.then(release);
      throw error;
    }
    const work = run();
    // Keep the slot even if the transfer is aborted: the operation uses the network until it ends.
    work.then(release, release);
    return await this.#unlessAborted(work);
  }

  /** Settles like `work`, but rejects as soon as the transfer is aborted. */
  async #unlessAborted<T>(work: Promise<T>): Promise<T> {
    this.check();
    const { signal } = this.#controller;
    const { promise, reject } = Promise.withResolvers<never>();
    const onAbort = () => reject(signal.reason);
    signal.addEventListener("abort", onAbort);
    try {
      return await Promise.race([work, promise]);
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }
}

/** Marks a promise as handled, because it may reject before any code awaits it. */
export function handled<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {});
  return promise;
}

function union(x: readonly Id[], y: readonly Id[]): readonly Id[] {
  return [...x, ...y.filter((id) => !x.some((other) => other.equals(id)))];
}
