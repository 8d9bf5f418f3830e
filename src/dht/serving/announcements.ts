// Keeps this host announced as a peer of swarms until the user ends each announcement.

import type { Endpoint, Family } from "../../krpc/endpoint.ts";
import type { Id } from "../../krpc/id.ts";
import type { Deadline, Deadlines, Millis } from "../deadlines.ts";
import type { Random } from "../random.ts";
import type { Tables } from "../routing/tables.ts";
import type { Announcement, AnnounceResult, Swarms } from "./swarms.ts";

/**
 * How often each announcement is renewed, and the share by which this varies at random. Nodes forget an announcement
 * after 30 minutes (libtorrent) or 45 minutes (dmnode).
 */
const RENEW_INTERVAL_MS = 20 * 60_000, RENEW_JITTER_SHARE = 0.25;

/**
 * The first wait before a retry if no node accepted the announcement. It doubles with each failure, up to the maximum.
 */
const RETRY_MS = 15_000, MAX_RETRY_MS = 10 * 60_000;

/**
 * At startup, and after a change of our address, all renewals are spread over this time per announcement, or over the
 * minimum if that is longer.
 */
const SPREAD_MS_EACH = 1_000, MIN_SPREAD_MS = 10_000;

/**
 * The wait after a new contact, before announcements that fewer than k nodes have are renewed. New contacts often
 * arrive in groups.
 */
const NEW_CONTACT_MS = 2_000;

/** The minimum time between a successful announcement and a renewal that a new contact causes. */
const MIN_INTERVAL_MS = 30_000;

const MAX_ACTIVE = 4;

/**
 * Cap on the announcements of this node. At the cap, the node renews one announcement every 1.2 s on average, with
 * about 40 queries each.
 */
export const MAX_OWN_ANNOUNCEMENTS = 1_000;

/** An announcement that this node keeps renewing, with the outcome of the latest attempt. */
export interface OwnAnnouncement extends Announcement {
  readonly isSeed: boolean;
  /** The name of the service from which the info-hash was computed; undefined if the user gave no name. */
  readonly service: string | undefined;
  readonly firstAt: Millis;
  /** When a node last accepted the announcement; -Infinity if none has. */
  readonly lastAt: Millis;
  readonly nextAt: Millis;
  /** The number of nodes that accepted the announcement in the latest attempt. */
  readonly nodes: number;
  /** The number of failed attempts since a node last accepted the announcement. */
  readonly failures: number;
}

/** The event that an attempt to announce this host has ended. */
export interface AnnounceEvent {
  readonly type: "announce";
  readonly announcement: OwnAnnouncement;
}

interface AnnouncementsOptions {
  readonly swarms: Swarms;
  readonly tables: Tables;
  readonly deadlines: Deadlines;
  readonly random: Random;
  readonly emit: (event: AnnounceEvent) => void;
}

export class Announcements {
  readonly #options: AnnouncementsOptions;
  /** All announcements of this node, by info-hash. */
  readonly #own = new Map<string, OwnAnnouncement>();
  /** The info-hashes for which an attempt is running. */
  readonly #active = new Set<string>();
  /** Our latest address in each family. */
  readonly #addresses = new Map<Family, Endpoint>();
  #work: Deadline | undefined;

  constructor(options: AnnouncementsOptions) {
    this.#options = options;
  }

  get count(): number {
    return this.#own.size;
  }

  values(): IteratorObject<OwnAnnouncement> {
    return this.#own.values();
  }

  get(infoHash: Id): OwnAnnouncement | undefined {
    return this.#own.get(`${infoHash}`);
  }

  /** Restores the announcements of an earlier run. Our address may have changed, so all are renewed soon. */
  restore(saved: Iterable<OwnAnnouncement>, now: Millis): void {
    for (const own of saved) this.#own.set(`${own.infoHash}`, own);
    this.renewAll(now);
  }

