// Keeps the port mapping of one address family: creates it, renews it, notices its loss, and finally releases it.

import type { Logger } from "logtape";
import type { Endpoint, Family } from "../../krpc/endpoint.ts";
import type { Clock } from "../../large_values/item_network.ts";
import { within } from "../clock.ts";
import type { LocalNetwork } from "./local_network.ts";
import {
  type Lease,
  type MapOutcome,
  type MappingHost,
  MIN_EXTERNAL_PORT,
  type Router,
} from "./router.ts";
import { findRouters } from "./search.ts";

/** The interval at which a mapping is checked, because the router may have lost it in a restart. */
const CHECK_INTERVAL_MS = 60_000;

/** Delay before a router that did not answer is asked again. */
const SILENT_INTERVAL_MS = 10_000;

/** After this many consecutive checks without an answer, the keeper looks for another router. */
const MAX_SILENT_CHECKS = 3;

/** Delay before a failed search is repeated. The delay doubles with each further failure. */
const SEARCH_INTERVAL_MS = 60_000;

/** The longest delay between searches. Searching never stops, as the user may change the router's settings. */
const MAX_SEARCH_INTERVAL_MS = 16 * 60_000;

/**
 * The interval at which our own address is checked while there is no mapping. If the address has changed, a search
 * starts immediately.
 */
const ADDRESS_INTERVAL_MS = 30_000;

/**
 * Maximum of the random delay after a router's restart, so that not all clients renew at once (RFC 6887, section
 * 14.1.3).
 */
const RETURN_SPREAD_MS = 5_000;

/** Maximum number of attempts to move a mapping to another external port. */
const MAX_MOVES = 4;

/** Minimum time between the last check and a check that is requested early. */
const RECHECK_MS = 5_000;

/** Maximum number of refusals in a message: more than enough, as there is usually only one router. */
const MAX_PROBLEMS = 3;

/** Timeout for making a mapping, including retries after errors. A slower router is treated as if it did not answer. */
const MAP_WITHIN_MS = 30_000;

/** The maximum time for which closing waits for the current step to finish. */
const FINISH_MS = 1_000;

/** Timeout for a router to confirm the release of a mapping. */
const RELEASE_MS = 1_200;

/**
 * The state of the port mapping of one address family. Times are milliseconds since 1970.
 *
 * - `off`: not started, or closed.
 * - `searching`: the first search is under way, or a new one after a mapping was lost.
 * - `not_needed`: our own IPv4 address is public.
 * - `none`: no router maps the port. The search is repeated from time to time.
 * - `mapped`: according to the router, packets from strangers reach us.
 * - `behind_another_nat`: the router has mapped the port, but its own external address is private.
 */
export interface MappingState {
  readonly status: "off" | "searching" | "not_needed" | "none" | "mapped" | "behind_another_nat";
  /** The mapping that the router made. Without a mapping, `lease`, `since` and `renewedAt` are null. */
  readonly lease: Lease | null;
  readonly since: number | null;
  readonly renewedAt: number | null;
  /** One sentence about what went wrong in the latest attempt; null if nothing did. */
  readonly problem: string | null;
  /** The number of mappings made since the start. */
  readonly made: number;
  readonly renewals: number;
}

const UNMAPPED = { lease: null, since: null, renewedAt: null } as const;

export const OFF: MappingState = {
  ...UNMAPPED,
  status: "off",
  problem: null,
  made: 0,
  renewals: 0,
};

export interface KeeperOptions {
  readonly host: MappingHost;
  readonly network: LocalNetwork;
  /** 12 secret bytes that stay the same when the node restarts, so that a PCP server recognizes the node. */
  readonly nonce: Uint8Array;
  readonly log: Logger;
  /** Called when a mapping is made or lost, or when its external address changes. */
  onChange(family: Family, state: MappingState): void;
}

interface Searching {
  readonly kind: "searching";
  /** The address that this machine had at the latest check. */
  own?: Endpoint;
  searchedAt: number;
  /** The number of failed searches since our address changed. */
  searches: number;
}

interface Mapping {
  readonly router: Router;
  readonly lease: Lease;
}

interface Held extends Mapping {
  readonly kind: "held";
  readonly renewedAt: number;
  silentChecks: number;
  checkedAt: number;
  nextCheckAt: number;
  /** Whether the router has announced a restart since the mapping was made or renewed. */
  isAnnounced: boolean;
}

const NEW_SEARCH: Searching = { kind: "searching", searchedAt: -Infinity, searches: 0 };

export class Keeper {
  state: MappingState = { ...OFF, status: "searching" };
  readonly #clock: Clock;
  readonly #closing = new AbortController();
  #waking = new AbortController();
  #running: Promise<void> | undefined;
  #phase: Searching | Held = { ...NEW_SEARCH };
  /** The external port to request instead of the mapped one. */
  #preferredPort: number | undefined;
  /** All external ports that were ever requested instead of a mapped one. */
  readonly #requestedPorts = new Set<number>();

  constructor(
    private readonly family: Family,
    private readonly port: number,
    private readonly options: KeeperOptions,
  ) {
    this.#clock = options.host.clock;
  }

