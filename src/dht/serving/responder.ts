// Answers the queries of other nodes. The responder writes each reply, and its caller sends the reply.

import { FILTER_BYTES } from "../../krpc/bloom_filter.ts";
import { type Endpoint, type Family, mayRefer } from "../../krpc/endpoint.ts";
import type { Id } from "../../krpc/id.ts";
import {
  COMPACT_NODE_BYTES,
  decode,
  ErrorCode,
  keepEcho,
  MAX_REPLY_NODES,
  type Message,
  NO_SEED,
  REPLY_NODES,
  type ResponseValues,
  SCRAPE,
  SEED,
  WANT_N4,
  WANT_N6,
} from "../../krpc/message.ts";
import { isSeq, type Seq } from "../../krpc/seq.ts";
import type { Deadlines, Millis } from "../deadlines.ts";
import type { ItemEvent, ItemHost } from "../items/item_operations.ts";
import { mustRead, newestHeld, readHeld, readNewest } from "../items/held.ts";
import {
  compareVersions,
  type Held,
  isItemError,
  type Item,
  lifeOf,
  refusal,
  sameBytes,
  unverifiedItem,
  verified,
} from "../items/item.ts";
import { notKept } from "../items/item_store.ts";
import { proofOf } from "../items/proof.ts";
import type { Outbox, ReplyKind } from "../outbox.ts";
import { MAX_REPLY_BYTES, MAX_REPLY_FACTOR, PROVEN_BYTES } from "../reply_size.ts";
import type { Random } from "../random.ts";
import type { Prover } from "../prover.ts";
import type { Contact } from "../routing/contact.ts";
import { COORDINATE_BYTES, OWN_COORDINATE_BYTES } from "../routing/coordinate.ts";
import { sourceOf } from "../routing/diversity.ts";
import type { RoutingTable } from "../routing/routing_table.ts";
import type { Tables } from "../routing/tables.ts";
import type { Queries } from "../search/queries.ts";
import { TOKEN_BYTES, Tokens } from "../tokens.ts";
import { PeerStore, SAMPLE_INTERVAL_MS, type SwarmFilters } from "./peer_store.ts";
import { PROOF_PING_BYTES, Proofs } from "./proofs.ts";
import { LEASE_MS, NOTICE_BYTES, SECRET_BYTES, Subscriptions } from "./subscriptions.ts";

/** The maximum size of a reply without its transaction id and its lists: field names, id, address, token and client. */
const FIXED_BYTES = 120;

/**
 * The maximum number of bytes that an item adds to a reply besides its value: field names, public key, signature, salt,
 * seq and age.
 */
const ITEM_BYTES = 230;

/** The maximum size of the field name and the delimiters of a list or string. */
const LIST_BYTES = 40;

/** The size of one peer in `values`, by address family. */
const PEER_BYTES = { 4: 8, 6: 21 } as const;

/** The size of a swarm's two Bloom filters and their field names. */
const FILTERS_BYTES = 2 * (FILTER_BYTES + 10);

/** The size of our own coordinate, plus the names of the fields that contain coordinates. */
const COORDINATES_BYTES = 40;

/**
 * A buffer for our coordinate in wire form. All nodes of a process can share it, because nothing else runs while a
 * reply is written.
 */
const OWN_COORDINATE = new Uint8Array(OWN_COORDINATE_BYTES);

/** How to answer a query. Callers pass constant objects, so that no object is created for each query. */
export interface AnswerOptions {
  /** Whether the asker is our contact, or becomes our contact once it answers our ping. */
  readonly keepsAsker: boolean;
  /** Whether the reply must be small. A small reply lists no nodes. */
  readonly isSmall: boolean;
  /**
   * The maximum size of the reply. By default, it depends on the query's length and on whether the asker has proven its
   * address.
   */
  readonly maxBytes?: number;
  /**
   * Called if the reply was written only after `answer` returned. It must send the outbox's latest message. By default,
   * the reply is sent to the asker.
   */
  readonly sendLater?: () => void;
}

