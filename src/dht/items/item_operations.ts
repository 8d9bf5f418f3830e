// Operations on stored values: getting, putting, and finding the nodes that hold replicas.

import { compareBytes } from "../../krpc/bencode.ts";
import type { Endpoint } from "../../krpc/endpoint.ts";
import { compareDistance, type Id } from "../../krpc/id.ts";
import { ErrorCode, type Message, type QueryArguments } from "../../krpc/message.ts";
import type { Seq } from "../../krpc/seq.ts";
import { BoundedMap } from "../bounded_map.ts";
import type { Millis } from "../deadlines.ts";
import type { Contacts } from "../membership/contacts.ts";
import type { Batch } from "../search/batch.ts";
import type { Candidate, Placed } from "../search/lookup.ts";
import { EarlyWrites } from "../search/early_writes.ts";
import type { FindResult, Search, Searches } from "../search/searches.ts";
import type { Purpose } from "../purpose.ts";
import { type Write, write, type WriteResult } from "../search/write.ts";
import {
  compareVersions,
  isItemError,
  type Item,
  ITEM_LIFE_MS,
  type ItemCrypto,
  type ItemError,
  refusal,
  sameBytes,
  type StoredItem,
} from "./item.ts";
import { ItemReader } from "./item_reader.ts";
import { readHeld, readNewest, type Stores } from "./held.ts";
import { type EarlyDrop, notKept } from "./item_store.ts";

/** A node's stores for items, and the functions that verify items. */
export interface ItemHost extends ItemCrypto, Stores {}

export type ItemEvent =
  /** Another node stored an item here. */
  | { readonly type: "data.store"; readonly item: Item; readonly from: Endpoint }
  /** We sent copies of an item that we hold to nodes that needed them. */
  | { readonly type: "data.replicate"; readonly item: Item; readonly to: readonly Id[] }
  /** We publish another node's newer version of a value from now on, instead of the version `former`. */
  | { readonly type: "data.adopt"; readonly item: Item; readonly former: Item }
  /**
   * We no longer hold an item: it expired, or we needed its space and enough closer nodes have it.
   */
  | { readonly type: "data.expire"; readonly target: Id; readonly reason: "expired" | EarlyDrop };

export interface Get {
  readonly target: Id;
  /** The salt of a mutable item. Leave it out if it is unknown: nodes that run this project's software report it. */
  readonly salt?: Uint8Array;
  /** Gets and puts of the same batch share what they learn about the network. */
  readonly batch?: Batch;
  /** The purpose of the traffic: the batch's purpose by default or, without a batch, requests. */
  readonly purpose?: Purpose;
}

export interface Put extends Get {
  /** If given, the put only replaces a version with this seq (BEP 44). */
  readonly cas?: Seq;
  /**
   * Whether each node may replace only the version that it returned before the put. We then notice
   * if another node puts a value in the meantime, even if that value has the same seq and counts as
   * older than ours ({@link compareVersions}).
   */
  readonly isGuarded?: boolean;
  /**
   * The number of nodes that should hold the item; k by default. If the number is less than k, our own node does not
   * count.
   */
  readonly copies?: number;
  /** How long the nodes should keep the item; `ITEM_LIFE_MS` by default. */
  readonly lifeMs?: Millis;
  /**
   * Whether the caller keeps the item in `published`. Our item store then needs no copy of an
   * immutable item. Our own node still counts as one that acknowledged the item if it is one of the
   * k closest.
   */
  readonly isOwn?: boolean;
  /** Called at each acknowledgement, with the number of nodes that have acknowledged the item so far. */
  readonly onAcknowledged?: (count: number, now: Millis) => void;
  /**
   * The item, if it does not depend on the newest version. It is then sent to each of the closest nodes as soon as the
   * node has given a token, instead of after the search.
   */
  readonly item?: Item;
  /**
   * Called with the newest version on the network, if any. Returns the item to store, or the reason not to store one.
   */
  readonly make: (newest: Item | undefined) => Item | ItemError;
}

export interface GetResult extends FindResult {
  /** The item found: for a mutable one, the version with the highest seq. */
  readonly item: Item | undefined;
  /** Whether a mutable item was found, but could not be verified because no node returned its salt. */
  readonly saltUnknown: boolean;
}

