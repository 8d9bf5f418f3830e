// Puts the items of one large value, several at a time.

import type { Item } from "../dht/item.ts";
import type { Id } from "../krpc/id.ts";
import { FIRST_PUTS, Slots, type Transfer, TransferError, WINDOW } from "./transfers.ts";

/** Items of one value on their way to the network. */
export class Upload {
  readonly #transfer: Transfer;
  readonly #wanted: number;
  readonly #onStored: (item: Item, replicas: number) => void;
  readonly #window = new Slots(FIRST_PUTS);
  readonly #begun = new Set<Promise<void>>();
  #failure: unknown;
  #replicas = Infinity;

  /** Of each item `wanted` nodes have to acknowledge it; `onStored` hears how many did. */
  constructor(
    transfer: Transfer,
    wanted: number,
    onStored: (item: Item, replicas: number) => void,
  ) {
    this.#transfer = transfer;
    this.#wanted = wanted;
    this.#onStored = onStored;
  }

  /** The least number of nodes that acknowledged any item so far. */
  get replicas(): number {
    return this.#replicas;
  }

  /**
   * Begins to put an item, once there is room in the window.
   *
   * @throws what an earlier item failed with
   */
  async begin(item: Item): Promise<void> {
    await this.#window.take();
    if (this.#failure !== undefined) {
      this.#window.release();
      throw this.#failure;
    }
    const put = this.#put(item);
    this.#begun.add(put);
    put.finally(() => this.#begun.delete(put));
  }

  async #put(item: Item): Promise<void> {
    try {
      await this.put(item);
      this.#window.widen(WINDOW);
    } catch (error) {
      this.#failure ??= error;
    }
    this.#window.release();
  }

  /** Waits for all items that were begun. @throws what one of them failed with */
  async finish(): Promise<void> {
    await Promise.all(this.#begun);
    if (this.#failure !== undefined) throw this.#failure;
  }

  /**
   * Puts an item; resolves to the nodes that acknowledged it.
   *
   * @throws {TransferError} `not_stored` or `aborted`
   */
  async put(item: Item): Promise<readonly Id[]> {
    const stored = await this.#transfer.put(item, this.#wanted);
    if (stored.length < this.#wanted) {
      throw new TransferError(
        "not_stored",
        `${stored.length || "No"} node${stored.length > 1 ? "s" : ""} acknowledged part ` +
          `${item.target} of the value.`,
        stored.length,
      );
    }
    this.#replicas = Math.min(this.#replicas, stored.length);
    this.#transfer.move();
    this.#onStored(item, stored.length);
    return stored;
  }
}
