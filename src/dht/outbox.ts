// Writes, counts and sends the messages of a node.

import { Writer } from "../krpc/bencode.ts";
import type { Endpoint } from "../krpc/endpoint.ts";
import {
  type Echo,
  type Method,
  padQuery,
  type QueryArguments,
  type ResponseValues,
  writeError,
  writeQuery,
  writeResponse,
} from "../krpc/message.ts";
import type { Self } from "./self.ts";
import type { Traffic } from "./traffic.ts";
import type { SpareSockets, Transport } from "./transport.ts";
import type { Purpose } from "./purpose.ts";

/** The buffer for messages. All nodes of a process share it, because each message is written and sent in one call. */
const WRITER = new Writer(4_096);

export type ReplyKind = "response" | "error";

export interface OutgoingQuery {
  readonly method: Method;
  readonly tid: number;
  readonly to: Endpoint;
  readonly args: QueryArguments;
  /** The purpose of the traffic: upkeep by default, and relay for messages that are forwarded. */
  readonly purpose?: Purpose;
  /** If given, overrides whether the query says that we are read-only. */
  readonly isReadOnly?: boolean;
  /** The minimum size of the query; a shorter one is padded with zeros. */
  readonly minBytes?: number;
  /**
   * The maximum size of the query; a longer one is dropped. If another node's message causes the
   * query, the query must not be longer than that message.
   */
  readonly maxBytes?: number;
  /** The spare socket to send from, instead of the node's own socket. */
  readonly socket?: { readonly sockets: SpareSockets; readonly index: number };
}

export class Outbox {
  readonly self: Self;
  readonly traffic: Traffic;
  readonly transport: Transport;

  constructor(parts: { self: Self; traffic: Traffic; transport: Transport }) {
    this.self = parts.self;
    this.traffic = parts.traffic;
    this.transport = parts.transport;
  }

  /** Writes a query; its bytes are valid until the next message is written. */
  write({ method, tid, to, args, isReadOnly, minBytes }: OutgoingQuery): Uint8Array {
    const { self } = this;
    const isUnbound = self.isUnbound && to.scope === "global";
    const readOnly = isReadOnly ?? (isUnbound || self.isReadOnly(to.family));
    writeQuery(WRITER, method, tid, self.id, self.client, readOnly, args);
    if (minBytes !== undefined) padQuery(WRITER, minBytes);
    return WRITER.done();
  }

  /** Sends a query. Returns false if the query was dropped because it is longer than `maxBytes`. */
  send(query: OutgoingQuery): boolean {
    const datagram = this.write(query);
    const { method, to, maxBytes, socket, purpose = purposeOf(method) ?? "upkeep" } = query;
    if (maxBytes !== undefined && datagram.length > maxBytes) {
      this.traffic.drop("would_amplify");
      return false;
    }
    this.traffic.out.count(method, "query", datagram.length);
    this.traffic.usage.noteSent(purpose, datagram.length, to.family);
    if (socket === undefined) this.transport.send(datagram, to);
    else socket.sockets.send(socket.index, datagram, to);
    return true;
  }

  writeResponse(query: Echo, from: Endpoint, values: ResponseValues): "response" {
    const { id, client } = this.self;
    writeResponse(WRITER, query, from, id, client, values, this.self.isReadOnly(from.family));
    return "response";
  }

  writeError(query: Echo, from: Endpoint, error: { code: number; text: string }): "error" {
    writeError(WRITER, query, from, this.self.client, error.code, error.text);
    return "error";
  }

  /** The length of the message written last. */
  get writtenBytes(): number {
    return WRITER.pos;
  }

  /** The message written last; its bytes are valid until the next one is written. */
  get written(): Uint8Array {
    return WRITER.done();
  }

  /** Sends the reply that was written last. `to` is the sender of `query`. */
  sendReply(query: Echo, to: Endpoint, kind: ReplyKind): void {
    const datagram = WRITER.done();
    const { method } = query;
    this.traffic.out.count(method ?? "unknown", kind, datagram.length);
    this.traffic.usage.noteSent(purposeOf(method) ?? "answers", datagram.length, to.family);
    this.transport.send(datagram, to);
  }
}

/** The purpose of messages that this node forwards, or that other nodes forward for it; undefined for all others. */
export function purposeOf(method: Method | "unknown" | undefined): "relay" | undefined {
  return method === "dm_pass" ? "relay" : undefined;
}
