// Which address others see us at, by the votes that come as `ip` in their responses (BEP 42).

import type { Endpoint } from "../krpc/endpoint.ts";

/** Voters remembered; a vote counts until this many others have voted. */
const VOTERS = 32;

/** The latest vote of each of the latest voters; one voter is one IP address, or one loopback endpoint. */
export class AddressVotes {
  readonly #votes = new Map<string, Endpoint>();

  add(voter: Endpoint, seen: Endpoint): void {
    const key = voter.scope === "loopback" ? voter.toString() : voter.host;
    this.#votes.delete(key);
    this.#votes.set(key, seen);
    if (this.#votes.size > VOTERS) {
      this.#votes.delete(this.#votes.keys().next().value!);
    }
  }

  /** The endpoint most voters saw, and how many they are. */
  leader(): { endpoint: Endpoint; votes: number; voters: number } | undefined {
    const counts = new Map<string, { endpoint: Endpoint; votes: number }>();
    for (const endpoint of this.#votes.values()) {
      const key = endpoint.toString();
      const entry = counts.get(key) ?? { endpoint, votes: 0 };
      entry.votes++;
      counts.set(key, entry);
    }
    let best: { endpoint: Endpoint; votes: number } | undefined;
    for (const entry of counts.values()) if (entry.votes > (best?.votes ?? 0)) best = entry;
    return best && { ...best, voters: this.#votes.size };
  }
}
