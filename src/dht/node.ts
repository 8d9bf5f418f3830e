// A DHT node: connects its parts, and passes incoming packets to them.

import type { Endpoint, Family } from "../krpc/endpoint.ts";
import type { Id } from "../krpc/id.ts";
import { decode, ErrorCode, type Message } from "../krpc/message.ts";
import { Deadlines, type Millis } from "./deadlines.ts";
import type { Host } from "./host.ts";
import { ItemOperations } from "./items/item_operations.ts";
import { Replicator } from "./items/replicator.ts";
import { Upkeep } from "./items/upkeep.ts";
import { Clones } from "./membership/clones.ts";
import { Contacts } from "./membership/contacts.ts";
import { Membership } from "./membership/membership.ts";
import { BoundId } from "./nat/bound_id.ts";
import { Hidden, RELAY_RATE } from "./nat/hidden.ts";
import type { NatState } from "./nat/nat_state.ts";
import { Nat, type Nats } from "./nat/nat.ts";
import { OwnAddress, type OwnAddresses } from "./nat/own_address.ts";
import { Outbox, purposeOf } from "./outbox.ts";
import { Random } from "./random.ts";
import { RefusedSources } from "./refused_sources.ts";
import type { Contact } from "./routing/contact.ts";
import { Tables } from "./routing/tables.ts";
import { Batch } from "./search/batch.ts";
import { Queries } from "./search/queries.ts";
import { whenDone } from "./search/query.ts";
import { Sampler } from "./search/sampler.ts";
import { type FindResult, Searches } from "./search/searches.ts";
import { Self } from "./self.ts";
import { Gate, isReply } from "./serving/gate.ts";
import { RateLimiter } from "./serving/rate_limit.ts";
import { Responder } from "./serving/responder.ts";
import { Announcements } from "./serving/announcements.ts";
import { Swarms } from "./serving/swarms.ts";
import { Watching } from "./serving/watching.ts";
import { type Drop, Traffic } from "./traffic.ts";
import type { Purpose } from "./purpose.ts";

/** The interval at which expired data is removed. */
const HOUSEKEEPING_MS = 60_000;

export interface NodeOptions {
  readonly id: Id;
  /** Kademlia's k: the maximum number of contacts per bucket, and the number of nodes that store a value. */
  readonly k: number;
  /** Kademlia's alpha: how many queries of one lookup may be in flight. */
  readonly alpha: number;
  readonly healthCheckIntervalMs: number;
  /** The address families that the host can send to. */
  readonly families: readonly Family[];
  /** Whether the node is always read-only (BEP 43): it answers no strangers, even if they can reach it. */
  readonly readOnly: boolean;
  /** Whether to detect if strangers can reach the node, and to be read-only while they can't. True by default. */
  readonly nat?: boolean;
  /** The maximum rate of forwarded messages in bytes per second, not counting introductions. 2048 by default. */
  readonly relayRate?: number;
  /** The number of bytes that the host adds to each packet; 0 by default. Only used to count traffic. */
  readonly sealBytes?: number;
  /**
   * The port at which other nodes reach this node, if the user has set one. By default, the port at
   * which other nodes see this node.
   */
  readonly externalPort?: number;
  /** Our client and version, sent as `v`: four bytes as a 32-bit integer. */
  readonly client: number;
  /** Whether all nodes belong to one private network. Then each node may use the whole store. */
  readonly isPrivate?: boolean;
  /** Whether the id was just created, so that it isn't bound to our address yet (BEP 42). False by default. */
  readonly isNewId?: boolean;
  /** Cap on a bucket's contacts from one /24 or /64. Lookups accept twice as many nodes. 0: no limit. 2 by default. */
  readonly perSubnet?: number;
}

export type PingResult =
  | { readonly kind: "pong"; readonly id: Id; readonly rtt: number }
  | { readonly kind: "timeout" };

