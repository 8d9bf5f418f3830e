// Republishes the pieces of this node's large values, one stripe after another, at a limited rate.

import { Allowance } from "../dht/allowance.ts";
import type { ItemCrypto } from "../dht/items/item.ts";
import type { Id } from "../krpc/id.ts";
import { release } from "../krpc/release.ts";
import type { Clock, ItemBatch, ItemNetwork } from "./item_network.ts";
import { pieceLifeOf, spreadOver } from "./large_values.ts";
import { type Level, PIECE_COPIES, type Stripe } from "./layout.ts";
import { StripeBuffer } from "./pieces.ts";
import type { OwnPieces, OwnValue } from "./own_pieces.ts";

/** The pause between two rounds of republishing the pieces of a value. Other nodes keep items for a day. */
export const ROUND_INTERVAL_MS = 4 * 3_600_000;

/** The pause after a round in which no node acknowledged some of the pieces. */
const RETRY_INTERVAL_MS = 10 * 60_000;

/** How often the republisher checks for values whose next round is due. */
const CHECK_INTERVAL_MS = 20_000;

/** How often the position within a round is saved, so that the next run can continue there. */
const SAVE_INTERVAL_MS = 60_000;

/**
 * The upload rate in bytes per second for all values together. With it, a value of 16 MiB needs 15 minutes, and one of
 * 256 MiB four hours.
 */
const BYTES_PER_SECOND = 128 << 10;

/** The approximate size of a packet that stores a piece. */
const PUT_BYTES = 1_120;

/** The number of pieces that are stored at once. */
const PUTS = 4;

/** The maximum age of a batch. A new batch is opened after this time, because the network may have changed. */
const BATCH_MS = 5 * 60_000;

export interface RepublisherOptions {
  readonly network: ItemNetwork;
  readonly own: OwnPieces;
  readonly crypto: ItemCrypto;
  readonly clock: Clock;
  /** Returns a random number from 0 to 1, like Math.random. */
  readonly random: () => number;
  /** Returns the saved position in the round of a value: 1 + the number of stripes done, or 0 between rounds. */
  readonly position: (root: Id) => number;
  readonly savePosition: (root: Id, position: number) => void;
  /** Returns how long nodes should keep a value after its latest publication; undefined means a day. */
  readonly lifeMs: (root: Id) => number | undefined;
}

/**
 * The expected maximum time between two publications of a piece: the pause between rounds, plus the duration of a
 * round.
 */
export function roundTimeMs({ layout }: Pick<OwnValue, "layout">): number {
  const bytes = layout.pieces * PIECE_COPIES * PUT_BYTES;
  return 1.1 * ROUND_INTERVAL_MS + 1000 * bytes / BYTES_PER_SECOND;
}

export class Republisher {
  readonly #options: RepublisherOptions;
  readonly #closing = new AbortController();
  /** The time at which each value's next round begins. */
  readonly #nextAt = new Map<string, number>();
  readonly #buffer = new StripeBuffer();
  readonly #bytes = new Allowance(BYTES_PER_SECOND, 2 * BYTES_PER_SECOND);
  #batch:
    | {
      readonly items: ItemBatch;
      readonly openedAt: number;
      readonly lifeMs: number | undefined;
    }
    | undefined;

  constructor(options: RepublisherOptions) {
    this.#options = options;
    void this.#run();
  }

  close(): void {
    this.#closing.abort();
    this.#batch?.items.close();
  }

  /** Lets the next round of a value begin at the next check, ahead of schedule. */
  hurry(root: Id): void {
    this.#nextAt.set(`${root}`, this.#options.clock.now());
  }

  get #isClosed(): boolean {
    return this.#closing.signal.aborted;
  }

  #spread(ms: number): number {
    return ms * (0.9 + 0.2 * this.#options.random());
  }

  async #run(): Promise<void> {
    const { own, clock, network } = this.#options;
    while (!this.#isClosed) {
      for (const value of own.values()) {
        if (this.#isClosed || network.size() === 0) break;
        if (this.#isDue(value)) await this.#publish(value);
      }
      await clock.sleep(CHECK_INTERVAL_MS, this.#closing.signal);
    }
  }

  #isDue({ root }: OwnValue): boolean {
    const { clock, position } = this.#options, name = `${root}`, at = clock.now();
    // After a start, continue interrupted rounds at once. Begin the rounds of other values after about ten minutes.
    if (!this.#nextAt.has(name)) {
      this.#nextAt.set(name, position(root) > 0 ? at : at + this.#spread(RETRY_INTERVAL_MS));
    }
    return at >= this.#nextAt.get(name)!;
  }

  /** Republishes the pieces of a value, starting at the saved position. */
  async #publish(value: OwnValue): Promise<void> {
    const { own, clock, position, savePosition } = this.#options, { root, layout } = value;
    const isGone = () => this.#isClosed || own.get(root) !== value;
    let done = Math.max(0, position(root) - 1), savedAt = clock.now(), ordinal = 0, missing = 0;
    for (const level of layout.levels) {
      for (let i = 0; i < level.stripes; i++) {
        if (ordinal++ < done) continue;
        try {
          missing += await this.#publishStripe(value, level, level.stripe(i));
        } catch {
          // Skip a stripe that can't be read: the other stripes are still worth republishing.
          missing++;
        }
        if (isGone()) return;
        done++;
        if (clock.now() - savedAt < SAVE_INTERVAL_MS) continue;
        savedAt = clock.now();
        savePosition(root, 1 + done);
      }
    }
    savePosition(root, 0);
    const pause = missing > 0 ? RETRY_INTERVAL_MS : ROUND_INTERVAL_MS;
    this.#nextAt.set(`${root}`, clock.now() + this.#spread(pause));
  }

  /** Republishes a stripe. Returns the number of its pieces that no node acknowledged. */
  async #publishStripe(value: OwnValue, level: Level, stripe: Stripe): Promise<number> {
    const { own, network, clock, crypto } = this.#options;
    const { copies, hasParity } = spreadOver(network.size());
    const data = await own.stripe(value, level, stripe);
    const items = this.#buffer.items(crypto, stripe, data);
    let missing = 0;
    const work = async () => {
      for (const { number, item } of items) {
        if (!hasParity && number - level.first >= level.data) continue;
        const wait = this.#bytes.waitFor(clock.now());
        if (wait > 0) await clock.sleep(wait, this.#closing.signal);
        if (this.#isClosed) return;
        this.#bytes.spend(clock.now(), copies * PUT_BYTES);
        const { stored } = await this.#openBatch(value).putPiece(item, copies);
        if (stored.length === 0) missing++;
      }
    };
    await Promise.all(Array.from({ length: PUTS }, work));
    release(data);
    return missing;
  }

  #openBatch({ root }: OwnValue): ItemBatch {
    const now = this.#options.clock.now(), lifeMs = pieceLifeOf(this.#options.lifeMs(root));
    const isOld = now - (this.#batch?.openedAt ?? -Infinity) > BATCH_MS;
    if (this.#batch === undefined || isOld || this.#batch.lifeMs !== lifeMs) {
      this.#batch?.items.close();
      const items = this.#options.network.batch({ lifeMs, purpose: "own_values" });
      this.#batch = { items, openedAt: now, lifeMs };
    }
    return this.#batch.items;
  }
}
