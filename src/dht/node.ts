// A DHT node: packets and times in, packets and events out. Owns its contacts, its queries and the operations.

import { Writer } from "../krpc/bencode.ts";
import type { Endpoint, Family } from "../krpc/endpoint.ts";
import { compareDistance, type Id, ID_BYTES } from "../krpc/id.ts";
import {
  decode,
  type Echo,
  ErrorCode,
  type Message,
  type Method,
  type QueryArguments,
  WANT_N4,
  WANT_N6,
  writeQuery,
} from "../krpc/message.ts";
import { Acknowledgements } from "./acknowledgements.ts";
import { AddressVotes } from "./address_votes.ts";
import { Batch } from "./batch.ts";
import type { Contact } from "./contact.ts";
import { Contacts } from "./contacts.ts";
import { OwnCoordinate } from "./coordinate.ts";
import { Deadlines, type Millis } from "./deadlines.ts";
import { PER_SUBNET } from "./diversity.ts";
import type { Host } from "./host.ts";
import { Introducer, type IntroducerNode, isOurs } from "./introducer.ts";
import {
  isItemError,
  type Item,
  type ItemError,
  itemOf,
  mutableTarget,
  refusal,
  sameBytes,
  type StoredItem,
} from "./item.ts";
import {
  type Candidate,
  type KnownNode,
  Lookup,
  type LookupMethod,
  type LookupResult,
  type Placed,
  type QueryOutcome,
} from "./lookup.ts";
import { Membership, type Seed } from "./membership.ts";
import { Nat, type NatState, type Prober } from "./nat.ts";
import { PeerStore } from "./peer_store.ts";
import { Punching, type PunchingNode, type ReachResult } from "./punching.ts";
import { Queries, whenDone } from "./queries.ts";
import { Random } from "./random.ts";
import { RateLimiter } from "./rate_limit.ts";
import type { Found } from "./registration.ts";
import { type Cost, Replicator } from "./replicator.ts";
import { MAX_REPLY_NODES, REPLY_NODES, Responder } from "./responder.ts";
import type { RoutingTable } from "./routing_table.ts";
import { isSecureId, secureId } from "./secure_id.ts";
import { LookupStatistics } from "./statistics.ts";
import { ALL_TECHNIQUES, type Techniques } from "./techniques.ts";
import { Tokens } from "./tokens.ts";
import { type Drop, type MessageKind, Traffic } from "./traffic.ts";

/** How often expired data are looked for. */
const HOUSEKEEPING_MS = 60_000;

/** Before an id is given up, so many peers must have named our address, and so large a share of all that named any. */
const VOTES_TO_BIND = 10, AGREEMENT_TO_BIND = 0.8;

/** Holds any message that we write. One for all nodes of a process: it is written and sent within one call. */
const WRITER = new Writer(4_096);

export interface NodeOptions {
  readonly id: Id;
  /** Contacts in a bucket, and nodes that a value is stored on. */
  readonly k: number;
  /** Queries of one lookup in flight. */
  readonly alpha: number;
  readonly healthCheckIntervalMs: number;
  /** The families that the host can send to. */
  readonly families: readonly Family[];
  /** Answers nothing and says so (BEP 43), whether strangers can reach it or not. */
  readonly readOnly: boolean;
  /** Whether it finds out if strangers can reach it, and is read-only while they can't. It does where it is left out. */
  readonly nat?: boolean;
  /** Bytes a second of others' messages that it passes on, introductions aside; 0: none. 2048 where it is left out. */
  readonly relayRate?: number;
  /** The wire's `v`, as a word. */
  readonly client: number;
  /** Contacts of one /24 or /64 that a bucket takes, and by halves a lookup; 0: any number. 2 where it is left out. */
  readonly perSubnet?: number;
  /** For comparison: what is left out of plain Kademlia's extensions. */
  readonly techniques?: Techniques;
}

/** A lookup over all families. */
export interface FindResult {
  /** The k closest that answered, nearest first. */
  readonly closest: readonly Placed[];
  readonly asked: readonly Candidate[];
  readonly startedAt: Millis;
  readonly hops: number;
  readonly elapsed: number;
}

export interface GetResult extends FindResult {
  /** The item found: for a mutable one that of the highest seq. */
  readonly item: Item | undefined;
  /** A mutable item was there whose salt nobody told, so that it could not be verified. */
  readonly saltUnknown: boolean;
}

export interface PeersResult extends FindResult {
  readonly peers: readonly Endpoint[];
}

export interface PutResult extends FindResult {
  /** Undefined where `make` refused. */
  readonly item: Item | undefined;
  /** Ids of the nodes that acknowledged, ours where we hold it too. */
  readonly stored: readonly Id[];
  /** What `make` or the nodes refused it with. */
  readonly refusals: readonly ItemError[];
}

/** One copy of an item. */
export interface Replica {
  readonly id: Id;
  /** Undefined where it is ours. */
  readonly endpoint: Endpoint | undefined;
  /** Undefined where the item is immutable. */
  readonly seq: number | undefined;
  /** Milliseconds since its owner put it; undefined where the holder does not tell. */
  readonly ageMs: number | undefined;
}

export interface ReplicasResult extends FindResult {
  /** Nearest first. */
  readonly replicas: readonly Replica[];
}

export interface AnnounceResult extends PeersResult {
  readonly announced: readonly Id[];
}

export type PingResult =
  | { readonly kind: "pong"; readonly id: Id; readonly rtt: number }
  | { readonly kind: "timeout" };

export class DhtNode {
  readonly traffic = new Traffic();
  readonly lookups = new LookupStatistics();
  readonly peers: PeerStore;
  readonly votes = new AddressVotes();
  readonly coordinate = new OwnCoordinate();
  /** Read by the responder. */
  readonly client: number;
  readonly tokens: Tokens;
  /** Whether lookups that begin from now on tell of each query: an event for every packet of theirs. */
  tellsSteps = false;