/** A contact's answer to a challenge. The host checks the signature. */
export interface IdentityAnswer {
  readonly publicKey: Uint8Array;
  readonly signature: Uint8Array;
  /** Our endpoint, as the contact sees it. */
  readonly seenAs: Endpoint;
}

/** Options for answering one of our contacts, and for answering any other node. */
const KEPT = { keepsAsker: true, isSmall: false }, NOT_KEPT = { keepsAsker: false, isSmall: false };

export class DhtNode {
  readonly traffic: Traffic;
  readonly refusedSources: RefusedSources;
  readonly self: Self;
  readonly tables: Tables;
  readonly searches: Searches;
  readonly membership: Membership;
  readonly clones: Clones;
  readonly items: ItemOperations;
  readonly replicator: Replicator;
  readonly responder: Responder;
  readonly swarms: Swarms;
  readonly announcements: Announcements;
  readonly watching: Watching;
  readonly sampler: Sampler;
  readonly gate: Gate;
  readonly nats: Nats;
  /** Serves nodes that strangers can't reach: this node while it is behind a NAT, and other nodes. */
  readonly hidden: Hidden;
  readonly #random: Random;
  readonly #deadlines = new Deadlines();
  readonly #outbox: Outbox;
  readonly #queries: Queries;
  readonly #contacts: Contacts;
  /**
   * The limits on queries. Contacts and strangers have separate limits, so that strangers can't use
   * up the limit of contacts.
   */
  readonly #limiters: { readonly contacts: RateLimiter; readonly strangers: RateLimiter };
  readonly #own: OwnAddresses;
  readonly #boundId: BoundId;
  /** The nodes whose packets are dropped. Each entry is a node's id, optionally followed by a space and an endpoint. */
  #denied: ReadonlySet<string> = new Set();
  /** The address families in which we were read-only after the latest change of our NAT state. */
  #readOnlyIn: readonly Family[] = [];

