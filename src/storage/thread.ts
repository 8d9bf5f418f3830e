// Runs the databases in a separate thread, and defines the messages between that thread and the main thread.

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

/** Rows per message while the file is read. The main thread processes each message while the next rows are read. */
const ROWS_PER_MESSAGE = 1000;

/** The pause in ms between two steps that free the space of removed blobs. During the pause, requests are answered. */
const TIDY_MS = 5;

/** The pause in ms after freeing space has failed. When the pause ends, a full disk may have space again. */
const TIDY_RETRY_MS = 60_000;

export interface OpenDatabase {
  readonly path: string;
  /** The file for blobs. */
  readonly blobsPath: string;
  /** Whether to accept an empty file; see `DatabaseOptions`. */
  readonly mayBeEmpty: boolean;
  /** The id that the node gets if the file has none yet. */
  readonly newNodeId: Uint8Array;
}

/** The content of the file when it was opened, apart from items. */
export interface Saved {
  readonly nodeId: Uint8Array;
  /** The state of the node's clock; undefined in a new file, or in a file from a version without node time. */
  readonly clock: Uint8Array | undefined;
  readonly contacts: readonly ContactRow[];
  readonly published: readonly PublishedRow[];
  readonly announcements: readonly AnnouncementRow[];
  /** The records, by their names. */
  readonly records: ReadonlyMap<string, Uint8Array>;
  /** The number of rows that were skipped because their checksum was wrong. */
  readonly damagedRows: number;
  /** The highest id of the blobs that exist. */
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

/** Each request is answered once, in order. Messages with items come before the answer to `open`. */
type Message =
  | { readonly type: "items"; readonly items: PackedItems }
  | { readonly type: "done"; readonly result: Result }
  | { readonly type: "failed"; readonly message: string };

/** The main thread's handle to a database in another thread. */
export class DatabaseThread implements BlobFile, ItemFile {
  readonly #worker: Worker;
  readonly #waiting: PromiseWithResolvers<Result>[] = [];
  readonly #onItems: (items: PackedItems) => void;
  #failure: StorageError | undefined;

  /**
   * Uses `worker`, a thread that runs `serveDatabase`. `onItems` is called several times, with the
   * records of some of the items.
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

  /** Opens the file, or ends the thread if that fails. @throws {StorageError} like `Database` */
  async open(open: OpenDatabase): Promise<Saved> {
    try {
      return (await this.#ask({ do: "open", open })) as Saved;
    } catch (error) {
      this.#worker.terminate();
      throw error;
    }
  }

  /**
   * Resolves when the changes are on disk. @throws {StorageError} if they can't be written; then
   * none of them is written
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

/** Serves the main thread's requests in a worker. `opened` is called after the answer to `open`. */
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
    // If a row was damaged, keep all blobs, because a damaged published value may refer to any of them.
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
      // An error makes only this request fail, not the whole thread.
      const text = error instanceof Error ? error.message : String(error);
      thread.postMessage({ type: "failed", message: text.split("\n")[0] });
    }
  };
}

/** The ids of the blobs that a published value refers to. */
function blobsOf({ value_blob, ids_blob }: PublishedRow): number[] {
  return value_blob === null || ids_blob === null ? [] : [value_blob, ids_blob];
}
