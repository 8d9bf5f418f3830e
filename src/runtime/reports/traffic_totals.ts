// The bytes that the node has sent and received by hour, day and month, across restarts.

import { type Bytes, noBytes, PURPOSES } from "../../dht/purpose.ts";
import type { Usage } from "../../dht/usage.ts";
import { timeText } from "../../reports/time.ts";
import type { Budget, TrafficReport } from "../../reports/traffic.ts";
import type { Records } from "../records.ts";

/** Maximum numbers of hours, days and months that are kept. */
const MAX_HOURS = 72, MAX_DAYS = 62, MAX_MONTHS = 24;

/** The lengths of the names of hours, days and months: `2026-04-14T10`, `2026-04-14`, `2026-04`. */
const HOUR = 13, DAY = 10, MONTH = 7;

/** The prefix of the names of the records. */
const PREFIX = "traffic/";

const KEPT: ReadonlyMap<number, number> = new Map([
  [HOUR, MAX_HOURS],
  [DAY, MAX_DAYS],
  [MONTH, MAX_MONTHS],
]);

interface Total {
  readonly sent: Bytes;
  readonly received: Bytes;
}

export class TrafficTotals {
  readonly #usage: Usage;
  readonly #records: Records;
  /** The totals by the name of their time, in UTC. */
  readonly #totals = new Map<string, Total>();
  readonly #unsaved = new Set<string>();
  /** The counts of `#usage` that the totals already contain. */
  readonly #noted: Total = { sent: noBytes(), received: noBytes() };
  #month = "";

  constructor(usage: Usage, records: Records) {
    this.#usage = usage;
    this.#records = records;
    for (const [name, bytes] of records.below(PREFIX)) {
      const total = parse(new TextDecoder().decode(bytes));
      if (KEPT.has(name.length) && total !== undefined) this.#totals.set(name, total);
    }
  }

  /** Adds the bytes since the last call to the totals. `wall`: milliseconds since 1970. */
  note(wall: number): void {
    const time = new Date(wall).toISOString();
    this.#month = time.slice(0, MONTH);
    const names = [...KEPT.keys()].map((length) => time.slice(0, length));
    for (const direction of ["sent", "received"] as const) {
      const all = this.#usage[direction], noted = this.#noted[direction];
      for (const purpose of PURPOSES) {
        const added = all[purpose] - noted[purpose];
        if (added === 0) continue;
        noted[purpose] = all[purpose];
        for (const name of names) {
          this.#total(name)[direction][purpose] += added;
          this.#unsaved.add(name);
        }
      }
    }
  }

  /** The bytes of the month of the latest `note`, in both directions. */
  get monthBytes(): number {
    const total = this.#totals.get(this.#month);
    return total === undefined ? 0 : sum(total.sent) + sum(total.received);
  }

  /** Returns how much of a monthly budget of `bytes` is left in the month of the latest `note`. */
  budget(bytes: number): Budget {
    const used = this.monthBytes, [year, month] = this.#month.split("-").map(Number);
    return {
      bytes,
      used,
      left: Math.max(0, bytes - used),
      // The months of Date.UTC begin at 0, so `month` means the next month here.
      until: timeText(Date.UTC(year, month)),
      read_only: used >= bytes,
    };
  }

  #total(name: string): Total {
    let total = this.#totals.get(name);
    if (total === undefined) {
      total = { sent: noBytes(), received: noBytes() };
      this.#totals.set(name, total);
    }
    return total;
  }

  /** Deletes totals that are too old, and saves totals that have changed. */
  save(): void {
    for (const [length, kept] of KEPT) {
      for (const name of this.#names(length).slice(0, -kept)) {
        this.#totals.delete(name);
        this.#unsaved.delete(name);
        this.#records.delete(PREFIX + name);
      }
    }
    for (const name of this.#unsaved) {
      const json = JSON.stringify(this.#totals.get(name));
      this.#records.set(PREFIX + name, new TextEncoder().encode(json));
    }
    this.#unsaved.clear();
  }

  /** The names of the totals with this length, oldest first. The length tells hours, days and months apart. */
  #names(length: number): string[] {
    return [...this.#totals.keys()].filter((name) => name.length === length).sort();
  }

  report(): Pick<TrafficReport, "hours" | "days" | "months"> {
    const list = (length: number) =>
      this.#names(length).slice(-KEPT.get(length)!)
        .map((name) => ({ name, total: reportOf(this.#totals.get(name)!) }));
    return {
      hours: list(HOUR).map(({ name, total }) => ({ hour: `${name}:00:00Z`, ...total })),
      days: list(DAY).map(({ name, total }) => ({ day: name, ...total })),
      months: list(MONTH).map(({ name, total }) => ({ month: name, ...total })),
    };
  }
}

function reportOf({ sent, received }: Total) {
  const flows = PURPOSES.map((purpose) => [
    purpose,
    { sent: sent[purpose], received: received[purpose] },
  ]);
  return { sent: sum(sent), received: sum(received), by_purpose: Object.fromEntries(flows) };
}

function sum(bytes: Bytes): number {
  return PURPOSES.reduce((total, purpose) => total + bytes[purpose], 0);
}

/** Reads a saved total. Undefined if it is damaged. */
function parse(json: string): Total | undefined {
  try {
    const { sent, received } = JSON.parse(json);
    const isSound = [sent, received].every((bytes) =>
      Object.values(bytes).every((count) => Number.isSafeInteger(count) && Number(count) >= 0)
    );
    // Set missing purposes to 0 below. An earlier version, which had fewer purposes, may have saved the total.
    if (!isSound) return undefined;
    return { sent: { ...noBytes(), ...sent }, received: { ...noBytes(), ...received } };
  } catch {
    return undefined;
  }
}