export interface PutResult extends FindResult {
  /** The item that was put; undefined if `make` returned an error. */
  readonly item: Item | undefined;
  /** The ids of the nodes that acknowledged the item, including our own id if we stored it too. */
  readonly stored: readonly Id[];
  /** The errors with which `make` or the nodes refused the item. */
  readonly refusals: readonly ItemError[];
}

/** A value for which `room` asks the nodes how much space they have. */
export interface RoomRequest {
  /** The cost of storing each of the value's items once; see `itemCost`. */
  readonly bytes: number;
  /** The number of nodes that should hold each item. */
  readonly copies: number;
  /** How long the nodes should keep the items; `ITEM_LIFE_MS` by default. */
  readonly lifeMs?: Millis;
  /** The nodes closest to these targets are asked. In a small network, the first target is enough. */
  readonly targets: readonly Id[];
}

/** How much room nodes have for a value. */
export interface Room {
  /**
   * The space that the value needs on each node. In a large network, this is an average with a
   * margin.
   */
  readonly neededBytes: number;
  /** The number of nodes that answered. */
  readonly asked: number;
  /** How many of the nodes that answered have the needed space for us, or don't say how much space they have. */
  readonly withRoom: number;
  /** Whether all nodes of the network were asked. */
  readonly isAll: boolean;
}

/** One copy of an item. */
export interface Replica {
  readonly id: Id;
  /** The endpoint of the node that holds the copy; undefined for our own copy. */
  readonly endpoint: Endpoint | undefined;
  /** The version of the copy; undefined for an immutable item. */
  readonly seq: Seq | undefined;
  /** Milliseconds since the owner put the item; undefined if the holder doesn't report it. */
  readonly ageMs: number | undefined;
}

export interface ReplicasResult extends FindResult {
  /** The copies, sorted by their holders' distance from the target. */
  readonly replicas: readonly Replica[];
}

interface ItemWrite extends Pick<Write, "nodes" | "stored" | "isCurrent" | "purpose"> {
  readonly send?: Write["send"];
  /** Called with each node that acknowledged the item. */
  readonly onStored?: Write["onStored"];
  readonly item: Item & Pick<StoredItem, "copies">;
  /** The number of nodes to write to; by default, the number of nodes that should hold the item. */
  readonly count?: number;
  /** Seconds since the owner put the item; undefined if the owner is putting it now. */
  readonly age?: number;
  /** How long the nodes should keep the item after its owner put it; `ITEM_LIFE_MS` by default. */
  readonly lifeMs?: Millis;
  readonly casFor?: (id: Id) => Seq | undefined;
}

/** The usual number of nodes that hold a part of a large value. */
const PART_HOLDERS = 2;

/** The version of a mutable item that a node returned, and the seconds since its owner put it; NaN if not given. */
interface HolderVersion {
  readonly seq: Seq;
  readonly value: Uint8Array;
  readonly age: number;
}

/**
 * A node that acknowledged an item must keep it for this time. If it loses the item earlier, that counts as a fault.
 * BEP 44 lets nodes forget items after two hours.
 */
const HELD_MS = 60 * 60_000;

/** Cap on the remembered acknowledgements. Beyond it, the oldest one is forgotten. */
const MAX_ACKNOWLEDGEMENTS = 2_048;

/**
 * In a network with more nodes than copies, items are spread unevenly: a node may have to hold this
 * many times the average.
 */
const UNEVEN_FACTOR = 1.5;

/**
 * If less than this share of the holders that a batch knows acknowledge a put, the batch looks the
 * holders up again.
 */
const MIN_BATCH_STORED_SHARE = 0.8;

export class ItemOperations {
  readonly host: ItemHost;
  readonly searches: Searches;
  /**
   * Called when nodes have stored one of our own items that each of the k closest nodes should
   * hold.
   */
  onOwnStored: ((target: Id, holders: readonly Id[]) => void) | undefined;
  /** Called when this node itself has put an item into its own store for the network. */
  onHeld: ((item: Item, now: Millis) => void) | undefined;
  /** Called after each search for an item, with the result of the search. */
  onRead: ((target: Id, result: GetResult, now: Millis) => void) | undefined;
  readonly #contacts: Contacts;
  /** The time when a node last acknowledged an item, by the {@link pairKey} of the item's target and the node. */
  readonly #acknowledgedAt = new BoundedMap<number, Millis>(MAX_ACKNOWLEDGEMENTS);

