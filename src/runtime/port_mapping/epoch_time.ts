// A router's count of seconds since it last lost its mappings: whether it fits the time that passed here.

import type { Clock } from "../../data/item_network.ts";

/** Slack of the count, for its whole seconds and the way of the packets. */
const SLACK_S = 2;

/** RFC 6887, section 8.5: clocks may differ by a sixteenth. RFC 6886, section 3.6: by an eighth, and only be slow. */
const DRIFT = { "pcp": 1 / 16, "nat-pmp": 1 / 8 } as const;

export class EpochTime {
  readonly #protocol: keyof typeof DRIFT;
  readonly #clock: Clock;
  #latest: { readonly epochS: number; readonly at: number } | undefined;

  constructor(protocol: keyof typeof DRIFT, clock: Clock) {
    this.#protocol = protocol;
    this.#clock = clock;
  }

  /** Takes the count of an answer; false where it shows that the router has lost its state since the one before. */
  note(epochS: number): boolean {
    const at = this.#clock.now(), before = this.#latest, drift = DRIFT[this.#protocol];
    this.#latest = { epochS, at };
    if (before === undefined) return true;
    const here = (at - before.at) / 1000, there = epochS - before.epochS;
    if (there + SLACK_S < here * (1 - drift)) return false;
    return this.#protocol === "nat-pmp" || here + SLACK_S >= there * (1 - drift);
  }
}
