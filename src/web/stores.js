// The stores that this page started. They continue while another view is open.

import { ApiError, messageOf } from "./api.js";
import { bytes } from "./format.js";
import { sealedSize } from "./seal.js";
import { storeValue } from "./transfer.js";

/** @typedef {import("../reports/values.ts").Stored} Stored */

/** Maximum number of stores in the list. */
const MAX_STORES = 20;
/** Maximum number of stores that run at the same time. Further stores wait. */
const MAX_PARALLEL_STORES = 2;
/**
 * @typedef {object} Storing
 * @property {number} number
 * @property {string} name
 * @property {Blob} body
 * @property {string} key
 * @property {string | null} sealKey the key of the link; null to store the value as it is
 * @property {string} label
 * @property {number | bigint | null} cas with a key, the version to overwrite; 0: none may exist
 * @property {"waiting" | "sending" | "asking" | "stored" | "failed"} phase asking: the key has a value already
 * @property {number} sent
 * @property {Stored | null} result
 * @property {string | null} error
 * @property {AbortController} abort
 */

/** The stores that this page started. They continue while another view is open. */
export class Stores {
  constructor() {
    /** The stores, newest first. @type {Storing[]} */
    this.list = [];
    this.count = 0;
    /** A random text that distinguishes the transfers of this page from those of other clients. */
    this.mark = Math.random().toString(36).slice(2, 10);
    /** @type {() => void} */
    this.onChange = () => {};
  }

  /** Whether leaving the page would lose a store. */
  get isBusy() {
    return this.list.some(({ phase }) => !isOver(phase));
  }

  /**
   * Adds a store. A value under a key is overwritten only if the user confirms it.
   *
   * @param {Pick<Storing, "body" | "name" | "key" | "sealKey">} store @param {number} maxSize in bytes
   */
  add({ body, name, key, sealKey }, maxSize) {
    const number = ++this.count;
    const isTooLarge = (sealKey === null ? body.size : sealedSize(body.size)) > maxSize;
    this.list.unshift({
      number,
      name,
      body,
      key,
      sealKey,
      label: `page-${this.mark}-${number}`,
      cas: key === "" ? null : 0,
      phase: isTooLarge ? "failed" : "waiting",
      sent: isTooLarge ? body.size : 0,
      result: null,
      error: isTooLarge ? `This node stores values of up to ${bytes(maxSize)}.` : null,
      abort: new AbortController(),
    });
    this.list = this.list.filter(({ phase }, i) => i < MAX_STORES || !isOver(phase));
    this.#next();
  }

  /**
   * Stores the value although a version exists, and overwrites that version. @param {Storing} store
   */
  overwrite(store) {
    store.phase = "waiting";
    this.#next();
  }

  /** @param {Storing} store */
  cancel(store) {
    store.abort.abort();
    if (store.phase !== "sending") this.#fail(store, "Cancelled.");
  }

  /** @param {Storing} store @param {string} error */
  #fail(store, error) {
    store.error = error;
    store.phase = "failed";
    // Release the bytes, because a value may be large.
    store.sent = store.body.size;
    store.body = new Blob();
    this.#next();
  }

  #next() {
    this.onChange();
    const sending = this.list.filter(({ phase }) => phase === "sending").length;
    const next = this.list.findLast(({ phase }) => phase === "waiting");
    if (sending < MAX_PARALLEL_STORES && next !== undefined) void this.#store(next);
  }

  /** @param {Storing} store */
  async #store(store) {
    store.phase = "sending";
    this.#next();
    try {
      store.result = await storeValue({
        body: store.body,
        key: store.key,
        sealKey: store.sealKey,
        label: store.label,
        cas: store.cas,
        signal: store.abort.signal,
        onSent: (sent) => {
          store.sent = sent;
          this.onChange();
        },
      });
      store.phase = "stored";
      store.sent = store.body.size;
      store.body = new Blob();
      this.#next();
    } catch (error) {
      const seq = error instanceof ApiError && error.status === 412
        ? error.problem?.seq
        : undefined;
      if (seq === undefined) return this.#fail(store, messageOf(error));
      store.cas = seq;
      store.phase = "asking";
      this.#next();
    }
  }
}

/** @param {Storing["phase"]} phase */
export function isOver(phase) {
  return phase === "stored" || phase === "failed";
}

export const stores = new Stores();

addEventListener("beforeunload", (event) => {
  if (stores.isBusy) event.preventDefault();
});
