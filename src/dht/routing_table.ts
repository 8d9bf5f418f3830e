// The routing table of one address family: k-buckets that split around our own id (Kademlia, section 2.4; BEP 5).

import type { Endpoint } from "../krpc/endpoint.ts";
import { compareDistance, type Id, sharedPrefix } from "../krpc/id.ts";
import { Contact } from "./contact.ts";
import { isCounted, isSameSubnet, PER_SUBNET } from "./diversity.ts";
import type { Millis } from "./deadlines.ts";

/** A node that was heard of and never asked, and seems to be nearer than contacts that its bucket has. */
export interface Prospect {
  readonly id: Id;
  readonly endpoint: Endpoint;
  /** By its coordinate. */
  readonly rtt: number;
}

/** Contacts that wait for a place in a full bucket: of those that leave it the next lookups make up for more. */
const MAX_REPLACEMENTS = 8;

/** One range of the id space. */
class Bucket {
  contacts: Contact[] = [];
  /** First words of their ids: to look through them side by side costs less than to visit every contact. */
  words: number[] = [];
  /** First words of their addresses, for the same reason. */
  addresses: number[] = [];
  /** Contacts that answered when the bucket was full, the most recent last. */
  readonly replacements: Contact[] = [];
  /** First words of theirs. */
  readonly replacementWords: number[] = [];
  /** The nearest node heard of that is in neither list. */
  prospect: Prospect | undefined = undefined;
  /** Below what a newcomer's price has to be, and until when that is held to be so: strangers ask for it all the time. */
  limit = 0;
  limitUntil: Millis = -Infinity;

  /** `changed`: when a contact was last added or a lookup last ran in it. `k`: contacts that it holds at most. */
  constructor(public changed: Millis, readonly k: number) {}

  find(id: Id): Contact | undefined {
    const at = placeOf(id, this.words, this.contacts);
    return at < 0 ? undefined : this.contacts[at];
  }

  /** The contact with this id that waits for a place. */
  waiting(id: Id): Contact | undefined {
    const at = placeOf(id, this.replacementWords, this.replacements);
    return at < 0 ? undefined : this.replacements[at];
  }

  /** Lets a contact wait for a place, as the freshest. */
  wait(contact: Contact): void {
    this.replacements.push(contact);
    this.replacementWords.push(contact.id.a);
    if (this.replacements.length > MAX_REPLACEMENTS) this.unwait(0);
  }

  /** Takes out a contact that waits. */
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

  /** Lists that have grown have room for twice as many, copies have none: that is 2 kB for each of a process's nodes. */
  #fit(): void {
    this.contacts = this.contacts.slice();
    this.words = this.words.slice();
    this.addresses = this.addresses.slice();
  }

  /** Puts a contact in the place of another. */
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

/** Where the contact with this id is, given the first words of all ids; -1 where it is not. */
function placeOf(id: Id, words: readonly number[], contacts: readonly Contact[]): number {
  for (let i = 0; i < words.length; i++) {
    if (words[i] === id.a && contacts[i].id.equals(id)) return i;
  }
  return -1;
}

const SIGN = 0x80000000 | 0;

/** What became of a contact that answered: it is in the table, or waits for a place. */
export type Admission = "added" | "waiting" | "refused";

/**
 * Bucket i holds contacts that share exactly i leading bits with our id; the last holds all that share more, and is
 * the only one that splits.
 */
export class RoutingTable {
  readonly #buckets: Bucket[];
  /** Of the distances that `closest` has found, first words with the sign bit inverted: in the order of size. */
  readonly #firstWords: number[] = [];
  #size = 0;

