// Byte strings of any length, for this node's own large values: written once in order, then read in parts.

import type { CommitQueue } from "./commit_queue.ts";
import { StorageError } from "./sqlite.ts";

/** The number of bytes in each row of the file of blobs. The last row of a blob may have fewer. */
export const SEGMENT_BYTES = 65_536;

/**
 * Cap on the segments of one writer that are not written yet. Together with the segment that is
 * being filled, they use 1 MiB.
 */
const MAX_IN_FLIGHT = 15;

/** A blob that is being written. Call its methods one after the other. */
export interface BlobWriter {
  readonly id: number;
  /**
   * Adds a copy of `bytes` at the end. Resolves when the queue has room. If the caller waits for
   * this, the queue uses at most 1 MiB of memory. @throws {StorageError} if the blob can't be
   * written; the blob is then removed
   */
  append(bytes: Uint8Array): Promise<void>;
  /** Resolves to the size in bytes once the whole blob is on disk. @throws {StorageError} like `append` */
  finish(): Promise<number>;
  /**
   * Removes the blob, whether it is finished or not, and frees its space. No published value may
   * refer to it yet.
   */
  abandon(): void;
}

/**
 * Stores blobs. A restart removes all blobs to which no published value refers (`Published.large`).
 * So a finished blob becomes permanent with the transaction that saves its published value.
 */
export interface BlobStore {
  create(): BlobWriter;
  /**
   * Reads `length` bytes of a finished blob into memory. @throws {StorageError} if one of these bytes is missing,
   * damaged or can't be read
   */
  read(id: number, offset: number, length: number): Promise<Uint8Array<ArrayBuffer>>;
  /** Removes a blob. Its space is freed soon after all earlier changes are on disk. */
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
  /** The position in the blob, counted in segments. */
  readonly index: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** The file that contains the blobs, accessed in another thread. All calls are executed in order. */
export interface BlobFile {
  /**
   * Resolves when the segment is written, but perhaps not yet synced. The bytes move to the other
   * thread. @throws {StorageError}
   */
  writeSegment(segment: Segment): Promise<void>;
  /** Resolves when all segments are on disk. @throws {StorageError} */
  syncBlobs(): Promise<void>;
  /** @throws {StorageError} if a byte of the part is missing, damaged or can't be read */
  readBlob(part: BlobPart): Promise<Uint8Array<ArrayBuffer>>;
  /** Removes a blob in the background. Never fails: if the blob can't be removed, the next start removes it. */
  removeBlob(id: number): void;
}

/** Keeps blobs on disk. They are written and read by the storage thread. */
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
    // The published value that refers to the blob must be deleted from disk first. The queue
    // retries this until it succeeds.
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
    // A failure is reported when the writer waits for this segment.
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

/** Joins a part from its segments. @throws {StorageError} if a byte is missing */
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
