// Implements NodeService's methods for swarms, and keeps announcements across restarts.

import {
  type Announcements,
  MAX_OWN_ANNOUNCEMENTS,
  type OwnAnnouncement,
} from "../dht/serving/announcements.ts";
import type { PeersResult } from "../dht/serving/swarms.ts";
import type { HostPort } from "../config/addresses.ts";
import { Endpoint } from "../krpc/endpoint.ts";
import { Id } from "../krpc/id.ts";
import type {
  AnnounceOptions,
  AnnounceOutcome,
  FoundPart,
  NodeService,
  PeerSearchOptions,
  SwarmName,
} from "../node_service.ts";
import type { ServiceEvent } from "../reports/events.ts";
import type { AnnouncedSwarm, AnnouncedSwarms, SwarmPeers } from "../reports/swarms.ts";
import { timeText } from "../reports/time.ts";
import type { DiskStorage } from "../storage/disk.ts";
import type { SavedAnnouncement } from "../storage/rows.ts";
import { clock, within } from "./clock.ts";
import type { CoreRunner } from "./core_runner.ts";
import { serviceHash } from "./service_hash.ts";

export interface SwarmOperationsOptions {
  readonly core: CoreRunner;
  /** The database that keeps announcements; undefined if they need not survive a restart. */
  readonly disk: DiskStorage | undefined;
  /** The socket's address and port. `::` and `0.0.0.0` mean all addresses. */
  readonly bound: HostPort;
  tell(event: ServiceEvent): void;
}

type Methods =
  | "findPeers"
  | "openPeerSearch"
  | "nextPeers"
  | "closePeerSearch"
  | "announce"
  | "withdraw"
  | "swarms";

export class SwarmOperations implements Pick<NodeService, Methods> {
  readonly #options: SwarmOperationsOptions;
  readonly #searches = new Map<number, RunningSearch>();
  #lastSearch = 0;

  constructor(options: SwarmOperationsOptions) {
    this.#options = options;
  }

