// The routing table of one address family: k-buckets that split around our own id (Kademlia, section 2.4; BEP 5).

import { compareDistance, type Id, sharedPrefix } from "../krpc/id.ts";
import { Contact } from "./contact.ts";
import type { Millis } from "./deadlines.ts";

/** One range of the id space. */
interface Bucket {
  readonly contacts: Contact[];
  /** Contacts that answered when the bucket was full, the most recent last. */
  readonly replacements: Contact[];
  /** When a contact was last added or a lookup last ran in it. */
  changed: Millis;
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

  constructor(readonly own: Id, readonly k: number, now: Millis) {
    this.#buckets = [{ contacts: [], replacements: [], changed: now }];
  }

  get size(): number {
    return this.#size;
  }

  get bucketCount(): number {
    return this.#buckets.length;
  }

  find(id: Id): Contact | undefined {
    const { contacts } = this.#bucket(id);
    for (let i = 0; i < contacts.length; i++) if (contacts[i].id.equals(id)) return contacts[i];
    return undefined;
  }

  /** Whether a contact with this id would find a place without another leaving. */
  hasRoom(id: Id): boolean {
    const index = this.#index(id);
    return this.#buckets[index].contacts.length < this.k ||
      (index === this.#buckets.length - 1 && this.#splits());
  }

  /**
   * Takes in a contact that answered. In a full bucket an unhealthy contact gives way, returned as `replaced`; else,
   * except among our closest neighbours, one that is clearly slower, which then waits. Otherwise the newcomer waits.
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
      bucket.contacts.push(contact);
      bucket.changed = now;
      this.#size++;
      return { admission: "added" };
    }
    // Its own former record must neither be promoted beside it nor wait twice.
    const known = bucket.replacements.findIndex((c) => c.id.equals(contact.id));
    if (known >= 0) bucket.replacements.splice(known, 1);
    const worst = bucket.contacts.findIndex((c) => c.health === "unhealthy");
    if (worst >= 0) {
      const replaced = bucket.contacts[worst];
      bucket.contacts[worst] = contact;
      bucket.changed = now;
      return { admission: "added", replaced };
    }
    // The last bucket is our own neighbourhood: all of it has to be known, near or not.
    const slowest = index < this.#buckets.length - 1 ? slowerThan(bucket.contacts, contact) : -1;
    const waits = slowest >= 0 ? bucket.contacts[slowest] : contact;
    if (slowest >= 0) {
      bucket.contacts[slowest] = contact;
      bucket.changed = now;
    }
    bucket.replacements.push(waits);
    if (bucket.replacements.length > this.k) bucket.replacements.shift();
    return slowest >= 0 ? { admission: "added", replaced: waits } : { admission: "waiting" };
  }

  /** Takes a contact out; the freshest replacement of its bucket takes the place and is returned. */
  remove(contact: Contact, now: Millis): Contact | undefined {
    const bucket = this.#bucket(contact.id);
    const at = bucket.contacts.indexOf(contact);
    if (at < 0) return undefined;
    const replacement = bucket.replacements.pop();
    if (replacement === undefined) {
      bucket.contacts.splice(at, 1);
      this.#size--;
      return undefined;
    }
    bucket.contacts[at] = replacement;
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

  /** Prefix lengths of the buckets in which nothing happened since `before`. */
  staleBuckets(before: Millis): number[] {
    return this.#buckets.flatMap((bucket, index) => bucket.changed <= before ? [index] : []);
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
    const { contacts } = this.#buckets[index];
    const words = this.#firstWords;
    for (let i = 0; i < contacts.length; i++) {
      const contact = contacts[i];
      const { id } = contact;
      // The first words of two distances nearly always decide, without a call.
      const first = id.a ^ target.a ^ SIGN;
      let at = found.length;
      if (at === count) {
        const last = words[at - 1];
        if (first > last) continue;
        if (first === last && compareDistance(id, found[at - 1].id, target) >= 0) continue;
      }
      if (!accept(contact)) continue;
      if (at === count) at--;
      for (; at > from; at--) {
        const word = words[at - 1];
        if (first > word) break;
        if (first === word && compareDistance(id, found[at - 1].id, target) >= 0) break;
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
    const deeper: Bucket = { contacts: [], replacements: [], changed: now };
    for (const list of ["contacts", "replacements"] as const) {
      const stays = old[list].filter((c) => sharedPrefix(this.own, c.id) === depth);
      deeper[list].push(...old[list].filter((c) => sharedPrefix(this.own, c.id) > depth));
      old[list].splice(0, Infinity, ...stays);
    }
    this.#buckets.push(deeper);
  }
}

/** A newcomer takes a contact's place at four fifths of its round-trip time and 5 ms less: below that is noise. */
const NEARER_SHARE = 0.8, NEARER_MS = 5;

/** Where the slowest contact is, if the newcomer is clearly faster; -1 otherwise. */
function slowerThan(contacts: readonly Contact[], newcomer: Contact): number {
  let slowest = -1, most = Math.max(newcomer.rtt / NEARER_SHARE, newcomer.rtt + NEARER_MS);
  for (let i = 0; i < contacts.length; i++) {
    if (contacts[i].rtt > most) most = contacts[i].rtt, slowest = i;
  }
  return slowest;
}
