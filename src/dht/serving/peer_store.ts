// Stores the swarm members that were announced to this node (BEP 5), counts them (BEP 33), and samples their
// info-hashes (BEP 51).

import { bitsOf, FILTER_BYTES, insert } from "../../krpc/bloom_filter.ts";
import { type Endpoint, type Family, mayRefer } from "../../krpc/endpoint.ts";
import { type Id, ID_BYTES, IdMap } from "../../krpc/id.ts";
import type { Millis } from "../deadlines.ts";
import type { ItemCrypto } from "../items/item.ts";
import { isSameOwner, ownerOf, sourceOf } from "../routing/diversity.ts";
import type { Random } from "../random.ts";
import { Shares } from "./shares.ts";

/** How long an announcement is valid. Clients renew their announcements every 15 to 30 minutes. */
export const PEER_LIFE_MS = 45 * 60_000;

/** Cap on the announcements of each address family. It limits the memory that strangers can fill to about 50 MB. */
export const MAX_ANNOUNCEMENTS = 25_000;

/** Cap on the announcements of one source: an IPv4 /24 or an IPv6 /48. */
export const MAX_ANNOUNCEMENTS_PER_SOURCE = 200;

/**
 * Cap on the announcements of one private address. It is higher than for other sources: in a small network, few nodes
 * must store all announcements of a host with many torrents.
 */
export const MAX_ANNOUNCEMENTS_PER_PRIVATE_ADDRESS = 2_000;

/** Cap on the peers of one swarm in each address family. As many IPv4 peers fit into one reply. */
export const MAX_PEERS_PER_HASH = 128;

/** The number of info-hashes in a sample. It keeps the reply under 1,400 bytes. */
const SAMPLE_COUNT = 20;

/** How long a sample stays the same for all askers. BEP 51 calls this time `interval`. */
export const SAMPLE_INTERVAL_MS = 5 * 60_000;

/**
 * Cap on the peers that one address may have in one swarm. More than one are allowed, because several clients may share
 * a NAT.
 */
export const MAX_PEERS_PER_ADDRESS = 8;

/** The announced peers of one info-hash by address family, oldest announcement first. */
type Swarm = Record<Family, Announced[]>;

interface Announced {
  readonly infoHash: Id;
  readonly endpoint: Endpoint;
  readonly at: Millis;
  /** The network of the peer's endpoint. If the store is full, the network with the most announcements loses one. */
  readonly source: string;
  readonly isSeed: boolean;
  /** The bits that the peer's address sets in a Bloom filter; undefined until first needed. */
  bits: number | undefined;
}

/** The properties that a peer states in its announcement. */
interface PeerKind {
  /** Whether the peer is a seed; by default, it is not. */
  readonly isSeed?: boolean;
}

/** Which peers a reply should contain. */
export interface PeerSelection {
  /** Maximum number of peers. */
  readonly count: number;
  /** Whether to leave out peers that are seeds (BEP 33). */
  readonly noSeeds: boolean;
}

/** Bloom filters of a swarm's members (BEP 33). */
export interface SwarmFilters {
  readonly seeds: Uint8Array;
  /** The filter of the members that are not seeds. */
  readonly peers: Uint8Array;
}

/**
 * Stores announcements, and never refuses one. A full store or swarm evicts the oldest announcement of the network that
 * has the most announcements, so one network can't displace the announcements of others.
 */
export class PeerStore {
  readonly #hashes: IdMap<Swarm>;
  readonly #shares: Record<Family, Shares<Announced>> = { 4: new Shares(), 6: new Shares() };
  readonly #random: Random;
  #sample: Uint8Array = new Uint8Array(0);
  #sampledAt: Millis = -Infinity;

  constructor(random: Random) {
    this.#random = random;
    this.#hashes = new IdMap(random.word());
  }

  /** The number of swarms. */
  get hashes(): number {
    return this.#hashes.size;
  }

  /** The number of stored announcements. */
  get count(): number {
    return this.#shares[4].size + this.#shares[6].size;
  }

  /** Stores an announcement. If there is no room, the new announcement replaces another one. */
  announce(infoHash: Id, endpoint: Endpoint, now: Millis, { isSeed = false }: PeerKind = {}): void {
    const { family } = endpoint;
    const network = sourceOf(endpoint), source = network ?? ownerOf(endpoint);
    const max = network === undefined
      ? MAX_ANNOUNCEMENTS_PER_PRIVATE_ADDRESS
      : MAX_ANNOUNCEMENTS_PER_SOURCE;
    const shares = this.#shares[family];
    const peers = this.#hashes.get(infoHash)?.[family] ?? [];
    const replaced = replacedIn(peers, endpoint);
    if (replaced !== undefined) this.#remove(replaced);
    // The peer that was removed from a full swarm may belong to another source, so the new peer's source may still have
    // too many announcements.
    const surplus = shares.countOf(source) >= max
      ? shares.oldestOf(source)
      : shares.size >= MAX_ANNOUNCEMENTS
      ? shares.oldestOfLargest()
      : undefined;
    if (surplus !== undefined) this.#remove(surplus);
    let swarm = this.#hashes.get(infoHash);
    if (swarm === undefined) this.#hashes.set(infoHash, swarm = { 4: [], 6: [] });
    const announced = { infoHash, endpoint, at: now, source, isSeed, bits: undefined };
    swarm[family].push(announced);
    shares.add(source, announced);
  }

