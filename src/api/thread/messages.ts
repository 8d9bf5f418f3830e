// The messages between the node's thread and the API's thread.

import { describeEntry, type NetScope, parseAllowNet, parseRange } from "../../config/addresses.ts";
import type { Config } from "../../config.ts";
import type { AddressRange } from "../../krpc/address_range.ts";
import type { DownloadPiece, NodeService } from "../../node_service.ts";
import type { ServiceEvent } from "../../reports/events.ts";
import type { SocketFile } from "../unix_socket.ts";
import type { ApiLog } from "../errors.ts";
import type { ApiServer } from "../server.ts";

/** The methods of the node's service that return a promise. */
export type Method = Exclude<keyof NodeService, "onEvent">;

/** The URLs and the port at which a started API listens. */
export type ApiAddress = Pick<ApiServer, "urls" | "port">;

type Message<T extends string, Data = unknown> = Readonly<{ type: T } & Data>;

/** Messages to the API's thread. */
export type ToApi =
  /** Opens the Unix socket. This must happen before the process drops its permissions. */
  | Message<"open socket", { file: SocketFile }>
  | Message<"serve", { settings: ApiSettings }>
  /** Replaces the settings by which requests are checked. */
  | Message<"settings", { settings: ApiSettings }>
  | Message<"result", { call: number; result: unknown }>
  | Message<"error", { call: number; error: unknown }>
  | Message<"event", { event: ServiceEvent; at: number }>
  /** Asks the API to close, giving requests `graceMs` milliseconds to finish. Answered with "closed". */
  | Message<"close", { graceMs: number | undefined }>;

/** Messages from the API's thread. */
export type FromApi =
  | Message<"ready">
  | Message<"socket open">
  | Message<"listening", ApiAddress>
  | Message<"not listening", { reason: string }>
  | Message<"call", { call: number; method: Method; args: readonly unknown[] }>
  /** A record to be logged by the node's thread. */
  | Message<"log", { level: keyof ApiLog; message: string; properties: Record<string, unknown> }>
  | Message<"closed">;

/** One end of the message channel between the threads. */
export interface Port<Sent, Received> {
  onmessage: ((event: MessageEvent<readonly Received[]>) => void) | null;
  postMessage(messages: readonly Sent[], transfer: Transferable[]): void;
}

/**
 * Returns a function that sends all messages of one turn of the event loop together, because postMessage is slow. The
 * buffer of `moved` is transferred to the other thread, so this thread can't use the buffer afterwards.
 */
export function batched<T>(
  port: Pick<Port<T, never>, "postMessage">,
): (message: T, moved?: Uint8Array) => void {
  let waiting: T[] = [], transfer: Transferable[] = [];
  const flush = () => {
    const messages = waiting, buffers = transfer;
    waiting = [];
    transfer = [];
    port.postMessage(messages, buffers);
  };
  return (message, moved) => {
    if (moved !== undefined) transfer.push(moved.buffer as ArrayBuffer);
    if (waiting.push(message) === 1) queueMicrotask(flush);
  };
}

/**
 * Copies a plain value. Each byte array gets a new buffer, because a message would otherwise contain the whole buffer
 * that the array shares with others.
 */
export function withOwnBuffers(value: unknown): unknown {
  if (value instanceof Uint8Array) {
    return value.length === value.buffer.byteLength ? value : value.slice();
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, member]) => [name, withOwnBuffers(member)]),
  );
}

/** The bytes in a piece of a download; undefined if the piece has none. */
export function bytesOf(piece: DownloadPiece): Uint8Array | undefined {
  return piece.outcome === "bytes" ? piece.bytes : undefined;
}

/** A configuration in a form that a message can carry. */
export type ApiSettings = ReturnType<typeof settingsOf>;

/**
 * Converts address ranges into text, since a message can't preserve the class of an object. The API's thread gets no
 * network key.
 */
export function settingsOf({ allowNet, apiTrustedProxies, networkKeys: _, ...rest }: Config) {
  const text = (entries: Extract<NetScope, { mode: "list" }>["entries"]) =>
    entries.map(describeEntry).join();
  return {
    ...rest,
    allowNet: allowNet.mode === "list" ? text(allowNet.entries) : allowNet.mode === "any",
    apiTrustedProxies: text(apiTrustedProxies),
  };
}

export function configOf({ allowNet, apiTrustedProxies, ...rest }: ApiSettings): Config {
  const proxies = apiTrustedProxies.split(",").filter((text) => text !== "");
  return {
    ...rest,
    networkKeys: [],
    allowNet: parseAllowNet(allowNet),
    apiTrustedProxies: proxies.map((text) => parseRange(text) as AddressRange),
  };
}
