// The program of the API's thread. Compiled executables contain this file as a separate module (packaging/compile.ts).

import { release } from "../../krpc/release.ts";
import type { DownloadPiece, EventListener, NodeService } from "../../node_service.ts";
import { compactHeap } from "../../runtime/process/memory.ts";
import type { ServiceEvent } from "../../reports/events.ts";
import type { Api } from "../app.ts";
import { ListenError } from "../errors.ts";
import { noRefusals } from "../limits.ts";
import { listenOnSocket, type SocketFile } from "../unix_socket.ts";
import {
  type ApiServer,
  serveApi,
  type ServedApp,
  type ServeOptions,
  serveOptions,
} from "../server.ts";
import {
  type ApiSettings,
  batched,
  configOf,
  type FromApi,
  type Method,
  type Port,
  type ToApi,
  withOwnBuffers,
} from "./messages.ts";

const thread = globalThis as unknown as Port<FromApi, ToApi> & typeof globalThis;
const post = batched<FromApi>(thread);
/** If this many events arrive before the first request, the app is loaded without waiting for a request. */
const MAX_EARLY_EVENTS = 500;
/**
 * The time between loading the app and collecting its garbage. By then, the requests that a client sends together
 * have been answered.
 */
const COMPACT_AFTER_MS = 2_000;

const listeners = new Set<EventListener>();
/** Calls to the node's service that have not returned yet. */
const calls = new Map<number, PromiseWithResolvers<unknown>>();
/** The latest piece of each download, which Deno.serve may still be sending. */
const read = new Map<unknown, Uint8Array>();
const refusals = noRefusals();
let callCount = 0;
let settings: ApiSettings;
/** The events that arrived before the app was loaded. */
let early: [event: ServiceEvent, at: number][] = [];
let loading: Promise<Api> | undefined;
let api: Api | undefined;
let server: ApiServer | undefined;
let socket: ServeOptions["socket"];

thread.onmessage = ({ data }) => data.forEach(receive);
// Unhandled rejections are bugs. Log them, but don't let them end the API.
thread.addEventListener("unhandledrejection", (event) => {
  event.preventDefault();
  logError("Unexpected: {error}", { error: event.reason });
});
post({ type: "ready" });

function receive(message: ToApi): void {
  switch (message.type) {
    case "open socket":
      return void openSocket(message.file);
    case "serve":
      settings = message.settings;
      return serve();
    case "settings":
      settings = message.settings;
      return api?.reconfigure(configOf(settings));
    case "result":
      calls.get(message.call)?.resolve(message.result);
      return void calls.delete(message.call);
    case "error":
      calls.get(message.call)?.reject(message.error);
      return void calls.delete(message.call);
    case "event":
      return noteEvent(message.event, message.at);
    case "close":
      return void server?.close(message.graceMs).then(() => post({ type: "closed" }));
  }
}

/** The app. It is loaded only when the first request arrives, because it needs most of the thread's memory. */
const app: ServedApp = {
  fetch: (request, caller) =>
    api?.fetch(request, caller) ?? load().then((loaded) => loaded.fetch(request, caller)),
  endStreams: () => api?.endStreams(),
};

function load(): Promise<Api> {
  return loading ??= import("../app.ts").then(({ createApi }) => {
    const log = { error: logError, debug: logDebug };
    api = createApi({ service, config: configOf(settings), log, refusals });
    for (const [event, at] of early) noteEvent(event, at);
    early = [];
    setTimeout(compactHeap, COMPACT_AFTER_MS);
    return api;
  });
}

function noteEvent(event: ServiceEvent, at: number): void {
  if (api !== undefined) return listeners.forEach((listener) => listener(event, at));
  if (early.push([event, at]) === MAX_EARLY_EVENTS) void load();
}

function serve(): void {
  try {
    server = serveApi(app, { ...serveOptions(configOf(settings)), socket, refusals });
    post({ type: "listening", urls: server.urls, port: server.port });
    setTimeout(compactHeap, 0); // once the message is sent
  } catch (error) {
    noteNotListening(error);
  }
}

async function openSocket(file: SocketFile): Promise<void> {
  try {
    socket = { listener: await listenOnSocket(file), path: file.path };
    post({ type: "socket open" });
  } catch (error) {
    noteNotListening(error);
  }
}

function noteNotListening(error: unknown): void {
  if (!(error instanceof ListenError)) throw error;
  post({ type: "not listening", reason: error.message });
}

/** The node's service. Each call of a method becomes a message to the node's thread. */
const service = new Proxy({} as NodeService, {
  get: (_, name) =>
    name === "onEvent" ? onEvent : (...args: unknown[]) => {
      const call = ++callCount, result = Promise.withResolvers<unknown>();
      calls.set(call, result);
      const sent = args.map(withOwnBuffers);
      // Transfer the bytes of an upload, because the API does not need them again.
      const moved = name === "write" ? sent[1] as Uint8Array : undefined;
      post({ type: "call", call, method: name as Method, args: sent }, moved);
      if (name === "readDownload") noteRead(args[0], result.promise as Promise<DownloadPiece>);
      return result.promise;
    },
});

/**
 * Frees a piece of a download when the next piece is requested. By then, Deno.serve has sent or
 * copied the earlier piece.
 */
function noteRead(download: unknown, result: Promise<DownloadPiece>): void {
  release(read.get(download));
  read.delete(download);
  result.then((piece) => piece.outcome === "bytes" && read.set(download, piece.bytes), () => {});
}

function onEvent(listener: EventListener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Sends an error to the node's thread, to be logged there. */
function logError(message: string, properties: Readonly<Record<string, unknown>>): void {
  const texts = Object.entries(properties).map(([name, value]) => [
    name,
    value instanceof Error ? value.stack ?? value.message : String(value),
  ]);
  post({ type: "log", level: "error", message, properties: Object.fromEntries(texts) });
}

function logDebug(message: string, properties: Record<string, unknown>): void {
  post({ type: "log", level: "debug", message, properties });
}
