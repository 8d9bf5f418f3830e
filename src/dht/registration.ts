// Where a node that strangers can't reach registers, so that it can be introduced to them.

import { type Endpoint, type Family } from "../krpc/endpoint.ts";
import { compareDistance, type Id } from "../krpc/id.ts";
import type { Method, QueryArguments } from "../krpc/message.ts";
import type { Contact } from "./contact.ts";
import type { Deadline, Deadlines, Millis } from "./deadlines.ts";
import { isCounted, isSameSubnet } from "./diversity.ts";
import { isOurs } from "./introducer.ts";
import type { QueryOutcome } from "./lookup.ts";
import type { Random } from "./random.ts";
import type { Self } from "./self.ts";

/** Nodes closest to our id at which we register: whoever looks us up asks them. One may leave, another lie. */
const INTRODUCERS = 4;

/** And contacts anywhere, whom nobody who wants to deceive us can foresee. */
const WITNESSES = 2;

/**
 * How often each of them is pinged, so that our NAT goes on letting its packets in. RFC 4787 (REQ-5) asks NATs to keep
 * a mapping for two minutes, but many don't: Linux keeps one that carries little for 30 seconds. To find out how long
 * ours does would save some bytes a second, and lose introductions while it is tried.
 */
const KEEP_ALIVE_MS = 25_000;

/** They keep an announcement for 45 minutes, and others may be closer to us by now. */
const REFRESH_MS = 20 * 60_000;

/** Where nobody took us, or too few are left, others are looked for after this, doubling up to the above. */
const RETRY_MS = 60_000;

/** A node that answered a search. */
export interface Found {
  readonly id: Id;
  readonly endpoint: Endpoint;
  /** Its token for us, a copy; undefined where it gave none. */
  readonly token: Uint8Array | undefined;
  /** Who has announced itself there under the target. */
  readonly values: readonly Endpoint[];
  readonly isOurs: boolean;
  readonly rtt: number;
}

/** Looks for the nodes closest to a target, in one family or in all, and hears of each; true ends the search. */
export type Seek = (
  family: Family | undefined,
  target: Id,
  now: Millis,
  onFound: (found: Found, now: Millis) => boolean,
  onEnd: (now: Millis) => void,
) => void;

/** What this part needs of the node. */
export interface RegistrationNode {
  readonly self: Self;
  readonly client: number;
  contacts(family: Family): Iterable<Contact>;
  readonly seek: Seek;
  query(
    method: Method,
    to: Endpoint,
    args: QueryArguments,
    expected: Id | undefined,
    now: Millis,
    done: (outcome: QueryOutcome, now: Millis) => void,
  ): void;
}

/** A node at which we have registered. */
export interface Place {
  readonly id: Id;
  readonly endpoint: Endpoint;
  readonly isWitness: boolean;
  /** Where it sees us, and has us announced. */
  seenAs: Endpoint | undefined;
  next: Deadline | undefined;
}

export class Registration {
  readonly #node: RegistrationNode;
  readonly #family: Family;
  readonly #deadlines: Deadlines;
  readonly #random: Random;
  #places: Place[] = [];
  #isActive = false;
  /** Counts up with each start and stop: what was asked for before does not count after. */
  #run = 0;
  #next: Deadline | undefined;
  #nextAt: Millis = Infinity;
  #retryMs = RETRY_MS;

  constructor(node: RegistrationNode, family: Family, deadlines: Deadlines, random: Random) {
    this.#node = node;
    this.#family = family;
    this.#deadlines = deadlines;
    this.#random = random;
  }

  /** Where we are registered. */
  get places(): readonly Place[] {
    return this.#places;
  }

  at(endpoint: Endpoint): Place | undefined {
    return this.#places.find((place) => place.endpoint.equals(endpoint));
  }

