// Swarm members that were announced here (BEP 5), and samples of their info-hashes (BEP 51).

import { type Endpoint, type Family, mayRefer } from "../krpc/endpoint.ts";
import { type Id, ID_BYTES, IdMap } from "../krpc/id.ts";
import type { Millis } from "./deadlines.ts";
import { isSameOwner, ownerOf } from "./diversity.ts";
import type { Random } from "./random.ts";

/** How long an announcement counts; clients repeat theirs every 15 to 30 minutes. */
export const PEER_LIFE_MS = 45 * 60_000;

/** Bounds on what strangers can make us hold: about 60 MB at worst. */
export const MAX_INFO_HASHES = 5_000;
export const MAX_PEERS_PER_HASH = 100;

/** Peers in one reply: with nodes beside them it stays under 1,400 bytes. */
export const PEERS_PER_REPLY = { 4: 64, 6: 32 } as const;

/** Info-hashes in one sample, likewise. */
const SAMPLE_COUNT = 20;

/** How long one sample is given to all who ask: BEP 51's `interval`. */
export const SAMPLE_INTERVAL_MS = 5 * 60_000;

/** Info-hashes that one address may bring, and peers of one hash at one address: several clients behind a NAT. */
export const MAX_HASHES_PER_ADDRESS = 200, MAX_PEERS_PER_ADDRESS = 8;

interface Swarm {
  peers: Announced[];
  /** The address whose announcement was the first. */
  readonly creator: string;
}

interface Announced {
  endpoint: Endpoint;
  at: Millis;
}

export class PeerStore {
  readonly #hashes: IdMap<Swarm>;
  /** Info-hashes by the address that brought them. */
  readonly #created = new Map<string, number>();
  readonly #random: Random;
  #sample: Uint8Array = new Uint8Array(0);
  #sampledAt: Millis = -Infinity;
  #count = 0;

  constructor(random: Random) {
    this.#random = random;
    this.#hashes = new IdMap(random.word());
  }

  /** Info-hashes known. */
  get hashes(): number {
    return this.#hashes.size;
  }

  /** Announcements held. */
  get count(): number {
    return this.#count;
  }

  /**
   * Records an announcement; false where there is no room for another info-hash, or none more for its address.
   * `isOnly`: it is the only one of its address, and takes the place of all before.
   */
  announce(infoHash: Id, endpoint: Endpoint, now: Millis, isOnly = false): boolean {
    let swarm = this.#hashes.get(infoHash);
    if (swarm === undefined) {
      const creator = ownerOf(endpoint);
      const created = this.#created.get(creator) ?? 0;
      if (this.#hashes.size >= MAX_INFO_HASHES || created >= MAX_HASHES_PER_ADDRESS) return false;
      this.#created.set(creator, created + 1);
      this.#hashes.set(infoHash, swarm = { peers: [], creator });
    }
    const { peers } = swarm;
    for (let i = isOnly ? peers.length - 1 : -1; i >= 0; i--) {
      if (peers[i].endpoint.sameAddress(endpoint)) this.#forget(swarm, i);
    }
    const same = peers.findIndex((peer) => peer.endpoint.equals(endpoint));
    const neighbours = peers.filter((peer) => isSameOwner(peer.endpoint, endpoint));
    // What gives way: itself, else the oldest of its own address, else the oldest of all.
    if (same >= 0) this.#forget(swarm, same);
    else if (neighbours.length >= MAX_PEERS_PER_ADDRESS) {
      this.#forget(swarm, peers.indexOf(neighbours[0]));
    } else if (peers.length >= MAX_PEERS_PER_HASH) this.#forget(swarm, 0);
    peers.push({ endpoint, at: now });
    this.#count++;
    return true;
  }

  #forget({ peers }: Swarm, index: number): void {
    peers.splice(index, 1);
    this.#count--;
  }

  /**
   * Peers of one family that were announced lately: all, or a random part that fits a reply; of those in our own network
   * none that `asker`, if it is given, can't be in.
   */
  peers(infoHash: Id, family: Family, now: Millis, asker?: Endpoint): Endpoint[] | undefined {
    const swarm = this.#hashes.get(infoHash);
    if (swarm === undefined) return undefined;
    const fresh: Endpoint[] = [];
    for (const { endpoint, at } of swarm.peers) {
      if (endpoint.family !== family || now - at >= PEER_LIFE_MS) continue;
      if (asker === undefined || mayRefer(asker, endpoint)) fresh.push(endpoint);
    }
    this.#random.shuffle(fresh);
    return fresh.length === 0 ? undefined : fresh.slice(0, PEERS_PER_REPLY[family]);
  }

  /** Whether this very endpoint was announced lately. */
  has(infoHash: Id, endpoint: Endpoint, now: Millis): boolean {
    const peers = this.#hashes.get(infoHash)?.peers ?? [];
    return peers.some((peer) => peer.endpoint.equals(endpoint) && now - peer.at < PEER_LIFE_MS);
  }

  /** A random part of the info-hashes, 20 bytes each: the same for every asker until the interval is over. */
  sample(now: Millis): Uint8Array {
    if (now - this.#sampledAt < SAMPLE_INTERVAL_MS) return this.#sample;
    const ids = Array.from(this.#hashes.entries(), ([id]) => id);
    this.#random.shuffle(ids);
    const sample = new Uint8Array(Math.min(SAMPLE_COUNT, ids.length) * ID_BYTES);
    for (let i = 0; i * ID_BYTES < sample.length; i++) ids[i].write(sample, i * ID_BYTES);
    this.#sample = sample;
    // An empty sample is not worth keeping: the first announcement should show at once.
    if (sample.length > 0) this.#sampledAt = now;
    return sample;
  }

  /** Forgets announcements that are too old. */
  expire(now: Millis): void {
    for (const [id, swarm] of [...this.#hashes.entries()]) {
      const before = swarm.peers.length;
      swarm.peers = swarm.peers.filter((peer) => now - peer.at < PEER_LIFE_MS);
      this.#count -= before - swarm.peers.length;
      if (swarm.peers.length > 0) continue;
      this.#hashes.delete(id);
      const left = this.#created.get(swarm.creator)! - 1;
      if (left > 0) this.#created.set(swarm.creator, left);
      else this.#created.delete(swarm.creator);
    }
  }
}
