// The routing table of one address family: k-buckets that split around our own id (Kademlia, section 2.4; BEP 5).

import type { Endpoint } from "../../krpc/endpoint.ts";
import { compareDistance, type Id, sharedPrefix } from "../../krpc/id.ts";
import { Contact } from "./contact.ts";
import { isSameSubnet, maxSimilar, SIMILAR_BITS } from "./diversity.ts";
import { SubnetLimit } from "./subnet_limit.ts";
import type { Millis } from "../deadlines.ts";

/** A node that we have not queried, but that another node named. It seems faster than some of our contacts. */
export interface Prospect {
  readonly id: Id;
  readonly endpoint: Endpoint;
  /** The round-trip time that the node's coordinate predicts. */
  readonly rtt: number;
}

/** Cap on the replacements of one bucket. No more are needed, because lookups find other nodes. */
const MAX_REPLACEMENTS = 8;

/**
 * This time is added to round-trip times before they are compared, so that small differences, which are noise, matter
 * less.
 */
const NOISE_MS = 10;

/** How long a bucket's price limit is cached. Contacts are checked at most once a minute, so prices change slowly. */
const LIMIT_REUSE_MS = 30_000;

/**
 * Factor that increases a contact's price (see `price`) if the contact's table does not contain us. If two nodes are in
 * each other's tables, one ping checks both. Factors from 1.5 to 8 made no difference to the speed of fetches
 * (docs/performance.md).
 */
const ONE_SIDED_FACTOR = 5;

/**
 * Factor that increases a contact's price if its id is not bound to its address (BEP 42): the node may have chosen that
 * id itself.
 */
const UNBOUND_FACTOR = 1.5;

/**
 * A newcomer replaces a contact only if the newcomer's price is below this share of the contact's price. Smaller gains
 * are not worth a replacement.
 */
const REPLACING_SHARE = 0.8;

/** A bucket of the routing table: the contacts whose ids are in one range of the id space. */
class Bucket {
  contacts: Contact[] = [];
  /** The first 32-bit words of the contacts' ids. Scanning this array is faster than visiting every contact. */
  words: number[] = [];
  /** The first 32-bit words of the contacts' addresses, in their own array for the same reason. */
  addresses: number[] = [];
  /** Contacts that answered while the bucket was full. They wait for a place, the most recent one at the end. */
  readonly replacements: Contact[] = [];
  /** The first 32-bit words of the replacements' ids. */
  readonly replacementWords: number[] = [];
  /**
   * The node with the lowest predicted round-trip time among those that other nodes named and that are neither contacts
   * nor replacements.
   */
  prospect: Prospect | undefined = undefined;
  /**
   * A newcomer with a lower price than this replaces a contact. The limit is cached until `limitUntil`, because every
   * query from a stranger needs it.
   */
  limit = 0;
  /**
   * Whether the bucket has a surplus contact: one that exceeds the subnet limit and is allowed only because its subnet
   * is a home subnet. Cached like `limit`.
   */
  hasSurplus = false;
  limitUntil: Millis = -Infinity;

  /**
   * `changed`: the time when a contact was last added or a lookup last ran in the bucket's range. `k`: the bucket's
   * capacity.
   */
  constructor(public changed: Millis, readonly k: number) {}

  find(id: Id): Contact | undefined {
    const at = indexOf(id, this.words, this.contacts);
    return at < 0 ? undefined : this.contacts[at];
  }

  waiting(id: Id): Contact | undefined {
    const at = indexOf(id, this.replacementWords, this.replacements);
    return at < 0 ? undefined : this.replacements[at];
  }

  /** Adds a contact as the most recent replacement. */
  wait(contact: Contact): void {
    this.replacements.push(contact);
    this.replacementWords.push(contact.id.a);
    if (this.replacements.length > MAX_REPLACEMENTS) this.unwait(0);
  }

  unwait(at: number): Contact {
    this.replacementWords.splice(at, 1);
    return this.replacements.splice(at, 1)[0];
  }

  add(contact: Contact): void {
    this.limitUntil = -Infinity;
    this.contacts.push(contact);
    this.words.push(contact.id.a);
    this.addresses.push(contact.endpoint.a);
    if (this.contacts.length === this.k) this.#fit();
  }

