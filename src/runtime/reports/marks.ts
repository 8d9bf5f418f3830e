// The latest important events, which the dashboard marks on its charts. The marks survive a restart.

import type { ServiceEvent } from "../../reports/events.ts";
import type { Mark } from "../../reports/stats.ts";
import type { Records } from "../records.ts";

/** Maximum number of events that are kept. New events replace the oldest. */
export const MAX_MARKS = 200;

/** Maximum length of the text of a mark in characters. */
const MAX_TEXT = 120;

/**
 * The minimum time between two marks of one kind, except starts. Without this limit, an unstable network connection
 * could cause enough marks to evict all others.
 */
const MIN_GAP_MS = 60_000;

const PREFIX = "mark/";

export class Marks {
  readonly #records: Records;
  /** The marks with the names of their records, oldest first. */
  readonly #marks: { readonly name: number; readonly at: number; readonly mark: Mark }[] = [];

  constructor(records: Records) {
    this.#records = records;
    for (const [name, bytes] of records.below(PREFIX)) {
      const mark = decode(bytes);
      if (mark !== undefined) {
        this.#marks.push({ name: Number(name), at: Date.parse(mark.at), mark });
      }
    }
    this.#marks.sort((x, y) => x.at - y.at);
  }

  /** Marks the start of the node. */
  start(version: string, at: number): void {
    this.#add("start", `the node started, version ${version}`, at);
  }

  /** Marks that the node has changed its id. */
  changeId(at: number): void {
    this.#add("id", "the node changed its id", at);
  }

  /** Marks an event if it is important. `at`: its time in milliseconds since 1970. */
  note(event: ServiceEvent, at: number): void {
    switch (event.type) {
      case "ready":
        return this.#add(
          "ready",
          `${event.data.ready ? "ready" : "not ready"}: ${event.data.reason}`,
          at,
        );
      case "nat": {
        const { reachable, external_address } = event.data;
        const how = reachable === null ? "" : reachable ? ", reachable" : ", not reachable";
        return this.#add(
          "nat",
          `seen from outside at ${external_address ?? "an unknown address"}${how}`,
          at,
        );
      }
      case "clock":
        return this.#add("clock", "the system's clock jumped, or the machine slept", at);
      case "data.health":
        return this.#add("data.health", `a published value became ${event.data.to}`, at);
    }
  }

  /** The marks after this time, in milliseconds since 1970, oldest first. */
  after(at: number): Mark[] {
    return this.#marks.filter((each) => each.at > at).map(({ mark }) => mark);
  }

  #add(type: Mark["type"], given: string, at: number): void {
    const text = given.slice(0, MAX_TEXT),
      last = this.#marks.findLast(({ mark }) => mark.type === type);
    if (type !== "start" && last !== undefined && Math.abs(at - last.at) < MIN_GAP_MS) return;
    const isFull = this.#marks.length >= MAX_MARKS;
    const name = isFull ? this.#marks.shift()!.name : this.#freeName();
    const mark: Mark = { at: new Date(at).toISOString(), type, text };
    this.#marks.push({ name, at, mark });
    this.#marks.sort((x, y) => x.at - y.at);
    this.#records.set(`${PREFIX}${name}`, new TextEncoder().encode(`${at} ${type} ${text}`));
  }

  #freeName(): number {
    const taken = new Set(this.#marks.map(({ name }) => name));
    let name = 0;
    while (taken.has(name)) name++;
    return name;
  }
}

const TYPES: readonly string[] = [
  "start",
  "ready",
  "nat",
  "id",
  "clock",
  "data.health",
] satisfies Mark["type"][];

/** Decodes a record. Returns undefined if the record is damaged. */
function decode(bytes: Uint8Array): Mark | undefined {
  const [, at, type, text] = /^(\d{1,15}) (\S+) (.*)$/s.exec(new TextDecoder().decode(bytes)) ?? [];
  if (!TYPES.includes(type)) return undefined;
  return { at: new Date(Number(at)).toISOString(), type: type as Mark["type"], text };
}