  /** Shared by all parts: the id may change. */
  readonly #self: { id: Id };
  readonly #options: Required<NodeOptions>;
  readonly #deadlines = new Deadlines();
  readonly #queries: Queries;
  readonly #contacts: Contacts;
  readonly #replicator: Replicator;
  readonly #membership: Membership;
  readonly #responder: Responder;
  readonly #limiter: RateLimiter;
  readonly #random: Random;
  /** The family to whose address the id is bound. */
  #boundBy: Family | undefined;
  /** The latest lookup's number. */
  #lastLookup = 0;
  readonly #acknowledgements = new Acknowledgements();
  readonly #nat: Nat;
  #readOnlyIn: readonly Family[] = [];
  /** Made when they are needed: most nodes never do. */
  #madePunching: Punching | undefined;
  #madeIntroducer: Introducer | undefined;
  /** Whether the reply in the making is not sent, but handed to whoever asked for it. */
  #isHeldBack = false;

  constructor(readonly host: Host, options: NodeOptions, now: Millis) {
    this.#options = {
      techniques: ALL_TECHNIQUES,
      perSubnet: PER_SUBNET,
      nat: true,
      relayRate: RELAY_RATE,
      ...options,
    };
    const self = { id: options.id };
    this.#self = self;
    this.client = options.client;
    this.#random = new Random((length) => host.randomBytes(length));
    this.tokens = new Tokens((length) => host.randomBytes(length), now);
    this.peers = new PeerStore(this.#random);
    this.#limiter = new RateLimiter(this.#random.word());
    this.#nat = new Nat(
      {
        host,
        votes: this.votes,
        contacts: (family) => contacts.tables[family]?.contacts() ?? [],
        seekProbers: (...search) => this.#seekProbers(...search),
        query: this.#query,
        askAside: (...question) => this.#askAside(...question),
        changed: (state, at) => this.#onNat(state, at),
      },
      options.families,
      options.readOnly ? "read_only" : this.#options.nat ? "auto" : "off",
      this.#deadlines,
      this.#random,
      now,
    );
    const contacts = new Contacts(
      {
        self,
        host,
        coordinate: this.coordinate,
        query: (query, at, watcher) => this.#queries.send(query, at, watcher),
        isReadOnly: (family) => this.#nat.isReadOnly(family),
        noteNeighbour: (...change) => this.#replicator.noteNeighbour(...change),
        noteLost: (contact, at) => this.#membership.noteLost(contact, at),
      },
      this.#options,
      this.#deadlines,
      this.#random,
      now,
    );
    this.#contacts = contacts;
    this.#queries = new Queries(
      {
        host,
        self,
        client: options.client,
        traffic: this.traffic,
        nat: this.#nat,
        coordinate: this.coordinate,
        contactAt: (to, id) => contacts.at(to, id),
        noteAnswer: (...answer) => contacts.noteAnswer(...answer),
        noteMiss: (...miss) => contacts.noteMiss(...miss),
        isAdaptive: this.#options.techniques.adapt,
      },
      WRITER,
      this.#random,
    );
    this.#replicator = new Replicator(
      {
        items: host.items,
        published: host.published,
        k: options.k,
        contactCount: () => contacts.size,
        publish: (item, at, done) => this.#publish(item, at, done),
        complete: (item, at, done) => this.#complete(item, at, done),
      },
      this.#deadlines,
      this.#random,
      now,
    );
    this.#membership = new Membership(
      {
        host,
        self,
        contacts,
        k: options.k,
        isLookingUp: () => this.lookups.active > 0,
        query: this.#query,
        lookup: (...lookup) => this.#lookup(...lookup),
      },
      this.#deadlines,
      this.#random,
      now,
    );
    this.#responder = new Responder(
      {
        self,
        client: this.client,
        host,
        tables: () => this.#isHeldBack ? NO_TABLES : contacts.tables,
        tokens: this.tokens,
        peers: this.peers,
        coordinate: this.coordinate,
        isReadOnly: (family) => this.#nat.isReadOnly(family),
        serveHidden: (...query) => this.#serveHidden(...query),
        noteSeenTo: (item, by, at) => this.#replicator.noteSeenTo(item, by, at),
      },
      WRITER,
      this.#sendReply,
    );
    this.#scheduleHousekeeping(now);
  }

  /** It changes where it is not bound to the address that peers see us at (BEP 42). */
  get id(): Id {
    return this.#self.id;
  }

  /** The routing table of each family that the host has. */
  get tables(): { readonly [F in Family]?: RoutingTable } {
    return this.#contacts.tables;
  }

  /** When `tick` is to be called next. */
  get nextDeadline(): Millis {
    return Math.min(
      this.#deadlines.next,
      this.#queries.nextDeadline,
      this.#contacts.nextDeadline,
    );
  }

  /** Queries without an outcome, and all that is to be done later: what would grow if anything leaked. */
  get pending(): { queries: number; deadlines: number } {
    return {
      queries: this.#queries.open,
      deadlines: this.#deadlines.size + this.#contacts.checks,
    };
  }

  /** Does what is due. */
  tick(now: Millis): void {
    this.#deadlines.run(now);
    this.#contacts.tick(now);
    this.#queries.tick(now);
  }

  /** Takes in one datagram. It may be overwritten once this returns. */
  receive(datagram: Uint8Array, from: Endpoint, now: Millis): void {
    const message = decode(datagram);
    if (typeof message === "string") {
      this.#drop(message, datagram);
    } else if (message.type === "q") {
      this.#receiveQuery(message, from, now);
    } else this.#receiveReply(message, from, now);
  }

  // ---- joining

  /**
   * Joins through `endpoints`, and through `seeds` remembered from an earlier run; tries again, ever more slowly,
   * until somebody answers, and whenever all contacts are gone.
   */
  join(endpoints: readonly Endpoint[], seeds: readonly Seed[], now: Millis): void {
    this.#membership.join(endpoints, seeds, now);
  }

  #scheduleHousekeeping(now: Millis): void {
    const jitter = this.#random.fraction() * HOUSEKEEPING_MS / 4;
    this.#deadlines.schedule(now + HOUSEKEEPING_MS + jitter, (at) => {
      this.#scheduleHousekeeping(at);
      this.peers.expire(at);
      for (const { target } of this.host.items.expire(at)) {
        this.host.emit({ type: "data.expire", target });
      }
      this.#bindId(at);
    });
  }

  /**
   * The address that our id is to fit. One id can't fit those of both families: it is IPv4's where nodes of that answer,
   * also after a restart, and stays that of the family that it was bound to.
   */
  #addressToBind(): Endpoint | undefined {
    const families = this.#boundBy === undefined ? this.#contacts.families : [this.#boundBy];
    for (const family of families) {
      const tally = this.votes.tally(family);
      if (tally !== undefined && tally.voters >= VOTES_TO_BIND) {
        const { endpoint, votes, voters } = tally;
        const isAgreed = votes >= VOTES_TO_BIND && votes >= AGREEMENT_TO_BIND * voters;
        if (isAgreed && endpoint.scope === "global") return endpoint;
      } else if (this.#contacts.tables[family]!.size >= VOTES_TO_BIND) return undefined;
    }
    return undefined;
  }

  /** BEP 42: once enough peers agree on our address, we take an id that it may have, and find our place anew. */
  #bindId(now: Millis): void {
    const address = this.#addressToBind();
    if (address === undefined) return;
    this.#boundBy = address.family;
    if (isSecureId(this.id, address)) return;
    const former = this.id;
    this.#self.id = secureId(address, this.#random.bytes(ID_BYTES));
    this.host.items.noteId(this.id);
    this.#contacts.rebuild(now);
    this.host.emit({ type: "id", id: this.id, former, address });
    this.#membership.settle(now);
    this.#madePunching?.noteId(now);
  }

  // ---- operations

  /** How many nodes the network has, as far as lookups and our own neighbourhood tell; null where they don't. */
  networkSize(now: Millis): number | null {
    const [family] = this.#contacts.families;
    const neighbours = this.tables[family]!.closest(this.id, this.#options.k, IS_HEALTHY);
    return this.lookups.networkSize(this.id, neighbours, now);
  }

  /** Contacts of all families. */
  contacts(): Iterable<Contact> {
    return this.#contacts.all();
  }

  get contactCount(): number {
    return this.#contacts.size;
  }

  /** The contact with this id, of either family. */
  contact(id: Id): Contact | undefined {
    return this.#contacts.find(id);
  }

  /** Asks whoever is at `endpoint` for a sign of life. */
  ping(endpoint: Endpoint, now: Millis, done: (result: PingResult, now: Millis) => void): void {
    this.#query("ping", endpoint, {}, undefined, now, (outcome, at) => {
      if (outcome.kind !== "response" || outcome.message.id === undefined) {
        return done({ kind: "timeout" }, at);
      }
      done({ kind: "pong", id: outcome.message.id, rtt: outcome.rtt }, at);
    });
  }

  /** Finds the k nodes closest to `target`. */
  find(target: Id, now: Millis, done: (result: FindResult, now: Millis) => void): void {
    this.#lookupAll(target, "find_node", now, undefined, done);
  }

  /** Finds the peers of a swarm. */
  getPeers(infoHash: Id, now: Millis, done: (result: PeersResult, now: Millis) => void): void {
    const found = new Map<string, Endpoint>();
    for (const family of this.#contacts.families) {
      for (const peer of this.peers.peers(infoHash, family, now) ?? []) found.set(`${peer}`, peer);
    }
    this.#lookupAll(infoHash, "get_peers", now, (message) => {
      for (const peer of message.values ?? []) {
        if (peer.port > 0 && found.size < MAX_PEERS_FOUND) found.set(`${peer}`, peer);
      }
      return false;
    }, (result, at) => done({ ...result, peers: [...found.values()] }, at));
  }

  /** Announces that this host serves a swarm at `port`, or at the port that its packets come from. */
  announce(
    infoHash: Id,
    port: number | undefined,
    now: Millis,
    done: (result: AnnounceResult, now: Millis) => void,
  ): void {
    this.getPeers(infoHash, now, (result, at) => {
      const args = (token: Uint8Array): [Method, QueryArguments] => [
        "announce_peer",
        { infoHash, token, port: port ?? 0, impliedPort: port === undefined },
      ];
      this.#write(undefined, result.closest, args, [], () => false, at, (announced, _, end) => {
        done({ ...result, announced, elapsed: end - now }, end);
      });
    });
  }

  /**
   * Fetches an item. An immutable one is delivered at the first copy that fits its hash; for a mutable one all the
   * closest nodes are asked, and the highest seq wins. Its `salt` is needed to verify it; where it is not given,
   * nodes of this project are asked for it. Gets of one `batch` share what they learn.
   */
  get(
    target: Id,
    salt: Uint8Array | undefined,
    now: Millis,
    done: (result: GetResult, now: Millis) => void,
    batch?: Batch,
  ): void {
    const held = this.host.items.get(target, now);
    if (held !== undefined && held.signed === undefined) {
      const nothing = { closest: [], asked: [], startedAt: now, hops: 0, elapsed: 0 };
      return done({ ...nothing, item: held, saltUnknown: false }, now);
    }
    const reader = new ItemReader(this.host, target, salt, held);
    /** What each holder of a mutable item told. */
    const told = new Map<string, { seq: number; age: number }>();
    const read = (message: Message, { endpoint }: Candidate, at: Millis) => {
      const { publicKey, id, seq, age } = message;
      if (publicKey !== undefined) told.set(`${id}`, { seq, age });
      const isEnough = reader.read(message);
      if (reader.isWrong && id !== undefined) {
        this.#contacts.noteFault(
          id,
          endpoint,
          "returned a value that is not what was asked for",
          at,
        );
      }
      return isEnough;
    };
    this.#lookupAll(target, "get", now, read, (result, at) => {
      const { newest, saltUnknown } = reader;
      done({ ...result, item: newest, saltUnknown }, at);
      if (newest?.signed !== undefined) this.#updateStale(newest, result, told, at);
    }, { isHurried: true, batch });
  }

  /** Gives the newest version of a mutable item to those holders that told of an older one. */
  #updateStale(
    item: Item,
    { closest }: FindResult,
    told: ReadonlyMap<string, { seq: number; age: number }>,
    now: Millis,
  ): void {
    const { target, signed } = item;
    const { seq } = signed!;
    const ages = [...told.values()].filter((one) => one.seq === seq && !Number.isNaN(one.age))
      .map((one) => one.age);
    const age = ages.length > 0 ? Math.min(...ages) : 0;
    const held = this.host.items.get(target, now);
    if (held !== undefined && held.signed!.seq < seq) {
      this.host.items.put(item, now, () => {}, age * 1000);
    }
    const stale = closest.filter(({ id }) => (told.get(`${id}`)?.seq ?? Infinity) < seq);
    this.#write(target, stale, putsOf(item, age), [], () => false, now, () => {});
  }

  /** Who of the k closest nodes holds an item now, in which version, and how old each copy is. */
  replicas(target: Id, now: Millis, done: (result: ReplicasResult, now: Millis) => void): void {
    const holders: Replica[] = [];
    const held = this.host.items.get(target, now);
    if (held !== undefined) {
      const ageMs = now - held.storedAt;
      holders.push({ id: this.id, endpoint: undefined, seq: held.signed?.seq, ageMs });
    }
    const note = (message: Message, { endpoint }: Candidate) => {
      const { id, value, age, seq, publicKey } = message;
      if (id === undefined || value === undefined) return false;
      holders.push({
        id,
        endpoint,
        seq: publicKey === undefined ? undefined : seq,
        ageMs: Number.isNaN(age) ? undefined : age * 1000,
      });
      return false;
    };
    this.#lookupAll(target, "get", now, note, (result, at) => {
      const { k } = this.#options;
      const closest = new Set(result.closest.slice(0, k).map(({ id }) => `${id}`));
      holders.sort((x, y) => compareDistance(x.id, y.id, target));
      const among = holders.filter(({ id, endpoint }) =>
        endpoint === undefined || closest.has(`${id}`)
      );
      done({ ...result, replicas: among }, at);
    });
  }

  /** Something for several gets and puts to share. */
  batch(): Batch {
    return new Batch(this.#random.word());
  }

  /**
   * Stores an item on the k nodes closest to its target, and here where we are one of them. `make` is called when
   * the newest version on the network is known; it yields what to store, or why not to. Puts of one `batch` share
   * what they learn.
   */
  put(
    target: Id,
    salt: Uint8Array | undefined,
    cas: number | undefined,
    make: (newest: Item | undefined) => Item | ItemError,
    now: Millis,
    done: (result: PutResult, now: Millis) => void,
    batch?: Batch,
  ): void {
    const reader = new ItemReader(this.host, target, salt, this.host.items.get(target, now));
    // The version that each node told of.
    const told = new Map<string, { seq: number; value: Uint8Array }>();
    // Unlike a get, this wants the tokens of all the closest nodes: it never ends early.
    const read = (message: Message) => {
      reader.read(message);
      const { id, seq, value } = message;
      if (id !== undefined && value !== undefined) told.set(`${id}`, { seq, value: value.slice() });
      return false;
    };
    this.#lookupAll(target, "get", now, read, (result, at) => {
      const item = make(reader.newest);
      if (isItemError(item)) {
        return done({ ...result, item: undefined, stored: [], refusals: [item] }, at);
      }
      const { signed, value } = item;
      const args = (token: Uint8Array, id: Id): [Method, QueryArguments] => [
        "put",
        // BEP 44: cas only goes to those that have a version to compare.
        { token, value, cas: told.has(`${id}`) ? cas : undefined, ...signed },
      ];
      // bittorrent-dht refuses (302) the very version that it holds.
      const isCurrent = (id: Id) => {
        const version = told.get(`${id}`);
        return version !== undefined && version.seq === signed?.seq &&
          sameBytes(version.value, value);
      };
      const here: Id[] = [];
      const ours: ItemError[] = [];
      const elsewhere = () =>
        this.#write(target, result.closest, args, here, isCurrent, at, (stored, refusals, end) => {
          const all = [...ours, ...refusals];
          done({ ...result, item, stored, refusals: all, elapsed: end - now }, end);
        });
      if (!this.#isAmongClosest(target, result.closest)) return elsewhere();
      // What is held may have changed since the lookup began.
      const refused = refusal(this.host.items.get(target, at), item, cas);
      if (refused !== undefined) {
        ours.push(refused);
        return elsewhere();
      }
      this.host.items.put(item, at, (kept) => {
        if (kept) here.push(this.id);
        else ours.push({ code: ErrorCode.server, text: "could not store" });
        elsewhere();
      });
    }, { batch });
  }

  /**
   * Stores an immutable item as one of a batch. Where the batch knows the closest nodes and has their tokens, nobody
   * is looked for.
   */
  putPart(
    item: Item,
    batch: Batch,
    now: Millis,
    done: (result: Pick<PutResult, "stored" | "elapsed">, now: Millis) => void,
  ): void {
    const { target } = item;
    const search = (at: Millis) =>
      this.put(target, undefined, undefined, () => item, at, (result, end) => {
        done({ stored: result.stored, elapsed: end - now }, end);
      }, batch);
    const { k } = this.#options;
    const closest = batch.holders(target, k, this.networkSize(now) ?? Infinity, now);
    if (closest === undefined) return search(now);
    const here: Id[] = [];
    const elsewhere = () =>
      this.#write(target, closest, putsOf(item), here, () => false, now, (
        stored,
        _,
        at,
      ) => {
        if (stored.length >= ENOUGH_OF_BATCH * closest.length) {
          return done({ stored, elapsed: at - now }, at);
        }
        for (const { id } of closest) {
          if (!stored.some((other) => other.equals(id))) batch.forget(id);
        }
        search(at);
      });
    if (!this.#isAmongClosest(target, closest)) return elsewhere();
    this.host.items.put(item, now, (kept) => {
      if (kept) here.push(this.id);
      elsewhere();
    });
  }

  #isAmongClosest(target: Id, closest: readonly { id: Id }[]): boolean {
    const { k } = this.#options;
    if (this.#contacts.families.every((family) => this.#nat.isReadOnly(family))) return false;
    return closest.length < k || compareDistance(this.id, closest[k - 1].id, target) < 0;
  }

  /**
   * Sends a write to the k closest that gave a token; one that fails is made up for by the next further one. `here`
   * holds ids that have stored it already.
   */
  #write(
    target: Id | undefined,
    closest: readonly Pick<Placed, "id" | "endpoint" | "token">[],
    args: (token: Uint8Array, id: Id) => [Method, QueryArguments],
    here: readonly Id[],
    isCurrent: (id: Id) => boolean,
    now: Millis,
    done: (stored: Id[], refusals: ItemError[], now: Millis) => void,
  ): void {
    const waiting = closest.filter((c) => c.token !== undefined);
    // Whoever fails often is given it as well, but is not relied on.
    const isRelied = ({ id }: { id: Id }) => this.contact(id)?.isReliable ?? true;
    const k = this.#options.k +
      waiting.slice(0, this.#options.k).filter((c) => !isRelied(c)).length;
    const stored = [...here];
    const refusals: ItemError[] = [];
    let open = 0;
    const step = (at: Millis) => {
      while (stored.length + open < k && waiting.length > 0) {
        const { id, endpoint, token } = waiting.shift()!;
        const [method, values] = args(token!, id);
        open++;
        this.#query(method, endpoint, values, id, at, (outcome, end) => {
          open--;
          if (outcome.kind === "response") {
            stored.push(id);
            if (target !== undefined) this.#acknowledgements.note(target, id, end);
          } else if (
            outcome.kind === "error" && outcome.code === ErrorCode.seqTooLow && isCurrent(id)
          ) stored.push(id);
          else if (outcome.kind === "error") refusals.push(outcome);
          step(end);
        });
      }
      if (open === 0) done(stored, refusals, at);
    };
    step(now);
  }

  // ---- keeping values alive

  /**
   * Keeps a value of ours published, from now on; `replicas` nodes have acknowledged it just now, this one included
   * where it is one of them. `saved` hears whether that will survive the end of the process.
   */
  keepPublished(
    item: Item,
    replicas: number,
    now: Millis,
    saved?: (isSaved: boolean) => void,
  ): void {
    const { published } = this.host;
    published.save({
      item,
      firstAt: published.get(item.target)?.firstAt ?? now,
      lastAt: now,
      nextAt: this.#replicator.nextPublication(now, replicas),
      replicas,
      failures: 0,
    }, saved);
  }

  /** Republications and copies so far, and what waits. */
  get replication(): { published: number; completed: number; copies: number; pending: number } {
    const { counts, pending } = this.#replicator;
    return { ...counts, pending };
  }

  #publish(
    own: Item,
    now: Millis,
    done: (replicas: number, newest: Item, cost: Cost, now: Millis) => void,
  ): void {
    // The same owner may have published a newer version through another node.
    const newer = (newest: Item | undefined) =>
      newest?.signed !== undefined && own.signed !== undefined &&
        newest.signed.seq > own.signed.seq
        ? newest
        : own;
    this.put(own.target, own.signed?.salt, undefined, newer, now, (result, at) => {
      const item = result.item ?? own;
      const others = result.stored.filter((id) => !id.equals(this.id)).length;
      done(others, item, costOf(result, result.stored.length, item), at);
    });
  }

  /** Gives an item that we hold to those of the k closest that lack it, or have an older version. */
  #complete(
    item: StoredItem,
    now: Millis,
    done: (copies: number, cost: Cost, now: Millis) => void,
  ): void {
    const { target, signed } = item;
    const { k } = this.#options;
    const seq = signed?.seq ?? 0;
    /** Who has it, in the version that we have; and whose copies live as long as ours. */
    const holders = new Set<string>();
    let newest = seq;
    const read = ({ id, seq: told, value, age }: Message) => {
      const version = signed === undefined ? 0 : told;
      if (value === undefined && Number.isNaN(age) && !(version >= 0 && signed)) return false;
      newest = Math.max(newest, version || 0);
      // Others forget an item two hours after they were given it: they get it again each time.
      if (version >= seq && !Number.isNaN(age)) holders.add(`${id}`);
      return false;
    };
    const onFound = (result: FindResult, at: Millis) => {
      if (newest > seq) {
        return this.get(target, signed!.salt, at, (got, end) => {
          if (got.item === undefined || got.item.signed!.seq <= seq) {
            // Whoever told of a newer version has none: that must not keep ours from those that lack it.
            newest = seq;
            return onFound(result, end);
          }
          this.host.items.put(got.item, end, () => done(0, costOf(got, 0, item), end));
        });
      }
      const closest = result.closest.slice(0, k).filter(({ id }) => !holders.has(`${id}`));
      const age = Math.round((at - item.storedAt) / 1000);
      this.#write(target, closest, putsOf(item, age), [], () => false, at, (stored, _, end) => {
        if (stored.length > 0) {
          this.host.emit({ type: "data.replicate", item, to: stored });
        }
        if (!this.#isAmongClosest(target, result.closest)) this.#replicator.noteFar(item);
        done(stored.length, costOf(result, closest.length, item), end);
      });
    };
    this.#lookupAll(target, "get", now, read, onFound, { seesTo: true });
  }

  // ---- lookups

  /** Runs one lookup in each family that has contacts, and merges what they found. */
  #lookupAll(
    target: Id,
    method: LookupMethod,
    now: Millis,
    onResponse:
      | ((message: Message, candidate: Candidate, now: Millis) => boolean)
      | undefined,
    done: (result: FindResult, now: Millis) => void,
    how: Manner = {},
  ): void {
    const all = this.#contacts.families;
    const populated = all.filter((family) => this.tables[family]!.size > 0);
    const families = populated.length > 0 ? populated : all.slice(0, 1);
    const results: LookupResult[] = [];
    const running: Lookup[] = [];
    const onEnd = (result: LookupResult, at: Millis) => {
      results.push(result);
      if (results.length < families.length) return;
      const closest = results.flatMap((r) => r.closest)
        .sort((x, y) => compareDistance(x.id, y.id, target))
        .filter((c, i, sorted) => i === 0 || !c.id.equals(sorted[i - 1].id));
      done({
        closest,
        asked: results.flatMap((r) => r.asked),
        startedAt: now,
        hops: results.find((r) => r.closest[0] === closest[0])?.hops ?? result.hops,
        elapsed: at - now,
      }, at);
    };
    const endpoints = populated.length > 0 ? [] : this.#membership.bootstrap;
    for (const family of families) {
      const bootstrap = endpoints.filter((endpoint) => endpoint.family === family);
      const watch = onResponse && ((message: Message, candidate: Candidate, at: Millis) => {
        if (method === "get") this.#noteLoss(target, message, candidate, at);
        if (!onResponse(message, candidate, at)) return false;
        // One family has it: the other need not go on. Its own lookup ends by the result.
        running.forEach((lookup, i) => families[i] !== family && lookup.stop(at));
        return true;
      });
      running.push(this.#prepare(family, target, method, bootstrap, now, watch, onEnd, how));
    }
    for (const lookup of running) lookup.start();
  }

  /** Whoever has acknowledged an item and does not have it counts as less reliable. */
  #noteLoss(
    target: Id,
    { id, value, age, seq }: Message,
    { endpoint }: Candidate,
    now: Millis,
  ): void {
    const hasIt = value !== undefined || !Number.isNaN(age) || !Number.isNaN(seq);
    if (hasIt || id === undefined || !this.#acknowledgements.takeLoss(target, id, now)) return;
    this.#contacts.noteLoss(id, endpoint);
  }

  #lookup(
    family: Family,
    target: Id,
    method: LookupMethod,
    bootstrap: readonly Endpoint[],
    now: Millis,
    onResponse: ((message: Message, candidate: Candidate) => boolean) | undefined,
    onEnd: (result: LookupResult, now: Millis) => void,
  ): void {
    this.#prepare(family, target, method, bootstrap, now, onResponse, onEnd).start();
  }

  #prepare(
    family: Family,
    target: Id,
    method: LookupMethod,
    bootstrap: readonly Endpoint[],
    now: Millis,
    onResponse: ((message: Message, candidate: Candidate, now: Millis) => boolean) | undefined,
    onEnd: (result: LookupResult, now: Millis) => void,
    how: Manner = {},
  ): Lookup {
    const { k, alpha } = this.#options;
    const table = this.tables[family]!;
    const wanted = Math.min(k, MAX_REPLY_NODES);
    const args: QueryArguments = {
      ...(method === "get_peers" ? { infoHash: target } : { target }),
      want: this.#contacts.families.length > 1 ? WANT_N4 | WANT_N6 : undefined,
      wantCount: wanted > REPLY_NODES ? wanted : undefined,
      wantSalt: method === "get",
      seesTo: how.seesTo,
    };
    const lookup = ++this.#lastLookup;
    const { techniques } = this.#options;
    this.lookups.active++;
    table.touch(target, now);
    return new Lookup({
      target,
      method,
      family,
      k,
      // Of a batch that knows the holders one query is enough.
      alpha: how.batch !== undefined && how.isHurried ? 1 : alpha,
      lateShare: this.#queries.lateShare,
      // As many again to fall back on: after an outage many of the closest are dead, and tell of each other.
      seeds: this.#seedsOf(table, target, how.batch, now),
      bootstrap,
      now,
      own: this.id,
      perSubnet: this.#options.perSubnet,
      coordinate: this.coordinate,
      ask: (candidate, at, watcher) => {
        const { endpoint: to, id: expected, expected: rtt } = candidate;
        this.#queries.send({ method, to, args, expected, rtt }, at, watcher);
      },
      techniques,
      hurryToBits: how.isHurried && techniques.hurry ? table.bucketCount - 1 : undefined,
      onHeard: (id, endpoint, rtt, at) => this.#contacts.hear(id, endpoint, rtt, at),
      onResponse: how.batch === undefined ? onResponse : (message, candidate, at) => {
        noteIn(how.batch!, message, candidate, this.client, at);
        return onResponse?.(message, candidate, at) ?? false;
      },
      onStep: !this.tellsSteps ? undefined : (state, candidate) => {
        const step = { lookup, target, state, candidate };
        this.host.emit({ type: "lookup.step", step });
      },
      onEnd: (result, at) => {
        this.lookups.active--;
        this.lookups.record(result, k, this.id);
        how.batch?.noteLookup(result);
        this.host.emit({
          type: "lookup",
          lookup: {
            lookup,
            target,
            method,
            hops: result.hops,
            queries: result.asked.length,
            elapsed: result.elapsed,
            success: result.closest.length > 0,
          },
        });
        onEnd(result, at);
      },
    });
  }

  /** Contacts, and what a batch has found, nearest first. */
  #seedsOf(
    table: RoutingTable,
    target: Id,
    batch: Batch | undefined,
    now: Millis,
  ): readonly KnownNode[] {
    const count = 2 * this.#options.k;
    const contacts = table.closest(target, count, (contact) => contact.misses < 2);
    return batch === undefined ? contacts : [...batch.closest(target, count, now), ...contacts];
  }

  // ---- queries in and out

  #drop(reason: Drop, datagram: Uint8Array, kind: MessageKind = "error"): void {
    this.traffic.drop(reason);
    this.traffic.in.count("unknown", kind, datagram.length);
  }

  #receiveQuery(query: Message, from: Endpoint, now: Millis): void {
    this.traffic.in.count(query.method!, "query", query.packet.length);
    if (this.#nat.isWatching) this.#nat.noteArrived(from, query.method === "dm_probe", now);
    const punching = this.#madePunching;
    if (punching?.isReaching) punching.noteQuery(query, from, now);
    if (this.#nat.isReadOnly(from.family) && !punching?.admits(query, from, now)) {
      return this.traffic.drop("read_only");
    }
    if (!this.#limiter.allow(from, now)) return this.traffic.drop("rate_limited");
    const standing = query.readOnly ? "none" : this.#contacts.considerAsker(query, from, now);
    this.#responder.answer(query, from, now, standing !== "none");
    if (standing === "wanted") this.#contacts.verify(query.id!, from, now);
  }

  #receiveReply(reply: Message, from: Endpoint, now: Millis): void {
    if (this.#queries.receive(reply, from, now)) return;
    if (this.#madePunching?.noteReply(reply, from, now)) return;
    this.#drop("unmatched", reply.packet, reply.type === "r" ? "response" : "error");
  }

  readonly #sendReply = (to: Endpoint, { method }: Echo, kind: "response" | "error"): void => {
    if (this.#isHeldBack) return;
    const datagram = WRITER.done();
    this.traffic.out.count(method ?? "unknown", kind, datagram.length);
    this.host.send(datagram, to);
  };

  // ---- nodes that strangers can't reach

  /** What is held to be so of our address and whether strangers can reach us, by family. */
  get nat(): readonly NatState[] {
    return this.#nat.states;
  }

  /** Whether it answers no strangers of a family, and says so (BEP 43). */
  isReadOnly(family: Family): boolean {
    return this.#nat.isReadOnly(family);
  }

  /** Nodes at which we have registered, so that they introduce others to us. */
  get introducers(): number {
    return this.#madePunching?.places ?? 0;
  }

  /** Finds out anew whether strangers can reach us. */
  recheckNat(now: Millis): void {
    this.#nat.recheck(now);
  }

  /** Our router was asked to let strangers in at our port, or does so no more. */
  noteMapping(family: Family, isMapped: boolean, now: Millis): void {
    this.#nat.noteMapping(family, isMapped, now);
  }

  /** Finds a way to a node, through NATs and by way of others, and pings it. */
  reach(id: Id, now: Millis, done: (result: ReachResult, now: Millis) => void): void {
    this.#punching.reach(id, now, done);
  }

  /** Fetches an item from one node, wherever that is. `salt`: that of a mutable one. */
  getFrom(
    id: Id,
    target: Id,
    salt: Uint8Array | undefined,
    now: Millis,
    done: (item: Item | undefined, now: Millis) => void,
  ): void {
    const args = { target, wantSalt: true };
    this.#punching.ask(id, "get", args, now, (answer, at) => {
      const reader = new ItemReader(this.host, target, salt, undefined);
      if (answer !== undefined) reader.read(answer);
      done(reader.newest, at);
    });
  }

  #onNat(state: NatState, now: Millis): void {
    this.host.emit({ type: "nat", state });
    // While it was read-only nobody took it in: those near it have to hear of it now.
    const { family, readOnly } = state;
    if (this.#readOnlyIn.includes(family) && !readOnly) this.#membership.settle(now);
    this.#readOnlyIn = this.nat.filter((other) => other.readOnly).map((other) => other.family);
    if (state.reachable === false) this.#punching.noteNat(state, now);
    else this.#madePunching?.noteNat(state, now);
  }

  /** Queries of this project's extensions for nodes behind NATs. */
  #serveHidden(query: Message, from: Endpoint, now: Millis): void {
    const { method, token, values } = query;
    if (method === "dm_pass" && token === undefined) this.#punching.deliver(query, from, now);
    else if (this.#nat.isReadOnly(from.family)) this.traffic.drop("read_only");
    else if (method === "dm_pass") this.#introducer.pass(query, from, now);
    else if (method === "dm_probe" && token !== undefined) {
      this.#introducer.askProbe(query, from, now);
    } else if (method === "dm_probe" && values !== undefined) {
      this.#introducer.probe(query, from, now);
    }
  }

  get #punching(): Punching {
    const { families } = this.#options;
    const random = this.#random;
    this.#madePunching ??= new Punching(this.#hidden, families, WRITER, this.#deadlines, random);
    return this.#madePunching;
  }

  get #introducer(): Introducer {
    const { relayRate } = this.#options;
    this.#madeIntroducer ??= new Introducer(this.#hidden, relayRate, WRITER, this.#random);
    return this.#madeIntroducer;
  }

  /** What serves nodes that strangers can't reach needs this of the node. */
  get #hidden(): PunchingNode & IntroducerNode {
    const { host, client, tokens, peers } = this;
    const contacts = this.#contacts;
    return {
      self: this.#self,
      host,
      client,
      tokens,
      peers,
      nat: this.#nat,
      contacts: (family) => contacts.tables[family]?.contacts() ?? [],
      contact: (id) => contacts.find(id),
      contactAt: (at, id) => contacts.at(at, id),
      drop: (reason) => this.traffic.drop(reason),
      seek: (...search) => this.#seek(...search),
      query: this.#query,
      send: (query, now, done) => this.#queries.send(query, now, whenDone(done)),
      sendWritten: (method, to, sockets?, index = 0) => {
        const datagram = WRITER.done();
        this.traffic.out.count(method, "query", datagram.length);
        if (sockets === undefined) host.send(datagram, to);
        else sockets.send(index, datagram, to);
      },
      sendReply: this.#sendReply,
      receive: (...packet) => this.receive(...packet),
      answer: (...query) => this.#answerAside(...query),
    };
  }

  /** Our reply to a query that did not come from its sender, and is not answered there; undefined where it is late. */
  #answerAside(query: Message, from: Endpoint, now: Millis): Uint8Array | undefined {
    WRITER.reset();
    this.#isHeldBack = true;
    const keeps = query.id !== undefined && this.#contacts.at(from, query.id) !== undefined;
    this.#responder.answer(query, from, now, keeps);
    this.#isHeldBack = false;
    const reply = WRITER.done();
    return reply.length > 0 ? reply : undefined;
  }

  /** Nodes of this project that can be asked to have us probed. */
  #seekProbers(
    family: Family,
    now: Millis,
    done: (found: readonly Prober[], now: Millis) => void,
  ): void {
    const found: Prober[] = [];
    this.#seek(family, this.id, now, ({ id, endpoint, token, isOurs }) => {
      if (isOurs && token !== undefined) found.push({ id, endpoint, token });
      return false;
    }, (at) => done(found, at));
  }

  /** See `NatNode.askAside`. */
  #askAside(
    { endpoint }: Prober,
    args: QueryArguments,
    hear: (message: Message, from: Endpoint) => void,
  ): (() => void) | undefined {
    const sockets = this.host.openSockets(1, (_, datagram, from) => {
      const message = decode(datagram);
      if (typeof message !== "string") hear(message, from);
    });
    if (sockets === undefined) return undefined;
    const isReadOnly = this.#nat.isReadOnly(endpoint.family);
    writeQuery(WRITER, "dm_probe", this.#random.word(), this.id, this.client, isReadOnly, args);
    const datagram = WRITER.done();
    this.traffic.out.count("dm_probe", "query", datagram.length);
    sockets.send(0, datagram, endpoint);
    return () => sockets.close();
  }

  #seek(
    family: Family | undefined,
    target: Id,
    now: Millis,
    onFound: (found: Found, now: Millis) => boolean,
    onEnd: (now: Millis) => void,
  ): void {
    const hear = ({ id, token, values, client }: Message, candidate: Candidate, at: Millis) => {
      if (id === undefined) return false;
      const { endpoint, rtt } = candidate;
      const found = { id, endpoint, token: token?.slice(), values: values ?? [], rtt };
      return onFound({ ...found, isOurs: isOurs(client, this.client) }, at);
    };
    if (family === undefined) {
      return this.#lookupAll(target, "get_peers", now, hear, (_, at) => onEnd(at));
    }
    const end = (_: LookupResult, at: Millis) => onEnd(at);
    this.#prepare(family, target, "get_peers", [], now, hear, end).start();
  }

  readonly #query = (
    method: Method,
    to: Endpoint,
    args: QueryArguments,
    expected: Id | undefined,
    now: Millis,
    done: (outcome: QueryOutcome, now: Millis) => void,
  ): void => {
    this.#queries.send({ method, to, args, expected }, now, whenDone(done));
  };
}

