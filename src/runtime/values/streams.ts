// Uploads, downloads and watches that stay open between a client's calls. Each is identified by a number.

import { TransferError } from "../../large_values/transfers.ts";
import type { DownloadPiece, SeenVersion, StoreOutcome } from "../../node_service.ts";
import type { Watch } from "./watch.ts";

/**
 * The pieces of a download are joined up to this many bytes, because each needs a message to the API's thread. This is
 * half of a transfer's window, so that the other half is fetched meanwhile.
 */
const JOINED_BYTES = 32 * 1024;

/** All open uploads, downloads and watches of one node. */
export class Streams {
  readonly #uploads = new Map<number, {
    readonly bytes: WritableStreamDefaultWriter<Uint8Array>;
    readonly outcome: Promise<StoreOutcome>;
  }>();
  readonly #downloads = new Map<number, {
    readonly pieces: AsyncGenerator<Uint8Array>;
    readonly closing: AbortController;
  }>();
  readonly #watches = new Map<number, Watch>();
  #count = 0;

  /** Opens an upload and returns its number. Passes `store` the bytes that will be written to the upload. */
  openUpload(store: (bytes: AsyncIterable<Uint8Array>) => Promise<StoreOutcome>): number {
    // This stream has no buffer: a write completes when its bytes are read.
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
    const outcome = store(readable), bytes = writable.getWriter();
    // Stop reading once the outcome is known: no more bytes are needed.
    const end = () => void bytes.abort().catch(() => {});
    outcome.then(end, end);
    this.#uploads.set(++this.#count, { bytes, outcome });
    return this.#count;
  }

  async write(upload: number, bytes: Uint8Array): Promise<boolean> {
    const open = this.#uploads.get(upload);
    if (open === undefined) return false;
    const written = open.bytes.write(bytes).then(() => true, () => false);
    // Don't wait for the write alone: if the stream is aborted meanwhile, the write may never complete.
    const ended = open.outcome.then(() => false, () => false);
    return await Promise.race([written, ended]);
  }

  async finishUpload(upload: number): Promise<StoreOutcome> {
    const open = this.#uploads.get(upload);
    if (open === undefined) return { outcome: "unreachable", detail: "The upload is not open." };
    open.bytes.close().catch(() => {});
    try {
      return await open.outcome;
    } finally {
      this.#uploads.delete(upload);
    }
  }

  async closeUpload(upload: number): Promise<void> {
    const open = this.#uploads.get(upload);
    this.#uploads.delete(upload);
    await open?.bytes.abort(new Error("the client left")).catch(() => {});
  }

  /** Starts reading the bytes that `read` yields. Closing the download aborts the signal passed to `read`. */
  openDownload(read: (signal: AbortSignal) => AsyncGenerator<Uint8Array>): number {
    const closing = new AbortController();
    this.#downloads.set(++this.#count, { pieces: joined(read(closing.signal)), closing });
    return this.#count;
  }

  async readDownload(download: number): Promise<DownloadPiece> {
    const open = this.#downloads.get(download);
    try {
      const piece = await open?.pieces.next();
      if (piece?.done === false) return { outcome: "bytes", bytes: piece.value };
      this.#downloads.delete(download);
      return { outcome: "end" };
    } catch (error) {
      this.#downloads.delete(download);
      if (!(error instanceof TransferError)) throw error;
      return { outcome: "failed", failure: error.failure, detail: error.message };
    }
  }

  async closeDownload(download: number): Promise<void> {
    const open = this.#downloads.get(download);
    this.#downloads.delete(download);
    open?.closing.abort();
    await open?.pieces.return(undefined);
  }

  openWatch(watch: Watch): number {
    this.#watches.set(++this.#count, watch);
    return this.#count;
  }

  async nextVersion(watch: number, withinMs: number): Promise<SeenVersion | "quiet" | undefined> {
    return await this.#watches.get(watch)?.next(withinMs);
  }

  async closeWatch(watch: number): Promise<void> {
    this.#watches.get(watch)?.close();
    this.#watches.delete(watch);
    await Promise.resolve();
  }
}

/** Joins small pieces. The caller may keep the arrays, or move their buffers to another thread. */
async function* joined(pieces: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const bytes = new Uint8Array(JOINED_BYTES);
  let length = 0;
  const take = () => {
    const taken = bytes.slice(0, length);
    length = 0;
    return taken;
  };
  try {
    for await (const piece of pieces) {
      if (length + piece.length > JOINED_BYTES && length > 0) yield take();
      if (piece.length > JOINED_BYTES) {
        yield piece;
        continue;
      }
      bytes.set(piece, length);
      length += piece.length;
    }
  } catch (error) {
    if (length > 0) yield take();
    throw error;
  }
  if (length > 0) yield take();
}