  /** Copies the lists to release the spare capacity that grown arrays keep: 2 kB per node. */
  #fit(): void {
    this.contacts = this.contacts.slice();
    this.words = this.words.slice();
    this.addresses = this.addresses.slice();
  }

  replace(at: number, contact: Contact): void {
    this.limitUntil = -Infinity;
    this.contacts[at] = contact;
    this.words[at] = contact.id.a;
    this.addresses[at] = contact.endpoint.a;
  }

  remove(at: number): void {
    this.contacts.splice(at, 1);
    this.words.splice(at, 1);
    this.addresses.splice(at, 1);
  }
}

/** Returns the index of the contact with this id, given the first words of all ids; -1 if there is none. */
function indexOf(id: Id, words: readonly number[], contacts: readonly Contact[]): number {
  for (let i = 0; i < words.length; i++) {
    if (words[i] === id.a && contacts[i].id.equals(id)) return i;
  }
  return -1;
}

/** Counts the bucket's contacts in the same subnet as an address. */
function countInSubnet({ addresses, contacts }: Bucket, endpoint: Endpoint): number {
  let count = 0;
  for (let i = 0; i < addresses.length; i++) {
    const mayBeSame = (addresses[i] ^ endpoint.a) >>> 8 === 0;
    if (mayBeSame && isSameSubnet(contacts[i].endpoint, endpoint)) count++;
  }
  return count;
}

/** The sign bit. Distances are unsigned words. With this bit inverted, signed comparisons sort them correctly. */
const SIGN = 0x80000000 | 0;

/** What happened to a contact that answered: it was added, it waits as a replacement, or it was refused. */
interface Admission {
  readonly admission: "added" | "waiting" | "refused";
  readonly replaced?: Contact;
}

/**
 * Bucket i holds the contacts whose ids share exactly i leading bits with ours. The last bucket also holds those that
 * share more bits, and is the only bucket that splits.
 */
export class RoutingTable {
  readonly k: number;
  readonly #buckets: Bucket[];
  /**
   * Scratch array for `closest`: the sorted first words of the distances found so far, each with its sign bit inverted.
   */
  readonly #firstWords: number[] = [];
  readonly #subnets: SubnetLimit;
  #size = 0;

  /** `k`: the maximum number of contacts per bucket. */
  constructor(
    readonly own: Id,
    { k, subnets = new SubnetLimit() }: { readonly k: number; readonly subnets?: SubnetLimit },
    now: Millis,
  ) {
    this.k = k;
    this.#subnets = subnets;
    this.#buckets = [new Bucket(now, k)];
  }

  get size(): number {
    return this.#size;
  }

  get bucketCount(): number {
    return this.#buckets.length;
  }

  find(id: Id): Contact | undefined {
    return this.#bucket(id).find(id);
  }

  /** Whether an id is in the range of one of the last two buckets, which hold the k nodes closest to us. */
  isNeighbour(id: Id): boolean {
    return this.#index(id) >= this.#buckets.length - 2;
  }

  /** Returns the contact at this endpoint, whatever its id. */
  at(endpoint: Endpoint): Contact | undefined {
    for (const { addresses, contacts } of this.#buckets) {
      for (let i = 0; i < addresses.length; i++) {
        if (addresses[i] === endpoint.a && contacts[i].endpoint.equals(endpoint)) {
          return contacts[i];
        }
      }
    }
    return undefined;
  }

  /** Returns the replacement with this id: a contact that waits for a place in a full bucket. */
  waiting(id: Id): Contact | undefined {
    return this.#bucket(id).waiting(id);
  }

