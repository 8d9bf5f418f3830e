// Answers strangers' queries. Decides from the node's state and writes the reply; sends nothing itself.

import type { Writer } from "../krpc/bencode.ts";
import { type Endpoint, type Family, mayRefer } from "../krpc/endpoint.ts";
import type { Id } from "../krpc/id.ts";
import {
  COMPACT_NODE_BYTES,
  type Echo,
  ErrorCode,
  keepEcho,
  type Message,
  type ResponseValues,
  WANT_N4,
  WANT_N6,
  writeError,
  writeResponse,
} from "../krpc/message.ts";
import type { Contact } from "./contact.ts";
import { COORDINATE_BYTES, OWN_COORDINATE_BYTES, type OwnCoordinate } from "./coordinate.ts";
import type { Millis } from "./deadlines.ts";
import { ownerOf } from "./diversity.ts";
import type { Host } from "./host.ts";
import { isItemError, itemOf, refusal, type StoredItem } from "./item.ts";
import type { PeerStore } from "./peer_store.ts";
import { SAMPLE_INTERVAL_MS } from "./peer_store.ts";
import type { RoutingTable } from "./routing_table.ts";
import type { Self } from "./self.ts";
import { TOKEN_BYTES, type Tokens } from "./tokens.ts";

/** Nodes in a reply: the norm of the public network. */
export const REPLY_NODES = 8;

/** Nodes in a reply to an asker that says it takes more (`nn`): a bucket of the default size. */
export const MAX_REPLY_NODES = 20;

/** Replies stay under this many bytes, so that they cross any path in one packet. */
export const MAX_REPLY_BYTES = 1400;

/** Bytes of any reply besides its transaction id and what is listed below: keys, id, address, token, client. */
const FIXED_BYTES = 120;

/** Bytes that an item adds to a reply beside its value: keys, public key, signature, longest salt, seq, age. */
const ITEM_BYTES = 225;

/** Bytes of a list's or a string's key and ends, at most, and of a peer of each family in `values`. */
const LIST_BYTES = 40, PEER_BYTES = { 4: 8, 6: 21 } as const;

/** Bytes of our own coordinate and of the keys of coordinates. */
const COORDINATES_BYTES = 40;

/** One for all nodes of a process: what is in it is written into a reply before the next call. */
const OWN_COORDINATE = new Uint8Array(OWN_COORDINATE_BYTES);

/** What the responder reads and writes of the node. */
export interface ResponderState {
  readonly self: Self;
  readonly client: number;
  readonly host: Host;
  tables(): { readonly [F in Family]?: RoutingTable };
  readonly tokens: Tokens;
  readonly peers: PeerStore;
  readonly coordinate: OwnCoordinate;
  /** Whether replies of a family say that others' queries get none (BEP 43). */
  isReadOnly(family: Family): boolean;
  /** A query of those that serve nodes behind NATs. */
  serveHidden(query: Message, from: Endpoint, now: Millis): void;
  /** Another node sees to the copies of an item that we hold. */
  noteSeenTo(item: StoredItem, by: Id, now: Millis): void;
}

/** A response in the making, of one shape whatever it carries: that of the packet path. */
class Reply implements ResponseValues {
  nodes: Contact[] | undefined = undefined;
  nodes6: Contact[] | undefined = undefined;
  token: Uint8Array | undefined = undefined;
  values: Endpoint[] | undefined = undefined;
  seq: number | undefined = undefined;
  publicKey: Uint8Array | undefined = undefined;
  signature: Uint8Array | undefined = undefined;
  salt: Uint8Array | undefined = undefined;
  value: Uint8Array | undefined = undefined;
  interval: number | undefined = undefined;
  num: number | undefined = undefined;
  coordinate: Uint8Array | undefined = undefined;
  coordinatesOf: Family | undefined = undefined;
  keeps: boolean | undefined = undefined;
  age: number | undefined = undefined;
  samples: Uint8Array | undefined = undefined;
}