  constructor(parts: { searches: Searches; contacts: Contacts; host: ItemHost }) {
    this.searches = parts.searches;
    this.#contacts = parts.contacts;
    this.host = parts.host;
  }

  /**
   * Fetches an item: the first copy found of an immutable one, or the newest version that the
   * closest nodes have. Items that our own node holds or publishes count too, even if our node is
   * not one of the closest nodes.
   */
  get(get: Get, now: Millis, done: (result: GetResult, now: Millis) => void): void {
    readHeld(this.host, get.target, now, (held, at) => this.#get(get, held?.item, at, done));
  }

  #get(
    { target, salt, batch, purpose = batch?.purpose ?? "requests" }: Get,
    held: Item | undefined,
    now: Millis,
    done: (result: GetResult, now: Millis) => void,
  ): void {
    if (held !== undefined && held.signed === undefined) {
      const nothing = { closest: [], holders: 0, asked: [], startedAt: now, hops: 0, elapsed: 0 };
      return done({ ...nothing, item: held, saltUnknown: false }, now);
    }
    const reader = new ItemReader(this.host, { target, salt, held });
    const holders = new Map<string, HolderVersion>();
    const onResponse = (message: Message, { endpoint }: Candidate, at: Millis) => {
      const { publicKey, id, seq, age, value } = message;
      if (publicKey !== undefined && value !== undefined) {
        holders.set(`${id}`, { seq, age, value: value.slice() });
      }
      const isEnough = reader.read(message);
      if (reader.isWrong && id !== undefined) this.#contacts.noteFault(id, endpoint, at);
      return isEnough;
    };
    this.find({ target, onResponse, isHurried: true, batch, purpose }, now, (result, at) => {
      const { newest, isSaltUnknown } = reader;
      const found = { ...result, item: newest, saltUnknown: isSaltUnknown };
      done(found, at);
      this.onRead?.(target, found, at);
      if (newest?.signed !== undefined) {
        this.#updateStale(newest, { closest: result.closest, holders }, at);
      }
    });
  }

  /**
   * Fetches an immutable item as part of a batch. If the batch knows the nodes closest to the
   * target, first asks only the few of them that usually hold a part. If these nodes don't have the
   * item, a search asks more nodes. The search continues after the item is found, so that the batch
   * learns the nodes near the target.
   */
  getPart(
    { target, batch }: { target: Id; batch: Batch },
    now: Millis,
    done: (item: Item | undefined, now: Millis) => void,
  ): void {
    readHeld(this.host, target, now, (held, readAt) => {
      if (held !== undefined) return done(held.item, readAt);
      const { tables: { k }, queries } = this.searches;
      const networkSize = this.searches.networkSize(readAt) ?? Infinity;
      const known = batch.holders(target, { k, count: PART_HOLDERS, networkSize }, readAt);
      const nodes = known?.slice(0, PART_HOLDERS) ?? [];
      const askNext = (at: Millis): void => {
        const node = nodes.shift();
        if (node === undefined) return this.#searchPart({ target, batch }, at, done);
        const { id, endpoint, expectedMs } = node;
        let isOpen = true;
        const goOn = (end: Millis) => {
          if (isOpen) askNext(end);
          isOpen = false;
        };
        const query = {
          method: "get",
          to: endpoint,
          args: { target },
          expected: id,
          purpose: batch.purpose,
        } as const;
        queries.send({ ...query, rtt: expectedMs }, at, {
          onLate: () => {},
          onOverdue: goOn,
          done: (outcome, end) => {
            if (!isOpen) return;
            const reader = new ItemReader(this.host, { target });
            if (outcome.kind === "response" && reader.read(outcome.message)) {
              isOpen = false;
              return done(reader.newest, end);
            }
            if (outcome.kind === "timeout") batch.forget(id);
            goOn(end);
          },
        });
      };
      askNext(readAt);
    });
  }

