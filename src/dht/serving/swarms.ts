// Finds and counts the peers of swarms (BEP 5, BEP 33), and announces this host as a peer.

import {
  bitsOf,
  estimate,
  FILTER_BYTES,
  insert,
  isPlausible,
  mayContain,
  unite,
} from "../../krpc/bloom_filter.ts";
import { type Endpoint, mayRefer } from "../../krpc/endpoint.ts";
import { Id } from "../../krpc/id.ts";
import { type Message, NO_SEED, type QueryArguments, SCRAPE, SEED } from "../../krpc/message.ts";
import type { Millis } from "../deadlines.ts";
import type { ItemCrypto } from "../items/item.ts";
import type { Candidate } from "../search/lookup.ts";
import type { MergedResult, Searches } from "../search/searches.ts";
import { write } from "../search/write.ts";
import type { Purpose } from "../purpose.ts";
import type { PeerStore } from "./peer_store.ts";

/** Cap on the peers that one search for peers collects. */
const MAX_PEERS_FOUND = 1_000;

/** The swarm to search for, and the options of the search. */
export interface PeerSearch {
  readonly infoHash: Id;
  /** Whether to request only peers that are not seeds. Nodes without BEP 33 return all peers. */
  readonly noSeeds?: boolean;
  /** Whether to request Bloom filters, from which the size of the swarm is estimated. */
  readonly scrapes?: boolean;
  /** Requests by default. */
  readonly purpose?: Purpose;
  /** Called with peers that this search had not found before. If it returns true, the search ends. */
  readonly onPeers?: (peers: readonly Endpoint[]) => boolean;
}

/** The size of a swarm, as estimated from the filters of several nodes (BEP 33). */
export interface Scrape {
  readonly seeds: number;
  /** Peers that are not seeds, or that announced themselves to nodes without BEP 33. */
  readonly peers: number;
  /** The number of nodes that returned filters. */
  readonly nodes: number;
}

export interface PeersResult extends MergedResult {
  readonly peers: readonly Endpoint[];
  /** The size of the swarm; undefined unless the search requested it. */
  readonly scrape: Scrape | undefined;
}

export interface AnnounceResult extends PeersResult {
  /** Ids of the nodes that accepted the announcement. */
  readonly announced: readonly Id[];
}

export interface Announcement {
  readonly infoHash: Id;
  /** The port at which this host serves the swarm; undefined for the port from which the node sends its packets. */
  readonly port: number | undefined;
  readonly isSeed?: boolean;
}

interface SwarmsOptions {
  readonly searches: Searches;
  readonly peers: PeerStore;
  readonly sha1: ItemCrypto["sha1"];
  /**
   * The port to announce if the announcement has no port of its own. By default, this is the port from which the node
   * sends its packets.
   */
  readonly externalPort?: number;
}

export class Swarms {
  readonly #searches: Searches;
  readonly #peers: PeerStore;
  readonly #sha1: ItemCrypto["sha1"];
  readonly #externalPort: number | undefined;

  constructor({ searches, peers, sha1, externalPort }: SwarmsOptions) {
    this.#externalPort = externalPort;
    this.#searches = searches;
    this.#peers = peers;
    this.#sha1 = sha1;
  }

  getPeers(
    search: PeerSearch,
    now: Millis,
    done: (result: PeersResult, now: Millis) => void,
  ): void {
    const { infoHash, noSeeds, scrapes, onPeers, purpose = "requests" } = search;
    const found = new Map<string, Endpoint>();
    const count = scrapes ? new SwarmCount(this.#sha1) : undefined;
    const add = (peers: readonly Endpoint[]): boolean => {
      const fresh = peers.filter((peer) => !found.has(`${peer}`))
        .slice(0, MAX_PEERS_FOUND - found.size);
      for (const peer of fresh) found.set(`${peer}`, peer);
      return fresh.length > 0 && (onPeers?.(fresh) ?? false);
    };
    for (const family of this.#searches.tables.families) {
      add(this.#peers.peers(infoHash, family, now, { noSeeds }));
    }
    const filters = scrapes ? this.#peers.filters(infoHash, now, this.#sha1) : undefined;
    if (filters !== undefined) count!.addFilters(filters);
    const onResponse = (message: Message, { endpoint }: Candidate) => {
      const peers = (message.values ?? []).filter((peer) => mayRefer(endpoint, peer));
      count?.add(message, peers);
      return add(peers);
    };
    const swarm = (noSeeds ? NO_SEED : 0) | (scrapes ? SCRAPE : 0);
    const lookup = { target: infoHash, method: "get_peers", swarm, onResponse, purpose } as const;
    this.#searches.find(lookup, now, (result, at) => {
      done({ ...result, peers: [...found.values()], scrape: count?.result() }, at);
    });
  }

  /** Announces this host to the k closest nodes of each address family. */
  announce(
    { infoHash, port, isSeed }: Announcement,
    now: Millis,
    done: (result: AnnounceResult, now: Millis) => void,
  ): void {
    const args = (token: Uint8Array): QueryArguments => ({
      infoHash,
      token,
      port: port ?? this.#externalPort ?? 0,
      impliedPort: (port ?? this.#externalPort) === undefined,
      swarm: isSeed ? SEED : 0,
    });
    const { queries } = this.#searches, purpose = "own_values";
    this.getPeers({ infoHash, purpose }, now, (result, at) => {
      const announced = new Map<string, Id>();
      let open = result.lookups.length;
      for (const { closest: nodes } of result.lookups) {
        const request = { queries, method: "announce_peer", nodes, args, purpose } as const;
        write(request, at, ({ stored }, end) => {
          for (const id of stored) announced.set(`${id}`, id);
          if (--open > 0) return;
          done({ ...result, announced: [...announced.values()], elapsed: end - now }, end);
        });
      }
    });
  }
}

/** Combines the filters that several nodes return for one swarm. */
class SwarmCount {
  readonly #sha1: ItemCrypto["sha1"];
  readonly #seeds = new Uint8Array(FILTER_BYTES);
  readonly #peers = new Uint8Array(FILTER_BYTES);
  /** The peers that nodes without BEP 33 returned, each as the bits that its address sets in a filter. */
  readonly #uncounted = new Set<number>();
  #nodes = 0;

  constructor(sha1: ItemCrypto["sha1"]) {
    this.#sha1 = sha1;
  }

  addFilters({ seeds, peers }: { readonly seeds: Uint8Array; readonly peers: Uint8Array }): void {
    this.#nodes++;
    unite(this.#seeds, seeds);
    unite(this.#peers, peers);
  }

  /** Adds the filters of a response. If the response has no filters, adds `peers`, the peers that it names. */
  add({ filters }: Message, peers: readonly Endpoint[]): void {
    if (filters === undefined) {
      for (const peer of peers) this.#uncounted.add(bitsOf(peer, this.#sha1));
      return;
    }
    const { seeds, peers: others } = filters;
    if (seeds === undefined || !isPlausible(seeds)) return;
    if (others !== undefined && isPlausible(others)) this.addFilters({ seeds, peers: others });
  }

  result(): Scrape {
    const peers = this.#peers.slice();
    // A node without BEP 33 does not say which of its peers are seeds. Leave out those that other nodes list as seeds.
    for (const bits of this.#uncounted) {
      if (!mayContain(this.#seeds, bits)) insert(peers, bits);
    }
    const seeds = Math.round(estimate(this.#seeds));
    return { seeds, peers: Math.round(estimate(peers)), nodes: this.#nodes };
  }
}