/** What is passed on for others unless told otherwise: enough for a small value now and then. */
const RELAY_RATE = 2_048;

/** What a reply by way of another names: nobody, for that has to be small. */
const NO_TABLES = {};

/** Of the nodes that a batch knows to be the closest so many must acknowledge, or they are looked for anew. */
const ENOUGH_OF_BATCH = 0.8;

/** Notes in a batch who answered. Nodes of this project give one token for all targets (`Tokens`). */
function noteIn(
  batch: Batch,
  message: Message,
  candidate: Candidate,
  own: number,
  now: Millis,
): void {
  const { id, client } = message;
  if (id === undefined) return;
  batch.note({
    id,
    endpoint: candidate.endpoint,
    expectedMs: candidate.rtt,
    // It has been measured: that is better than any guess.
    coordinateXy: 0,
    coordinateZHeight: 0,
    token: client >>> 16 === own >>> 16 ? candidate.token : undefined,
    answeredAt: now,
  });
}

const IS_HEALTHY = (contact: Contact) => contact.health === "healthy";

/** How a lookup goes about it. */
interface Manner {
  /** Asks the nodes that lead to an answer soonest, not the closest. */
  readonly isHurried?: boolean;
  /** Asks who holds the item, not for the item. */
  readonly seesTo?: boolean;
  /** Begins with what other lookups of the batch have found, and adds to it. */
  readonly batch?: Batch;
}