/** The size of the field `room` in a reply. */
const ROOM_BYTES = 22;

const NO_BYTES = new Uint8Array(0);

/** Called with an item after reading it from disk; undefined if there is none. */
type HeldRead = (held: Held | undefined, now: Millis) => void;

const NO_TABLES: { readonly [F in Family]?: RoutingTable } = {};

/** The values of a response. All these objects have the same shape, which keeps packet handling fast. */
class Reply implements ResponseValues {
  nodes: Contact[] | undefined = undefined;
  nodes6: Contact[] | undefined = undefined;
  token: Uint8Array | undefined = undefined;
  values: Endpoint[] | undefined = undefined;
  seq: Seq | undefined = undefined;
  publicKey: Uint8Array | undefined = undefined;
  signature: Uint8Array | undefined = undefined;
  salt: Uint8Array | undefined = undefined;
  value: Uint8Array | undefined = undefined;
  interval: number | undefined = undefined;
  num: number | undefined = undefined;
  proof: Uint8Array | undefined = undefined;
  coordinate: Uint8Array | undefined = undefined;
  coordinatesOf: Family | undefined = undefined;
  keeps: boolean | undefined = undefined;
  age: number | undefined = undefined;
  room: number | undefined = undefined;
  samples: Uint8Array | undefined = undefined;
  filters: SwarmFilters | undefined = undefined;
}

interface ResponderOptions {
  readonly queries: Queries;
  readonly host: ItemHost & Prover;
  /** Whether all nodes belong to one private network. If so, each source may use the whole store. */
  readonly isPrivate: boolean;
  readonly deadlines: Deadlines;
  readonly random: Random;
  readonly emit: (event: ItemEvent) => void;
}

export class Responder {
  readonly outbox: Outbox;
  readonly tokens: Tokens;
  readonly proofs: Proofs;
  readonly peers: PeerStore;
  readonly subscriptions: Subscriptions;
  /** Called when another node repairs the replicas of an item that we hold, so that we need not. */
  onSeenTo: ((target: Id, by: Id, now: Millis) => void) | undefined;
  readonly #tables: Tables;
  readonly #host: ResponderOptions["host"];
  readonly #isPrivate: boolean;
  readonly #emit: (event: ItemEvent) => void;
  // The current query's properties are fields instead of arguments, so that `#isGood` below is created only once.
  #now: Millis = 0;
  #from!: Endpoint;
  /** The field `keeps` of the reply: whether we keep the asker as a contact; undefined to leave out the field. */
  #keeps: boolean | undefined;
  #maxBytes: number | undefined;
  #sendLater: (() => void) | undefined;
  /** The routing tables whose contacts the reply may list. */
  #named: { readonly [F in Family]?: RoutingTable } = NO_TABLES;
  /**
   * Whether the reply may name a contact: the contact is good, and not in a private network that the asker can't reach.
   */
  readonly #isGood = (contact: Contact) =>
    contact.isGood(this.#now) && mayRefer(this.#from, contact.endpoint);

  constructor(
    { queries, host, isPrivate, deadlines, random, emit }: ResponderOptions,
    now: Millis,
  ) {
    this.outbox = queries.outbox;
    this.#isPrivate = isPrivate;
    this.#tables = queries.tables;
    this.#host = host;
    this.#emit = emit;
    this.tokens = new Tokens((length) => random.bytes(length), now);
    this.proofs = new Proofs({ queries, tokens: this.tokens });
    this.peers = new PeerStore(random);
    this.subscriptions = new Subscriptions({ queries, host, deadlines, random });
  }

  /**
   * Writes the reply and returns its kind. Returns undefined if no reply is sent now: we answer an accepted `put` once
   * the item is stored, a `get` once an item on disk is read, and a query with a long reply once the asker has proven
   * its address.
   */
  answer(
    query: Message,
    from: Endpoint,
    now: Millis,
    { keepsAsker, isSmall, maxBytes, sendLater }: AnswerOptions,
  ): ReplyKind | undefined {
    this.#now = now;
    this.#from = from;
    this.#keeps = query.coordinate === undefined ? undefined : keepsAsker;
    this.#named = isSmall ? NO_TABLES : this.#tables.byFamily;
    this.#maxBytes = maxBytes;
    this.#sendLater = sendLater;
    if (query.id === undefined) return this.#refuse(query, "id is not 20 bytes");
    switch (query.method) {
      case "ping":
        return this.#ping(query);
      case "find_node":
        return this.#findNode(query);
      case "get_peers":
        return this.#getPeers(query);
      case "announce_peer":
        return this.#announcePeer(query);
      case "get":
        return this.#get(query);
      case "put":
        return this.#put(query);
      case "dm_subscribe":
        return this.#watch(query);
      case "sample_infohashes":
        return this.#sampleInfohashes(query);
      default:
        return this.#unknown(query);
    }
  }

  #ping(query: Message): ReplyKind | undefined {
    const reply = new Reply();
    if (query.coordinate !== undefined) {
      reply.keeps = this.#keeps;
      reply.coordinate = this.#ownCoordinate();
    }
    if (query.challenge !== undefined) {
      const context = { seenAs: this.#from, now: this.#now };
      const proof = this.#host.prove?.(query.challenge, query.id!, context);
      reply.publicKey = proof?.publicKey;
      reply.signature = proof?.signature;
    }
    return this.#reply(query, reply);
  }

  /** Returns our own coordinate, in a buffer that the next call overwrites. */
  #ownCoordinate(): Uint8Array {
    this.#tables.coordinate.write(OWN_COORDINATE, 0);
    return OWN_COORDINATE;
  }