  start(): void {
    this.#running = this.#run();
  }

  /** Runs the next check soon, but at least RECHECK_MS after the last check. */
  recheck(): void {
    const phase = this.#phase;
    if (phase.kind === "held") {
      const at = Math.max(this.#clock.now(), phase.checkedAt + RECHECK_MS);
      if (at >= phase.nextCheckAt) return;
      phase.nextCheckAt = at;
    }
    this.#waking.abort();
  }

  /** Handles a router's announcement that it has started, or that its address has changed. */
  noteAnnouncement(): void {
    if (this.#phase.kind === "held") this.#phase.isAnnounced = true;
    this.recheck();
  }

  prefer(port: number): void {
    const phase = this.#phase;
    if (phase.kind !== "held" || phase.lease.external.port === port) return;
    if (port < MIN_EXTERNAL_PORT || this.#requestedPorts.has(port)) return;
    if (this.#requestedPorts.size >= MAX_MOVES) return;
    this.#preferredPort = port;
    this.#waking.abort();
  }

  async close(): Promise<void> {
    this.#closing.abort();
    this.#waking.abort();
    await within(this.#clock, FINISH_MS, this.#running ?? Promise.resolve());
    const phase = this.#phase;
    this.#phase = { ...NEW_SEARCH };
    this.state = OFF;
    if (phase.kind === "held") await this.#release(phase);
  }

  async #run(): Promise<void> {
    while (!this.#closing.signal.aborted) {
      // Create the signal before the step: if it is aborted during the step, the next step follows
      // immediately.
      this.#waking = new AbortController();
      const phase = this.#phase;
      const waitMs = phase.kind === "held" ? await this.#keep(phase) : await this.#find(phase);
      await this.#clock.sleep(waitMs, this.#waking.signal);
    }
  }

  /** Searches for a router if a search is due. Returns the milliseconds until the next step. */
  async #find(phase: Searching): Promise<number> {
    const own = await this.options.network.ownAddress(this.family);
    const isNew = own === undefined || phase.own === undefined || !own.sameAddress(phase.own);
    phase.own = own;
    if (own === undefined) {
      this.#reportNone("none", `this machine has no IPv${this.family} address`);
      return ADDRESS_INTERVAL_MS;
    }
    if (!await this.#needsMapping(own)) {
      this.#reportNone("not_needed", null);
      return ADDRESS_INTERVAL_MS;
    }
    if (isNew) phase.searches = 0;
    const interval = SEARCH_INTERVAL_MS * 2 ** (phase.searches - 1);
    const dueMs = phase.searches === 0
      ? 0
      : phase.searchedAt + Math.min(MAX_SEARCH_INTERVAL_MS, interval) - this.#clock.now();
    if (dueMs > 0) return Math.min(dueMs, ADDRESS_INTERVAL_MS);
    phase.searchedAt = this.#clock.now();
    phase.searches++;
    await this.#search(own.withPort(this.port));
    return this.#phase.kind === "held" ? CHECK_INTERVAL_MS : ADDRESS_INTERVAL_MS;
  }

  /**
   * Whether we need a mapping. If our IPv4 address is public, we need none, not even for IPv6:
   * there is no home router then, and data centres dislike searches for routers.
   */
  async #needsMapping(own: Endpoint): Promise<boolean> {
    const v4 = this.family === 4 ? own : await this.options.network.ownAddress(4);
    return v4?.scope !== "global";
  }

  /** Asks routers until one provides a mapping with a public address. If none does, keeps the first mapping. */
  async #search(internal: Endpoint): Promise<void> {
    const { host, network, nonce } = this.options, { signal } = this.#closing;
    const problems: string[] = [];
    let spare: Mapping | undefined;
    const routers = findRouters({ wanted: { internal, nonce }, host, network, signal });
    for await (const router of routers) {
      const asked = await this.#map(router);
      if (asked.outcome === "leased") {
        const { lease } = asked;
        if (lease.external.scope === "global") {
          this.#hold(router, lease, "made");
          break;
        }
        if (spare === undefined) spare = { router, lease };
        else await this.#release({ router, lease });
      } else {
        problems.push(`${router.gateway} (${router.protocol}): ${asked.reason}`);
        router.close();
      }
      if (signal.aborted) break;
    }
    const isHeld = this.#phase.kind === "held";
    if (spare !== undefined) {
      if (isHeld) await this.#release(spare);
      else this.#hold(spare.router, spare.lease, "made");
    } else if (!isHeld && !signal.aborted) {
      const problem = problems.length > 0
        ? problems.slice(0, MAX_PROBLEMS).join("; ")
        : "no router answers to PCP, NAT-PMP or UPnP";
      this.#reportNone("none", problem);
    }
  }

  /** Checks or renews the mapping if a check or renewal is due. Returns the milliseconds until the next step. */
  async #keep(held: Held): Promise<number> {
    const { router, lease, renewedAt } = held, { network, host } = this.options;
    const { signal } = this.#closing;
    if (!network.isOwn(lease.internal)) {
      // The mapping now belongs to the machine that has the address. This machine can't release the mapping.
      return this.#drop(held, `this machine has left ${lease.internal.host}`);
    }
    if (this.#preferredPort !== undefined) return await this.#move(held, this.#preferredPort);
    const renewMs = lease.seconds > 0
      ? renewedAt + lease.seconds * 500 - this.#clock.now()
      : Infinity;
    const checkMs = held.nextCheckAt - this.#clock.now(), isRenewal = renewMs <= 0;
    if (!isRenewal && checkMs > 0) return Math.min(renewMs, checkMs);
    held.checkedAt = this.#clock.now();
    held.nextCheckAt = held.checkedAt + CHECK_INTERVAL_MS;
    const checked = isRenewal ? "lost" : await router.check(lease);
    if (signal.aborted) return 0;
    if (checked === "silent") return this.#noteSilence(held);
    // Renew after an announcement too: the epoch time may not reveal two restarts in quick succession.
    if (checked === "kept" && !held.isAnnounced) {
      held.silentChecks = 0;
      return Math.min(renewMs, CHECK_INTERVAL_MS);
    }
    if (!isRenewal) {
      // All clients of the router notice its restart now. Wait for a random time, so that they don't all renew at once.
      await this.#clock.sleep(host.random() * RETURN_SPREAD_MS, signal);
      if (signal.aborted) return 0;
    }
    const asked = await this.#map(router, lease);
    if (asked.outcome === "leased") {
      this.#hold(router, asked.lease, !isRenewal && checked === "lost" ? "made" : "renewed");
      return CHECK_INTERVAL_MS;
    }
    if (asked.outcome === "silent") return this.#noteSilence(held);
    return this.#drop(held, `${router.gateway} refuses to renew the mapping: ${asked.reason}`);
  }

  /** Moves the mapping to another external port. Releases the old mapping first, as routers map our port only once. */
  async #move(held: Held, port: number): Promise<number> {
    const { router, lease } = held;
    this.#preferredPort = undefined;
    this.#requestedPorts.add(port);
    await within(this.#clock, RELEASE_MS, router.release(lease));
    const asked = await this.#map(router, { ...lease, external: lease.external.withPort(port) });
    if (asked.outcome !== "leased") {
      return this.#drop(held, `${router.gateway} does not map port ${port}: ${asked.reason}`);
    }
    this.#hold(router, asked.lease, "made");
    return CHECK_INTERVAL_MS;
  }

  #noteSilence(held: Held): number {
    if (++held.silentChecks >= MAX_SILENT_CHECKS) {
      return this.#drop(held, `${held.router.gateway} no longer answers`);
    }
    held.nextCheckAt = this.#clock.now() + SILENT_INTERVAL_MS;
    return SILENT_INTERVAL_MS;
  }

