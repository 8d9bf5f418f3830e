// Estimates from which networks most refused packets come, in memory that strangers can't make grow.

import { Endpoint, type Family } from "../krpc/endpoint.ts";
import type { Millis } from "./deadlines.ts";
import { hashAddress } from "./serving/rate_limit.ts";
import type { Drop } from "./traffic.ts";

/**
 * The number of slots for each reason is 2 to this power. Of the packets refused for one reason, a network that sends
 * more than about one in 64 is found.
 */
const SLOT_BITS = 6;

/** A report covers the current one of these periods and the previous one. */
export const REFUSALS_PERIOD_MS = 30 * 60_000;

/** The packets of one network that were refused for one reason. */
export interface RefusedSource {
  /** The first address of an IPv4 /24 or IPv6 /48, with port 0. */
  readonly network: Endpoint;
  readonly reason: Drop;
  /** The minimum number of refused packets. The true number may be higher. */
  readonly packets: number;
}

/** An IPv4 /24 or IPv6 /48: its family, and the first 64 bits of its first address as two integers. */
interface Network {
  family: Family;
  a: number;
  b: number;
}

/** The network that has the majority of the packets of a slot. */
interface Slot extends Network {
  /** The packets of this network, minus those of other networks in this slot. */
  packets: number;
}

interface Period {
  readonly since: Millis;
  readonly slots: Partial<Record<Drop, Slot[]>>;
}

/**
 * Networks are hashed into slots, and each slot elects the network that sends most of its packets
 * (Boyer and Moore, "MJRTY: a fast majority vote algorithm", 1981). Packets of other networks lower
 * the count of a slot, so a count is never too high.
 */
export class RefusedSources {
  readonly #seed: number;
  /**
   * The network of the packet that is being counted. This object is reused for all packets, so that a flood allocates
   * nothing.
   */
  readonly #from: Network = { family: 4, a: 0, b: 0 };
  #present: Period;
  #former: Period | undefined;

  /** `seed`: a 32-bit integer that strangers can't know. Otherwise, they could choose networks that share a slot. */
  constructor(seed: number, now: Millis) {
    this.#seed = seed;
    this.#present = { since: now, slots: {} };
  }

  /** Counts a packet that was refused. */
  note(reason: Drop, { family, a, b }: Endpoint, now: Millis): void {
    this.#turn(now);
    const from = this.#from;
    from.family = family;
    from.a = family === 4 ? a & ~0xff : a;
    from.b = b & ~0xffff;
    const slots = this.#present.slots[reason] ??= [];
    const at = hashAddress(from, this.#seed) >>> (32 - SLOT_BITS);
    const slot = slots[at];
    if (slot === undefined) slots[at] = { ...from, packets: 1 };
    else if (slot.a === from.a && slot.b === from.b && slot.family === family) slot.packets++;
    else if (slot.packets > 0) slot.packets--;
    else {
      slot.family = family;
      slot.a = from.a;
      slot.b = from.b;
      slot.packets = 1;
    }
  }

  /** Begins a new period if the current one is over. */
  #turn(now: Millis): void {
    const age = now - this.#present.since;
    if (age < REFUSALS_PERIOD_MS) return;
    this.#former = age < 2 * REFUSALS_PERIOD_MS ? this.#present : undefined;
    this.#present = { since: now, slots: {} };
  }

  /**
   * Returns the networks from which most refused packets came, most packets first, and the time
   * since which their packets count.
   */
  largest(count: number, now: Millis): { since: Millis; sources: RefusedSource[] } {
    this.#turn(now);
    const former = this.#former, present = this.#present;
    const sources = new Map<string, RefusedSource>();
    for (const { slots } of former === undefined ? [present] : [former, present]) {
      for (const [reason, networks] of Object.entries(slots) as [Drop, Slot[]][]) {
        // Slots without any packet are missing, and forEach skips them.
        networks.forEach(({ family, a, b, packets }) => {
          if (packets === 0) return;
          const network = family === 4 ? Endpoint.ofIpv4(a, 0) : Endpoint.ofIpv6(a, b, 0, 0, 0);
          const name = `${reason} ${network}`, before = sources.get(name)?.packets ?? 0;
          sources.set(name, { network, reason, packets: before + packets });
        });
      }
    }
    const sorted = [...sources.values()].sort((x, y) => y.packets - x.packets);
    return { since: (former ?? present).since, sources: sorted.slice(0, count) };
  }
}
