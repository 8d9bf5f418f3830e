// Watches items for this node: subscribes at their closest holders, and fetches the versions that
// the holders announce.

import type { Endpoint } from "../../krpc/endpoint.ts";
import { compareDistance, type Id, IdMap } from "../../krpc/id.ts";
import { ErrorCode, type Message, readCompactNodes } from "../../krpc/message.ts";
import type { Seq } from "../../krpc/seq.ts";
import { Recent } from "../bounded_map.ts";
import type { Deadline, Deadlines, Millis } from "../deadlines.ts";
import { compareVersions, type Item, sameBytes } from "../items/item.ts";
import type { GetResult, ItemOperations } from "../items/item_operations.ts";
import { ItemReader } from "../items/item_reader.ts";
import { proofOf } from "../items/proof.ts";
import type { Random } from "../random.ts";
import { whenDone } from "../search/query.ts";
import { NOTICE_BYTES, SECRET_BYTES } from "./subscriptions.ts";

/**
 * The number of holders at which a node subscribes to an item. If a fifth of all nodes die, the probability that all
 * eight are dead is 3 in a million.
 */
export const SUBSCRIPTIONS = 8;

/**
 * The number of holders at which a node behind a NAT subscribes. Such a node also has to ping each holder every 25 s.
 */
const HIDDEN_SUBSCRIPTIONS = 4;

/**
 * How often each subscription is renewed. The holder's answer states its version, so a renewal also finds versions
 * whose notice got lost.
 */
export const RENEW_INTERVAL_MS = 60_000;

/** The interval between the pings that keep a NAT open. Some NATs forget a silent peer after 30 s. */
const KEEP_ALIVE_MS = 25_000;

/** The minimum time between two searches for the closest holders of one item. */
const SEARCH_GAP_MS = 60_000;

/**
 * How long we don't subscribe at a node that refused a subscription or sent a false notice. Also, how long a node that
 * holders name can't cause a second search.
 */
const AVOIDED_MS = 10 * 60_000;

/** Cap on the avoided nodes, and on the nodes that have caused a search, for each item. */
const MAX_AVOIDED = 64;

export type WatchEvent =
  /** The event that a holder has returned a new version of a watched item. */
  | { readonly type: "watch.version"; readonly item: Item }
  /**
   * The event that a watched item should be read, because too few subscriptions are left or new holders must be found.
   */
  | { readonly type: "watch.read"; readonly target: Id };

/** A subscription of this node at a holder. */
interface Subscription {
  readonly id: Id;
  readonly endpoint: Endpoint;
  token: Uint8Array;
  /** A secret that the holder must repeat in its notices. */
  readonly secret: Uint8Array;
  /** Whether the holder has accepted the subscription. A subscription that fails is removed. */
  isHeld: boolean;
  /** When the subscription will next be renewed. */
  renewAt: Millis;
  timer: Deadline | undefined;
}

/** The version that a holder claims to have. */
interface Announced {
  readonly from: Subscription;
  /** The version number; NaN for an immutable item. */
  readonly seq: Seq;
  readonly proof: Uint8Array;
  /** The node id that the holder used in the notice or answer. */
  readonly id: Id;
}

interface Watched {
  readonly target: Id;
  /** The newest version that this node knows; undefined if it knows none. */
  known: Item | undefined;
  /** The subscriptions, by the holder's endpoint as text. */
  readonly subscriptions: Map<string, Subscription>;
  readonly avoided: Recent;
  /**
   * The nodes that holders have named and that caused a search, because they are close to the item and we have no
   * subscription there.
   */
  readonly named: Recent;
  /** The number of subscriptions that this node wants to have. */
  wanted: number;
  /** The number of accepted subscriptions below which the item must be polled; Infinity if it must always be polled. */
  needed: number;
  /** When the latest search for the closest holders was requested or ended. */
  searchedAt: Millis;
  search: Deadline | undefined;
  /** The announced version that is being fetched now. */
  fetching: Announced | undefined;
  /** Further announced versions, which may be fetched next. */
  readonly waiting: Announced[];
}

interface WatchingParts {
  readonly operations: ItemOperations;
  readonly deadlines: Deadlines;
  readonly random: Random;
  readonly emit: (event: WatchEvent) => void;
}

export class Watching {
  /** The numbers of notices for a subscription, of all other notices, and of pings that keep NATs open. */
  readonly counts = { received: 0, unknown: 0, pings: 0 };
  readonly #parts: WatchingParts;
  /** Undefined until an item is first watched, because most nodes never watch any. */
  #watched: IdMap<Watched> | undefined;

  constructor(parts: WatchingParts) {
    this.#parts = parts;
    parts.operations.onRead = (target, result, at) => this.#noteRead(target, result, at);
  }