  #findNode(query: Message): ReplyKind | undefined {
    const { target } = query;
    if (target === undefined) return this.#refuse(query, "target is not 20 bytes");
    return this.#reply(query, this.#nodes(query, target));
  }

  #getPeers(query: Message): ReplyKind | undefined {
    const from = this.#from;
    const { infoHash, swarm } = query;
    if (infoHash === undefined) return this.#refuse(query, "info_hash is not 20 bytes");
    const filters = swarm & SCRAPE
      ? this.peers.filters(infoHash, this.#now, (bytes) => this.#host.sha1(bytes))
      : undefined;
    const filterBytes = filters === undefined ? 0 : FILTERS_BYTES, size = PEER_BYTES[from.family];
    const count = Math.floor((this.#roomForPeers(query) - filterBytes) / size);
    const selection = { count, noSeeds: (swarm & NO_SEED) !== 0 };
    const values = this.peers.peersFor(infoHash, from, this.#now, selection);
    const used = values === undefined ? 0 : LIST_BYTES + values.length * size;
    const reply = this.#nodes(query, infoHash, used + filterBytes);
    reply.values = values;
    reply.filters = filters;
    reply.token = this.tokens.issue(from, this.#now);
    return this.#reply(query, reply);
  }

  /** The number of bytes of a reply that peers may fill. The usual number of nodes of the asker's family still fit. */
  #roomForPeers(query: Message): number {
    const isOurs = query.wantCount >= 1;
    const nodes = REPLY_NODES * nodeBytes(this.#from.family, isOurs);
    return roomIn(query) - LIST_BYTES - nodes - (isOurs ? COORDINATES_BYTES : 0);
  }

  #announcePeer(query: Message): ReplyKind | undefined {
    const from = this.#from;
    const { infoHash, impliedPort, port, swarm } = query;
    if (infoHash === undefined) return this.#refuse(query, "info_hash is not 20 bytes");
    if (!this.#mayWrite(query)) return this.#refuse(query, "bad token");
    if (!impliedPort && !(port >= 1 && port <= 65535)) {
      return this.#refuse(query, "port is not 1 to 65535");
    }
    const endpoint = impliedPort ? from : from.withPort(port);
    // A node that announces its own id has only one valid endpoint: the one that its NAT assigns now.
    const isOnly = query.id!.equals(infoHash) && endpoint.scope !== "loopback";
    const kind = { isSeed: (swarm & SEED) !== 0 };
    if (isOnly) this.peers.announceOnly(infoHash, endpoint, this.#now, kind);
    else this.peers.announce(infoHash, endpoint, this.#now, kind);
    return this.#reply(query, new Reply());
  }

  #get(query: Message): ReplyKind | undefined {
    const { target, seq } = query;
    if (target === undefined) return this.#refuse(query, "target is not 20 bytes");
    if (query.hasSeq && Number.isNaN(seq)) return this.#refuse(query, "seq is not an integer");
    if (!mustRead(this.#host, target, this.#now)) {
      return this.#answerGet(query, target, newestHeld(this.#host, target, this.#now));
    }
    const read = (done: HeldRead) => readHeld(this.#host, target, this.#now, done);
    return this.#answerLater(query, read, (copy, held) => this.#answerGet(copy, target, held));
  }

  /** Reads an item from disk, then calls `answer`, which writes a reply, and sends this reply. */
  #answerLater(
    query: Message,
    read: (done: HeldRead) => void,
    answer: (copy: Message, held: Held | undefined) => ReplyKind | undefined,
  ): undefined {
    const from = this.#from, keeps = this.#keeps, named = this.#named;
    const maxBytes = this.#maxBytes, sendLater = this.#sendLater;
    const copy = decode(query.packet.slice());
    if (typeof copy === "string") return;
    read((held, now) => {
      this.#now = now, this.#from = from, this.#keeps = keeps, this.#named = named;
      this.#maxBytes = maxBytes, this.#sendLater = sendLater;
      const kind = answer(copy, held);
      if (kind === undefined) return;
      if (sendLater !== undefined) sendLater();
      else this.outbox.sendReply(copy, from, kind);
    });
  }

  #answerGet(query: Message, target: Id, held: Held | undefined): ReplyKind | undefined {
    const from = this.#from;
    const { seq, challenge } = query;
    const item = held?.item, signed = item?.signed;
    const isCurrent = signed !== undefined && query.hasSeq && seq >= signed.seq;
    const isSent = item !== undefined && !isCurrent && challenge === undefined;
    const itemBytes = isSent
      ? ITEM_BYTES + item.value.length
      : challenge === undefined
      ? 0
      : PROVEN_BYTES;
    const reply = this.#nodes(query, target, itemBytes + (query.wantRoom ? ROOM_BYTES : 0));
    if (query.wantRoom) {
      reply.room = this.#host.items.roomInAll(this.#sourceOf(from), lifeOf(query.ttl));
    }
    reply.token = this.tokens.issue(from, this.#now);
    reply.seq = signed?.seq;
    if (held !== undefined) {
      if (challenge !== undefined || query.wantSalt) {
        reply.age = Math.max(0, Math.round((this.#now - held.putAt) / 1000));
      }
    }
    if (challenge !== undefined && item !== undefined) {
      reply.proof = proofOf(this.#host, {
        challenge,
        holder: this.outbox.self.id,
        value: item.value,
      });
      // A node that repairs replicas compares the signatures to find out whether our value equals its own at the same
      // seq.
      reply.signature = signed?.signature;
      if (this.#named[from.family]?.find(query.id!)?.endpoint.equals(from)) {
        if (this.#host.items.has(target, this.#now)) {
          this.onSeenTo?.(target, query.id!, this.#now);
        }
      }
    }
    if (isSent) {
      reply.value = item.value;
      reply.publicKey = signed?.publicKey;
      reply.signature = signed?.signature;
      if (query.wantSalt && signed?.salt.length) reply.salt = signed.salt;
    }
    return this.#reply(query, reply);
  }

  #put(query: Message): "error" | undefined {
    if (!this.#mayWrite(query)) return this.#refuse(query, "bad token");
    if (query.hasCas && !isSeq(query.cas)) {
      return this.#refuse(query, "cas is not an integer from 0 to 2^63-1");
    }
    const item = unverifiedItem(this.#host, query);
    if (isItemError(item)) return this.outbox.writeError(query, this.#from, item);
    const { target, signed } = item;
    // An immutable item has only one version, so the held version need not be read from disk.
    if (signed === undefined || !this.#host.items.isOnDisk(target, this.#now)) {
      return this.#putUnless(query, item, newestHeld(this.#host, target, this.#now)?.item);
    }
    const read = (done: HeldRead) => readNewest(this.#host, target, this.#now, done);
    return this.#answerLater(query, read, (copy, held) => {
      // The read has failed. Without the held version, we can't tell whether the new item is newer.
      return this.#host.items.isOnDisk(target, this.#now)
        ? this.outbox.writeError(copy, this.#from, notKept("failed"))
        : this.#putUnless(copy, item, held?.item);
    });
  }

  /** Stores an item, unless its signature is invalid or `held`, the version that we hold, is a reason to refuse it. */
  #putUnless(query: Message, item: Item, held: Item | undefined): "error" | undefined {
    const from = this.#from;
    const refused = refusal(held, item, query.hasCas ? query.cas : undefined);
    if (refused !== undefined) return this.outbox.writeError(query, from, refused);
    // Check the signature last, because this check takes longest.
    const checked = held !== undefined && hasSameSignature(held, item)
      ? item
      : verified(this.#host, item);
    if (isItemError(checked)) return this.outbox.writeError(query, from, checked);
    const echo = keepEcho(query);
    const ageMs = Number.isNaN(query.age) ? 0 : query.age * 1000;
    const copies = Number.isNaN(query.copies) ? undefined : query.copies;
    const receivedAt = this.#now;
    const given = { item, ageMs, lifeMs: lifeOf(query.ttl), by: this.#sourceOf(from), copies };
    this.#host.items.put(given, this.#now, (outcome) => {
      const kind = outcome === "kept"
        ? this.outbox.writeResponse(echo, from, new Reply())
        : this.outbox.writeError(echo, from, notKept(outcome));
      this.outbox.sendReply(echo, from, kind);
      if (outcome !== "kept") return;
      this.subscriptions.noteVersion(item, receivedAt);
      this.#host.published.adopt(item);
      this.#emit({ type: "data.store", item, from });
    });
    return undefined;
  }

  /** Adds or renews a subscription. The answer also proves which version we hold, and lists closer nodes. */
  #watch(query: Message): ReplyKind | undefined {
    const { target, returnToken: secret, packet } = query;
    if (target === undefined) return this.#refuse(query, "target is not 20 bytes");
    if (secret?.length !== SECRET_BYTES) {
      return this.#refuse(query, `rt is not ${SECRET_BYTES} bytes`);
    }
    if (packet.length < NOTICE_BYTES) {
      return this.#refuse(query, `dm_subscribe is shorter than ${NOTICE_BYTES} bytes`);
    }
    if (!this.#mayWrite(query)) return this.#refuse(query, "bad token");
    if (!this.#host.items.isOnDisk(target, this.#now)) {
      return this.#subscribe(query, target, newestHeld(this.#host, target, this.#now)?.item);
    }
    const read = (done: HeldRead) => readNewest(this.#host, target, this.#now, done);
    return this.#answerLater(
      query,
      read,
      (copy, held) => this.#subscribe(copy, target, held?.item),
    );
  }

  /** Adds or renews a subscription. `item`: the version that we hold. */
  #subscribe(query: Message, target: Id, item: Item | undefined): ReplyKind | undefined {
    const from = this.#from, now = this.#now, secret = query.returnToken!;
    if (!this.subscriptions.add({ target, from, secret, held: item }, now)) {
      return this.#refuse(query, "no room for a subscription", ErrorCode.server);
    }
    const reply = this.#nodes(query, target);
    reply.interval = LEASE_MS / 1000;
    reply.token = this.tokens.issue(from, now);
    if (item !== undefined) {
      const { value, signed } = item;
      reply.seq = signed?.seq;
      const { id: holder } = this.outbox.self;
      reply.proof = proofOf(this.#host, { challenge: secret, holder, value });
    }
    return this.#reply(query, reply);
  }

  #sourceOf(from: Endpoint): string | undefined {
    return this.#isPrivate ? undefined : sourceOf(from);
  }

  #sampleInfohashes(query: Message): ReplyKind | undefined {
    if (query.target === undefined) return this.#refuse(query, "target is not 20 bytes");
    const samples = this.peers.sample(this.#now);
    const reply = this.#nodes(query, query.target, LIST_BYTES + samples.length);
    reply.samples = samples;
    reply.num = this.peers.hashes;
    reply.interval = SAMPLE_INTERVAL_MS / 1000;
    return this.#reply(query, reply);
  }

  /**
   * Answers an unknown method, which may come from a later BEP. If the query has a target, the answer lists the closest
   * nodes.
   */
  #unknown(query: Message): ReplyKind | undefined {
    const target = query.target ?? query.infoHash;
    if (target !== undefined) return this.#reply(query, this.#nodes(query, target));
    return this.#refuse(query, "method unknown", ErrorCode.unknownMethod);
  }

  /** Whether a query has a valid token. If so, also records that the asker's address is proven. */
  #mayWrite({ token }: Message): boolean {
    if (token?.length !== TOKEN_BYTES) return false;
    if (!this.tokens.verify(token, this.#from, this.#now)) return false;
    this.proofs.note(this.#from, this.#now);
    return true;
  }

  /**
   * Creates a reply with the good contacts closest to `target`, of the families that the asker wants. Leaves `used`
   * bytes of the reply free for other values.
   */
  #nodes(query: Message, target: Id, used = 0): Reply {
    const { family } = this.#from;
    const want = query.want || (family === 4 ? WANT_N4 : WANT_N6);
    const wished = query.wantCount >= 1 ? Math.min(query.wantCount, MAX_REPLY_NODES) : REPLY_NODES;
    const tables = this.#named;
    const reply = new Reply();
    let room = roomIn(query) - used;
    // Only nodes of this project request a number of nodes (`nn`). These nodes also get the coordinates of the nodes in
    // their address family.
    const sendsCoordinates = query.wantCount >= 1 && room >= COORDINATES_BYTES;
    if (sendsCoordinates) {
      room -= COORDINATES_BYTES;
      reply.coordinate = this.#ownCoordinate();
      reply.keeps = this.#keeps;
    }
    // List the nodes of the asker's own family first, in case space is short: only these continue its lookup.
    for (let i = 0; i < 2; i++) {
      const listed = (i === 0) === (family === 4) ? 4 : 6;
      if ((want & (listed === 4 ? WANT_N4 : WANT_N6)) === 0) continue;
      const size = nodeBytes(listed, sendsCoordinates && listed === family);
      const nodes = tables[listed]?.closest(target, fit(wished, room, size), this.#isGood) ?? [];
      room -= nodes.length * size;
      if (listed === 4) reply.nodes = nodes;
      else reply.nodes6 = nodes;
    }
    if (sendsCoordinates) reply.coordinatesOf = family;
    return reply;
  }

  /** Writes a reply, or a shorter one if the reply is too long for an asker that may have forged its address. */
  #reply(query: Message, reply: Reply): "response" | undefined {
    this.outbox.writeResponse(query, this.#from, reply);
    const maxBytes = this.#maxBytes ?? MAX_REPLY_FACTOR * query.packet.length;
    if (this.outbox.writtenBytes <= maxBytes) return "response";
    if (this.#maxBytes === undefined) {
      if (this.proofs.has(query, this.#from, this.#now)) return "response";
      // Demand a proof only if it allows a longer reply. A read-only asker does not answer pings (BEP 43).
      if (isSubstantial(reply) && !query.readOnly && this.#demandProof(query)) return undefined;
    }
    return this.#shorten(query, reply, maxBytes);
  }

  /**
   * Pings the sender of a query, and then answers the query. The answer is short if the sender did not answer the ping.
   * Returns false if no ping could be sent.
   */
  #demandProof(query: Message): boolean {
    const copy = decode(query.packet.slice());
    if (typeof copy === "string") return false;
    const from = this.#from;
    const options = { keepsAsker: this.#keeps === true, isSmall: false };
    const maxBytes = MAX_REPLY_FACTOR * query.packet.length - PROOF_PING_BYTES;
    return this.proofs.demand({ id: copy.id, from }, this.#now, (isProven, at) => {
      const kind = this.answer(copy, from, at, isProven ? options : { ...options, maxBytes });
      if (kind !== undefined) this.outbox.sendReply(copy, from, kind);
    });
  }

  /**
   * Shortens a reply to at most `maxBytes`: lists fewer nodes, only of the asker's family. Leaves out values that don't
   * fit even without nodes.
   */
  #shorten(query: Message, reply: Reply, maxBytes: number): "response" | undefined {
    const { family } = this.#from;
    if (family === 4) reply.nodes6 = undefined;
    else reply.nodes = undefined;
    const nodes = (family === 4 ? reply.nodes : reply.nodes6) ?? [];
    const perNode = nodeBytes(family, reply.coordinatesOf !== undefined);
    let excess = this.#excess(query, reply, maxBytes);
    if (excess > nodes.length * perNode) {
      reply.value =
        reply.publicKey =
        reply.signature =
        reply.salt =
          undefined;
      // Leave out the age too: without the value, the asker can't check that we hold the item.
      reply.age = undefined;
      reply.values = reply.filters = undefined;
      if (reply.samples !== undefined) reply.samples = NO_BYTES;
      excess = this.#excess(query, reply, maxBytes);
    }
    if (excess > 0) {
      nodes.length -= Math.min(nodes.length, Math.ceil(excess / perNode));
      this.outbox.writeResponse(query, this.#from, reply);
    }
    return this.#unlessLong("response", maxBytes);
  }

  /** Writes a reply, and returns by how many bytes it is too long. */
  #excess(query: Message, reply: Reply, maxBytes: number): number {
    this.outbox.writeResponse(query, this.#from, reply);
    return this.outbox.writtenBytes - maxBytes;
  }

  #refuse(query: Message, text: string, code: number = ErrorCode.protocol): "error" | undefined {
    this.outbox.writeError(query, this.#from, { code, text });
    return this.#unlessLong("error", this.#maxBytes ?? MAX_REPLY_FACTOR * query.packet.length);
  }

  /** Drops the written reply if it is too long even without its values. */
  #unlessLong<K extends ReplyKind>(kind: K, maxBytes: number): K | undefined {
    if (this.outbox.writtenBytes <= maxBytes) return kind;
    this.outbox.traffic.drop("would_amplify");
    return undefined;
  }
}

/** Whether two items are the same version with the same signature. If one item is valid, so is the other. */
function hasSameSignature(held: Item, item: Item): boolean {
  return held.signed !== undefined && item.signed !== undefined &&
    compareVersions(held, item) === 0 && sameBytes(held.signed.signature, item.signed.signature);
}

/** Whether a reply contains more than nodes and a token. */
function isSubstantial({ value, values, filters, samples }: Reply): boolean {
  return value !== undefined || values !== undefined || filters !== undefined ||
    (samples !== undefined && samples.length > 0);
}

/** The number of bytes in a reply that are available for lists and other values. */
function roomIn({ tidStart, tidEnd }: Message): number {
  return MAX_REPLY_BYTES - FIXED_BYTES - (tidEnd - tidStart);
}

function nodeBytes(family: Family, hasCoordinate: boolean): number {
  return COMPACT_NODE_BYTES[family] + (hasCoordinate ? COORDINATE_BYTES : 0);
}

/** The number of entries of `size` bytes that fit into `room` bytes, but at most `wished`. */
function fit(wished: number, room: number, size: number): number {
  return Math.min(wished, Math.floor(room / size));
}
