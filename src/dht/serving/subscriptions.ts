// Manages other nodes' subscriptions to items, and notifies them of new versions.

import type { Endpoint } from "../../krpc/endpoint.ts";
import { type Id, IdMap } from "../../krpc/id.ts";
import { CHALLENGE_BYTES } from "../../krpc/message.ts";
import { Allowance } from "../allowance.ts";
import type { Deadline, Deadlines, Millis } from "../deadlines.ts";
import { isHeld } from "../items/held.ts";
import { compareVersions, type Item } from "../items/item.ts";
import type { ItemHost } from "../items/item_operations.ts";
import { proofOf } from "../items/proof.ts";
import type { Random } from "../random.ts";
import { ownerOf, sourceOf } from "../routing/diversity.ts";
import type { Queries } from "../search/queries.ts";
import { whenDone } from "../search/query.ts";

/**
 * The lease of a subscription. A watcher renews its subscription every minute, so two renewals in a row may get lost.
 */
export const LEASE_MS = 150_000;

/**
 * The size of the longest notice: a `dm_notice` from a read-only node, with a seq of 19 digits. A subscription must be
 * at least as long, so that no notice is longer than its subscription.
 */
export const NOTICE_BYTES = 167;

/** The size of the secret by which a watcher recognizes the notices of a holder. */
export const SECRET_BYTES = CHALLENGE_BYTES;

/** Cap on the subscriptions. Each subscription uses about 0.5 kB of memory. */
export const MAX_SUBSCRIPTIONS = 8_192;

/**
 * One address may have this many subscriptions for each free place, and one network (an IPv4 /24 or IPv6 /48)
 * `NETWORK_SHARE`. One address can thus take a fifth of all places, which is more than a dmnode ever needs, and one
 * network can take half.
 */
const ADDRESS_SHARE = 1 / 4, NETWORK_SHARE = 1;

/**
 * The minimum time between two scans for expired subscriptions. A scan visits all subscriptions, and without this
 * limit, each refused subscription would cause one.
 */
const EXPIRE_GAP_MS = 1_000;

/** The minimum time between two notices about one item. Versions in between cause no notice. */
const NOTICE_GAP_MS = 1_000;

/**
 * The maximum number of notices per second to all subscribers together, and the largest burst. Each notice costs about
 * 20 µs.
 */
const NOTICES_PER_SECOND = 1_000, NOTICE_BURST = 500;

interface Subscriber {
  readonly target: Id;
  readonly endpoint: Endpoint;
  secret: Uint8Array;
  renewedAt: Millis;
  /** Whether the subscriber's notice waits in the queue because of the rate limit. */
  isQueued: boolean;
}

/** An item with subscribers. */
interface Subject {
  /** The subscribers, by endpoint as text. */
  readonly subscribers: Map<string, Subscriber>;
  /** The newest version that the subscribers know, or that is being reported to them. */
  known: Item | undefined;
  noticedAt: Millis;
  /** The deadline of a notice that was delayed because it came too soon after the previous notice. */
  delayed: Deadline | undefined;
}

interface SubscriptionsParts {
  readonly queries: Queries;
  readonly host: ItemHost;
  readonly deadlines: Deadlines;
  readonly random: Random;
}

export class Subscriptions {
  /** The numbers of sent notices, of acknowledged notices, and of refused subscriptions. */
  readonly counts = { sent: 0, acknowledged: 0, refused: 0 };
  readonly #parts: SubscriptionsParts;
  /** Undefined until the first subscription, because most nodes never get one. */
  #subjects: IdMap<Subject> | undefined;
  readonly #byAddress = new Map<string, number>();
  readonly #byNetwork = new Map<string, number>();
  readonly #allowance = new Allowance(NOTICES_PER_SECOND, NOTICE_BURST);
  readonly #queue: Subscriber[] = [];
  #drain: Deadline | undefined;
  #size = 0;
  #expiredAt: Millis = -Infinity;

  constructor(parts: SubscriptionsParts) {
    this.#parts = parts;
  }

  /** The number of subscriptions, including expired ones that are not removed yet. */
  get size(): number {
    return this.#size;
  }

