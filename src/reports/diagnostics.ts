// The report about a node that a user can send to others who look for the cause of a problem.

import { z } from "zod";
import { amount, count, exampleOf, field, time } from "./fields.ts";
import { Event, eventExample } from "./events.ts";
import { Peer } from "./peers.ts";
import { Stats } from "./stats.ts";

/** The result of one check of the running node. */
export const FindingReport = z.object({
  check: field(z.string(), "peers"),
  verdict: field(z.enum(["ok", "warn", "fail", "unknown"]), "ok"),
  found: field(z.string(), "48 healthy, 2 degraded, 0 unhealthy"),
  advice: field(z.string().nullable(), null, "what the user can do about it"),
}).meta({ id: "Finding" });

export const Diagnostics = z.object({
  made_at: time,
  runtime: field(z.string(), "deno 2.9.6", "the JavaScript runtime"),
  system: field(z.string(), "linux x86_64"),
  memory: z.object({
    resident_bytes: field(count, 80_000_000),
    heap_bytes: field(count, 20_000_000),
    heap_used_bytes: field(count, 15_000_000),
  }),
  cpu_s: field(amount, 1.75, "seconds of processor time since the start"),
  findings: z.array(FindingReport).meta({
    description: "what `dmnode doctor` finds out about a running node",
  }),
  stats: Stats,
  peers: z.array(Peer).meta({ description: "the contacts with the best scores, up to 200" }),
  events: field(
    z.array(Event),
    [eventExample("peer.leave") as z.output<typeof Event>],
    "the latest events, newest first, up to 500; keys of values are left out",
  ),
}).meta({ id: "Diagnostics" });
export type Diagnostics = z.output<typeof Diagnostics>;

/** A small example of the report. */
export const DIAGNOSTICS: Diagnostics = exampleOf(Diagnostics);