/** Puts an item with each node's token; `age`: how many seconds ago its owner did. */
function putsOf({ value, signed }: Item, age?: number) {
  return (token: Uint8Array): [Method, QueryArguments] => ["put", { token, value, age, ...signed }];
}

/** What finding nodes, and then so many puts, have cost; of a query's bytes about as much as there are. */
function costOf({ asked }: FindResult, puts: number, { value, signed }: Item): Cost {
  const putBytes = PUT_BYTES + value.length + (signed === undefined ? 0 : SIGNED_BYTES);
  return { packets: asked.length + puts, bytes: asked.length * QUERY_BYTES + puts * putBytes };
}

/** Bytes of a lookup's query, of a put beside its value, and of what is added where that is signed. */
const QUERY_BYTES = 110, PUT_BYTES = 120, SIGNED_BYTES = 130;

/** Peers of a swarm that one search collects. */
const MAX_PEERS_FOUND = 1_000;

/** Collects the versions of one item that the answers to a `get` carry, and keeps the newest that is genuine. */
class ItemReader {
  newest: Item | undefined;
  /** Whether the answer that was read last carried a value that can't be the one asked for. */
  isWrong = false;
  /** Answers that wait for somebody to tell the salt. */
  readonly #unverified: { message: Message; packet: Uint8Array }[] = [];

