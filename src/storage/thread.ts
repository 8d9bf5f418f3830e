// Runs the databases in a separate thread. Defines the messages between this thread and the main thread.

import { BlobDatabase } from "./blob_database.ts";
import type { BlobFile, BlobPart, Segment } from "./blobs.ts";
import type { Changes } from "./commit_queue.ts";
import { CLOCK, createFile, Database, type Files, NODE_ID } from "./database.ts";
import type { ItemFile, RowResult } from "./item_reads.ts";
import { explained, StorageError } from "./sqlite.ts";
import {
  type AnnouncementRow,
  type ContactRow,
  type ItemRow,
  type PackedItems,
  packItems,
  type PublishedRow,
} from "./rows.ts";

/**
 * The number of rows in each message while the file is read. The main thread processes a message while the next rows
 * are read.
 */
const ROWS_PER_MESSAGE = 1000;

/** The pause between two steps of freeing the space of removed blobs, in ms. Other requests are answered in between. */
const TIDY_MS = 5;

/** The pause after freeing space has failed, in ms. By then, a full disk may have space again. */
const TIDY_RETRY_MS = 60_000;

export interface OpenDatabase {
  readonly path: string;
  /** The file for blobs. */
  readonly blobsPath: string;
  /** Whether to accept an empty file; see `DatabaseOptions`. */
  readonly mayBeEmpty: boolean;
  /** The id for the node if the file contains none yet. */
  readonly newNodeId: Uint8Array;
}

/** The content of the file when it was opened, except for the items. */
export interface Saved {
  readonly nodeId: Uint8Array;
  /**
   * The saved state of the node's clock; undefined in a new file, or in a file from a program version without node
   * time.
   */
  readonly clock: Uint8Array | undefined;
  readonly contacts: readonly ContactRow[];
  readonly published: readonly PublishedRow[];
  readonly announcements: readonly AnnouncementRow[];
  /** The saved records, by name. */
  readonly records: ReadonlyMap<string, Uint8Array>;
  /** The number of rows skipped because of a wrong checksum. */
  readonly damagedRows: number;
  /** The highest id of all blobs in the blob file. */
  readonly lastBlob: number;
}

type Request =
  | { readonly do: "open"; readonly open: OpenDatabase }
  | { readonly do: "commit"; readonly changes: Changes }
  | { readonly do: "read_items"; readonly targets: readonly Uint8Array[] }
  | { readonly do: "write_segment"; readonly segment: Segment }
  | { readonly do: "sync_blobs" }
  | { readonly do: "read_blob"; readonly part: BlobPart }
  | { readonly do: "remove_blob"; readonly id: number }
  | { readonly do: "close" };

type Result = Saved | readonly RowResult[] | Uint8Array<ArrayBuffer> | undefined;

/**
 * A message from the storage thread. Each request is answered once, in order. Messages with items precede the answer to
 * `open`.
 */
type Message =
  | { readonly type: "items"; readonly items: PackedItems }
  | { readonly type: "done"; readonly result: Result }
  | { readonly type: "failed"; readonly message: string };

/** The main thread's interface to the databases, which another thread runs. */
export class DatabaseThread implements BlobFile, ItemFile {
  readonly #worker: Worker;
  readonly #waiting: PromiseWithResolvers<Result>[] = [];
  readonly #onItems: (items: PackedItems) => void;
  #failure: StorageError | undefined;

  /**
   * `worker` must run `serveDatabase`. `onItems` is called several times, each time with the records of further items.
   */
  constructor(worker: Worker, path: string, onItems: (items: PackedItems) => void) {
    this.#worker = worker;
    this.#onItems = onItems;
    this.#worker.onmessage = ({ data }: MessageEvent<Message>) => this.#receive(data);
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.#failure = new StorageError(
        `${path}: the thread that writes it has failed (${event.message}): start the node again`,
      );
      for (const { reject } of this.#waiting.splice(0)) reject(this.#failure);
    };
  }

  /** Opens the database files. If that fails, ends the thread. @throws {StorageError} like `Database` */
  async open(open: OpenDatabase): Promise<Saved> {
    try {
      return (await this.#ask({ do: "open", open })) as Saved;
    } catch (error) {
      this.#worker.terminate();
      throw error;
    }
  }

  /**
   * Resolves once the changes are on disk.
   * @throws {StorageError} if the transaction fails; nothing is then written
   */
  async commit(changes: Changes): Promise<void> {
    await this.#ask({ do: "commit", changes });
  }

  async readItems(targets: readonly Uint8Array[]): Promise<readonly RowResult[]> {
    return (await this.#ask({ do: "read_items", targets })) as readonly RowResult[];
  }

  async writeSegment(segment: Segment): Promise<void> {
    await this.#ask({ do: "write_segment", segment }, [segment.bytes.buffer]);
  }

  async syncBlobs(): Promise<void> {
    await this.#ask({ do: "sync_blobs" });
  }

  async readBlob(part: BlobPart): Promise<Uint8Array<ArrayBuffer>> {
    return await this.#ask({ do: "read_blob", part }) as Uint8Array<ArrayBuffer>;
  }

  removeBlob(id: number): void {
    this.#ask({ do: "remove_blob", id }).catch(() => {});
  }

  /** Closes the files and ends the thread. Never rejects. */
  async close(): Promise<void> {
    try {
      await this.#ask({ do: "close" });
    } catch {
      // Ignore the error: failed commits have been reported already.
    }
    this.#worker.terminate();
  }

  #ask(request: Request, transfer: Transferable[] = []): Promise<Result> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    const answer = Promise.withResolvers<Result>();
    this.#waiting.push(answer);
    this.#worker.postMessage(request, transfer);
    return answer.promise;
  }

  #receive(message: Message): void {
    if (message.type === "items") return this.#onItems(message.items);
    const { resolve, reject } = this.#waiting.shift()!;
    if (message.type === "done") resolve(message.result);
    else reject(new StorageError(message.message));
  }
}