  /**
   * The number of free places for this id in its bucket. If that is the last bucket, counts the free places in the
   * bucket that a split would create.
   */
  room(id: Id): number {
    const index = this.#index(id);
    const { contacts } = this.#buckets[index];
    if (index < this.#buckets.length - 1) return this.k - contacts.length;
    const shared = sharedPrefix(this.own, id);
    return this.k - contacts.filter((other) => sharedPrefix(this.own, other.id) === shared).length;
  }

  /**
   * The smallest number of leading bits that any contact of the last bucket shares with our id; 0 if the bucket is
   * empty.
   */
  get leastShared(): number {
    const { contacts } = this.#buckets[this.#buckets.length - 1];
    let least = contacts.length === 0 ? 0 : Infinity;
    for (const { id } of contacts) least = Math.min(least, sharedPrefix(this.own, id));
    return least;
  }

  /** Whether a contact with this id could be added without replacing another contact. */
  hasRoom(id: Id): boolean {
    const index = this.#index(id);
    return this.#buckets[index].contacts.length < this.k ||
      (index === this.#buckets.length - 1 && this.#splits());
  }

  /** Whether `admit` would probably add a contact with this id if it answers in `rtt` milliseconds. */
  wouldAdmit(
    { id, endpoint }: { readonly id: Id; readonly endpoint: Endpoint },
    { rtt, isMutual }: { readonly rtt: number; readonly isMutual: boolean },
    now: Millis,
  ): boolean {
    if (this.hasRoom(id)) return true;
    const index = this.#index(id);
    const bucket = this.#buckets[index];
    if (now >= bucket.limitUntil) {
      bucket.limit = this.#limit(index, now);
      bucket.hasSurplus = this.#surplus(bucket) >= 0;
      bucket.limitUntil = now + LIMIT_REUSE_MS;
    }
    return bucket.limit === Infinity || price(rtt, isMutual, true) < bucket.limit ||
      (bucket.hasSurplus && !this.#isSurplus(endpoint, bucket));
  }

  /**
   * Adds a contact that answered. If the bucket is full, the contact replaces a worse contact, which is returned, or it
   * waits as a replacement.
   */
  admit(contact: Contact, now: Millis): Admission {
    if (contact.id.equals(this.own)) return { admission: "refused" };
    let index = this.#index(contact.id);
    while (this.#buckets[index].contacts.length >= this.k) {
      if (index < this.#buckets.length - 1 || !this.#splits()) break;
      this.#split(now);
      index = this.#index(contact.id);
    }
    const bucket = this.#buckets[index];
    if (bucket.contacts.length < this.k) {
      if (this.#isCrowded(contact, now)) return { admission: "refused" };
      bucket.add(contact);
      bucket.changed = now;
      this.#size++;
      return { admission: "added" };
    }
    // If the contact is already a replacement, remove that entry: a node must not have two places.
    const known = indexOf(contact.id, bucket.replacementWords, bucket.replacements);
    if (known >= 0) bucket.unwait(known);
    let at = this.#replaceable(index, contact, now);
    if (at >= 0 && this.#isCrowded(contact, now)) at = -1;
    const replaced = at < 0 ? undefined : bucket.contacts[at];
    if (at >= 0) {
      bucket.replace(at, contact);
      bucket.changed = now;
    }
    const waits = replaced ?? contact;
    if (waits.health !== "unhealthy") bucket.wait(waits);
    return replaced === undefined ? { admission: "waiting" } : { admission: "added", replaced };
  }

  /**
   * Whether a contact must not be added: another contact has the same address, or the bucket already has the maximum
   * number of contacts in the same subnet or with similar ids.
   */
  #isCrowded({ id, endpoint }: Contact, now: Millis): boolean {
    const subnets = this.#subnets;
    if (!subnets.appliesTo(endpoint)) return false;
    if (!subnets.isHome(endpoint)) {
      const isLeftOut = this.#hasAddress(endpoint, id) ||
        countInSubnet(this.#bucket(id), endpoint) >= subnets.perSubnet;
      if (isLeftOut) subnets.noteLeftOut(endpoint, now);
      if (isLeftOut) return true;
    }
    const { contacts } = this.#bucket(id);
    // The ids of our closest contacts show how many leading bits k neighbours share in this network.
    const similarBits = Math.max(this.leastShared, 1 + sharedPrefix(this.own, id)) + SIMILAR_BITS;
    let similar = 0;
    for (const other of contacts) if (sharedPrefix(other.id, id) >= similarBits) similar++;
    return similar >= maxSimilar(this.k);
  }

  /** Whether a contact with another id has this address. */
  #hasAddress(endpoint: Endpoint, id: Id): boolean {
    for (const { addresses, contacts } of this.#buckets) {
      for (let i = 0; i < addresses.length; i++) {
        if (addresses[i] !== endpoint.a || !contacts[i].endpoint.sameAddress(endpoint)) continue;
        if (!contacts[i].id.equals(id)) return true;
      }
    }
    return false;
  }

  /**
   * Whether a node at this address would exceed the subnet limit, and is allowed only because its subnet is a home
   * subnet.
   */
  #isSurplus(endpoint: Endpoint, bucket: Bucket): boolean {
    const subnets = this.#subnets;
    return subnets.appliesTo(endpoint) && subnets.isHome(endpoint) &&
      countInSubnet(bucket, endpoint) >= subnets.perSubnet;
  }

  /**
   * The index of the latest contact that exceeds the subnet limit and is allowed only because its subnet is a home
   * subnet; -1 if there is none.
   */
  #surplus(bucket: Bucket): number {
    const { perSubnet } = this.#subnets;
    return bucket.contacts.findLastIndex(({ endpoint }) =>
      this.#isSurplus(endpoint, bucket) && countInSubnet(bucket, endpoint) > perSubnet
    );
  }

  /**
   * Returns the index of the contact that a newcomer replaces in a full bucket; -1 if there is none. An unhealthy
   * contact is replaced first, next a surplus contact of a home subnet, and last the contact with the highest price, if
   * the newcomer's price is clearly lower. In the last bucket, prices are ignored, because we need all of our closest
   * neighbours.
   */
  #replaceable(index: number, newcomer: Contact, now: Millis): number {
    const bucket = this.#buckets[index], { contacts } = bucket;
    const unhealthy = contacts.findIndex(isUnhealthy);
    if (unhealthy >= 0) return unhealthy;
    const surplus = this.#isSurplus(newcomer.endpoint, bucket) ? -1 : this.#surplus(bucket);
    if (surplus >= 0 || index === this.#buckets.length - 1) return surplus;
    let worst = -1, highest = priceOf(newcomer, now) / REPLACING_SHARE;
    for (let i = 0; i < contacts.length; i++) {
      const price = priceOf(contacts[i], now);
      if (price > highest) highest = price, worst = i;
    }
    return worst;
  }

  /**
   * Returns the price below which a newcomer replaces a contact of a full bucket; Infinity if any price is low enough.
   */
  #limit(index: number, now: Millis): number {
    const { contacts } = this.#buckets[index];
    if (contacts.some(isUnhealthy)) return Infinity;
    if (index === this.#buckets.length - 1) return 0;
    let highest = 0;
    for (const contact of contacts) highest = Math.max(highest, priceOf(contact, now) || 0);
    return REPLACING_SHARE * highest;
  }

  /** Considers a node that another node named. Returns true if it has become the prospect of its bucket. */
  consider(id: Id, endpoint: Endpoint, rtt: number): boolean {
    const index = this.#index(id);
    const bucket = this.#buckets[index];
    if (bucket.prospect !== undefined && bucket.prospect.rtt <= rtt) return false;
    if (bucket.find(id) !== undefined || id.equals(this.own)) return false;
    if (this.waiting(id) !== undefined) return false;
    bucket.prospect = { id, endpoint, rtt };
    return true;
  }

  /**
   * Removes and returns a prospect, with the index of its bucket. `admit` would add this node if it answered as fast as
   * expected.
   */
  takeProspect(now: Millis): { prospect: Prospect; bucket: number } | undefined {
    for (let i = 0; i < this.#buckets.length; i++) {
      const { prospect } = this.#buckets[i];
      if (prospect === undefined) continue;
      this.#buckets[i].prospect = undefined;
      const { id, rtt } = prospect;
      if (this.wouldAdmit(prospect, { rtt, isMutual: false }, now)) {
        return { prospect, bucket: this.#index(id) };
      }
    }
    return undefined;
  }

  /** Removes a contact. The most recent suitable replacement takes its place, and is returned. */
  remove(contact: Contact, now: Millis): Contact | undefined {
    const bucket = this.#bucket(contact.id);
    const at = bucket.contacts.indexOf(contact);
    if (at < 0) return undefined;
    bucket.remove(at);
    this.#size--;
    const next = bucket.replacements.findLastIndex((waiting) => !this.#isCrowded(waiting, now));
    if (next < 0) return undefined;
    const replacement = bucket.unwait(next);
    bucket.add(replacement);
    this.#size++;
    bucket.changed = now;
    return replacement;
  }

  /**
   * Returns the `count` contacts closest to `target` for which `accept` returns true, nearest first.
   *
   * Only a few contacts need to be compared, because whole buckets are ordered by distance. If the target shares p bits
   * with our id, bucket p is the nearest. All deeper buckets together come next, then p - 1, p - 2 and so on.
   */
  closest(target: Id, count: number, accept: (contact: Contact) => boolean): Contact[] {
    const found: Contact[] = [];
    if (count <= 0) return found;
    const last = this.#buckets.length - 1;
    const near = Math.min(sharedPrefix(this.own, target), last);
    this.#gather(near, target, count, accept, found, 0);
    if (found.length < count) {
      const nearer = found.length;
      for (let i = near + 1; i <= last; i++) this.#gather(i, target, count, accept, found, nearer);
    }
    for (let i = near - 1; i >= 0 && found.length < count; i--) {
      this.#gather(i, target, count, accept, found, found.length);
    }
    return found;
  }

  /** Records that a lookup ran in the range of the bucket of `id`, so that the bucket needs no refresh for a while. */
  touch(id: Id, now: Millis): void {
    this.#bucket(id).changed = now;
  }

  /**
   * Returns the indexes of the buckets that have not changed since `before` or, for full buckets, since `fullBefore`.
   */
  staleBuckets(before: Millis, fullBefore: Millis): number[] {
    return this.#buckets.flatMap(({ changed, contacts }, index) =>
      changed <= (contacts.length < this.k ? before : fullBefore) ? [index] : []
    );
  }

  *contacts(): Generator<Contact> {
    for (const bucket of this.#buckets) yield* bucket.contacts;
  }

  /** Inserts a bucket's accepted contacts into `found`, starting at index `from`, sorted by distance. */
  #gather(
    index: number,
    target: Id,
    count: number,
    accept: (contact: Contact) => boolean,
    found: Contact[],
    from: number,
  ): void {
    const { contacts, words: idWords } = this.#buckets[index];
    const words = this.#firstWords;
    const flipped = target.a ^ SIGN;
    for (let i = 0; i < idWords.length; i++) {
      // The first words of two distances nearly always differ, so the full ids of most contacts need not be read.
      const first = idWords[i] ^ flipped;
      let at = found.length;
      if (at === count) {
        const last = words[at - 1];
        if (first > last) continue;
        if (
          first === last && compareDistance(contacts[i].id, found[at - 1].id, target) >= 0
        ) continue;
      }
      const contact = contacts[i];
      if (!accept(contact)) continue;
      if (at === count) at--;
      for (; at > from; at--) {
        const word = words[at - 1];
        if (first > word) break;
        if (first === word && compareDistance(contact.id, found[at - 1].id, target) >= 0) break;
        found[at] = found[at - 1];
        words[at] = word;
      }
      found[at] = contact;
      words[at] = first;
    }
  }

  #index(id: Id): number {
    return Math.min(sharedPrefix(this.own, id), this.#buckets.length - 1);
  }

  #bucket(id: Id): Bucket {
    return this.#buckets[this.#index(id)];
  }

  #splits(): boolean {
    return this.#buckets.length < 160;
  }

  #split(now: Millis): void {
    const depth = this.#buckets.length - 1;
    const old = this.#buckets[depth];
    const same = new Bucket(old.changed, this.k), deeper = new Bucket(now, this.k);
    const half = (contact: Contact) => sharedPrefix(this.own, contact.id) === depth ? same : deeper;
    for (const contact of old.contacts) half(contact).add(contact);
    for (const contact of old.replacements) half(contact).wait(contact);
    this.#buckets.splice(depth, 1, same, deeper);
  }
}

/**
 * Returns the price of a contact: its response time, increased if the contact's table does not contain us or its id is
 * not valid (BEP 42).
 */
function price(ms: number, isMutual: boolean, hasValidId: boolean): number {
  return (ms + NOISE_MS) * (isMutual ? 1 : ONE_SIDED_FACTOR) * (hasValidId ? 1 : UNBOUND_FACTOR);
}

function priceOf(contact: Contact, now: Millis): number {
  return price(contact.expectedMs, contact.isMutual(now), contact.hasValidId);
}

function isUnhealthy(contact: Contact): boolean {
  return contact.health === "unhealthy";
}