  constructor(
    readonly host: Host,
    readonly target: Id,
    public salt: Uint8Array | undefined,
    held: Item | undefined,
  ) {
    this.newest = held;
    this.salt ??= held?.signed?.salt;
  }

  get saltUnknown(): boolean {
    return this.newest === undefined && this.#unverified.length > 0;
  }

  /** Reads one answer; true where nothing better can follow, because the item is immutable. */
  read(message: Message): boolean {
    this.isWrong = false;
    if (message.value === undefined) return false;
    const salt = this.salt ?? message.salt ?? EMPTY;
    const item = itemOf(this.host, message, salt);
    if (!isItemError(item) && item.target.equals(this.target)) {
      if (item.signed === undefined) {
        this.newest = item;
        return true;
      }
      if (this.newest?.signed === undefined || item.signed.seq > this.newest.signed.seq) {
        this.newest = item;
      }
      if (this.salt === undefined) {
        this.salt = salt.slice();
        for (const kept of this.#unverified.splice(0)) this.read(kept.message);
      }
    } else if (this.salt === undefined && message.publicKey !== undefined) {
      if (this.#unverified.length >= MAX_UNVERIFIED) return false;
      const packet = message.packet.slice();
      const again = decode(packet);
      if (typeof again !== "string") this.#unverified.push({ message: again, packet });
    } else this.isWrong = this.#isFault(message, salt);
    return false;
  }

  /**
   * Whether it is its holder's fault that a value is not the one asked for. With a salt that our user has mistaken no
   * mutable item fits, and a `seq` may be larger than we can read.
   */
  #isFault({ publicKey, seq }: Message, salt: Uint8Array): boolean {
    if (publicKey === undefined) return true;
    if (!Number.isSafeInteger(seq)) return false;
    const isRightSalt = this.newest?.signed !== undefined;
    return isRightSalt || mutableTarget(this.host, publicKey, salt).equals(this.target);
  }
}

/** Unverified answers kept: as many as nodes are asked at least. */
const MAX_UNVERIFIED = 32;
const EMPTY = new Uint8Array(0);
