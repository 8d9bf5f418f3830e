// Keeps the P2P port mapped by the local router, if that will: finds the router, asks it in every way there is, renews,
// notices when the mapping is gone, and gives it back in the end.

import type { Logger } from "logtape";
import type { Endpoint, Family } from "../../krpc/endpoint.ts";
import { type LocalNetwork } from "./local_network.ts";
import { NatPmpRouter } from "./nat_pmp.ts";
import { PcpRouter } from "./pcp.ts";
import {
  type Asked,
  endpointOf,
  isOnOurNetwork,
  type Lease,
  type MappingHost,
  MIN_EXTERNAL_PORT,
  type Protocol,
  type Router,
  type Wanted,
  within,
} from "./router.ts";
import { searchRouters } from "./ssdp.ts";
import { describedRouters } from "./upnp.ts";

/**
 * How it stands. `searching`: not asked yet, or again. `mapped`: strangers' packets arrive, if the router tells the
 * truth. `behind_another_nat`: it has mapped the port, but its own external address is a private one. `not_needed`: our
 * own address is a public one. `none`: no router does it; it is asked again now and then. `off`: not started, or ended.
 */
export type MappingStatus =
  | "searching"
  | "mapped"
  | "behind_another_nat"
  | "not_needed"
  | "none"
  | "off";

/** What there is to tell of one family's mapping. Times are milliseconds since 1970. */
export interface MappingState {
  readonly status: MappingStatus;
  readonly protocol: Protocol | null;
  /** The router's address. */
  readonly gateway: string | null;
  readonly internal: Endpoint | null;
  readonly external: Endpoint | null;
  /** Seconds of the lease; 0: until it is deleted; null where there is no mapping. */
  readonly leaseS: number | null;
  readonly since: number | null;
  readonly renewedAt: number | null;
  /** Mappings made since the start, and renewals of them. */
  readonly made: number;
  readonly renewals: number;
  /** One sentence: what the latest attempt met; null where nothing is wrong. */
  readonly problem: string | null;
}

export interface PortMappingOptions {
  readonly host: MappingHost;
  readonly network: LocalNetwork;
  /** 12 bytes that stay the same over restarts, so that a PCP server knows this node again, and that nobody can guess. */
  readonly nonce: Uint8Array;
  readonly log: Logger;
  /** A mapping came, went, or is at another address now. */
  onChange(family: Family, state: MappingState): void;
}

/** A mapping is looked at so often: the router may have restarted. */
const CHECK_MS = 60_000;

/** One that did not answer is asked again after this, so many times; then others are looked for. */
const SILENT_CHECK_MS = 10_000, SILENT_CHECKS = 3;

/** After a search in vain the next one comes after this, and twice as long each time; a router may be set otherwise. */
const SEARCH_MS = 60_000, MAX_SEARCH_MS = 16 * 60_000;

/** While there is no mapping, our own address is looked at so often: another network is searched at once. */
const ADDRESS_MS = 30_000;

/** After a router restarted, all of its clients come back: not all at once (RFC 6887, section 14.1.3: up to 5 s). */
const REMAKE_SPREAD_MS = 5_000;

/** External ports that are asked for instead of the mapped one: a router that gives us ever others is no use. */
const MAX_MOVES = 4;

/** Whatever suggests it, it is not looked at more often than this. */
const RECHECK_MS = 5_000;

/** A router answers to all the protocols that it speaks about as fast. */
const ANSWERS_SPREAD_MS = 250;

/** Refusals that are told of: there is one router, as a rule. */
const PROBLEMS_TOLD = 3;

/** A router that takes longer than this to make a mapping, all errors and repetitions included, has not made it. */
const MAP_WITHIN_MS = 30_000;

/** At the end: what is under way may finish, and the mapping is given back, within this each. */
const FINISH_MS = 1_000, RELEASE_MS = 1_200;

/** Packets to 5350 that every host hears: routers announce there that they have started (RFC 6886, section 3.2.1). */
const ALL_HOSTS = "0.0.0.0";