  #drop({ router }: Held, problem: string): number {
    this.#phase = { ...NEW_SEARCH };
    router.close();
    this.#reportNone("searching", problem);
    return 0;
  }

  async #release({ router, lease }: Mapping): Promise<void> {
    await within(this.#clock, RELEASE_MS, router.release(lease));
    router.close();
  }

  async #map(router: Router, lease?: Lease): Promise<MapOutcome> {
    const asked = await within(this.#clock, MAP_WITHIN_MS, router.map(lease));
    return asked ?? { outcome: "silent", reason: "too slow" };
  }

  #hold(router: Router, lease: Lease, change: "made" | "renewed"): void {
    const at = this.#clock.now(), { state } = this, { external } = lease;
    this.#phase = {
      kind: "held",
      router,
      lease,
      renewedAt: at,
      silentChecks: 0,
      checkedAt: at,
      nextCheckAt: at + CHECK_INTERVAL_MS,
      isAnnounced: false,
    };
    const isRenewal = change === "renewed", isPublic = external.scope === "global";
    const isSame = isRenewal && state.lease?.external.equals(external) === true;
    this.#report({
      status: isPublic ? "mapped" : "behind_another_nat",
      lease,
      since: isSame ? state.since : at,
      renewedAt: at,
      made: state.made + (isRenewal ? 0 : 1),
      renewals: state.renewals + (isRenewal ? 1 : 0),
      problem: isPublic
        ? null
        : `the router's own external address, ${external.host}, is private: there is another NAT beyond it`,
    });
  }

  #reportNone(status: MappingState["status"], problem: string | null): void {
    this.#report({ ...this.state, ...UNMAPPED, status, problem });
  }

  /** Enters a state. If the status or the external address has changed, logs the state and calls `onChange`. */
  #report(state: MappingState): void {
    const before = this.state, { lease, problem } = this.state = state;
    const external = lease?.external.toString();
    if (state.status === before.status && external === before.lease?.external.toString()) return;
    const { log, onChange } = this.options, family = `IPv${this.family}`;
    if (lease !== null) {
      const { gateway, protocol } = lease, port = this.port;
      const but = problem === null ? "" : `, but ${problem}`;
      const values = { port, external, gateway, protocol, but };
      log.info("UDP port {port} is mapped to {external} by {gateway} ({protocol}){but}", values);
    } else if (problem !== null) {
      log.info("No port is mapped for {family}: {problem}", { family, problem });
    }
    onChange(this.family, state);
  }
}