  #searchPart(
    { target, batch }: { target: Id; batch: Batch },
    now: Millis,
    done: (item: Item | undefined, now: Millis) => void,
  ): void {
    const reader = new ItemReader(this.host, { target });
    let isDone = false;
    const onResponse = (message: Message, { endpoint }: Candidate, at: Millis) => {
      if (isDone) return false;
      isDone = reader.read(message);
      if (reader.isWrong && message.id !== undefined) {
        this.#contacts.noteFault(message.id, endpoint, at);
      }
      if (isDone) done(reader.newest, at);
      return false;
    };
    this.find({ target, onResponse, batch }, now, (_, at) => {
      if (!isDone) done(undefined, at);
    });
  }

  /** Sends the newest version of a mutable item to the nodes that hold an older version. */
  #updateStale(
    item: Item,
    { closest, holders }: {
      readonly closest: readonly Placed[];
      readonly holders: ReadonlyMap<string, HolderVersion>;
    },
    now: Millis,
  ): void {
    const { seq } = item.signed!;
    const order = (holder: HolderVersion) =>
      holder.seq === seq ? compareBytes(holder.value, item.value) : holder.seq < seq ? -1 : 1;
    const ages = [...holders.values()].filter((holder) =>
      order(holder) === 0 && !Number.isNaN(holder.age)
    ).map((holder) => holder.age);
    const age = ages.length > 0 ? Math.min(...ages) : 0;
    this.host.items.read(item.target, now, (held, at) => {
      if (held !== undefined && compareVersions(held, item) < 0) {
        this.host.items.put({ item, ageMs: age * 1000 }, at, (outcome) => {
          if (outcome === "kept") this.onHeld?.(item, at);
        });
      }
    });
    this.host.published.adopt(item);
    const nodes = closest.filter(({ id }) => {
      const holder = holders.get(`${id}`);
      return holder !== undefined && order(holder) < 0;
    });
    this.write({ item, age, nodes, purpose: "upkeep" }, now, () => {});
  }

  /**
   * Finds out which of the k closest nodes hold an item, in which version, and how old each copy
   * is. A copy counts only if the node returned the correct value.
   */
  replicas(
    { target, salt }: Pick<Get, "target" | "salt">,
    now: Millis,
    done: (result: ReplicasResult, now: Millis) => void,
  ): void {
    const replicas: Replica[] = [];
    const { self } = this.searches;
    const reader = new ItemReader(this.host, { target, salt });
    const onResponse = (message: Message, { endpoint }: Candidate, at: Millis) => {
      const { id, age } = message;
      if (id === undefined) return false;
      reader.read(message, ({ signed }) => {
        const ageMs = Number.isNaN(age) ? undefined : age * 1000;
        replicas.push({ id, endpoint, seq: signed?.seq, ageMs });
      });
      if (reader.isWrong) this.#contacts.noteFault(id, endpoint, at);
      return false;
    };
    this.find({ target, onResponse, purpose: "requests" }, now, (result, at) => {
      const closest = new Set(result.closest.slice(0, result.holders).map(({ id }) => `${id}`));
      const among = replicas.filter(({ id }) => closest.has(`${id}`));
      readHeld(this.host, target, at, (held, end) => {
        if (held !== undefined) {
          const seq = held.item.signed?.seq, ageMs = end - held.putAt;
          among.push({ id: self.id, endpoint: undefined, seq, ageMs });
        }
        among.sort((x, y) => compareDistance(x.id, y.id, target));
        done({ ...result, replicas: among }, end);
      });
    });
  }

  /** Stores an item on the k nodes closest to its target, which may include our own node. */
  put(put: Put, now: Millis, done: (result: PutResult, now: Millis) => void): void {
    readNewest(this.host, put.target, now, (held, at) => this.#put(put, held?.item, at, done));
  }

  #put(
    { target, salt, cas, isGuarded, copies, lifeMs, isOwn, make, batch, ...given }: Put,
    held: Item | undefined,
    now: Millis,
    done: (result: PutResult, now: Millis) => void,
  ): void {
    const { purpose = batch?.purpose ?? "requests", onAcknowledged } = given;
    const acknowledged = new Set<string>();
    const onStored = (id: Id, at: Millis) => {
      if (acknowledged.has(`${id}`)) return;
      acknowledged.add(`${id}`);
      onAcknowledged?.(acknowledged.size, at);
    };
    const early = new EarlyWrites(this.searches.queries, onStored);
    const onNear = given.item === undefined || copies !== undefined
      ? undefined
      : ({ id, endpoint: to, token }: Placed, at: Millis) => {
        if (token === undefined || this.searches.tables.find(id)?.lacks("put")) return;
        const args = argsOf({ item: given.item!, token, lifeMs });
        early.start({ method: "put", to, args, expected: id, purpose }, at);
      };
    const reader = new ItemReader(this.host, { target, salt, held });
    const versions = new Map<string, Pick<HolderVersion, "seq" | "value">>();
    // Unlike a get, a put needs the tokens of all the closest nodes, so its search never ends
    // early.
    const onResponse = (message: Message, { endpoint }: Candidate, at: Millis) => {
      reader.read(message);
      const { id, seq, value } = message;
      if (reader.isWrong && id !== undefined) this.#contacts.noteFault(id, endpoint, at);
      if (id !== undefined && value !== undefined) {
        versions.set(`${id}`, { seq, value: value.slice() });
      }
      return false;
    };
    const pace = { isHurried: batch === undefined, asksAllSoon: true };
    const search = { target, onResponse, batch, purpose, onNear, ...pace };
    this.find(search, now, (result, at) => {
      const item = make(reader.newest);
      if (isItemError(item)) {
        return done({ ...result, item: undefined, stored: [], refusals: [item] }, at);
      }
      // bittorrent-dht nodes refuse a put with error 302 if they already hold exactly this version.
      const isCurrent = (id: Id) => {
        const version = versions.get(`${id}`);
        return version !== undefined && version.seq === item.signed?.seq &&
          sameBytes(version.value, item.value);
      };
      const casFor = (id: Id) => {
        const version = versions.get(`${id}`);
        // Send the cas only to nodes that returned a version, because others have nothing to
        // compare it with (BEP 44).
        if (!isGuarded) return version && cas;
        if (isCurrent(id)) return undefined;
        // A cas of 0 makes two kinds of nodes refuse the put: nodes that have another value with
        // the same seq as ours, and nodes that had no version but have received one since.
        return version === undefined || version.seq === item.signed?.seq ? 0 : version.seq || 0;
      };
      const { closest: nodes, holders } = result;
      const ownCas = isGuarded ? held?.signed?.seq ?? 0 : cas;
      this.#storeHere({ item, nodes, holders, cas: ownCas, copies, lifeMs, isOwn }, at, (here) => {
        const { stored } = here, count = this.copiesAmong(holders, copies);
        const itemWrite = { item: { ...item, copies }, count, lifeMs, purpose, onStored };
        for (const id of stored) onStored(id, at);
        this.write(
          { ...itemWrite, nodes, stored, casFor, isCurrent, send: early.send },
          at,
          ({ stored, refusals }, end) => {
            const all = [...here.refusals, ...refusals];
            const counted = isOwn ? this.#unlessFull({ stored, refusals: all }) : stored;
            if (isOwn && copies === undefined) this.onOwnStored?.(target, counted);
            done({ ...result, item, stored: counted, refusals: all, elapsed: end - now }, end);
          },
        );
      });
    });
  }

  /**
   * Stores an immutable item that is a part of one of our values, as part of a batch. Skips the lookup if the batch
   * knows the closest nodes.
   */
  putPart(
    { item, batch, copies, lifeMs }: Pick<Put, "copies" | "lifeMs"> & { item: Item; batch: Batch },
    now: Millis,
    done: (result: Pick<PutResult, "stored" | "refusals" | "elapsed">, now: Millis) => void,
  ): void {
    const { target } = item;
    const putAfterLookup = (at: Millis) =>
      this.put(
        { target, copies, lifeMs, make: () => item, batch, isOwn: true },
        at,
        (result, end) => done({ ...result, elapsed: end - now }, end),
      );
    const k = Math.max(this.searches.tables.k, copies ?? 0);
    const networkSize = this.searches.networkSize(now) ?? Infinity;
    const nodes = batch.holders(target, { k, count: copies, networkSize }, now);
    if (nodes === undefined) return putAfterLookup(now);
    const wanted = Math.min(copies ?? k, nodes.length);
    this.#storeHere({ item, nodes, holders: k, copies, isOwn: true }, now, (here) => {
      const { stored } = here, { purpose } = batch;
      const itemWrite = { item: { ...item, copies }, lifeMs, nodes, stored, purpose };
      this.write(itemWrite, now, ({ stored: all, refusals }, at) => {
        const stored = this.#unlessFull({ stored: all, refusals });
        if (stored.length >= MIN_BATCH_STORED_SHARE * wanted) {
          return done({ stored, refusals, elapsed: at - now }, at);
        }
        for (const { id } of nodes.slice(0, wanted)) {
          if (!stored.some((other) => other.equals(id))) batch.forget(id);
        }
        putAfterLookup(at);
      });
    });
  }

  /**
   * The nodes that stored one of our own items. If no other node stored it and some refused it for
   * lack of space, our own node does not count either.
   */
  #unlessFull({ stored, refusals }: WriteResult): readonly Id[] {
    const { id } = this.searches.self;
    const isOnlyHere = stored.every((other) => other.equals(id));
    return isOnlyHere && refusals.some(({ code }) => code === ErrorCode.server) ? [] : stored;
  }

  /** Asks nodes how much we may still store there. Called before a large value is sent. */
  room(request: RoomRequest, now: Millis, done: (room: Room, now: Millis) => void): void {
    const rooms = new Map<string, number>();
    const { tables: { k } } = this.searches;
    const end = (isAll: boolean, at: Millis) => {
      const { bytes, copies } = request;
      const size = isAll ? rooms.size : Math.max(rooms.size, this.searches.networkSize(at) ?? 0);
      // In a large network, items are spread unevenly, so require more than the average space.
      const neededBytes = size <= copies ? bytes : UNEVEN_FACTOR * bytes * copies / size;
      const withRoom = [...rooms.values()].filter((room) => room >= neededBytes).length;
      done({ neededBytes, asked: rooms.size, withRoom, isAll }, at);
    };
    const onResponse = ({ id, room, token }: Message) => {
      // A node without a token stores no items.
      if (id !== undefined && token !== undefined) {
        rooms.set(`${id}`, Number.isNaN(room) ? Infinity : room);
      }
      return false;
    };
    const ask = (index: number, from: Millis) => {
      const target = request.targets[index], ttl = ttlOf(request.lifeMs);
      const search = { target, onResponse, wantsRoom: true, ttl, purpose: "requests" } as const;
      this.find(search, from, ({ closest }, at) => {
        const isAll = closest.length < k;
        if (isAll || index + 1 === request.targets.length) end(isAll, at);
        else ask(index + 1, at);
      });
    };
    ask(0, now);
  }

  /** Stores an item in our own store if we are one of the nodes closest to its target. */
  #storeHere(
    { item, nodes, holders, cas, copies, lifeMs, isOwn }:
      & Pick<Put, "cas" | "copies" | "lifeMs" | "isOwn">
      & Pick<FindResult, "holders">
      & {
        readonly item: Item;
        readonly nodes: readonly { id: Id }[];
      },
    now: Millis,
    done: (result: WriteResult) => void,
  ): void {
    const isForOthers = copies !== undefined && copies < this.searches.tables.k;
    if (isForOthers || !this.isAmongClosest(item.target, { closest: nodes, holders })) {
      return done({ stored: [], refusals: [] });
    }
    const here = { stored: [this.searches.self.id], refusals: [] };
    const store = (at: Millis) =>
      this.host.items.put({ item, copies, lifeMs }, at, (outcome) => {
        if (outcome === "kept") this.onHeld?.(item, at);
        if (outcome === "kept" || isOwn) return done(here);
        done({ stored: [], refusals: [notKept(outcome)] });
      });
    // An immutable item has only one version, so no check against the version that we hold is
    // needed.
    if (item.signed === undefined) return isOwn ? done(here) : store(now);
    // Check against the version that we hold now. It may have changed since the lookup began. Put our
    // own item into the item store too, so that we refuse older versions from other nodes even before
    // `published` has the item.
    readNewest(this.host, item.target, now, (held, at) => {
      const refused = refusal(held?.item, item, cas);
      if (refused !== undefined) return done({ stored: [], refusals: [refused] });
      store(at);
    });
  }

  /** Whether our node is one of those that should hold an item. `closest` lists other nodes, nearest first. */
  isAmongClosest(
    target: Id,
    { closest, holders }: { closest: readonly { id: Id }[]; holders: number },
  ): boolean {
    const { self, tables: { families } } = this.searches;
    if (families.every((family) => self.isReadOnly(family))) return false;
    return closest.length < holders ||
      compareDistance(self.id, closest[holders - 1].id, target) < 0;
  }

  /**
   * How many nodes should have a copy of an item: `copies`, by default k. Around a crowded target,
   * `holders` nodes should have a copy, because the nodes closest to the target may be Sybils.
   */
  copiesAmong(holders: number, copies: number | undefined): number {
    const { k } = this.searches.tables;
    return holders > k ? Math.max(holders, copies ?? 0) : copies ?? k;
  }

  /** Asks the nodes closest to a target for the item. */
  find(
    search: Omit<Search, "method">,
    now: Millis,
    done: (result: FindResult, now: Millis) => void,
  ): void {
    const { target, challenge } = search;
    const onResponse: Search["onResponse"] = (message, candidate, at) => {
      // An answer to a challenge contains a proof instead of the value, and the caller checks the
      // proof.
      if (challenge === undefined) {
        this.#noteLoss(message, { target, endpoint: candidate.endpoint }, at);
      }
      return search.onResponse?.(message, candidate, at) ?? false;
    };
    this.searches.find({ ...search, method: "get", onResponse }, now, done);
  }

  /** Counts a fault against a node that claims to hold an item, but can't prove it. */
  noteUnproven(id: Id, endpoint: Endpoint): void {
    this.#contacts.noteLoss(id, endpoint);
  }

  /**
   * Counts a fault against a node that does not return an item, although it recently acknowledged
   * the item or reports the item's age.
   */
  #noteLoss(
    { id, value, age, seq }: Message,
    { target, endpoint }: { target: Id; endpoint: Endpoint },
    now: Millis,
  ): void {
    if (value !== undefined || id === undefined) return;
    if (!Number.isNaN(age)) return this.noteUnproven(id, endpoint);
    if (!Number.isNaN(seq)) return;
    const key = pairKey(target, id), since = this.#acknowledgedAt.get(key);
    if (since === undefined) return;
    this.#acknowledgedAt.delete(key);
    if (now - since < HELD_MS) this.#contacts.noteLoss(id, endpoint);
  }

  /** Sends an item to the k closest of `nodes`. */
  write(
    { item, age, lifeMs, casFor, count = item.copies, ...rest }: ItemWrite,
    now: Millis,
    done: (result: WriteResult, now: Millis) => void,
  ): void {
    const { target } = item;
    const args = (token: Uint8Array, id: Id) =>
      argsOf({ item, token, lifeMs, age, cas: casFor?.(id) });
    const onStored = (id: Id, at: Millis) => {
      this.#acknowledgedAt.set(pairKey(target, id), at);
      rest.onStored?.(id, at);
    };
    const { queries } = this.searches;
    write({ ...rest, queries, method: "put", args, count, onStored }, now, done);
  }
}

/** The arguments of a put. `age`: seconds since the owner put the item; undefined if the owner is putting it now. */
function argsOf(
  { item: { value, signed, copies }, token, lifeMs, age, cas }: {
    readonly item: ItemWrite["item"];
    readonly token: Uint8Array;
    readonly lifeMs?: Millis;
    readonly age?: number;
    readonly cas?: Seq;
  },
): QueryArguments {
  return { token, value, age, cas, copies, ttl: ttlOf(lifeMs), ...signed };
}

/** A lifetime in seconds, as put messages contain it; undefined for the default. */
function ttlOf(lifeMs: Millis = ITEM_LIFE_MS): number | undefined {
  return lifeMs === ITEM_LIFE_MS ? undefined : Math.round(lifeMs / 1000);
}

/** A map key for a target and a holder: 53 bits from both ids, enough to tell a few thousand pairs apart. */
function pairKey(target: Id, holder: Id): number {
  return ((target.a ^ holder.b) >>> 0) * 2 ** 21 + ((target.c ^ holder.a) >>> 11);
}