/** The mappings of one node's port, one for each family. */
export class PortMapping {
  readonly #options: PortMappingOptions;
  readonly #keepers = new Map<Family, Keeper>();
  #announcements: Deno.DatagramConn | undefined;

  constructor(options: PortMappingOptions) {
    this.#options = options;
  }

  /** Starts to look for routers; `port` is the bound P2P port. */
  start(port: number, families: readonly Family[]): void {
    for (const family of families) {
      const keeper = new Keeper(this.#options, family, port);
      this.#keepers.set(family, keeper);
      keeper.start();
    }
    this.#listen();
  }

  state(family: Family): MappingState {
    return this.#keepers.get(family)?.state ?? OFF;
  }

  /** Something suggests that the network or the router changed: looks at it now, but not again and again. */
  recheck(): void {
    for (const keeper of this.#keepers.values()) keeper.recheck();
  }

  /**
   * Peers see this node at another external port than the mapped one, as with several nodes of one port behind a router
   * that does not translate what is sent like what arrives: then the port that they see is asked for.
   */
  prefer(family: Family, externalPort: number): void {
    this.#keepers.get(family)?.prefer(externalPort);
  }

  /** Gives the mappings back, and settles within 2.5 s, answered or not. */
  async close(): Promise<void> {
    this.#announcements?.close();
    this.#announcements = undefined;
    await Promise.all(Array.from(this.#keepers.values(), (keeper) => keeper.close()));
  }

  /** What routers announce is no more than a reason to ask them: whoever is on the network could have sent it. */
  #listen(): void {
    const { ports, allows } = this.#options.host;
    try {
      this.#announcements = Deno.listenDatagram({
        transport: "udp",
        hostname: ALL_HOSTS,
        port: ports.announcements,
        reuseAddress: true,
      });
    } catch {
      return; // another program has it for itself: then the checks have to do
    }
    void this.#hear(this.#announcements, allows);
  }

  async #hear(conn: Deno.DatagramConn, allows: MappingHost["allows"]): Promise<void> {
    for (;;) {
      let from: Deno.NetAddr;
      try {
        from = (await conn.receive())[1] as Deno.NetAddr;
      } catch {
        return;
      }
      for (const keeper of this.#keepers.values()) {
        if (
          keeper.state.gateway === from.hostname && allows(endpointOf(from.hostname, from.port))
        ) {
          keeper.noteAnnouncement();
        }
      }
    }
  }
}

const OFF: MappingState = {
  status: "off",
  protocol: null,
  gateway: null,
  internal: null,
  external: null,
  leaseS: null,
  since: null,
  renewedAt: null,
  made: 0,
  renewals: 0,
  problem: null,
};

/** A router that can be asked whether it speaks a protocol at all. */
type Speaker = PcpRouter | NatPmpRouter;

/** A mapping in force. */
interface Held {
  readonly router: Router;
  readonly lease: Lease;
  readonly renewedAt: number;
  /** Checks in a row without an answer. */
  readonly silent: number;
}

/** Sees to one family's mapping. */
class Keeper {
  readonly #options: PortMappingOptions;
  readonly #family: Family;
  readonly #port: number;
  readonly #ending = new AbortController();
  #waking = new AbortController();
  #running: Promise<void> | undefined;
  #held: Held | undefined;
  #own: Endpoint | undefined;
  #searchedAt = -Infinity;
  #searches = 0;
  #lookedAt = -Infinity;
  #checkAt = -Infinity;
  /** Since the mapping was made or renewed. */
  #isAnnounced = false;
  /** The external port to ask for instead, and all that were asked for so. */
  #preferred: number | undefined;
  readonly #moved = new Set<number>();
  state: MappingState = { ...OFF, status: "searching" };

  constructor(options: PortMappingOptions, family: Family, port: number) {
    this.#options = options;
    this.#family = family;
    this.#port = port;
  }

