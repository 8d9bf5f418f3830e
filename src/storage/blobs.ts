// Blobs: byte strings of any length, for this node's own large values. A blob is written once, in order, and then read
// in parts.

import type { CommitQueue } from "./commit_queue.ts";
import { StorageError } from "./sqlite.ts";

/** The number of bytes in each row (segment) of the blob file. The last segment of a blob may be shorter. */
export const SEGMENT_BYTES = 65_536;

/**
 * Cap on the segments that one writer has sent but that are not written yet. Together with the segment that is being
 * filled, they use 1 MiB of memory.
 */
const MAX_IN_FLIGHT = 15;

/** Writes one blob. Call the methods one after another. */
export interface BlobWriter {
  readonly id: number;
  /**
   * Appends a copy of `bytes`. Resolves when the queue has room again. If the caller waits for this, the queue uses at
   * most 1 MiB of memory.
   * @throws {StorageError} if the blob can't be written; the blob is then removed
   */
  append(bytes: Uint8Array): Promise<void>;
  /** Resolves to the size in bytes once the whole blob is on disk. @throws {StorageError} like `append` */
  finish(): Promise<number>;
  /**
   * Removes the blob, finished or not, and frees its space. Call this only if no published value refers to the blob.
   */
  abandon(): void;
}

/**
 * Stores blobs. At startup, all blobs to which no published value (`Published.large`) refers are removed. A finished
 * blob thus becomes permanent with the transaction that saves its published value.
 */
export interface BlobStore {
  create(): BlobWriter;
  /**
   * Reads `length` bytes of a finished blob into memory, starting at `offset`. @throws {StorageError} if one of these
   * bytes is missing, damaged or unreadable
   */
  read(id: number, offset: number, length: number): Promise<Uint8Array<ArrayBuffer>>;
  /** Removes a blob. Its space is freed once all earlier changes are on disk. */
  remove(id: number): void;
}

/** A part of a blob. */
export interface BlobPart {
  readonly id: number;
  readonly offset: number;
  readonly length: number;
}

export interface Segment {
  readonly blob: number;
  /** The index of the segment in its blob, starting at 0. */
  readonly index: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** The blob file, accessed in another thread. The calls are executed in order. */
export interface BlobFile {
  /**
   * Resolves when the segment is written, but perhaps not yet synced to disk. The bytes are transferred to the other
   * thread, and can't be used here any more. @throws {StorageError}
   */
  writeSegment(segment: Segment): Promise<void>;
  /** Resolves when all segments are synced to disk. @throws {StorageError} */
  syncBlobs(): Promise<void>;
  /** Reads part of a blob. @throws {StorageError} if a byte is missing, damaged or unreadable */
  readBlob(part: BlobPart): Promise<Uint8Array<ArrayBuffer>>;
  /** Removes a blob in the background. Never fails: a blob that can't be removed now is removed at the next start. */
  removeBlob(id: number): void;
}

/** Keeps blobs on disk. The storage thread writes and reads them. */
export class DiskBlobs implements BlobStore {
  #lastId: number;

  /** `lastId`: the highest id that an earlier run may have used. */
  constructor(
    private readonly file: BlobFile,
    private readonly queue: CommitQueue,
    lastId: number,
  ) {
    this.#lastId = lastId;
  }

  create(): BlobWriter {
    return new SegmentWriter(this.file, ++this.#lastId);
  }

  read(id: number, offset: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
    return this.file.readBlob({ id, offset, length });
  }

  remove(id: number): void {
    // The published value that refers to the blob must be deleted from disk first. The queue retries until both are
    // committed.
    this.queue.addUntilCommitted((changes) => changes.removedBlobs.push(id), () => true);
  }
}

class SegmentWriter implements BlobWriter {
  #segment = new Uint8Array(SEGMENT_BYTES);
  #filled = 0;
  #sent = 0;
  readonly #inFlight: Promise<void>[] = [];
  #size = 0;
  #failure: unknown;

  constructor(private readonly file: BlobFile, readonly id: number) {}

  async append(bytes: Uint8Array): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    for (let at = 0; at < bytes.length;) {
      const part = bytes.subarray(at, at + SEGMENT_BYTES - this.#filled);
      this.#segment.set(part, this.#filled);
      this.#filled += part.length;
      this.#size += part.length;
      at += part.length;
      if (this.#filled === SEGMENT_BYTES) this.#send(this.#segment);
      if (this.#inFlight.length > MAX_IN_FLIGHT) await this.#settle(this.#inFlight.shift()!);
    }
  }

  async finish(): Promise<number> {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#filled > 0) this.#send(this.#segment.slice(0, this.#filled));
    for (const written of this.#inFlight.splice(0)) await this.#settle(written);
    await this.#settle(this.file.syncBlobs());
    return this.#size;
  }

  abandon(): void {
    this.file.removeBlob(this.id);
  }

  #send(bytes: Uint8Array<ArrayBuffer>): void {
    const written = this.file.writeSegment({ blob: this.id, index: this.#sent++, bytes });
    // If writing fails, the writer learns of it when it awaits this segment.
    written.catch(() => {});
    this.#inFlight.push(written);
    this.#segment = new Uint8Array(SEGMENT_BYTES);
    this.#filled = 0;
  }

  async #settle(written: Promise<void>): Promise<void> {
    try {
      await written;
    } catch (error) {
      this.#failure = error;
      this.abandon();
      throw error;
    }
  }
}

/** Keeps blobs in memory, for a node without DATA_DIR. */
export class MemoryBlobs implements BlobStore {
  readonly #parts = new Map<number, Uint8Array<ArrayBuffer>[]>();
  #lastId = 0;

  create(): BlobWriter {
    const id = ++this.#lastId, parts: Uint8Array<ArrayBuffer>[] = [];
    let size = 0;
    this.#parts.set(id, parts);
    return {
      id,
      append: (bytes) => {
        for (let at = 0; at < bytes.length;) {
          const room = SEGMENT_BYTES - (size % SEGMENT_BYTES);
          if (room === SEGMENT_BYTES) parts.push(new Uint8Array(SEGMENT_BYTES));
          const part = bytes.subarray(at, at + room);
          parts.at(-1)!.set(part, size % SEGMENT_BYTES);
          size += part.length;
          at += part.length;
        }
        return Promise.resolve();
      },
      finish: () => {
        if (size % SEGMENT_BYTES > 0) parts.push(parts.pop()!.slice(0, size % SEGMENT_BYTES));
        return Promise.resolve(size);
      },
      abandon: () => this.remove(id),
    };
  }

  read(id: number, offset: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
    try {
      const parts = this.#parts.get(id) ?? [];
      return Promise.resolve(joinSegments((index) => parts[index], { id, offset, length }));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  remove(id: number): void {
    this.#parts.delete(id);
  }
}

/** Copies a part of a blob from the segments that contain it. @throws {StorageError} if a byte is missing */
export function joinSegments(
  segment: (index: number) => Uint8Array | undefined,
  { id, offset, length }: BlobPart,
): Uint8Array<ArrayBuffer> {
  const joined = new Uint8Array(length);
  for (let at = 0; at < length;) {
    const position = offset + at, start = position % SEGMENT_BYTES;
    const bytes = segment(Math.floor(position / SEGMENT_BYTES)) ?? new Uint8Array(0);
    const part = bytes.subarray(start, start + length - at);
    if (part.length === 0) throw new StorageError(`blob ${id} ends before byte ${position}`);
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}
