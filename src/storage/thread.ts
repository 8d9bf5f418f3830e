// A database in a thread of its own, and the messages between the two threads.

import type { Changes } from "./commit_queue.ts";
import { Database, type Files, NODE_ID, StorageError } from "./database.ts";
import {
  type ContactRow,
  type ItemRow,
  type PackedItems,
  packItems,
  type PublishedRow,
} from "./rows.ts";

/** Rows of one message while the file is read: the other thread takes them in meanwhile. */
const ROWS_A_MESSAGE = 1000;

export interface OpenDatabase {
  readonly path: string;
  /** See `DatabaseOptions`. */
  readonly mayBeEmpty: boolean;
  /** The node's id from now on, where the file has none yet. */
  readonly newNodeId: Uint8Array;
}

/** What the file holds when it is opened. */
export interface Saved {
  readonly nodeId: Uint8Array;
  readonly contacts: readonly ContactRow[];
  readonly published: readonly PublishedRow[];
  /** Rows of items and published values that are not as they were written, and are left out. */
  readonly damagedRows: number;
}

type Request =
  | { readonly do: "open"; readonly open: OpenDatabase }
  | { readonly do: "commit"; readonly changes: Changes }
  | { readonly do: "close" };

/** Each request is answered once, in order; items come before the answer to `open`. */
type Message =
  | { readonly type: "items"; readonly items: PackedItems }
  | { readonly type: "done"; readonly saved?: Saved }
  | { readonly type: "failed"; readonly message: string };

/** A database that another thread reads and writes. */
export class DatabaseThread {
  readonly #worker: Worker;
  readonly #waiting: PromiseWithResolvers<Saved | undefined>[] = [];
  readonly #onItems: (items: PackedItems) => void;
  #failure: StorageError | undefined;

  private constructor(worker: Worker, path: string, onItems: (items: PackedItems) => void) {
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

  /**
   * Has the file opened by `worker`, a thread that runs `serveDatabase`; `onItems` gets its items, part after part.
   *
   * @throws {StorageError} as `Database` does
   */
  static async open(
    worker: Worker,
    open: OpenDatabase,
    onItems: (items: PackedItems) => void,
  ): Promise<{ thread: DatabaseThread; saved: Saved }> {
    const thread = new DatabaseThread(worker, open.path, onItems);
    try {
      const saved = await thread.#ask({ do: "open", open });
      return { thread, saved: saved! };
    } catch (error) {
      worker.terminate();
      throw error;
    }
  }

  /**
   * Resolves when the changes are on disk.
   *
   * @throws {StorageError} where they are not; then nothing is changed
   */
  async commit(changes: Changes): Promise<void> {
    await this.#ask({ do: "commit", changes });
  }

  /** Closes the file and ends the thread. Never rejects. */
  async close(): Promise<void> {
    try {
      await this.#ask({ do: "close" });
    } catch {
      // What could be saved is: a commit that fails has been told.
    }
    this.#worker.terminate();
  }

  #ask(request: Request): Promise<Saved | undefined> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    const answer = Promise.withResolvers<Saved | undefined>();
    this.#waiting.push(answer);
    this.#worker.postMessage(request);
    return answer.promise;
  }

  #receive(message: Message): void {
    if (message.type === "items") return this.#onItems(message.items);
    const { resolve, reject } = this.#waiting.shift()!;
    if (message.type === "done") resolve(message.saved);
    else reject(new StorageError(message.message));
  }
}

/** Serves requests that come to this thread, a worker. */
export function serveDatabase(
  thread: {
    onmessage: ((event: MessageEvent<Request>) => void) | null;
    postMessage(message: Message, transfer?: Transferable[]): void;
  },
  files: Files,
): void {
  let database: Database;
  const answer = (request: Request): Saved | undefined => {
    switch (request.do) {
      case "open":
        database = new Database(request.open.path, { ...request.open, files });
        return read(request.open.newNodeId);
      case "commit":
        return void database.commit(request.changes);
      case "close":
        return void database.close();
    }
  };
  const read = (newNodeId: Uint8Array): Saved => {
    let nodeId = database.meta(NODE_ID);
    if (nodeId === undefined) database.setMeta(NODE_ID, nodeId = newNodeId);
    let rows: ItemRow[] = [];
    const post = () => {
      const items = packItems(rows);
      thread.postMessage({ type: "items", items }, [items.bytes.buffer, items.numbers.buffer]);
      rows = [];
    };
    for (const row of database.items()) if (rows.push(row) === ROWS_A_MESSAGE) post();
    post();
    const contacts = database.contacts(), published = [...database.published()];
    return { nodeId, contacts, published, damagedRows: database.damagedRows };
  };
  thread.onmessage = ({ data }) => {
    try {
      thread.postMessage({ type: "done", saved: answer(data) });
    } catch (error) {
      // Whatever it was, it is this request's failure and not the thread's.
      const text = error instanceof Error ? error.message : String(error);
      thread.postMessage({ type: "failed", message: text.split("\n")[0] });
    }
  };
}
