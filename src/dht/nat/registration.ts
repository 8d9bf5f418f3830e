// Registers this node at other nodes if strangers can't reach it. The other nodes can then introduce strangers to it.

import type { Endpoint, Family } from "../../krpc/endpoint.ts";
import { compareDistance, type Id } from "../../krpc/id.ts";
import type { Deadline, Deadlines, Millis } from "../deadlines.ts";
import type { Random } from "../random.ts";
import type { Contact } from "../routing/contact.ts";
import { isCounted, isSameSubnet } from "../routing/diversity.ts";
import { type Query, type QueryOutcome, whenDone } from "../search/query.ts";
import type { Searches } from "../search/searches.ts";
import { findHelpers, type Helper } from "./helpers.ts";

/**
 * The number of nodes closest to our id at which we register. Lookups of our id query these nodes. One node would not
 * be enough, because it may leave or lie.
 */
const INTRODUCERS = 4;

/**
 * The number of witnesses: random contacts in other subnets at which we also register. An attacker can't predict the
 * choice.
 */
const WITNESSES = 2;

/**
 * The maximum interval between the pings that keep our NAT open. NATs should keep a mapping for two minutes (RFC 4787,
 * REQ-5), but Linux keeps a mapping with little traffic for only 30 seconds. We don't measure how long our NAT keeps
 * mappings: a longer interval would save a few bytes per second, but introductions would get lost during the
 * measurement.
 */
const KEEP_ALIVE_MS = 25_000;

/** The interval between searches for introducers. Announcements expire after 45 minutes, and closer nodes may join. */
const REFRESH_MS = 20 * 60_000;

/** The wait before the first search. The node joins during this time. */
const START_MS = 1_000;

/**
 * The first wait after a search that found no introducer. It doubles after each further failure, up to the interval
 * between searches.
 */
const FIRST_RETRY_MS = 2_000;

/**
 * The maximum wait after a search that no node answered. It is short, because after an outage nobody can reach us until
 * the next search.
 */
const SILENT_RETRY_MS = 2 * 60_000;

/** The maximum time until we search for a replacement of a registrar that does not answer. */
const REPLACE_MS = 60_000;

/** A node at which we are registered, or are about to register. */
interface Registrar {
  readonly id: Id;
  readonly endpoint: Endpoint;
  readonly isWitness: boolean;
  /** The endpoint at which the registrar sees us, and which it has stored. */
  seenAs: Endpoint | undefined;
  /** The deadline of the next ping that keeps our NAT open. */
  next: Deadline | undefined;
}

interface RegistrationOptions {
  readonly searches: Searches;
  readonly family: Family;
  readonly deadlines: Deadlines;
  readonly random: Random;
}

export class Registration {
  readonly #options: RegistrationOptions;
  #registrars: Registrar[] = [];
  #isActive = false;
  /**
   * Each search and each `stop` increase this number. Outcomes of queries that were sent under an earlier number are
   * ignored.
   */
  #generation = 0;
  /** The next search. */
  #next: Deadline | undefined;
  #retryMs = FIRST_RETRY_MS;

  constructor(options: RegistrationOptions) {
    this.#options = options;
  }

  /** The number of nodes at which we are registered. */
  get count(): number {
    return this.#registrars.length;
  }

  /** Returns our registrar at this endpoint, if there is one. */
  at(endpoint: Endpoint): Registrar | undefined {
    return this.#registrars.find((registrar) => registrar.endpoint.equals(endpoint));
  }

  /**
   * Returns a random witness, which the introducer can't predict. If there is no witness, returns a random registrar
   * whose address differs from the introducer's.
   */
  witness(introducer: Endpoint): Registrar | undefined {
    const others = this.#registrars.filter(({ endpoint }) => !endpoint.sameAddress(introducer));
    const witnesses = others.filter(({ isWitness }) => isWitness);
    return this.#options.random.pick(witnesses.length > 0 ? witnesses : others);
  }