export class Responder {
  readonly #node: ResponderState;
  readonly #writer: Writer;
  readonly #send: (to: Endpoint, reply: Echo, kind: "response" | "error") => void;
  /** The time of the query in hand; a field, so that the filter below is made once and not per query. */
  #now: Millis = 0;
  /** Of the asker in hand, for replies that tell it; undefined where it does not care. */
  #keeps: boolean | undefined = undefined;
  #from: Endpoint | undefined;
  /** Good, and not in a network that the asker is not in. */
  readonly #isGood = (contact: Contact) =>
    contact.isGood(this.#now) && mayRefer(this.#from!, contact.endpoint);

  /** `send` is called when `writer` holds a reply. */
  constructor(
    node: ResponderState,
    writer: Writer,
    send: (to: Endpoint, reply: Echo, kind: "response" | "error") => void,
  ) {
    this.#node = node;
    this.#writer = writer;
    this.#send = send;
  }

  /**
   * Replies to a query: before it returns, except to a `put`, whose reply waits until the item is committed. `keeps`:
   * whether the asker is a contact, or will be once it answers.
   */
  answer(query: Message, from: Endpoint, now: Millis, keeps: boolean): void {
    this.#now = now;
    this.#from = from;
    this.#keeps = query.coordinate === undefined ? undefined : keeps;
    if (query.id === undefined) return this.#refuse(query, from, "id is not 20 bytes");
    switch (query.method) {
      case "ping":
        return this.#ping(query, from);
      case "find_node":
        return this.#findNode(query, from);
      case "get_peers":
        return this.#getPeers(query, from);
      case "announce_peer":
        return this.#announcePeer(query, from);
      case "get":
        return this.#get(query, from);
      case "put":
        return this.#put(query, from);
      case "sample_infohashes":
        return this.#sampleInfohashes(query, from);
      case "dm_pass":
      case "dm_probe":
      case "dm_punch":
        return this.#node.serveHidden(query, from, now);
      default:
        return this.#unknown(query, from);
    }
  }

  #ping(query: Message, from: Endpoint): void {
    const reply = new Reply();
    if (query.coordinate !== undefined) {
      reply.keeps = this.#keeps;
      reply.coordinate = this.#ownCoordinate();
    }
    this.#reply(query, from, reply);
  }