  start(): void {
    this.#running = this.#run();
  }

  /** What comes too soon is put off: it may be the only sign of what happened since the latest look. */
  recheck(): void {
    const at = Math.max(this.#now(), this.#lookedAt + RECHECK_MS);
    if (at >= this.#checkAt && this.#held !== undefined) return;
    this.#checkAt = at;
    this.#waking.abort();
  }

  /** The router says that it has started, or has another address. */
  noteAnnouncement(): void {
    this.#isAnnounced = true;
    this.recheck();
  }

  prefer(port: number): void {
    if (this.#held === undefined || this.#held.lease.external.port === port) return;
    if (port < MIN_EXTERNAL_PORT || this.#moved.has(port) || this.#moved.size >= MAX_MOVES) return;
    this.#preferred = port;
    this.#waking.abort();
  }

  async close(): Promise<void> {
    this.#ending.abort();
    this.#waking.abort();
    const { clock } = this.#options.host;
    await within(clock, FINISH_MS, this.#running ?? Promise.resolve());
    const held = this.#held;
    this.#held = undefined;
    this.state = OFF;
    if (held !== undefined) await this.#giveUp(held.router, held.lease);
  }

  async #run(): Promise<void> {
    while (!this.#ending.signal.aborted) {
      // Whoever wakes it while it is at work makes it look again at once.
      this.#waking = new AbortController();
      const waitMs = await this.#step();
      await this.#options.host.clock.sleep(waitMs, this.#waking.signal);
    }
  }

  #now(): number {
    return this.#options.host.clock.now();
  }

  /** Does what is due; the milliseconds until something is due again. */
  async #step(): Promise<number> {
    if (this.#held !== undefined) return await this.#keep(this.#held);
    const own = await this.#options.network.ownAddress(this.#family);
    const isOther = own === undefined || this.#own === undefined || !own.sameAddress(this.#own);
    this.#own = own;
    if (own === undefined) {
      this.#tell({ status: "none", problem: `this machine has no IPv${this.#family} address` });
      return ADDRESS_MS;
    }
    if (!await this.#isWanted(own)) {
      this.#tell({ status: "not_needed", problem: null });
      return ADDRESS_MS;
    }
    if (isOther) this.#searches = 0;
    const backoff = Math.min(MAX_SEARCH_MS, SEARCH_MS * 2 ** (this.#searches - 1));
    const due = this.#searches === 0 ? 0 : this.#searchedAt + backoff - this.#now();
    if (due > 0) return Math.min(due, ADDRESS_MS);
    await this.#search(own.withPort(this.#port));
    return this.#held === undefined ? ADDRESS_MS : CHECK_MS;
  }

  /**
   * A public IPv4 address needs no mapping, and beside one there is no home router that would have to let IPv6 in: in
   * data centres, packets that search for one are a nuisance.
   */
  async #isWanted(own: Endpoint): Promise<boolean> {
    const { network } = this.#options;
    const v4 = this.#family === 4 ? own : await network.ownAddress(4);
    return v4?.scope !== "global";
  }

  async #keep(held: Held): Promise<number> {
    const { router, lease, renewedAt } = held;
    const { network, host } = this.#options;
    if (!network.isOwn(lease.internal)) {
      // Whoever has the address now has the mapping, too: it can't be given back from here.
      return this.#drop(held, `this machine has left ${lease.internal.host}`);
    }
    if (this.#preferred !== undefined) return await this.#move(held, this.#preferred);
    const renewMs = lease.seconds > 0 ? renewedAt + lease.seconds * 500 - this.#now() : Infinity;
    const checkMs = this.#checkAt - this.#now();
    if (renewMs > 0 && checkMs > 0) return Math.min(renewMs, checkMs);
    this.#noteLook();
    const checked = renewMs > 0 ? await router.check(lease) : "lost";
    if (this.#ending.signal.aborted) return 0;
    if (checked === "silent") return this.#noteSilence(held);
    // Of a router that had only just started when it was asked, the count of seconds may fit although it began anew.
    if (checked === "kept" && !this.#isAnnounced) {
      this.#held = { ...held, silent: 0 };
      return Math.min(renewMs, CHECK_MS);
    }
    if (renewMs > 0) {
      // All of the router's clients notice it now.
      await host.clock.sleep(host.random() * REMAKE_SPREAD_MS, this.#ending.signal);
      if (this.#ending.signal.aborted) return 0;
    }
    const asked = await this.#ask(router, lease);
    if (asked.outcome === "leased") {
      this.#hold(router, asked.lease, renewMs > 0 && checked === "lost" ? "remade" : "renewed");
      return CHECK_MS;
    }
    if (asked.outcome === "silent") return this.#noteSilence(held);
    return this.#drop(held, `${router.gateway} does not renew the mapping: ${asked.reason}`);
  }

  #noteLook(): void {
    this.#lookedAt = this.#now();
    this.#checkAt = this.#lookedAt + CHECK_MS;
  }

  /** Exchanges the mapping for one of another external port: routers give a client one for each port of its own. */
  async #move(held: Held, port: number): Promise<number> {
    const { router, lease } = held;
    this.#preferred = undefined;
    this.#moved.add(port);
    await within(this.#options.host.clock, RELEASE_MS, router.release(lease));
    const wish = { ...lease, external: lease.external.withPort(port) };
    const asked = await this.#ask(router, wish);
    if (asked.outcome !== "leased") {
      return this.#drop(held, `${router.gateway} does not map port ${port}: ${asked.reason}`);
    }
    this.#hold(router, asked.lease, "remade");
    return CHECK_MS;
  }

  #noteSilence(held: Held): number {
    if (held.silent + 1 >= SILENT_CHECKS) {
      return this.#drop(held, `${held.router.gateway} does not answer any more`);
    }
    this.#held = { ...held, silent: held.silent + 1 };
    this.#checkAt = this.#now() + SILENT_CHECK_MS;
    return SILENT_CHECK_MS;
  }

  #drop({ router }: Held, problem: string): number {
    this.#held = undefined;
    this.#searches = 0;
    this.#own = undefined;
    router.close();
    this.#tell({ status: "searching", problem });
    return 0;
  }

  /** Asks every router that there may be; what maps the port to a public address is taken first. */
  async #search(internal: Endpoint): Promise<void> {
    const wanted: Wanted = { internal, nonce: this.#options.nonce };
    this.#searchedAt = this.#now();
    this.#searches++;
    const problems: string[] = [];
    let second: [Router, Lease] | undefined;
    for await (const router of this.#routers(wanted)) {
      const asked = await this.#ask(router);
      if (asked.outcome === "leased") {
        const isPublic = this.#isPublic(asked.lease);
        if (isPublic) this.#hold(router, asked.lease, "made");
        else if (second === undefined) second = [router, asked.lease];
        else await this.#giveUp(router, asked.lease);
        if (isPublic) break;
      } else {
        problems.push(`${router.gateway} (${router.protocol}): ${asked.reason}`);
        router.close();
      }
      if (this.#ending.signal.aborted) break;
    }
    if (second !== undefined) {
      if (this.#held === undefined) this.#hold(...second, "made");
      else await this.#giveUp(...second);
    }
    if (this.#held === undefined && !this.#ending.signal.aborted) {
      const problem = problems.length > 0
        ? problems.slice(0, PROBLEMS_TOLD).join("; ")
        : "no router answers to PCP, NAT-PMP or UPnP";
      this.#tell({ status: "none", problem });
    }
  }

  /** The routers that answer: to PCP first, which says most, then to NAT-PMP; UPnP takes the most exchanges. */
  async *#routers(wanted: Wanted): AsyncGenerator<Router> {
    const { host, network } = this.#options, { internal } = wanted;
    const likely = network.likelyRouters(internal)
      .filter((router) => isOnOurNetwork(internal, router));
    const enough = new AbortController();
    const locations = searchRouters(
      internal,
      likely,
      host,
      AbortSignal.any([this.#ending.signal, enough.signal]),
    );
    const speakers = likely.map((router) => router.withPort(host.ports.control)).flatMap((
      server,
    ) => [
      ...opened(PcpRouter.open(server, wanted, host)),
      ...(this.#family === 4 ? opened(NatPmpRouter.open(server, wanted, host)) : []),
    ]);
    try {
      const answered = await this.#answering(speakers);
      while (answered.length > 0) {
        const router = answered.shift()!;
        speakers.splice(speakers.indexOf(router), 1);
        yield router;
      }
      for (const location of await locations) yield* await describedRouters(location, wanted, host);
    } finally {
      enough.abort();
      for (const router of speakers) router.close();
    }
  }

  /** Those that answer about as soon as the first, in their order. */
  async #answering(speakers: readonly Speaker[]): Promise<Speaker[]> {
    const answering = new Set<Speaker>(), first = new AbortController();
    const all = Promise.all(speakers.map(async (speaker) => {
      if (!await speaker.answers()) return;
      answering.add(speaker);
      first.abort();
    }));
    const { clock } = this.#options.host;
    await Promise.race([all, aborted(first.signal)]);
    await within(clock, ANSWERS_SPREAD_MS, all);
    return speakers.filter((speaker) => answering.has(speaker));
  }

  async #giveUp(router: Router, lease: Lease): Promise<void> {
    await within(this.#options.host.clock, RELEASE_MS, router.release(lease));
    router.close();
  }

  async #ask(router: Router, lease?: Lease): Promise<Asked> {
    const asked = await within(this.#options.host.clock, MAP_WITHIN_MS, router.map(lease));
    return asked ?? { outcome: "silent", reason: "too slow" };
  }

  #isPublic({ external }: Lease): boolean {
    return external.scope === "global";
  }

  #hold(router: Router, lease: Lease, how: "made" | "renewed" | "remade"): void {
    const at = this.#now();
    this.#held = { router, lease, renewedAt: at, silent: 0 };
    this.#isAnnounced = false;
    this.#noteLook();
    this.#searches = 0;
    const { made, renewals, since, external } = this.state;
    const isPublic = this.#isPublic(lease), isSame = external?.equals(lease.external) === true;
    this.#tell({
      status: isPublic ? "mapped" : "behind_another_nat",
      protocol: lease.protocol,
      gateway: lease.gateway,
      internal: lease.internal,
      external: lease.external,
      leaseS: lease.seconds,
      since: isSame && how === "renewed" ? since : at,
      renewedAt: at,
      made: how === "renewed" ? made : made + 1,
      renewals: how === "renewed" ? renewals + 1 : renewals,
      problem: isPublic
        ? null
        : `the router's own external address, ${lease.external.host}, is a private one: another NAT lies beyond it`,
    });
  }

  /** Takes what is said; what is not said is reset where there is no mapping. */
  #tell(change: Partial<MappingState>): void {
    const before = this.state, { made, renewals } = before;
    this.state = { ...OFF, made, renewals, ...change };
    const { status, external, problem, protocol, gateway } = this.state;
    const isSame = status === before.status &&
      (external === null ? before.external === null : before.external?.equals(external) === true);
    if (isSame) return;
    const { log, onChange } = this.#options;
    const family = `IPv${this.#family}`;
    if (external !== null) {
      log.info("UDP port {port} is mapped to {external} by {gateway} ({protocol}){problem}", {
        port: this.#port,
        external: `${external}`,
        gateway,
        protocol,
        problem: problem === null ? "" : `, but ${problem}`,
      });
    } else if (problem !== null) {
      log.info("No port is mapped for {family}: {problem}", { family, problem });
    }
    onChange(this.#family, this.state);
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve()));
}

function opened<T>(router: T | undefined): T[] {
  return router === undefined ? [] : [router];
}
