// Stores the pieces of one large value in the network, several at a time.

import type { Item } from "../dht/items/item.ts";
import type { Id } from "../krpc/id.ts";
import { FIRST_PUTS, Slots, type Transfer, TransferError, WINDOW } from "./transfers.ts";

/** Stores pieces in parallel, up to a maximum number of unfinished pieces. */
export class Upload {
  readonly #transfer: Transfer;
  readonly #copies: number;
  readonly #window = new Slots(FIRST_PUTS);
  readonly #begun = new Set<Promise<void>>();
  #failure: unknown;

  /** `copies`: the number of nodes that should hold each piece. */
  constructor(transfer: Transfer, copies: number) {
    this.#transfer = transfer;
    this.#copies = copies;
  }

  /**
   * Waits until few enough pieces are unfinished, then starts to store the piece `item`. `onStored` is called with the
   * nodes that acknowledged this piece.
   * @throws the error of an earlier piece
   */
  async begin(item: Item, onStored: (nodes: readonly Id[]) => void): Promise<void> {
    await this.#window.take();
    if (this.#failure !== undefined) {
      this.#window.release();
      throw this.#failure;
    }
    const put = this.#put(item, onStored);
    this.#begun.add(put);
    put.finally(() => this.#begun.delete(put));
  }

  async #put(item: Item, onStored: (nodes: readonly Id[]) => void): Promise<void> {
    try {
      const nodes = await this.#transfer.putPiece(item, this.#copies);
      if (nodes.length === 0) {
        const text = `No node acknowledged part ${item.target} of the value.`;
        throw new TransferError("not_stored", text);
      }
      this.#transfer.move();
      onStored(nodes);
      this.#window.widen(WINDOW);
    } catch (error) {
      this.#failure ??= error;
    }
    this.#window.release();
  }

  /** Waits until all pieces are stored. @throws the error of a piece that could not be stored */
  async finish(): Promise<void> {
    await Promise.all(this.#begun);
    if (this.#failure !== undefined) throw this.#failure;
  }
}