/** Serves the main thread's requests in the worker. `opened` is called after the answer to `open` was sent. */
export function serveDatabase(
  thread: {
    onmessage: ((event: MessageEvent<Request>) => void) | null;
    postMessage(message: Message, transfer?: Transferable[]): void;
  },
  files: Files,
  opened: () => void = () => {},
): void {
  let database: Database, blobs: BlobDatabase;
  let tidying: ReturnType<typeof setTimeout> | undefined;
  const tidy = (wait = TIDY_MS) => tidying ??= setTimeout(tidyStep, wait);
  const tidyStep = () => {
    tidying = undefined;
    try {
      if (blobs.tidy()) tidy();
    } catch {
      tidy(TIDY_RETRY_MS);
    }
  };
  const answer = (request: Request): Result => {
    switch (request.do) {
      case "open": {
        const { path, blobsPath, newNodeId } = request.open;
        database = new Database(path, { ...request.open, files });
        try {
          if (files.size(blobsPath) === undefined) createFile(files, blobsPath);
          blobs = new BlobDatabase(blobsPath);
        } catch (error) {
          database.close();
          throw explained(blobsPath, error);
        }
        try {
          return read(newNodeId);
        } catch (error) {
          throw explained(path, error);
        }
      }
      case "commit":
        database.commit(request.changes);
        for (const id of request.changes.removedBlobs) blobs.remove(id);
        if (request.changes.removedBlobs.length > 0) tidy();
        return undefined;
      case "read_items":
        return database.readItems(request.targets);
      case "write_segment":
        return void blobs.write(request.segment);
      case "sync_blobs":
        return void blobs.sync();
      case "read_blob":
        return blobs.read(request.part);
      case "remove_blob":
        blobs.remove(request.id);
        return void tidy();
      case "close":
        clearTimeout(tidying);
        blobs.close();
        return void database.close();
    }
  };
  const read = (newNodeId: Uint8Array): Saved => {
    let nodeId = database.meta(NODE_ID);
    if (nodeId === undefined) database.setMeta(NODE_ID, nodeId = newNodeId);
    let rows: ItemRow[] = [];
    const post = () => {
      const items = packItems(rows), { targets, numbers } = items;
      thread.postMessage({ type: "items", items }, [targets.buffer, numbers.buffer]);
      rows = [];
    };
    for (const row of database.items()) if (rows.push(row) === ROWS_PER_MESSAGE) post();
    post();
    const contacts = database.contacts(), published = [...database.published()];
    const { damagedRows } = database, lastBlob = blobs.lastId;
    // If a row was damaged, keep all blobs: the row may be a published value that refers to any of them.
    if (damagedRows === 0) blobs.removeOthers(new Set(published.flatMap(blobsOf)));
    tidy();
    const clock = database.meta(CLOCK), announcements = database.announcements();
    const records = database.records();
    return { nodeId, clock, contacts, published, announcements, records, damagedRows, lastBlob };
  };
  thread.onmessage = ({ data }) => {
    try {
      const result = answer(data);
      const transfer = result instanceof Uint8Array ? [result.buffer] : [];
      thread.postMessage({ type: "done", result }, transfer);
      if (data.do === "open") opened();
    } catch (error) {
      // Only this request fails, not the whole thread.
      const text = error instanceof Error ? error.message : String(error);
      thread.postMessage({ type: "failed", message: text.split("\n")[0] });
    }
  };
}

/** Returns the ids of the blobs to which a published value refers. */
function blobsOf({ value_blob, ids_blob }: PublishedRow): number[] {
  return value_blob === null || ids_blob === null ? [] : [value_blob, ids_blob];
}