  #isContact(id: Id, at: Endpoint): boolean {
    return this.#node.tables()[at.family]?.find(id)?.endpoint.equals(at) ?? false;
  }

  /** Valid until the next call. */
  #ownCoordinate(): Uint8Array {
    this.#node.coordinate.write(OWN_COORDINATE, 0);
    return OWN_COORDINATE;
  }

  #findNode(query: Message, from: Endpoint): void {
    const { target } = query;
    if (target === undefined) return this.#refuse(query, from, "target is not 20 bytes");
    this.#reply(query, from, this.#nodes(query, from, target));
  }

  #getPeers(query: Message, from: Endpoint): void {
    const { infoHash } = query;
    if (infoHash === undefined) return this.#refuse(query, from, "info_hash is not 20 bytes");
    const { peers, tokens } = this.#node;
    const values = peers.peers(infoHash, from.family, this.#now, from);
    const used = values === undefined ? 0 : LIST_BYTES + values.length * PEER_BYTES[from.family];
    const reply = this.#nodes(query, from, infoHash, used);
    reply.values = values;
    reply.token = tokens.issue(from, this.#now);
    this.#reply(query, from, reply);
  }

  #announcePeer(query: Message, from: Endpoint): void {
    const { infoHash, token, impliedPort, port } = query;
    if (infoHash === undefined) return this.#refuse(query, from, "info_hash is not 20 bytes");
    if (!this.#mayWrite(token, from)) return this.#refuse(query, from, "bad token");
    if (!impliedPort && !(port >= 1 && port <= 65535)) {
      return this.#refuse(query, from, "port is not 1 to 65535");
    }
    const endpoint = impliedPort ? from : from.withPort(port);
    // Who announces its own id is there once, wherever its NAT has moved it.
    const isOnly = query.id!.equals(infoHash) && endpoint.scope !== "loopback";
    if (!this.#node.peers.announce(infoHash, endpoint, this.#now, isOnly)) {
      return this.#error(query, from, ErrorCode.server, "no room for another info_hash");
    }
    return this.#reply(query, from, new Reply());
  }

  #get(query: Message, from: Endpoint): void {
    const { target, seq } = query;
    if (target === undefined) return this.#refuse(query, from, "target is not 20 bytes");
    if (query.hasSeq && Number.isNaN(seq)) {
      return this.#refuse(query, from, "seq is not an integer");
    }
    const item = this.#node.host.items.get(target, this.#now);
    const signed = item?.signed;
    const isCurrent = signed !== undefined && query.hasSeq && seq >= signed.seq;
    const isSent = item !== undefined && !isCurrent && !query.seesTo;
    const reply = this.#nodes(query, from, target, isSent ? ITEM_BYTES + item.value.length : 0);
    reply.token = this.#node.tokens.issue(from, this.#now);
    reply.seq = signed?.seq;
    if (item !== undefined) {
      if (query.seesTo || query.wantSalt) {
        reply.age = Math.max(0, Math.round((this.#now - item.storedAt) / 1000));
      }
      if (query.seesTo && this.#isContact(query.id!, from)) {
        this.#node.noteSeenTo(item, query.id!, this.#now);
      }
    }
    if (isSent) {
      reply.value = item.value;
      reply.publicKey = signed?.publicKey;
      reply.signature = signed?.signature;
      if (query.wantSalt && signed?.salt.length) reply.salt = signed.salt;
    }
    this.#reply(query, from, reply);
  }

  #put(query: Message, from: Endpoint): void {
    const { host } = this.#node;
    if (!this.#mayWrite(query.token, from)) return this.#refuse(query, from, "bad token");
    if (query.hasCas && Number.isNaN(query.cas)) {
      return this.#refuse(query, from, "cas is not an integer");
    }
    const item = itemOf(host, query);
    if (isItemError(item)) return this.#error(query, from, item.code, item.text);
    const held = host.items.get(item.target, this.#now);
    const refused = refusal(held, item, query.hasCas ? query.cas : undefined);
    if (refused !== undefined) return this.#error(query, from, refused.code, refused.text);
    const kept = keepEcho(query);
    const ageMs = Number.isNaN(query.age) ? 0 : query.age * 1000;
    const committed = (isKept: boolean) => {
      if (!isKept) return this.#error(kept, from, ErrorCode.server, "could not store");
      this.#reply(kept, from, new Reply());
      host.emit({ type: "data.store", item, from });
    };
    host.items.put(item, this.#now, committed, ageMs, ownerOf(from));
  }

  #sampleInfohashes(query: Message, from: Endpoint): void {
    if (query.target === undefined) return this.#refuse(query, from, "target is not 20 bytes");
    const { peers } = this.#node;
    const samples = peers.sample(this.#now);
    const reply = this.#nodes(query, from, query.target, LIST_BYTES + samples.length);
    reply.samples = samples;
    reply.num = peers.hashes;
    reply.interval = SAMPLE_INTERVAL_MS / 1000;
    this.#reply(query, from, reply);
  }

  #mayWrite(token: Uint8Array | undefined, from: Endpoint): boolean {
    return token?.length === TOKEN_BYTES && this.#node.tokens.verify(token, from, this.#now);
  }

  /** The good contacts closest to `target`, of the families that the asker wants, as fit beside `used` bytes. */
  #nodes(query: Message, from: Endpoint, target: Id, used = 0): Reply {
    const want = query.want || (from.family === 4 ? WANT_N4 : WANT_N6);
    const wished = query.wantCount >= 1 ? Math.min(query.wantCount, MAX_REPLY_NODES) : REPLY_NODES;
    const tables = this.#node.tables();
    const reply = new Reply();
    let room = MAX_REPLY_BYTES - FIXED_BYTES - (query.tidEnd - query.tidStart) - used;
    // Who says how many it takes is one of ours, and reads coordinates too: of nodes of its own family.
    const isOurs = query.wantCount >= 1 && room >= COORDINATES_BYTES;
    if (isOurs) {
      room -= COORDINATES_BYTES;
      reply.coordinate = this.#ownCoordinate();
      reply.keeps = this.#keeps;
    }
    if (want & WANT_N4) {
      const size = COMPACT_NODE_BYTES[4] + (isOurs && from.family === 4 ? COORDINATE_BYTES : 0);
      reply.nodes = tables[4]?.closest(target, fit(wished, room, size), this.#isGood) ?? [];
      room -= reply.nodes.length * size;
    }
    if (want & WANT_N6) {
      const size = COMPACT_NODE_BYTES[6] + (isOurs && from.family === 6 ? COORDINATE_BYTES : 0);
      reply.nodes6 = tables[6]?.closest(target, fit(wished, room, size), this.#isGood) ?? [];
    }
    if (isOurs) {
      reply.coordinatesOf = from.family;
    }
    return reply;
  }

  /** Later proposals add queries; one that has a target can be answered with nodes. */
  #unknown(query: Message, from: Endpoint): void {
    const target = query.target ?? query.infoHash;
    if (target === undefined) {
      return this.#error(query, from, ErrorCode.unknownMethod, "method unknown");
    }
    this.#reply(query, from, this.#nodes(query, from, target));
  }

  #reply(query: Echo, from: Endpoint, values: Reply): void {
    const { self: { id }, client } = this.#node;
    const readOnly = this.#node.isReadOnly(from.family);
    writeResponse(this.#writer, query, from, id, client, values, readOnly);
    this.#send(from, query, "response");
  }

  #refuse(query: Echo, from: Endpoint, text: string): void {
    this.#error(query, from, ErrorCode.protocol, text);
  }

  #error(query: Echo, from: Endpoint, code: number, text: string): void {
    writeError(this.#writer, query, from, this.#node.client, code, text);
    this.#send(from, query, "error");
  }
}

function fit(wished: number, room: number, size: number): number {
  return Math.min(wished, Math.floor(room / size));
}