  /** Registers us at other nodes, and keeps us registered until `stop`. */
  start(now: Millis): void {
    if (this.#isActive) return;
    this.#isActive = true;
    this.#refreshAfter(START_MS, now);
  }

  stop(): void {
    this.#isActive = false;
    this.#generation++;
    this.#options.deadlines.cancel(this.#next);
    for (const registrar of this.#registrars) this.#leave(registrar);
  }

  /** Registers us again, at the nodes that are now closest to our id. */
  restart(now: Millis): void {
    if (!this.#isActive) return;
    this.stop();
    this.#isActive = true;
    this.#refresh(now);
  }

  /** Looks up the nodes closest to our id, and registers us there. */
  #refresh(now: Millis): void {
    this.#next = undefined;
    const generation = ++this.#generation;
    findHelpers(this.#options, now, (helpers, at, answered) => {
      if (generation !== this.#generation) return;
      if (answered === 0) this.#retryMs = Math.min(SILENT_RETRY_MS, this.#retryMs);
      this.#registerAt(helpers, at);
    });
  }

  #registerAt(helpers: Helper[], now: Millis): void {
    const { self } = this.#options.searches;
    helpers.sort((x, y) => compareDistance(x.id, y.id, self.id));
    const nearest = helpers.slice(0, INTRODUCERS);
    const witnesses = this.#registrars.filter(({ isWitness }) => isWitness);
    for (const registrar of this.#registrars) {
      const isNearest = nearest.some(({ id }) => id.equals(registrar.id));
      if (!registrar.isWitness && !isNearest) this.#leave(registrar);
    }
    for (const { token, ...node } of nearest) {
      this.#announce(this.#registrar(node, false), token, now);
    }
    for (const node of [...witnesses, ...this.#newWitnesses(nearest, witnesses)]) {
      this.#askForToken(this.#registrar(node, true), now);
    }
    const hasFound = nearest.length > 0;
    this.#refreshAfter(hasFound ? REFRESH_MS : this.#retryMs, now);
    this.#retryMs = hasFound ? FIRST_RETRY_MS : Math.min(REFRESH_MS, 2 * this.#retryMs);
  }

  #registrar({ id, endpoint }: Pick<Registrar, "id" | "endpoint">, isWitness: boolean): Registrar {
    return this.at(endpoint) ?? { id, endpoint, isWitness, seenAs: undefined, next: undefined };
  }

  #refreshAfter(ms: Millis, now: Millis): void {
    const { deadlines, random } = this.#options;
    deadlines.cancel(this.#next);
    const at = now + ms * (1 + random.fraction() / 4);
    this.#next = deadlines.schedule(at, (due) => this.#refresh(due));
  }

  /** Returns healthy contacts in different subnets, as many as we still need as witnesses. */
  #newWitnesses(nearest: readonly Helper[], witnesses: readonly Registrar[]): Contact[] {
    const { searches: { tables, self }, family, random } = this.#options;
    const others: { readonly endpoint: Endpoint }[] = [...nearest, ...witnesses];
    const contacts = [...tables.contactsOf(family)].filter(({ health, isReliable, client }) =>
      health === "healthy" && isReliable && self.isSameSoftware(client)
    );
    random.shuffle(contacts);
    const chosen: Contact[] = [];
    for (const contact of contacts) {
      if (witnesses.length + chosen.length >= WITNESSES) break;
      if (others.some((other) => isNeighbour(other.endpoint, contact.endpoint))) continue;
      others.push(contact);
      chosen.push(contact);
    }
    return chosen;
  }

  /** Requests a token from a node, and announces us there with this token. */
  #askForToken(registrar: Registrar, now: Millis): void {
    const { endpoint: to, id: expected } = registrar;
    const args = { infoHash: this.#options.searches.self.id };
    this.#query({ method: "get_peers", to, args, expected }, now, (outcome, at) => {
      const token = outcome.kind === "response" ? outcome.message.token : undefined;
      if (token !== undefined) this.#announce(registrar, token.slice(), at);
      else this.#miss(to, at);
    });
  }

  #announce(registrar: Registrar, token: Uint8Array, now: Millis): void {
    const { endpoint: to, id: expected } = registrar;
    const args = { infoHash: this.#options.searches.self.id, token, port: 0, impliedPort: true };
    this.#query({ method: "announce_peer", to, args, expected }, now, (outcome, at) => {
      if (outcome.kind !== "response") return this.#miss(to, at);
      if (!this.#registrars.includes(registrar)) this.#registrars.push(registrar);
      registrar.seenAs = outcome.message.ip;
      this.#keepAliveLater(registrar, at);
    });
  }

  /** Sends a query. If the generation has changed when the outcome arrives, the outcome is ignored. */
  #query(query: Query, now: Millis, done: (outcome: QueryOutcome, now: Millis) => void): void {
    const generation = this.#generation;
    const watcher = whenDone((outcome, at) => {
      if (generation === this.#generation) done(outcome, at);
    });
    this.#options.searches.queries.send(query, now, watcher);
  }

  #keepAliveLater(registrar: Registrar, now: Millis): void {
    const { deadlines, random } = this.#options;
    deadlines.cancel(registrar.next);
    // Send the ping up to an eighth of the interval early, at random. Otherwise, the pings to all registrars would be
    // sent at once.
    const at = now + KEEP_ALIVE_MS * (1 - random.fraction() / 8);
    registrar.next = deadlines.schedule(at, (due) => this.#keepAlive(registrar, due));
  }

  #keepAlive(registrar: Registrar, now: Millis): void {
    const { endpoint: to, id: expected, seenAs } = registrar;
    const query = { method: "ping", to, args: {}, expected } as const;
    const watcher = whenDone((outcome, at) => {
      if (this.at(to) !== registrar) return;
      if (outcome.kind !== "response") return this.#miss(to, at);
      const { ip } = outcome.message;
      // If our NAT has given us another port, the endpoint that the registrar has stored is outdated.
      const hasMoved = ip !== undefined && seenAs !== undefined && !ip.equals(seenAs);
      if (hasMoved) this.#askForToken(registrar, at);
      else this.#keepAliveLater(registrar, at);
    });
    this.#options.searches.queries.send(query, now, watcher);
  }

  /** Removes a registrar that does not answer, and schedules a search for another one. */
  #miss(endpoint: Endpoint, now: Millis): void {
    const registrar = this.at(endpoint);
    if (registrar === undefined) return;
    this.#leave(registrar);
    const isSoon = this.#next !== undefined && this.#next.dueAt <= now + REPLACE_MS;
    if (!isSoon) this.#refreshAfter(REPLACE_MS / 2, now);
  }

  #leave(registrar: Registrar): void {
    this.#options.deadlines.cancel(registrar.next);
    this.#registrars = this.#registrars.filter((other) => other !== registrar);
  }
}

/**
 * Whether two endpoints are in the same subnet. In private networks, only equal endpoints count as being in the same
 * subnet.
 */
function isNeighbour(x: Endpoint, y: Endpoint): boolean {
  return isCounted(x) ? isSameSubnet(x, y) : x.equals(y);
}