  /**
   * A place other than that of an introducer, which can't foresee it: a witness, or any of another address where there
   * is none, as in a small network.
   */
  witness(introducer: Endpoint): Place | undefined {
    const others = this.#places.filter(({ endpoint }) => !endpoint.sameAddress(introducer));
    const witnesses = others.filter(({ isWitness }) => isWitness);
    const choice = witnesses.length > 0 ? witnesses : others;
    return choice[Math.floor(this.#random.fraction() * choice.length)];
  }

  /** Registers, and stays registered until `stop`. */
  start(now: Millis): void {
    if (this.#isActive) return;
    this.#isActive = true;
    this.#refresh(now);
  }

  stop(): void {
    this.#isActive = false;
    this.#run++;
    this.#deadlines.cancel(this.#next);
    this.#next = undefined;
    for (const place of [...this.#places]) this.#leave(place);
  }

  /** Our id is another one: it is to be registered elsewhere. */
  restart(now: Millis): void {
    if (!this.#isActive) return;
    this.stop();
    this.start(now);
  }

  #refresh(now: Millis): void {
    this.#nextAt = Infinity;
    const run = ++this.#run;
    const found: Found[] = [];
    this.#node.seek(this.#family, this.#node.self.id, now, (one) => {
      if (one.isOurs && one.token !== undefined) found.push(one);
      return false;
    }, (at) => {
      if (run !== this.#run) return;
      const { self: { id } } = this.#node;
      found.sort((x, y) => compareDistance(x.id, y.id, id));
      const nearest = found.slice(0, INTRODUCERS);
      for (const place of this.#places.filter(({ isWitness }) => !isWitness)) {
        if (!nearest.some((one) => one.id.equals(place.id))) this.#leave(place);
      }
      for (const { id, endpoint, token } of nearest) {
        this.#announce(id, endpoint, token!, false, at);
      }
      for (const place of this.#places.filter(({ isWitness }) => isWitness)) {
        this.#ask(place.id, place.endpoint, true, at);
      }
      for (const { id, endpoint } of this.#newWitnesses(nearest)) this.#ask(id, endpoint, true, at);
      const isEnough = nearest.length > 0;
      this.#later(isEnough ? REFRESH_MS : this.#retryMs, at);
      this.#retryMs = isEnough ? RETRY_MS : Math.min(REFRESH_MS, 2 * this.#retryMs);
    });
  }

  #later(ms: Millis, now: Millis): void {
    this.#deadlines.cancel(this.#next);
    this.#nextAt = now + ms * (1 + this.#random.fraction() / 4);
    this.#next = this.#deadlines.schedule(this.#nextAt, (due) => this.#refresh(due));
  }

  /** As many as are missing, of the contacts that answer, from different subnets. */
  #newWitnesses(nearest: readonly Found[]): Contact[] {
    const former = this.#places.filter(({ isWitness }) => isWitness);
    const others: { readonly endpoint: Endpoint }[] = [...nearest, ...former];
    const contacts = [...this.#node.contacts(this.#family)].filter((contact) =>
      contact.health === "healthy" && contact.isReliable &&
      isOurs(contact.client, this.#node.client)
    );
    this.#random.shuffle(contacts);
    const chosen: Contact[] = [];
    for (const contact of contacts) {
      if (former.length + chosen.length >= WITNESSES) break;
      if (others.some((other) => isKin(other.endpoint, contact.endpoint))) continue;
      others.push(contact);
      chosen.push(contact);
    }
    return chosen;
  }

  /** Asks for a token, and announces us with it. */
  #ask(id: Id, endpoint: Endpoint, isWitness: boolean, now: Millis): void {
    const run = this.#run;
    const args = { infoHash: this.#node.self.id };
    this.#node.query("get_peers", endpoint, args, id, now, (outcome, at) => {
      if (run !== this.#run || !this.#isActive) return;
      const token = outcome.kind === "response" ? outcome.message.token : undefined;
      if (token !== undefined) this.#announce(id, endpoint, token.slice(), isWitness, at);
      else this.#miss(endpoint, at);
    });
  }

  #announce(id: Id, endpoint: Endpoint, token: Uint8Array, isWitness: boolean, now: Millis): void {
    const run = this.#run;
    const args = { infoHash: this.#node.self.id, token, port: 0, impliedPort: true };
    this.#node.query("announce_peer", endpoint, args, id, now, (outcome, at) => {
      if (run !== this.#run || !this.#isActive) return;
      if (outcome.kind !== "response") return this.#miss(endpoint, at);
      let place = this.at(endpoint);
      if (place === undefined) {
        place = { id, endpoint, isWitness, seenAs: undefined, next: undefined };
        this.#places.push(place);
      }
      place.seenAs = outcome.message.ip;
      this.#keepAliveLater(place, at);
    });
  }

  #keepAliveLater(place: Place, now: Millis): void {
    this.#deadlines.cancel(place.next);
    // Never later, and not all at once.
    const at = now + KEEP_ALIVE_MS * (1 - this.#random.fraction() / 8);
    place.next = this.#deadlines.schedule(at, (due) => this.#keepAlive(place, due));
  }

  #keepAlive(place: Place, now: Millis): void {
    place.next = undefined;
    const { endpoint, id, isWitness } = place;
    this.#node.query("ping", endpoint, {}, id, now, (outcome, at) => {
      if (this.at(endpoint) !== place) return;
      if (outcome.kind !== "response") return this.#miss(endpoint, at);
      const { ip } = outcome.message;
      // Our NAT has given us another port: under the former one nobody finds us there.
      const hasMoved = ip !== undefined && place.seenAs !== undefined && !ip.equals(place.seenAs);
      if (hasMoved) this.#ask(id, endpoint, isWitness, at);
      else this.#keepAliveLater(place, at);
    });
  }

  /** One that does not answer can't introduce us: another takes its place. */
  #miss(endpoint: Endpoint, now: Millis): void {
    const place = this.at(endpoint);
    if (place === undefined) return;
    this.#leave(place);
    if (this.#nextAt > now + RETRY_MS) this.#later(RETRY_MS / 2, now);
  }

  #leave(place: Place): void {
    this.#deadlines.cancel(place.next);
    place.next = undefined;
    this.#places = this.#places.filter((other) => other !== place);
  }
}

/** Of one subnet, where that counts; else at one endpoint. */
function isKin(x: Endpoint, y: Endpoint): boolean {
  return isCounted(x) ? isSameSubnet(x, y) : x.equals(y);
}