  /** The number of subscriptions that holders have accepted. */
  get subscriptions(): number {
    let held = 0;
    for (const watched of this.#watched?.values() ?? []) held += heldBy(watched);
    return held;
  }

  /** Begins to watch an item. The caller must then read the item, and read it again at each `watch.read` event. */
  start(target: Id): void {
    const { random } = this.#parts;
    const all = this.#watched ??= new IdMap(random.word());
    if (all.has(target)) return;
    all.set(target, {
      target,
      known: undefined,
      subscriptions: new Map(),
      avoided: new Recent(AVOIDED_MS, MAX_AVOIDED),
      named: new Recent(AVOIDED_MS, MAX_AVOIDED),
      wanted: SUBSCRIPTIONS,
      needed: Infinity,
      searchedAt: -Infinity,
      search: undefined,
      fetching: undefined,
      waiting: [],
    });
  }

  /** Stops watching an item. The holders drop the subscriptions at their expiry or at the next notice. */
  stop(target: Id): void {
    const watched = this.#watched?.get(target);
    if (watched === undefined) return;
    this.#watched!.delete(target);
    this.#parts.deadlines.cancel(watched.search);
    for (const subscription of [...watched.subscriptions.values()]) {
      this.#end(watched, subscription);
    }
  }

  /** Whether enough holders will report new versions, so that the item need not be polled. */
  isPushed(target: Id): boolean {
    const watched = this.#watched?.get(target);
    return watched !== undefined && heldBy(watched) >= watched.needed;
  }

  /** Records a version that this node has stored or published itself. */
  noteVersion(item: Item): void {
    const watched = this.#watched?.get(item.target);
    if (watched !== undefined) this.#learn(watched, item);
  }

  /**
   * Drops all subscriptions and requests new searches, because the subscriptions may have expired while the machine
   * slept.
   */
  reset(now: Millis): void {
    for (const watched of this.#watched?.values() ?? []) {
      for (const subscription of [...watched.subscriptions.values()]) {
        this.#end(watched, subscription);
      }
      this.#ask(watched, now);
    }
  }

  /** Records `item` if it is newer than the newest known version. Returns whether it is. */
  #learn(watched: Watched, item: Item): boolean {
    if (watched.known !== undefined && compareVersions(item, watched.known) <= 0) return false;
    watched.known = item;
    return true;
  }

