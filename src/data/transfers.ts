// Large values on their way in or out: how many at a time, and how much of each is in hand.

import type { Item } from "../dht/item.ts";
import type { Id } from "../krpc/id.ts";
import type { Clock, ItemBatch, ItemNetwork } from "./item_network.ts";

/**
 * Items of one transfer that are being fetched, wait for their reader, or are to be stored: enough to fill a second of
 * round trips, few enough that a reader who stops holds no more than 16 kB.
 */
export const WINDOW = 16;

/**
 * Items of one value that are stored at a time at first, and one more with each that is stored: the first are
 * searches, which 20 nodes answer with up to 1 kB at once, and a receive buffer holds some 90 of those.
 */
export const FIRST_PUTS = 2;

/** Items of all transfers that are fetched at a time: each sends no more than ALPHA packets at once. */
export const GETS = 32;

/**
 * Items of all transfers that are stored at a time, at most. Each sends up to 20 packets of 1.1 kB in one burst, of
 * which a receive buffer of Linux's default size holds some 90, and comes back as 20 replies, of which it holds 250.
 */
export const PUTS = 16;

/** Puts that take longer than this many times the least mean are queued somewhere: more at a time gain nothing. */
const QUEUED = 2;

/** Weight of the newest put in the mean; while the mean is too high, each put lowers the limit to the second share. */
const MEAN_GAIN = 1 / 8, BACK_OFF = 0.9;

/**
 * A put that reaches less than the first share of the nodes that others reach is a sign of loss; one that reaches less
 * than the second is put again, because a value is lost with its weakest item.
 */
const USUAL_SHARE = 3 / 4, ENOUGH_SHARE = 2 / 3;

/** Transfers at a time: with their windows, manifests and stream buffers some 100 kB each. */
export const TRANSFERS = 64;

/** A transfer whose client has taken or sent nothing for so long gives way to a new one when all places are taken. */
export const IDLE_MS = 30_000;

/** An item that was not found, or that nobody stored, is tried so often, with a pause that doubles each time. */
export const TRIES = 4, RETRY_MS = 250;

/** The first pause where fewer nodes than are asked for stored an item: they may be restarting. */
export const FEW_RETRY_MS = 1_000;

/** Why a large value could not be moved. */
export type TransferFailure =
  /** Nobody has one of its items. */
  | "missing"
  /** One of its items is not what its place in the tree demands. */
  | "invalid"
  /** All items are there, but together they are not what the root's SHA-256 says. */
  | "mismatch"
  /** Too few nodes acknowledged one of its items. */
  | "not_stored"
  /** All places are taken. */
  | "busy"
  /** The node stops, or the place was given to somebody else. */
  | "aborted";

/** A large value could not be moved, or not to its end. */
export class TransferError extends Error {
  override readonly name = "TransferError";

  /**
   * @param message one sentence
   * @param acknowledged how many nodes acknowledged the item that too few did
   */
  constructor(readonly failure: TransferFailure, message: string, readonly acknowledged = 0) {
    super(message);
  }
}

/** So many at a time; who comes later waits in line. */
export class Slots {
  #taken = 0;
  readonly #waiting: (() => void)[] = [];

  /** @param limit may change: those who hold a slot keep it */
  constructor(protected limit: number) {}

  /** Waits for a slot and takes it. */
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

  /** One slot more, up to `most`. */
  widen(most: number): void {
    this.limit = Math.min(most, this.limit + 1);
  }

  get isIdle(): boolean {
    return this.#taken === 0;
  }
}

/**
 * Slots for puts: as many as the network takes without each of them taking much longer. Where this node or a small
 * network is the bottleneck that is few, where the way is long it is up to {@link PUTS} (after TCP Vegas, Brakmo and
 * Peterson, 1995).
 */
export class Pace extends Slots {
  #mean = NaN;
  #leastMean = Infinity;

  constructor() {
    super(1);
  }

  override async take(): Promise<void> {
    // What was true an hour ago of network and machine may not be so now.
    if (this.isIdle) this.#mean = NaN, this.#leastMean = Infinity;
    await super.take();
  }