  /** Adds or renews a subscription. Returns false if there is no free place. The caller has checked the token. */
  add(
    { target, from, secret, held }: {
      readonly target: Id;
      readonly from: Endpoint;
      readonly secret: Uint8Array;
      /** The version that this node holds, if any. */
      readonly held?: Item | undefined;
    },
    now: Millis,
  ): boolean {
    const subjects = this.#subjects ??= new IdMap(this.#parts.random.word());
    const name = `${from}`, known = subjects.get(target)?.subscribers.get(name);
    if (known !== undefined) {
      known.secret = secret.slice();
      known.renewedAt = now;
      return true;
    }
    if (!this.#hasRoomFor(from) && this.#expiredAt + EXPIRE_GAP_MS <= now) this.expire(now);
    if (!this.#hasRoomFor(from)) {
      this.counts.refused++;
      return false;
    }
    let subject = subjects.get(target);
    if (subject === undefined) {
      subject = { subscribers: new Map(), known: held, noticedAt: -Infinity, delayed: undefined };
      subjects.set(target, subject);
    }
    const subscriber = { target, endpoint: from, secret: secret.slice(), renewedAt: now };
    subject.subscribers.set(name, { ...subscriber, isQueued: false });
    this.#account(from, 1);
    return true;
  }

  #hasRoomFor(from: Endpoint): boolean {
    const free = MAX_SUBSCRIPTIONS - this.#size, network = sourceOf(from);
    if ((this.#byAddress.get(ownerOf(from)) ?? 0) >= ADDRESS_SHARE * free) return false;
    return network === undefined || (this.#byNetwork.get(network) ?? 0) < NETWORK_SHARE * free;
  }

  #account(from: Endpoint, change: 1 | -1): void {
    this.#size += change;
    addTo(this.#byAddress, ownerOf(from), change);
    const network = sourceOf(from);
    if (network !== undefined) addTo(this.#byNetwork, network, change);
  }

  #remove({ target, endpoint }: Subscriber): void {
    const subject = this.#subjects?.get(target);
    if (!subject?.subscribers.delete(`${endpoint}`)) return;
    this.#account(endpoint, -1);
    if (subject.subscribers.size > 0) return;
    this.#parts.deadlines.cancel(subject.delayed);
    this.#subjects!.delete(target);
  }

  /** Removes the subscriptions whose lease has expired. */
  expire(now: Millis): void {
    this.#expiredAt = now;
    for (const [target, subject] of [...this.#subjects?.entries() ?? []]) {
      for (const subscriber of [...subject.subscribers.values()]) {
        if (subscriber.renewedAt + LEASE_MS <= now) this.#remove(subscriber);
      }
      // If the store has dropped the item, also release the copy here.
      if (!isHeld(this.#parts.host, target, now)) subject.known = undefined;
    }
  }

  /** Called when this node holds a version. Notifies the subscribers, unless they know the version already. */
  noteVersion(item: Item, now: Millis): void {
    const subject = this.#subjects?.get(item.target);
    if (subject === undefined) return;
    if (subject.known !== undefined && compareVersions(item, subject.known) <= 0) return;
    subject.known = item;
    if (subject.delayed !== undefined) return;
    // `now` is the time when the put arrived, but committing the item took a while. Queries sent with that time would
    // seem late at once, so use a deadline, which runs with the current time.
    const at = Math.max(now, subject.noticedAt + NOTICE_GAP_MS);
    subject.delayed = this.#parts.deadlines.schedule(at, (due) => {
      subject.delayed = undefined;
      this.#notify(subject, due);
    });
  }

  #notify(subject: Subject, now: Millis): void {
    subject.noticedAt = now;
    for (const subscriber of subject.subscribers.values()) {
      if (subscriber.isQueued) continue;
      subscriber.isQueued = true;
      this.#queue.push(subscriber);
    }
    if (this.#drain === undefined) this.#sendQueued(now);
  }

  #sendQueued(now: Millis): void {
    this.#drain = undefined;
    let sent = 0;
    while (sent < this.#queue.length && this.#allowance.take(now)) {
      this.#send(this.#queue[sent++], now);
    }
    this.#queue.splice(0, sent);
    if (this.#queue.length === 0) return;
    const at = now + this.#allowance.waitFor(now);
    this.#drain = this.#parts.deadlines.schedule(at, (due) => this.#sendQueued(due));
  }

  /**
   * Sends a queued notice. Removes the subscription if its lease has expired or the subscriber does not acknowledge the
   * notice.
   */
  #send(subscriber: Subscriber, now: Millis): void {
    const { queries, host } = this.#parts, { target, endpoint: to, secret, renewedAt } = subscriber;
    subscriber.isQueued = false;
    const subject = this.#subjects?.get(target), item = subject?.known;
    if (item === undefined || subject?.subscribers.get(`${to}`) !== subscriber) return;
    if (renewedAt + LEASE_MS <= now) return this.#remove(subscriber);
    const { self } = queries.outbox;
    const proof = proofOf(host, { challenge: secret, holder: self.id, value: item.value });
    const args = { target, seq: item.signed?.seq, token: secret, proof };
    const query = { method: "dm_notice", to, args, expected: undefined } as const;
    this.counts.sent++;
    queries.send(
      { ...query, isVerification: true },
      now,
      whenDone((outcome) => {
        if (outcome.kind === "response") this.counts.acknowledged++;
        else if (subscriber.renewedAt === renewedAt) this.#remove(subscriber);
      }),
    );
  }
}

function addTo(counts: Map<string, number>, key: string, change: number): void {
  const count = (counts.get(key) ?? 0) + change;
  if (count > 0) counts.set(key, count);
  else counts.delete(key);
}