  /** Requests a read of the item from the caller. The read also finds new holders. */
  #ask({ target }: Watched, now: Millis): void {
    const watched = this.#watched!.get(target)!;
    this.#parts.deadlines.cancel(watched.search);
    watched.search = undefined;
    watched.searchedAt = now;
    this.#parts.emit({ type: "watch.read", target });
  }

  /** Like `#ask`, but at most once per `SEARCH_GAP_MS` and item. */
  #askSoon(watched: Watched, now: Millis): void {
    const at = Math.max(now, watched.searchedAt + SEARCH_GAP_MS);
    watched.search ??= this.#parts.deadlines.schedule(at, (due) => this.#ask(watched, due));
  }

  /** Subscribes at the closest nodes that a read has found, and ends all other subscriptions. */
  #noteRead(target: Id, { closest, holders, item }: GetResult, now: Millis): void {
    const watched = this.#watched?.get(target);
    if (watched === undefined) return;
    const { searches: { self, tables } } = this.#parts.operations;
    if (item !== undefined) this.#learn(watched, item);
    this.#parts.deadlines.cancel(watched.search);
    watched.search = undefined;
    watched.searchedAt = now;
    // An immutable item has only one version, so no subscription is needed.
    if (watched.known !== undefined && watched.known.signed === undefined) {
      for (const subscription of [...watched.subscriptions.values()]) {
        this.#end(watched, subscription);
      }
      return;
    }
    const isHidden = closest.some(({ endpoint }) => self.isReadOnly(endpoint.family));
    const most = Math.min(SUBSCRIPTIONS, tables.k);
    const count = watched.wanted = isHidden ? Math.min(HIDDEN_SUBSCRIPTIONS, most) : most;
    const nearest = closest.slice(0, most);
    const isOurs = (client: number) => self.isSameSoftware(client);
    const ours = nearest.filter(({ client }) => isOurs(client)).length;
    // Poll the item in two cases. Around a crowded target, the closest nodes may be Sybils. Other implementations send
    // no notices, and store values only on the eight closest nodes.
    const isTrusted = ours > 0 && ours >= nearest.length / 2 && holders <= tables.k;
    watched.needed = isTrusted ? Math.ceil(Math.min(count, ours) / 2) : Infinity;
    const chosen = closest.filter(({ client, token, endpoint, id }) =>
      isOurs(client) && token !== undefined && !watched.avoided.has(nameOf(id, endpoint), now)
    ).slice(0, count);
    for (const subscription of [...watched.subscriptions.values()]) {
      const isChosen = chosen.some(({ endpoint }) => endpoint.equals(subscription.endpoint));
      if (!isChosen) this.#end(watched, subscription);
    }
    chosen.forEach(({ id, endpoint, token }, i) => {
      const former = watched.subscriptions.get(`${endpoint}`);
      if (former !== undefined && former.id.equals(id)) {
        former.token = token!;
        return;
      }
      if (former !== undefined) this.#end(watched, former);
      const subscription: Subscription = {
        id,
        endpoint,
        token: token!,
        secret: this.#parts.random.bytes(SECRET_BYTES),
        isHeld: false,
        // Spread the renewals evenly over the interval: if all notices of a version got lost, one of the renewals soon
        // finds it.
        renewAt: now + (i + 1) / chosen.length * RENEW_INTERVAL_MS,
        timer: undefined,
      };
      watched.subscriptions.set(`${endpoint}`, subscription);
      this.#subscribe(watched, subscription, now);
      this.#schedule(watched, subscription, now);
    });
  }

  #schedule(watched: Watched, subscription: Subscription, now: Millis): void {
    const { operations: { searches: { self, queries } }, deadlines } = this.#parts;
    const { endpoint, id, renewAt } = subscription;
    const keepAliveAt = self.isReadOnly(endpoint.family) ? now + KEEP_ALIVE_MS : Infinity;
    subscription.timer = deadlines.schedule(Math.min(renewAt, keepAliveAt), (at) => {
      if (renewAt <= at) {
        subscription.renewAt = at + RENEW_INTERVAL_MS;
        this.#subscribe(watched, subscription, at);
      } else {
        this.counts.pings++;
        const ping = {
          method: "ping",
          to: endpoint,
          args: {},
          expected: id,
          isOnce: true,
        } as const;
        queries.send(ping, at, whenDone(() => {}));
      }
      // `#subscribe` may have ended the subscription.
      if (watched.subscriptions.get(`${endpoint}`) === subscription) {
        this.#schedule(watched, subscription, at);
      }
    });
  }

  /** Sends a query that creates or renews a subscription. */
  #subscribe(watched: Watched, subscription: Subscription, now: Millis): void {
    const { queries } = this.#parts.operations.searches;
    const { id: expected, endpoint: to, token, secret } = subscription;
    const args = { target: watched.target, token, returnToken: secret };
    const query = { method: "dm_subscribe", to, args, expected, minBytes: NOTICE_BYTES } as const;
    queries.send(
      query,
      now,
      whenDone((outcome, at) => {
        if (watched.subscriptions.get(`${to}`) !== subscription) return;
        if (outcome.kind === "response" && !Number.isNaN(outcome.message.interval)) {
          subscription.isHeld = true;
          return this.#noteAnswer(watched, subscription, outcome.message, at);
        }
        // The holder may have restarted and no longer accept its earlier tokens. A search then gets a new token.
        const isStaleToken = outcome.kind === "error" && outcome.code === ErrorCode.protocol;
        if (outcome.kind !== "timeout" && !isStaleToken) this.#avoid(watched, subscription, at);
        this.#lose(watched, subscription, at);
      }),
    );
  }

  /** Handles a holder's answer to a subscription: its version, its next token, and the closer nodes that it names. */
  #noteAnswer(
    watched: Watched,
    subscription: Subscription,
    answer: Message,
    now: Millis,
  ): void {
    const { id, token, seq, proof } = answer;
    if (token !== undefined) subscription.token = token.slice();
    if (this.#namesNewHolder(watched, subscription, answer, now)) this.#askSoon(watched, now);
    if (proof === undefined || id === undefined) return;
    this.#noteVersionOf(watched, { from: subscription, seq, proof: proof.slice(), id }, now);
  }

  /** Whether an answer names an unknown node close enough to the item that this node should subscribe there. */
  #namesNewHolder(
    { target, subscriptions, avoided, named, wanted }: Watched,
    { endpoint: { family } }: Subscription,
    answer: Message,
    now: Millis,
  ): boolean {
    const nodes = family === 4 ? answer.nodes : answer.nodes6;
    const holders = [...subscriptions.values()];
    const isClose = (id: Id) =>
      holders.length < wanted ||
      holders.some((holder) => compareDistance(id, holder.id, target) < 0);
    let isNew = false;
    readCompactNodes(nodes ?? NO_BYTES, family, (id, endpoint) => {
      const isOwn = id.equals(this.#parts.operations.searches.self.id);
      if (isOwn || subscriptions.has(`${endpoint}`) || !isClose(id)) return;
      const name = nameOf(id, endpoint);
      if (avoided.has(name, now) || named.has(name, now)) return;
      named.add(name, now);
      isNew = true;
    });
    return isNew;
  }

  #avoid({ avoided }: Watched, { id, endpoint }: Subscription, now: Millis): void {
    avoided.add(nameOf(id, endpoint), now);
  }

  /** Ends a subscription that failed, and requests a search for another holder. */
  #lose(watched: Watched, subscription: Subscription, now: Millis): void {
    const wasPushed = this.isPushed(watched.target);
    this.#end(watched, subscription);
    if (wasPushed && !this.isPushed(watched.target)) this.#ask(watched, now);
    else this.#askSoon(watched, now);
  }

  #end({ subscriptions }: Watched, subscription: Subscription): void {
    this.#parts.deadlines.cancel(subscription.timer);
    subscriptions.delete(`${subscription.endpoint}`);
  }

  /** Whether a query is a notice that belongs to one of this node's subscriptions. */
  expects({ method, target, token }: Message, from: Endpoint): boolean {
    if (method !== "dm_notice" || target === undefined || token === undefined) return false;
    const subscription = this.#watched?.get(target)?.subscriptions.get(`${from}`);
    return subscription !== undefined && sameBytes(subscription.secret, token);
  }

  /** Handles a notice. Returns false if it belongs to none of this node's subscriptions. */
  receive(notice: Message, from: Endpoint, now: Millis): boolean {
    const { id, target, seq, proof } = notice;
    if (!this.expects(notice, from) || id === undefined || proof === undefined) {
      this.counts.unknown++;
      return false;
    }
    this.counts.received++;
    const watched = this.#watched!.get(target!)!;
    const subscription = watched.subscriptions.get(`${from}`)!;
    this.#noteVersionOf(watched, { from: subscription, seq, proof: proof.slice(), id }, now);
    return true;
  }

  #noteVersionOf(watched: Watched, announced: Announced, now: Millis): void {
    if (!this.#isNews(watched, announced)) return;
    if (watched.fetching === undefined) return this.#fetch(watched, announced, now);
    const { waiting } = watched;
    const before = waiting.findIndex(({ from }) => from === announced.from);
    if (before >= 0) waiting.splice(before, 1);
    waiting.push(announced);
  }

  /** Whether a holder may have another version than this node, and not an older one. */
  #isNews({ known }: Watched, { seq, proof, id: holder, from: { secret } }: Announced): boolean {
    if (known === undefined) return true;
    if (known.signed === undefined || seq < known.signed.seq) return false;
    const { host } = this.#parts.operations;
    return !sameBytes(proof, proofOf(host, { challenge: secret, holder, value: known.value }));
  }

  /** Fetches the announced version from the holder that announced it. */
  #fetch(watched: Watched, announced: Announced, now: Millis): void {
    const { host, searches: { queries } } = this.#parts.operations;
    const { target, known } = watched, salt = known?.signed?.salt, { from } = announced;
    watched.fetching = announced;
    const args = { target, wantSalt: salt === undefined };
    const query = { method: "get", to: from.endpoint, args, expected: from.id } as const;
    queries.send(
      query,
      now,
      whenDone((outcome, at) => {
        watched.fetching = undefined;
        if (this.#watched?.get(target) !== watched) return;
        const reader = new ItemReader(host, { target, salt, held: watched.known });
        if (outcome.kind === "response") reader.read(outcome.message);
        const { newest } = reader;
        if (newest !== undefined && this.#learn(watched, newest)) {
          this.#parts.emit({ type: "watch.version", item: newest });
        } else if (this.#isNews(watched, announced)) {
          // The holder did not return the version that it announced.
          if (outcome.kind !== "timeout") this.#avoid(watched, from, at);
          if (watched.subscriptions.get(`${from.endpoint}`) === from) {
            this.#lose(watched, from, at);
          }
        }
        this.#fetchNext(watched, at);
      }),
    );
  }

  #fetchNext(watched: Watched, now: Millis): void {
    for (let next = watched.waiting.shift(); next !== undefined; next = watched.waiting.shift()) {
      const { from } = next;
      const isHeld = watched.subscriptions.get(`${from.endpoint}`) === from;
      if (isHeld && this.#isNews(watched, next)) return this.#fetch(watched, next, now);
    }
  }
}

const NO_BYTES = new Uint8Array(0);

function heldBy({ subscriptions }: Watched): number {
  let held = 0;
  for (const { isHeld } of subscriptions.values()) if (isHeld) held++;
  return held;
}

function nameOf(id: Id, endpoint: Endpoint): string {
  return `${id} ${endpoint}`;
}