  /**
   * `perSubnet`: contacts of one /24 or /64 that a bucket takes; 0: any number. `prefers`: whether near, reliable and
   * mutual contacts are preferred.
   */
  constructor(
    readonly own: Id,
    readonly k: number,
    now: Millis,
    readonly perSubnet = PER_SUBNET,
    readonly prefers = true,
  ) {
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

  /** Whether an id is near ours: in one of the last two buckets, which hold the k closest nodes between them. */
  isNeighbour(id: Id): boolean {
    return this.#index(id) >= this.#buckets.length - 2;
  }

  /** The contact at this endpoint, whatever its id. */
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

  /** The contact with this id that waits for a place. */
  waiting(id: Id): Contact | undefined {
    return this.#bucket(id).waiting(id);
  }

  /** Free places for those that share as many bits with us as this id: in the last bucket they would split off. */
  room(id: Id): number {
    const index = this.#index(id);
    const { contacts } = this.#buckets[index];
    if (index < this.#buckets.length - 1) return this.k - contacts.length;
    const shared = sharedPrefix(this.own, id);
    return this.k - contacts.filter((other) => sharedPrefix(this.own, other.id) === shared).length;
  }

  /** How many bits each contact of the last bucket shares with us at the least; 0 where there is none. */
  get leastShared(): number {
    const { contacts } = this.#buckets[this.#buckets.length - 1];
    return contacts.reduce(
      (n, { id }) => Math.min(n, sharedPrefix(this.own, id)),
      contacts.length === 0 ? 0 : 160,
    );
  }

  /** Whether a contact with this id would find a place without another leaving. */
  hasRoom(id: Id): boolean {
    const index = this.#index(id);
    return this.#buckets[index].contacts.length < this.k ||
      (index === this.#buckets.length - 1 && this.#splits());
  }

  /** Whether `admit` would take in one that takes so many milliseconds to answer, as far as was known of late. */
  wouldAdmit(id: Id, ms: number, isMutual: boolean, now: Millis): boolean {
    if (this.hasRoom(id)) return true;
    const index = this.#index(id);
    const bucket = this.#buckets[index];
    if (now >= bucket.limitUntil) {
      bucket.limit = this.#limit(index, now);
      bucket.limitUntil = now + LIMIT_FOR_MS;
    }
    return bucket.limit === Infinity || price(ms, isMutual, true) < bucket.limit;
  }

  /**
   * Takes in a contact that answered. In a full bucket another gives way, returned as `replaced`, where there is
   * reason for it; otherwise the newcomer waits.
   */
  admit(contact: Contact, now: Millis): { admission: Admission; replaced?: Contact } {
    if (contact.id.equals(this.own)) return { admission: "refused" };
    let index = this.#index(contact.id);
    while (this.#buckets[index].contacts.length >= this.k) {
      if (index < this.#buckets.length - 1 || !this.#splits()) break;
      this.#split(now);
      index = this.#index(contact.id);
    }
    const bucket = this.#buckets[index];
    if (bucket.contacts.length < this.k) {
      if (this.#isCrowded(contact)) return { admission: "refused" };
      bucket.add(contact);
      bucket.changed = now;
      this.#size++;
      return { admission: "added" };
    }
    // Its own former record must neither be promoted beside it nor wait twice.
    const known = placeOf(contact.id, bucket.replacementWords, bucket.replacements);
    if (known >= 0) bucket.unwait(known);
    let at = this.#givingWay(index, priceOf(contact, now), now);
    if (at >= 0 && this.#isCrowded(contact)) at = -1;
    const replaced = at < 0 ? undefined : bucket.contacts[at];
    if (at >= 0) {
      bucket.replace(at, contact);
      bucket.changed = now;
    }
    const waits = replaced ?? contact;
    if (waits.health !== "unhealthy") bucket.wait(waits);
    return replaced === undefined ? { admission: "waiting" } : { admission: "added", replaced };
  }

  /** Whether its address has a contact already, or its subnet as many in its bucket as may be. */
  #isCrowded({ id, endpoint }: Contact): boolean {
    if (this.perSubnet === 0 || !isCounted(endpoint)) return false;
    for (const { addresses, contacts } of this.#buckets) {
      for (let i = 0; i < addresses.length; i++) {
        if (addresses[i] !== endpoint.a || !contacts[i].endpoint.sameAddress(endpoint)) continue;
        if (!contacts[i].id.equals(id)) return true;
      }
    }
    const { addresses, contacts } = this.#bucket(id);
    let neighbours = 0;
    for (let i = 0; i < addresses.length; i++) {
      const mayBeSame = (addresses[i] ^ endpoint.a) >>> 8 === 0;
      if (mayBeSame && isSameSubnet(contacts[i].endpoint, endpoint)) neighbours++;
    }
    return neighbours >= this.perSubnet;
  }

  /**
   * Which contact of a full bucket gives way to a newcomer: an unhealthy one; else, except among our closest
   * neighbours, of which all have to be known, the dearest, if the newcomer is clearly cheaper. -1 where none does.
   */
  #givingWay(index: number, newcomers: number, now: Millis): number {
    const { contacts } = this.#buckets[index];
    const unhealthy = contacts.findIndex(isUnhealthy);
    if (unhealthy >= 0 || !this.#choosesByPrice(index)) return unhealthy;
    let dearest = -1, most = newcomers / CLEARLY;
    for (let i = 0; i < contacts.length; i++) {
      const paid = priceOf(contacts[i], now);
      if (paid > most) most = paid, dearest = i;
    }
    return dearest;
  }

  /** The price below which some contact of a full bucket gives way; Infinity: at any price. */
  #limit(index: number, now: Millis): number {
    const { contacts } = this.#buckets[index];
    if (contacts.some(isUnhealthy)) return Infinity;
    if (!this.#choosesByPrice(index)) return 0;
    let most = 0;
    for (const contact of contacts) most = Math.max(most, priceOf(contact, now) || 0);
    return CLEARLY * most;
  }

  #choosesByPrice(index: number): boolean {
    return this.prefers && index < this.#buckets.length - 1;
  }

  /** Notes a node that was heard of, with the round-trip time that its coordinate lets expect; true where it stays. */
  consider(id: Id, endpoint: Endpoint, rtt: number): boolean {
    const index = this.#index(id);
    const bucket = this.#buckets[index];
    if (bucket.prospect !== undefined && bucket.prospect.rtt <= rtt) return false;
    if (bucket.find(id) !== undefined || id.equals(this.own)) return false;
    if (this.waiting(id) !== undefined) return false;
    bucket.prospect = { id, endpoint, rtt };
    return true;
  }

  /** Takes out a prospect that would find a place if it answers as fast as expected, and the bucket it is for. */
  takeProspect(now: Millis): { prospect: Prospect; bucket: number } | undefined {
    for (let i = 0; i < this.#buckets.length; i++) {
      const { prospect } = this.#buckets[i];
      if (prospect === undefined) continue;
      this.#buckets[i].prospect = undefined;
      const { id, rtt } = prospect;
      if (this.wouldAdmit(id, rtt, false, now)) return { prospect, bucket: this.#index(id) };
    }
    return undefined;
  }

  /** Takes a contact out; the freshest replacement of its bucket takes the place and is returned. */
  remove(contact: Contact, now: Millis): Contact | undefined {
    const bucket = this.#bucket(contact.id);
    const at = bucket.contacts.indexOf(contact);
    if (at < 0) return undefined;
    bucket.remove(at);
    this.#size--;
    const next = bucket.replacements.findLastIndex((waiting) => !this.#isCrowded(waiting));
    if (next < 0) return undefined;
    const replacement = bucket.unwait(next);
    bucket.add(replacement);
    this.#size++;
    bucket.changed = now;
    return replacement;
  }

  /**
   * The `count` contacts closest to `target`, nearest first, among those that `accept` takes.
   *
   * Distances to `target` order whole buckets: with p bits shared by the target and us, bucket p is nearest, then
   * all deeper ones together, then p - 1, p - 2 and so on; so few contacts are ever compared.
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

  /** Notes that a lookup ran in the bucket of `id`: it needs no refresh for a while. */
  touch(id: Id, now: Millis): void {
    this.#bucket(id).changed = now;
  }

  /** Prefix lengths of the buckets in which nothing happened since `before`; of the full ones, since `fullBefore`. */
  staleBuckets(before: Millis, fullBefore: Millis): number[] {
    return this.#buckets.flatMap(({ changed, contacts }, index) =>
      changed <= (contacts.length < this.k ? before : fullBefore) ? [index] : []
    );
  }

  *contacts(): Generator<Contact> {
    for (const bucket of this.#buckets) yield* bucket.contacts;
  }

  /** Inserts the accepted contacts of a bucket into `found`, sorted, not before place `from`. */
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
      // The first words of two distances nearly always decide, without a look at the contact.
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

/** Round-trip times are told apart no finer than this. */
const NOISE_MS = 10;

/** For how long prices are held to be as they were: contacts are asked no more often than once a minute. */
const LIMIT_FOR_MS = 30_000;

/**
 * How much nearer one must be that does not keep us too: where both do, one ping checks both. Fetches are as fast with
 * 1.5 and with 8 (docs/performance.md).
 */
const ONE_SIDED = 5;

/** A newcomer has to be cheaper by a fifth: below that contacts would only come and go. */
const CLEARLY = 0.8;

/** How much nearer one must be whose id is not bound to its address (BEP 42): it may have chosen it. */
const UNBOUND = 1.5;

/** What it costs to keep a contact: the time that its answers take, and more where it does not keep us. */
function price(ms: number, isMutual: boolean, hasValidId: boolean): number {
  return (ms + NOISE_MS) * (isMutual ? 1 : ONE_SIDED) * (hasValidId ? 1 : UNBOUND);
}

function priceOf(contact: Contact, now: Millis): number {
  return price(contact.expectedMs, contact.isMutual(now), contact.hasValidId);
}

function isUnhealthy(contact: Contact): boolean {
  return contact.health === "unhealthy";
}