  /** Stores an announcement, and removes all earlier announcements of the same address from the swarm. */
  announceOnly(infoHash: Id, endpoint: Endpoint, now: Millis, kind: PeerKind = {}): void {
    for (const announced of this.#hashes.get(infoHash)?.[endpoint.family].slice() ?? []) {
      if (announced.endpoint.sameAddress(endpoint)) this.#remove(announced);
    }
    this.announce(infoHash, endpoint, now, kind);
  }

  #remove(announced: Announced): void {
    const { infoHash, endpoint: { family }, source } = announced;
    this.#shares[family].remove(source, announced);
    const swarm = this.#hashes.get(infoHash);
    if (swarm === undefined) return;
    swarm[family].splice(swarm[family].indexOf(announced), 1);
    if (swarm[4].length === 0 && swarm[6].length === 0) this.#hashes.delete(infoHash);
  }

  /**
   * Returns all peers of one address family with a valid announcement, in random order. With `noSeeds`, leaves out
   * seeds.
   */
  peers(infoHash: Id, family: Family, now: Millis, { noSeeds = false } = {}): Endpoint[] {
    const endpoints = this.#fresh(infoHash, family, now)
      .filter(({ isSeed }) => !(noSeeds && isSeed))
      .map(({ endpoint }) => endpoint);
    this.#random.shuffle(endpoints);
    return endpoints;
  }

  /**
   * Returns at most `count` random peers of the asker's family with a valid announcement. Leaves out peers in private
   * networks that the asker can't reach. Returns undefined if there are none.
   */
  peersFor(
    infoHash: Id,
    asker: Endpoint,
    now: Millis,
    { count, noSeeds }: PeerSelection,
  ): Endpoint[] | undefined {
    if (this.#hashes.get(infoHash) === undefined) return undefined;
    const chosen = this.#fresh(infoHash, asker.family, now)
      .filter((peer) => mayRefer(asker, peer.endpoint) && !(noSeeds && peer.isSeed))
      .map(({ endpoint }) => endpoint);
    if (chosen.length === 0) return undefined;
    this.#random.shuffle(chosen);
    return chosen.slice(0, count);
  }

  /**
   * Returns Bloom filters of the current members of a swarm, of both address families. Returns undefined if there are
   * no members.
   */
  filters(infoHash: Id, now: Millis, sha1: ItemCrypto["sha1"]): SwarmFilters | undefined {
    const fresh = [...this.#fresh(infoHash, 4, now), ...this.#fresh(infoHash, 6, now)];
    if (fresh.length === 0) return undefined;
    const filters = { seeds: new Uint8Array(FILTER_BYTES), peers: new Uint8Array(FILTER_BYTES) };
    for (const peer of fresh) {
      peer.bits ??= bitsOf(peer.endpoint, sha1);
      insert(peer.isSeed ? filters.seeds : filters.peers, peer.bits);
    }
    return filters;
  }

  #fresh(infoHash: Id, family: Family, now: Millis): Announced[] {
    const peers = this.#hashes.get(infoHash)?.[family] ?? [];
    return peers.filter(({ at }) => now - at < PEER_LIFE_MS);
  }

  /** Whether there is a valid announcement of this endpoint for the swarm. */
  has(infoHash: Id, endpoint: Endpoint, now: Millis): boolean {
    const peers = this.#hashes.get(infoHash)?.[endpoint.family] ?? [];
    return peers.some((peer) => peer.endpoint.equals(endpoint) && now - peer.at < PEER_LIFE_MS);
  }

  /**
   * Returns a random sample of the info-hashes, 20 bytes each. All askers receive the same sample during one interval.
   */
  sample(now: Millis): Uint8Array {
    if (now - this.#sampledAt < SAMPLE_INTERVAL_MS) return this.#sample;
    const ids = Array.from(this.#hashes.entries(), ([id]) => id);
    this.#random.shuffle(ids);
    const sample = new Uint8Array(Math.min(SAMPLE_COUNT, ids.length) * ID_BYTES);
    for (let i = 0; i * ID_BYTES < sample.length; i++) ids[i].write(sample, i * ID_BYTES);
    this.#sample = sample;
    // Don't reuse an empty sample, so that the first announcement appears in the next reply.
    if (sample.length > 0) this.#sampledAt = now;
    return sample;
  }

  expire(now: Millis): void {
    for (const swarm of [...this.#hashes.values()]) {
      for (const announced of [...swarm[4], ...swarm[6]]) {
        if (now - announced.at >= PEER_LIFE_MS) this.#remove(announced);
      }
    }
  }
}

/**
 * Returns the peer to remove from a swarm before `endpoint` is added: its own earlier entry, the oldest peer of an
 * address that has too many, or, if the swarm is full, the oldest peer of the network with the most peers. Returns
 * undefined if there is room.
 */
function replacedIn(peers: readonly Announced[], endpoint: Endpoint): Announced | undefined {
  const same = peers.find((peer) => peer.endpoint.equals(endpoint));
  if (same !== undefined) return same;
  const neighbours = peers.filter((peer) => isSameOwner(peer.endpoint, endpoint));
  if (neighbours.length >= MAX_PEERS_PER_ADDRESS) return neighbours[0];
  return peers.length >= MAX_PEERS_PER_HASH ? oldestOfLargest(peers) : undefined;
}

/** Returns the oldest peer of the network that has the most peers. */
function oldestOfLargest(peers: readonly Announced[]): Announced {
  const shares = new Shares<Announced>();
  for (const peer of peers) shares.add(peer.source, peer);
  return shares.oldestOfLargest() ?? peers[0];
}