  /**
   * Announces this host from now on, and replaces any earlier announcement of the same swarm. `done` is called after
   * the first attempt.
   */
  start(
    given: Pick<OwnAnnouncement, "infoHash" | "port" | "isSeed" | "service">,
    now: Millis,
    done: (own: OwnAnnouncement) => void,
  ): void {
    const name = `${given.infoHash}`, before = this.#own.get(name);
    const first = { firstAt: now, lastAt: -Infinity, nodes: 0, failures: 0 };
    const own = { ...first, ...before, ...given, nextAt: now };
    this.#own.set(name, own);
    this.#announce(own, now, done);
  }

  /**
   * Stops renewing an announcement. Returns false if there is none. Other nodes forget the announcement when it
   * expires.
   */
  stop(infoHash: Id, now: Millis): boolean {
    const isKnown = this.#own.delete(`${infoHash}`);
    this.#schedule(now);
    return isKnown;
  }

  /** Renews all announcements soon, because our address may have changed, or nodes may have forgotten us. */
  renewAll(now: Millis): void {
    const spread = Math.max(MIN_SPREAD_MS, this.count * SPREAD_MS_EACH);
    for (const own of [...this.#own.values()]) {
      this.#renewBy(own, now + spread * this.#options.random.fraction());
    }
    this.#schedule(now);
  }

  /** Records the address at which other nodes see us. */
  noteAddress(address: Endpoint, now: Millis): void {
    const before = this.#addresses.get(address.family);
    this.#addresses.set(address.family, address);
    if (before !== undefined && !before.sameAddress(address)) this.renewAll(now);
  }

  /**
   * Called when the node gets a new contact: renews the announcements that fewer than k nodes have. Does nothing if
   * there are many contacts, because k nodes are then easily found.
   */
  noteNewContact(now: Millis): void {
    const { tables } = this.#options;
    if (this.count === 0 || tables.size > 2 * tables.k) return;
    for (const own of [...this.#own.values()]) {
      if (own.nodes >= tables.k) continue;
      const soon = now + NEW_CONTACT_MS;
      this.#renewBy(own, own.nodes === 0 ? soon : Math.max(soon, own.lastAt + MIN_INTERVAL_MS));
    }
    this.#schedule(now);
  }

  #renewBy(own: OwnAnnouncement, at: Millis): void {
    if (at < own.nextAt) this.#own.set(`${own.infoHash}`, { ...own, nextAt: at });
  }

  #schedule(now: Millis): void {
    const { deadlines } = this.#options;
    deadlines.cancel(this.#work);
    this.#work = undefined;
    if (this.#active.size >= MAX_ACTIVE) return;
    let next: OwnAnnouncement | undefined;
    for (const [name, own] of this.#own) {
      if (this.#active.has(name)) continue;
      if (next === undefined || own.nextAt < next.nextAt) next = own;
    }
    if (next === undefined) return;
    const due = next;
    this.#work = deadlines.schedule(Math.max(now, due.nextAt), (at) => {
      this.#work = undefined;
      this.#announce(due, at);
    });
  }

  #announce(own: OwnAnnouncement, now: Millis, done?: (own: OwnAnnouncement) => void): void {
    const name = `${own.infoHash}`;
    this.#active.add(name);
    this.#options.swarms.announce(own, now, ({ announced }, at) => {
      this.#active.delete(name);
      const current = this.#own.get(name) ?? own;
      const updated = { ...current, ...this.#outcome(current, announced, at) };
      if (this.#own.has(name)) {
        this.#own.set(name, updated);
        this.#options.emit({ type: "announce", announcement: updated });
      }
      this.#schedule(at);
      done?.(updated);
    });
    this.#schedule(now);
  }

  #outcome(
    { lastAt, failures }: OwnAnnouncement,
    announced: AnnounceResult["announced"],
    now: Millis,
  ): Pick<OwnAnnouncement, "lastAt" | "nextAt" | "nodes" | "failures"> {
    const nodes = announced.length, { random } = this.#options;
    if (nodes === 0) {
      const wait = Math.min(MAX_RETRY_MS, RETRY_MS * 2 ** failures);
      return { lastAt, nextAt: now + wait, nodes, failures: failures + 1 };
    }
    const jitter = RENEW_JITTER_SHARE * (2 * random.fraction() - 1);
    return { lastAt: now, nextAt: now + RENEW_INTERVAL_MS * (1 + jitter), nodes, failures: 0 };
  }
}