  /** Notes how long a put took, and whether as many nodes as usual acknowledged it. */
  learn(elapsedMs: number, isWhole: boolean): void {
    const mean = this.#mean;
    this.#mean = Number.isNaN(mean) ? elapsedMs : mean + MEAN_GAIN * (elapsedMs - mean);
    this.#leastMean = Math.min(this.#leastMean, this.#mean);
    if (!isWhole) this.limit /= 2;
    else if (this.#mean > QUEUED * this.#leastMean) this.limit *= BACK_OFF;
    else this.limit += 1 / this.limit;
    this.limit = Math.min(PUTS, Math.max(1, this.limit));
  }
}

/** All transfers of a node, which share what it may ask of the network at a time. */
export class Transfers {
  readonly #clock: Clock;
  readonly #open = new Set<Transfer>();
  readonly #gets = new Slots(GETS);
  readonly #puts = new Pace();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * A place for one more, which has to be closed.
   *
   * @throws {TransferError} `busy`
   */
  open(network: ItemNetwork): Transfer {
    if (this.#open.size >= TRANSFERS) this.#makeRoom();
    const transfer: Transfer = new Transfer({
      batch: network.batch(),
      clock: this.#clock,
      gets: this.#gets,
      puts: this.#puts,
      onClose: () => this.#open.delete(transfer),
    });
    this.#open.add(transfer);
    return transfer;
  }

  #makeRoom(): void {
    const [idlest] = [...this.#open].sort((x, y) => x.movedAt - y.movedAt);
    if (this.#clock.now() - idlest.movedAt < IDLE_MS) {
      throw new TransferError("busy", `${TRANSFERS} large values are being moved; try again.`);
    }
    idlest.abort("it stood still, and others wait");
  }

  /** Aborts all of them. */
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

/** One large value on its way. */
export class Transfer {
  /** When its client last took or sent anything. */
  movedAt: number;
  readonly #options: TransferOptions;
  readonly #controller = new AbortController();
  /** Nodes that acknowledged one item. */
  #mostReplicas = 0;
  #failure = new TransferError("aborted", "The transfer has ended.");

  constructor(options: TransferOptions) {
    this.#options = options;
    this.movedAt = options.clock.now();
  }

  /** Notes that its client has taken or sent something. */
  move(): void {
    this.movedAt = this.#options.clock.now();
  }

  /** Stops it: all that it waits for ends with a TransferError. */
  abort(reason: string): void {
    this.#failure = new TransferError("aborted", `The transfer was stopped: ${reason}.`);
    this.close();
  }

  /** Gives its place back; what is still under way for it comes to nothing. */
  close(): void {
    if (this.#controller.signal.aborted) return;
    this.#controller.abort();
    this.#options.batch.close();
    this.#options.onClose();
  }

  /** @throws {TransferError} `aborted` once it has been stopped or closed */
  check(): void {
    if (this.#controller.signal.aborted) throw this.#failure;
  }

  /**
   * Fetches an item, with some tries; undefined where nobody has it.
   *
   * @throws {TransferError} `aborted`
   */
  async get(target: Id): Promise<Item | undefined> {
    const { batch, gets } = this.#options;
    for (let tries = 1;; tries++) {
      const item = await this.#run(gets, () => batch.get(target));
      if (item !== undefined || tries === TRIES) return item;
      await this.#pause(tries);
    }
  }

  /**
   * Stores an item, with some tries until about as many nodes hold it as hold the others, and at least `wanted`; yields
   * all that acknowledged it.
   *
   * @throws {TransferError} `aborted`
   */
  async put(item: Item, wanted = 1): Promise<readonly Id[]> {
    const { batch, puts } = this.#options;
    let all: readonly Id[] = [];
    for (let tries = 1;; tries++) {
      const { stored, elapsed } = await this.#run(puts, () => batch.put(item));
      all = [...all, ...stored.filter((id) => !all.some((other) => other.equals(id)))];
      this.#mostReplicas = Math.max(this.#mostReplicas, stored.length);
      puts.learn(elapsed, stored.length >= USUAL_SHARE * this.#mostReplicas);
      if (all.length >= Math.max(wanted, ENOUGH_SHARE * this.#mostReplicas)) return all;
      if (tries === TRIES) {
        // The network has become smaller.
        this.#mostReplicas = all.length;
        return all;
      }
      await this.#pause(tries, wanted > 1 && all.length < wanted ? FEW_RETRY_MS : RETRY_MS);
    }
  }

  async #pause(tries: number, firstMs = RETRY_MS): Promise<void> {
    await this.#options.clock.sleep(firstMs * 2 ** (tries - 1), this.#controller.signal);
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
    // Even of a transfer that was stopped: the network is busy with it until it ends.
    work.then(release, release);
    return await this.#unlessAborted(work);
  }

  /** A node that stops answers nothing that it was asked before. */
  async #unlessAborted<T>(work: Promise<T>): Promise<T> {
    this.check();
    const { signal } = this.#controller;
    const { promise, reject } = Promise.withResolvers<never>();
    const onAbort = () => reject(this.#failure);
    signal.addEventListener("abort", onAbort);
    try {
      return await Promise.race([work, promise]);
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }
}