  constructor(readonly host: Host, options: NodeOptions, now: Millis) {
    const { alpha, healthCheckIntervalMs, readOnly, nat: detectsNat = true } = options;
    const { isPrivate = false } = options;
    const traffic = this.traffic = new Traffic(options.sealBytes);
    const deadlines = this.#deadlines;
    const random = this.#random = new Random((length) => host.randomBytes(length));
    const emit = (event: Parameters<Host["emit"]>[0]) => host.emit(event);
    const self = this.self = new Self(options.id, options.client);
    self.isUnbound = options.isNewId ?? false;
    const tables = this.tables = new Tables(options, now);
    const outbox = this.#outbox = new Outbox({ self, traffic, transport: host });
    const queries = this.#queries = new Queries({ outbox, tables, random });
    const searches = this.searches = new Searches({ queries, alpha, emit });
    this.responder = new Responder({ queries, host, isPrivate, deadlines, random, emit }, now);
    const randomWord = () => random.word();
    this.#limiters = {
      contacts: new RateLimiter(randomWord),
      strangers: new RateLimiter(randomWord),
    };
    this.refusedSources = new RefusedSources(this.#limiters.strangers.seed, now);
    this.gate = new Gate({
      isContact: (from) => tables.byFamily[from.family]?.at(from) !== undefined,
      isProven: (from, at) => this.responder.proofs.hasAddress(from, at),
    }, random);
    const contacts = this.#contacts = new Contacts({
      queries,
      healthCheckIntervalMs,
      deadlines,
      random,
      emit,
    });
    this.clones = new Clones({ queries, emit });
    const operations = this.items = new ItemOperations({ searches, contacts, host });
    operations.onHeld = (item, at) => this.responder.subscriptions.noteVersion(item, at);
    this.watching = new Watching({ operations, deadlines, random, emit });
    host.published.onAdopt = (item, former) => emit({ type: "data.adopt", item, former });
    const upkeep = new Upkeep({ operations, random, emit });
    this.replicator = new Replicator({ upkeep, deadlines, random, healthCheckIntervalMs }, now);
    this.membership = new Membership({ searches, contacts, deadlines, random, emit }, now);
    const { peers } = this.responder;
    const swarms = this.swarms = new Swarms({
      searches,
      peers,
      sha1: host.sha1,
      externalPort: options.externalPort,
    });
    this.announcements = new Announcements({ swarms, tables, deadlines, random, emit });
    this.sampler = new Sampler({ queries, deadlines, random });
    const mode = readOnly ? "read_only" : detectsNat ? "auto" : "off";
    const own: OwnAddresses = this.#own = Object.fromEntries(tables.families.map((family) => {
      const onChange = (at: Millis) => this.#noteAddress(family, at);
      return [family, new OwnAddress(family, { queries, deadlines, onChange })];
    }));
    const onChange = (state: NatState, at: Millis) => this.#noteNat(state, at);
    const natParts = { searches, mode, deadlines, random, onChange } as const;
    const nats: Nats = this.nats = Object.fromEntries(
      tables.families.map((family) => [family, new Nat({ ...natParts, own: own[family]! }, now)]),
    );
    this.#boundId = new BoundId({ own, transport: host, tables, self, random });
    this.hidden = new Hidden({
      nats,
      searches,
      responder: this.responder,
      deadlines,
      random,
      relayRate: options.relayRate ?? RELAY_RATE,
      onDatagram: (datagram, from, at) => this.receive(datagram, from, at),
    });
    this.#connect();
    this.#scheduleHousekeeping(now);
  }

  /** Connects the events of the lower-level parts to the parts above them. */
  #connect(): void {
    const queries = this.#queries, searches = this.searches, contacts = this.#contacts;
    queries.onSent = (to) => this.nats[to.family]?.noteSent(to);
    queries.onVote = (query, seen, at) => {
      this.#own[query.to.family]?.noteVote(query, seen, at);
      // One stranger's report of our address is enough here, because the address must be one of
      // this machine's own.
      if (seen.scope === "global" && !this.tables.subnets.isHome(seen) && this.host.isLocal(seen)) {
        this.tables.subnets.setOwn(seen);
      }
    };
    queries.onAnswer = (query, answer, at) => contacts.noteAnswer(query, answer, at);
    queries.onMiss = (query, miss, at) => contacts.noteMiss(query, miss, at);
    queries.onUnusable = (reply) => this.membership.noteUnusable(reply);
    searches.onHeard = (id, endpoint, heard) => contacts.hear(id, endpoint, heard);
    searches.onOwnId = (endpoint, at) => {
      const own = this.#own[endpoint.family]?.tally?.endpoint;
      if (!own?.equals(endpoint)) this.clones.suspectOwn(endpoint, at);
    };
    contacts.onSecondEndpoint = (contact, other, at) => this.clones.suspect(contact, other, at);
    searches.onRead = (at) => contacts.probeSoon(at);
    this.membership.onAsked = (at) => this.#bindNewId(at);
    contacts.onLost = (contact, at) => this.membership.noteLost(contact, at);
    contacts.onChange = (contact, isThere, at) => {
      this.replicator.noteContact(contact, isThere, at);
      if (!isThere) return;
      this.announcements.noteNewContact(at);
      this.membership.noteFound(at);
    };
    this.host.items.onEarlyDrop = (target, reason) =>
      this.host.emit({ type: "data.expire", target, reason });
    this.responder.onSeenTo = (target, by, at) => this.replicator.noteSeenTo(target, by, at);
  }

  /** Our id. It changes if it is not bound to the address at which other nodes see us (BEP 42). */
  get id(): Id {
    return this.self.id;
  }

  /** The time at which the host should call `tick`. */
  get nextDeadline(): Millis {
    return Math.min(
      this.#deadlines.next,
      this.#queries.nextDeadline,
      this.#contacts.checks.next,
    );
  }

  /** The numbers of queries in flight and of scheduled deadlines. If they keep growing, something leaks. */
  get pending(): { queries: number; deadlines: number } {
    return {
      queries: this.#queries.open,
      deadlines: this.#deadlines.size + this.#contacts.checks.size,
    };
  }

  tick(now: Millis): void {
    this.#deadlines.run(now);
    this.#contacts.tick(now);
    this.#queries.tick(now);
  }

  /**
   * Drops the messages of `nodes` from now on. Each entry is a node's id, optionally followed by a space and an
   * endpoint. Removes these nodes, and all nodes whose address is denied, from the contacts.
   */
  deny(nodes: ReadonlySet<string>, isDenied: (endpoint: Endpoint) => boolean, now: Millis): void {
    this.#denied = nodes;
    this.#contacts.deny(
      ({ id, endpoint }) => this.#isDenied(id, endpoint) || isDenied(endpoint),
      now,
    );
  }

  #isDenied(id: Id | undefined, from: Endpoint): boolean {
    if (id === undefined || this.#denied.size === 0) return false;
    return this.#denied.has(`${id}`) || this.#denied.has(`${id} ${from}`);
  }

  /** Handles one datagram. Its bytes may be overwritten once this returns. */
  receive(datagram: Uint8Array, from: Endpoint, now: Millis): void {
    const purpose = this.#receive(datagram, from, now);
    if (purpose !== undefined) {
      this.traffic.usage.noteReceived(purpose, datagram.length, from.family);
    }
  }

  /** Returns the purpose of the datagram; undefined if it was counted already. */
  #receive(datagram: Uint8Array, from: Endpoint, now: Millis): Purpose | undefined {
    if (!this.gate.isOpen && !this.gate.admits(datagram, from, now)) {
      return this.refuse("overloaded", from, now);
    }
    const { line } = this.traffic.usage;
    if (line.isLimitedDown && !line.mayReceive(this.#senderOf(datagram, from), now)) {
      return this.refuse("over_limit", from, now);
    }
    // Treat packets from port 0 as malformed, because no answer can be sent there.
    const message = from.port === 0 ? "malformed" : decode(datagram);
    if (typeof message === "string") {
      this.traffic.in.count("unknown", "error", datagram.length);
      this.membership.noteUnusable({ from, kind: message });
      return this.refuse(message, from, now);
    }
    if (this.#isDenied(message.id, from)) return this.refuse("denied", from, now);
    if (message.type === "q") return this.#receiveQuery(message, from, now);
    return this.#receiveReply(message, from, now);
  }

  /** Classifies a datagram by its sender before it is parsed. */
  #senderOf(datagram: Uint8Array, from: Endpoint): "answer" | "contact" | "stranger" {
    if (isReply(datagram)) return "answer";
    return this.tables.byFamily[from.family]?.at(from) === undefined ? "stranger" : "contact";
  }

  /** Counts a packet that is dropped on arrival, by its reason and its sender's network. */
  refuse(reason: Drop, from: Endpoint, now: Millis): Purpose {
    this.traffic.drop(reason);
    this.refusedSources.note(reason, from, now);
    return "other";
  }

  #receiveQuery(query: Message, from: Endpoint, now: Millis): Purpose {
    if (query.id?.equals(this.self.id)) this.clones.noteOwnQuery(query, from, now);
    const { nats, hidden } = this, contacts = this.#contacts;
    this.traffic.in.count(query.method!, "query", query.packet.length);
    const { crossing } = hidden;
    nats[from.family]?.noteArrived(from, query.method === "dm_probe", now);
    crossing?.reaching.noteQuery(query, from, now);
    const isUnwanted = this.self.isReadOnly(from.family) &&
      !crossing?.meeting.admits(query, from, now) && !this.watching.expects(query, from);
    if (isUnwanted) return this.refuse("read_only", from, now);
    const isContact = query.id !== undefined && this.tables.at(from, query.id) !== undefined;
    const limiter = isContact ? this.#limiters.contacts : this.#limiters.strangers;
    if (!limiter.allow(from, now)) return this.refuse("rate_limited", from, now);
    const isPing = query.method === "ping";
    if (!this.traffic.usage.line.mayAnswer(isPing, now)) {
      return this.refuse("over_limit", from, now);
    }
    // Drop puts of strangers while the node can't keep up: checking a signature takes as long as
    // answering thirty queries.
    if (!this.gate.isOpen && query.method === "put" && !isContact && from.scope !== "loopback") {
      return this.refuse("overloaded", from, now);
    }
    const standing = query.readOnly ? "none" : contacts.considerAsker(query, from, now);
    if (query.method === "dm_notice") this.#receiveNotice(query, from, now);
    else if (!hidden.serve(query, from, now)) {
      const options = standing === "none" ? NOT_KEPT : KEPT;
      const kind = this.responder.answer(query, from, now, options);
      if (kind !== undefined) {
        this.#outbox.sendReply(query, from, kind);
        this.#queries.pace.spendReply(from, now);
      }
    }
    if (standing === "wanted") contacts.verify(query.id!, from, now);
    return purposeOf(query.method) ?? "answers";
  }

  /** Handles a notice, and acknowledges it if it belongs to a subscription. */
  #receiveNotice(notice: Message, from: Endpoint, now: Millis): void {
    const outbox = this.#outbox;
    const kind = this.watching.receive(notice, from, now)
      ? outbox.writeResponse(notice, from, {})
      : outbox.writeError(notice, from, { code: ErrorCode.protocol, text: "no such subscription" });
    outbox.sendReply(notice, from, kind);
  }

  #receiveReply(reply: Message, from: Endpoint, now: Millis): Purpose | undefined {
    if (this.#queries.receive(reply, from, now)) return undefined;
    if (this.hidden.crossing?.reaching.noteReply(reply, from, now)) return "upkeep";
    this.membership.noteUnusable({ from, kind: "unmatched" });
    const kind = reply.type === "r" ? "response" : "error";
    this.traffic.in.count("unknown", kind, reply.packet.length);
    return this.refuse("unmatched", from, now);
  }

  #scheduleHousekeeping(now: Millis): void {
    const jitter = this.#random.fraction() * HOUSEKEEPING_MS / 4;
    this.#deadlines.schedule(now + HOUSEKEEPING_MS + jitter, (at) => {
      this.#scheduleHousekeeping(at);
      this.responder.peers.expire(at);
      this.responder.subscriptions.expire(at);
      for (const target of this.host.items.expire(at)) {
        this.host.emit({ type: "data.expire", target, reason: "expired" });
      }
      this.#bindId(at);
    });
  }

  #noteAddress(family: Family, now: Millis): void {
    this.nats[family]!.noteAddress(now);
    const own = this.#own[family]!;
    if (!own.isSettled) return;
    if (own.tally !== undefined) this.tables.subnets.setOwn(own.tally.endpoint);
    this.#bindId(now);
    this.self.isUnbound = false;
  }

  /** Binds a new id to the address that the bootstrap nodes have reported, if any. */
  #bindNewId(now: Millis): void {
    for (const own of Object.values(this.#own)) own.settle(now);
    this.self.isUnbound = false;
  }

  /** Once our address is settled, switches to an id bound to it (BEP 42), and finds our new neighbours. */
  #bindId(now: Millis): void {
    const former = this.id;
    const address = this.#boundId.update();
    if (address === undefined) return;
    this.host.items.noteId(this.id);
    this.#contacts.rebuild(now);
    this.host.emit({ type: "id", id: this.id, former, address });
    this.membership.settle(now);
    this.hidden.crossing?.meeting.registerAgain(now);
  }

  ping(endpoint: Endpoint, now: Millis, done: (result: PingResult, now: Millis) => void): void {
    const rtt = this.tables.byFamily[endpoint.family]?.at(endpoint)?.rtt;
    const query = { method: "ping", to: endpoint, args: {}, expected: undefined, rtt } as const;
    const watcher = whenDone((outcome, at) => {
      if (outcome.kind !== "response" || outcome.message.id === undefined) {
        return done({ kind: "timeout" }, at);
      }
      done({ kind: "pong", id: outcome.message.id, rtt: outcome.rtt }, at);
    });
    this.#queries.send(query, now, watcher);
  }

  /**
   * Asks a contact to prove its identity. Calls `done` with undefined if the answer contains no proof or none arrives.
   */
  askIdentity(
    { id, endpoint, rtt }: Contact,
    challenge: Uint8Array,
    { now, done }: { readonly now: Millis; done(answer: IdentityAnswer | undefined): void },
  ): void {
    const args = { challenge };
    const query = { method: "ping", to: endpoint, args, expected: id, rtt } as const;
    const watcher = whenDone((outcome) => {
      if (outcome.kind !== "response") return done(undefined);
      const { publicKey, signature, ip } = outcome.message;
      if (publicKey === undefined || signature === undefined || ip === undefined) {
        return done(undefined);
      }
      done({ publicKey: publicKey.slice(), signature: signature.slice(), seenAs: ip });
    });
    this.#queries.send(query, now, watcher);
  }

  /**
   * Forces the node to be read-only (BEP 43), or stops forcing it. A node that is forced to be read-only does not
   * repair the copies of other nodes' values either. It still serves its users and publishes its own values.
   */
  forceReadOnly(isForced: boolean, now: Millis): void {
    this.replicator.repairs = !isForced;
    for (const nat of Object.values(this.nats)) nat.forceReadOnly(isForced, now);
  }

  /** Our endpoint in a family, as most other nodes see it. */
  ownEndpoint(family: Family): Endpoint | undefined {
    return this.#own[family]?.tally?.endpoint;
  }

  /** Finds the k nodes closest to `target`. */
  find(target: Id, now: Millis, done: (result: FindResult, now: Millis) => void): void {
    this.searches.find({ target, method: "find_node", purpose: "requests" }, now, done);
  }

  /**
   * Catches up with the network after the machine may have slept. `now` does not include the time
   * asleep. Makes earlier write tokens invalid, checks the contacts, looks for our neighbours, and
   * publishes our values.
   */
  catchUp(now: Millis): void {
    this.responder.tokens.renew(now);
    this.#contacts.checkAll(now);
    this.membership.catchUp(now);
    this.replicator.catchUp(now);
    this.announcements.renewAll(now);
    this.watching.reset(now);
    for (const nat of Object.values(this.nats)) nat.recheck(now);
    this.hidden.crossing?.meeting.registerAgain(now);
  }

  /** Creates a batch: gets and puts of one batch share what they learn about other nodes. */
  batch(purpose: Purpose = "transfers"): Batch {
    return new Batch(this.#random.word(), purpose);
  }

  /**
   * The numbers of successful publications, replica repairs, copies made by repairs, and pending
   * jobs.
   */
  get replication(): { published: number; completed: number; copies: number; pending: number } {
    const { counts, pending } = this.replicator;
    return { ...counts, pending };
  }

  /**
   * The nodes that last acknowledged one of our own items, each as the first 32 bits of its id; undefined if unknown.
   */
  holdersOf(target: Id): readonly number[] | undefined {
    return this.replicator.holdersOf(target);
  }

  /** The addresses at which a node keeps changing its id. */
  changingIds(now: Millis): ReturnType<Contacts["renames"]["report"]> {
    return this.#contacts.renames.report(now);
  }

  /** The number of nodes at which we are registered, so that they can introduce other nodes to us. */
  get introducers(): number {
    return this.hidden.crossing?.meeting.registrars ?? 0;
  }

  #noteNat(state: NatState, now: Millis): void {
    this.host.emit({ type: "nat", state });
    if (state.external !== undefined) this.announcements.noteAddress(state.external, now);
    // While we were read-only, no node kept us as a contact. So introduce ourselves to our neighbours now.
    const { family, readOnly } = state;
    if (this.#readOnlyIn.includes(family) && !readOnly) this.membership.settle(now);
    this.#readOnlyIn = this.tables.families.filter((other) => this.self.isReadOnly(other));
    this.hidden.noteNat(state, now);
  }
}
