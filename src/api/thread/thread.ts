// Runs the API in a separate thread, which handles all HTTP. The node's thread only answers calls and sends events.

import type { Config } from "../../config.ts";
import { release } from "../../krpc/release.ts";
import type { DownloadPiece, NodeService } from "../../node_service.ts";
import { type ApiLog, ApiThreadError, ListenError } from "../errors.ts";
import {
  type ApiAddress,
  batched,
  bytesOf,
  type FromApi,
  type Method,
  type Port,
  settingsOf,
  type ToApi,
  withOwnBuffers,
} from "./messages.ts";

/** The API's thread: a worker, or a substitute in tests. */
export interface ApiWorker extends Port<ToApi, FromApi> {
  onerror: ((event: ErrorEvent) => void) | null;
  terminate(): void;
}

interface ServeOptions {
  readonly service: NodeService;
  readonly config: Config;
  readonly log?: ApiLog;
}

/** Maximum time to close the API. The node must stop within 5 s, and also needs some of that time to save its state. */
const CLOSE_WITHIN_MS = 3_500;

/**
 * Controls the API's thread. The thread loads its code immediately, but listens only after `serve`
 * is called.
 */
export class ApiThread {
  readonly #worker: ApiWorker;
  readonly #post: (message: ToApi, moved?: Uint8Array) => void;
  readonly #ready = Promise.withResolvers<void>();
  readonly #opened = Promise.withResolvers<void>();
  readonly #listening = Promise.withResolvers<ApiAddress>();
  readonly #closed = Promise.withResolvers<void>();
  readonly #failed = Promise.withResolvers<ApiThreadError>();
  /** Resolves when the thread's code is loaded. Until then, the process must keep its permission to read the code. */
  readonly ready: Promise<void> = this.#ready.promise;
  /** Resolves if the thread ends unexpectedly. */
  readonly failed: Promise<ApiThreadError> = this.#failed.promise;
  #options: ServeOptions | undefined;
  #stopEvents = () => {};
  /** The latest piece of each upload, which the node may still use. */
  readonly #written = new Map<unknown, unknown>();

  constructor(
    worker: ApiWorker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" }),
  ) {
    this.#worker = worker;
    this.#post = batched(worker);
    // Avoid unhandled rejections if nobody awaits these promises.
    for (const { promise } of [this.#ready, this.#opened, this.#listening]) promise.catch(() => {});
    worker.onmessage = ({ data }) => data.forEach((message) => this.#receive(message));
    worker.onerror = (event) => {
      event.preventDefault();
      const error = new ApiThreadError(`the API's thread has failed: ${event.message}`);
      for (const { reject } of [this.#ready, this.#opened, this.#listening]) reject(error);
      this.#closed.resolve();
      this.#failed.resolve(error);
    };
  }

  /**
   * Opens the Unix socket that the settings name, if any. Call this while the process still has the
   * permission to create the socket. Clients that connect before `serve` is called wait until then.
   * Rejects with a ListenError if the socket can't be opened.
   */
  async openSocket(
    { apiSocket: path, apiSocketMode: mode, apiSocketGroup: group }: Config,
  ): Promise<void> {
    if (path === null) return;
    this.#post({ type: "open socket", file: { path, mode, group } });
    await this.#opened.promise;
  }

  /** Serves a node's API. Rejects with a ListenError if the API can't listen at its address. */
  serve(options: ServeOptions): Promise<ApiAddress> {
    const { service, config } = options;
    this.#options = options;
    this.#stopEvents = service.onEvent((event, at) => this.#post({ type: "event", event, at }));
    this.#post({ type: "serve", settings: settingsOf(config) });
    return this.#listening.promise;
  }

  /** Applies these settings to all later requests. The settings of the sockets don't change. */
  reconfigure(config: Config): void {
    this.#post({ type: "settings", settings: settingsOf(config) });
  }

  /** Stops accepting connections, gives requests `graceMs` to finish, and ends the thread. */
  async close(graceMs?: number): Promise<void> {
    this.#post({ type: "close", graceMs });
    const timer = setTimeout(this.#closed.resolve, CLOSE_WITHIN_MS);
    await this.#closed.promise;
    clearTimeout(timer);
    this.terminate();
  }

  terminate(): void {
    this.#stopEvents();
    this.#worker.terminate();
  }

  #receive(message: FromApi): void {
    switch (message.type) {
      case "ready":
        return this.#ready.resolve();
      case "listening":
        return this.#listening.resolve(message);
      case "not listening":
        this.terminate();
        for (const { reject } of [this.#opened, this.#listening]) {
          reject(new ListenError(message.reason));
        }
        return;
      case "socket open":
        return this.#opened.resolve();
      case "call":
        return void this.#answer(message);
      case "log":
        return this.#options?.log?.[message.level]?.(message.message, message.properties);
      case "closed":
        return this.#closed.resolve();
    }
  }

  /**
   * Frees a piece of an upload once the node has received the next piece. By then, the node no
   * longer needs the earlier piece.
   */
  #noteCall(method: Method, [upload, bytes]: readonly unknown[]): void {
    if (method === "finishUpload" || method === "closeUpload") this.#written.delete(upload);
    if (method !== "write") return;
    release(this.#written.get(upload));
    this.#written.set(upload, bytes);
  }

  async #answer({ call, method, args }: Extract<FromApi, { type: "call" }>): Promise<void> {
    const service = this.#options!.service as unknown as Record<
      string,
      (...args: readonly unknown[]) => Promise<unknown>
    >;
    try {
      const result = withOwnBuffers(await service[method](...args));
      this.#noteCall(method, args);
      const moved = method === "readDownload" ? bytesOf(result as DownloadPiece) : undefined;
      this.#post({ type: "result", call, result }, moved);
    } catch (error) {
      this.#post({ type: "error", call, error });
    }
  }
}
