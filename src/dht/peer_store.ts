// Swarm members that were announced here (BEP 5), and samples of their info-hashes (BEP 51).

import { Endpoint, type Family } from "../krpc/endpoint.ts";
import { type Id, ID_BYTES, IdMap } from "../krpc/id.ts";
import type { Millis } from "./deadlines.ts";
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

interface Announced {
  endpoint: Endpoint;
  at: Millis;
}

export class PeerStore {
  readonly #hashes: IdMap<Announced[]>;
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

  /** Records an announcement; false where there is no room for another info-hash. */
  announce(infoHash: Id, endpoint: Endpoint, now: Millis): boolean {
    let peers = this.#hashes.get(infoHash);
    if (peers === undefined) {
      if (this.#hashes.size >= MAX_INFO_HASHES) return false;
      this.#hashes.set(infoHash, peers = []);
    }
    const known = peers.findIndex((peer) => peer.endpoint.equals(endpoint));
    if (known >= 0) peers.splice(known, 1);
    else this.#count++;
    if (peers.length >= MAX_PEERS_PER_HASH) {
      peers.shift();
      this.#count--;
    }
    peers.push({ endpoint, at: now });
    return true;
  }

  /** Peers of one family that were announced lately: all, or a random part that fits a reply. */
  peers(infoHash: Id, family: Family, now: Millis): Endpoint[] | undefined {
    const announced = this.#hashes.get(infoHash);
    if (announced === undefined) return undefined;
    const fresh: Endpoint[] = [];
    for (const { endpoint, at } of announced) {
      if (endpoint.family === family && now - at < PEER_LIFE_MS) fresh.push(endpoint);
    }
    this.#random.shuffle(fresh);
    return fresh.length === 0 ? undefined : fresh.slice(0, PEERS_PER_REPLY[family]);
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
    for (const [id, peers] of [...this.#hashes.entries()]) {
      const fresh = peers.filter((peer) => now - peer.at < PEER_LIFE_MS);
      this.#count -= peers.length - fresh.length;
      if (fresh.length === 0) this.#hashes.delete(id);
      else this.#hashes.set(id, fresh);
    }
  }
}