  get #announcements(): Announcements {
    return this.#options.core.node.announcements;
  }

  /** Continues the announcements of the previous run. */
  start(): void {
    const saved = this.#options.disk?.announcements ?? [];
    const own = saved.map((announcement) => ({
      ...announcement,
      lastAt: -Infinity,
      nextAt: Infinity,
      nodes: 0,
      failures: 0,
    }));
    this.#options.core.do((at) => this.#announcements.restore(own, at));
  }

  async findPeers(swarm: SwarmName, options: PeerSearchOptions = {}): Promise<SwarmPeers> {
    return await this.#search(swarm, options, () => false);
  }

  openPeerSearch(swarm: SwarmName, options: PeerSearchOptions = {}): Promise<number> {
    const search = new RunningSearch();
    this.#searches.set(++this.#lastSearch, search);
    void this.#search(swarm, options, (peers) => search.add(peers))
      .then((report) => search.end(report));
    return Promise.resolve(this.#lastSearch);
  }

  async nextPeers(search: number, withinMs: number): Promise<FoundPart | undefined> {
    const part = await this.#searches.get(search)?.next(withinMs);
    if (part === undefined || part.kind === "result") this.#searches.delete(search);
    return part;
  }

  closePeerSearch(search: number): Promise<void> {
    this.#searches.get(search)?.close();
    this.#searches.delete(search);
    return Promise.resolve();
  }

  /** `onPeers` is called with the peers that were not found before. If it returns true, the search ends. */
  async #search(
    swarm: SwarmName,
    { noSeeds = false, scrapes = false }: PeerSearchOptions,
    onPeers: (peers: string[]) => boolean,
  ): Promise<SwarmPeers> {
    const { core, tell } = this.#options, infoHash = hashOf(swarm);
    const peers = new Map<string, Endpoint>();
    const add = (found: readonly Endpoint[]) => {
      const fresh = found.filter((peer) => !peers.has(`${peer}`));
      for (const peer of fresh) peers.set(`${peer}`, peer);
      return fresh.length > 0 && onPeers(fresh.map(String));
    };
    add(this.#ownPeers(infoHash, noSeeds));
    const result = await core.ask<PeersResult>((at, done) =>
      core.node.swarms.getPeers({ infoHash, noSeeds, scrapes, onPeers: add }, at, done)
    );
    const ipv4 = peers.values().filter(({ family }) => family === 4).toArray().length;
    const report = {
      info_hash: `${infoHash}`,
      service: serviceOf(swarm) ?? null,
      peers: [...peers.keys()],
      ipv4,
      ipv6: peers.size - ipv4,
      scrape: result.scrape ?? null,
      nodes: result.closest.length,
      queries: result.asked.length,
      elapsed_ms: result.elapsed,
    };
    const { info_hash, nodes, elapsed_ms } = report;
    const data = { info_hash, peers: peers.size, ipv4, ipv6: report.ipv6, nodes, elapsed_ms };
    tell({ type: "swarm.find", data });
    return report;
  }

  /**
   * The endpoints at which this node announces this host. If no other node has reported our address yet, the endpoint
   * is the bound address or, if the socket is bound to all addresses, loopback. Programs on this machine can use it.
   */
  #ownPeers(infoHash: Id, noSeeds: boolean): Endpoint[] {
    const own = this.#announcements.get(infoHash);
    if (own === undefined || (noSeeds && own.isSeed)) return [];
    const seen = Object.values(this.#options.core.node.nats)
      .flatMap(({ state }) => state.external ?? []);
    const endpoints = seen.length > 0 ? seen : reachableHere(this.#options.bound);
    return endpoints.map((endpoint) => endpoint.withPort(own.port ?? endpoint.port));
  }

  async announce(
    swarm: SwarmName,
    { port, isSeed }: AnnounceOptions,
  ): Promise<AnnounceOutcome> {
    const { core, disk } = this.#options, infoHash = hashOf(swarm);
    const announcements = this.#announcements, before = announcements.get(infoHash);
    if (before === undefined && announcements.count >= MAX_OWN_ANNOUNCEMENTS) {
      return { outcome: "full", limit: MAX_OWN_ANNOUNCEMENTS };
    }
    const service = serviceOf(swarm) ?? before?.service;
    const given = { infoHash, port: port ?? undefined, isSeed, service };
    const firstAt = before?.firstAt ?? core.clock.now();
    const saved: SavedAnnouncement = { ...given, firstAt };
    if (await disk?.saveAnnouncement(saved) === false) return { outcome: "no_disk" };
    const own = await core.ask<OwnAnnouncement>((at, done) => announcements.start(given, at, done));
    return { outcome: "announced", report: this.#report(own), isNew: before === undefined };
  }

  async withdraw(swarm: SwarmName): Promise<boolean> {
    const { core, disk, tell } = this.#options, infoHash = hashOf(swarm);
    const own = this.#announcements.get(infoHash);
    if (!core.do((at) => this.#announcements.stop(infoHash, at))) return false;
    const data = { info_hash: `${infoHash}`, service: own?.service ?? null };
    tell({ type: "swarm.withdraw", data });
    if (await disk?.removeAnnouncement(infoHash) !== false) return true;
    throw new Error(`${infoHash} is no longer announced, but the disk can't save that yet`);
  }

  swarms(): Promise<AnnouncedSwarms> {
    const swarms = Array.from(this.#announcements.values(), (own) => this.#report(own))
      .sort((x, y) => x.next_at < y.next_at ? -1 : 1);
    return Promise.resolve({ total: swarms.length, swarms });
  }

  /** Reports an attempt to announce this host. */
  note(own: OwnAnnouncement): void {
    this.#options.tell({ type: "swarm.announce", data: this.#report(own) });
  }

  #report(own: OwnAnnouncement): AnnouncedSwarm {
    const time = (at: number) => timeText(this.#options.core.clock.wall(at));
    const { infoHash, service, port, isSeed, firstAt, lastAt, nextAt, nodes, failures } = own;
    return {
      info_hash: `${infoHash}`,
      service: service ?? null,
      port: port ?? null,
      seed: isSeed,
      first_at: time(firstAt),
      last_at: lastAt === -Infinity ? null : time(lastAt),
      next_at: time(nextAt),
      nodes,
      failures,
    };
  }
}

function hashOf(swarm: SwarmName): Id {
  return "service" in swarm ? serviceHash(swarm.service) : Id.from(swarm.infoHash);
}

function serviceOf(swarm: SwarmName): string | undefined {
  return "service" in swarm ? swarm.service : undefined;
}

/** The endpoints at which programs on this machine reach the socket. */
function reachableHere({ host, port }: HostPort): Endpoint[] {
  const bound = Endpoint.parse(host, port);
  if (bound !== undefined && bound.scope !== "none") return [bound];
  const loopback = Endpoint.parse("127.0.0.1", port);
  return loopback === undefined ? [] : [loopback];
}

/** A search whose peers a client reads while it runs. */
class RunningSearch {
  #peers: string[] = [];
  #report: SwarmPeers | undefined;
  #isClosed = false;
  #changed = Promise.withResolvers<void>();

  /** Adds peers that the search has found. Returns true if the search should end. */
  add(peers: readonly string[]): boolean {
    this.#peers.push(...peers);
    this.#changed.resolve();
    return this.#isClosed;
  }

  end(report: SwarmPeers): void {
    this.#report = report;
    this.#changed.resolve();
  }

  close(): void {
    this.#isClosed = true;
    this.#changed.resolve();
  }

  async next(withinMs: number): Promise<FoundPart | undefined> {
    if (this.#peers.length === 0 && this.#report === undefined && !this.#isClosed) {
      this.#changed = Promise.withResolvers();
      await within(clock, withinMs, this.#changed.promise);
    }
    if (this.#isClosed) return undefined;
    if (this.#peers.length > 0) return { kind: "peers", peers: this.#peers.splice(0) };
    return this.#report === undefined
      ? { kind: "quiet" }
      : { kind: "result", report: this.#report };
  }
}
