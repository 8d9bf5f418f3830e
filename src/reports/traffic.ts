// The report of the bytes that a node sends and receives, over months.

import { z } from "zod";
import { count, exampleOf, field } from "./fields.ts";

const Flow = z.object({ sent: count, received: count });

const BY_PURPOSE = {
  answers: field(Flow, { sent: 4_000_000, received: 2_400_000 }, "queries of others, answered"),
  requests: field(Flow, { sent: 120_000, received: 180_000 }, "find, fetch and store"),
  transfers: field(Flow, { sent: 0, received: 0 }, "pieces of large values, stored or fetched"),
  own_values: field(Flow, { sent: 700_000, received: 300_000 }, "own values, published again"),
  upkeep: field(
    Flow,
    { sent: 1_100_000, received: 1_500_000 },
    "contacts, the routing table, reachability, and copies of others' values",
  ),
  relay: field(Flow, { sent: 0, received: 0 }, "messages forwarded for nodes behind NATs"),
  other: field(Flow, { sent: 0, received: 20_000 }, "packets that were dropped"),
};

/** The fields that a total has in addition to its time. */
const TOTAL = {
  sent: field(count, 5_920_000, "bytes"),
  received: field(count, 4_400_000, "bytes"),
  by_purpose: z.object(BY_PURPOSE),
};

const Budget = z.object({
  bytes: field(count, 100_000_000_000, "P2P_MONTHLY_BUDGET"),
  used: field(count, 10_320_000, "bytes sent and received in this month"),
  left: field(count, 99_989_680_000),
  until: field(z.iso.datetime(), "2026-05-01T00:00:00Z", "the start of the next month"),
  read_only: field(
    z.boolean(),
    false,
    "whether the budget is used up: the node then answers no queries until the next month",
  ),
});
export type Budget = z.output<typeof Budget>;

/** The monthly budget for traffic; null without one. */
export const MonthlyBudget = field(
  Budget.nullable().meta({ id: "Budget" }),
  exampleOf(Budget),
  "the monthly budget for traffic; null without one",
);

/** Bytes by hour, day and month, in UTC, with the limits. */
export const TrafficReport = z.object({
  hours: z.array(z.object({
    hour: field(z.iso.datetime(), "2026-04-14T10:00:00Z", "the start of the hour"),
    ...TOTAL,
  })).meta({ description: "the latest 72 hours that this node ran, oldest first" }),
  days: z.array(z.object({ day: field(z.iso.date(), "2026-04-14"), ...TOTAL }))
    .meta({ description: "the latest 62 days, oldest first" }),
  months: z.array(z.object({ month: field(z.string(), "2026-04"), ...TOTAL }))
    .meta({ description: "the latest 24 months, oldest first" }),
  limits: z.object({
    up: field(count.nullable(), 250_000, "bytes per second; null: no limit"),
    down: field(count.nullable(), null),
  }),
  budget: MonthlyBudget,
}).meta({ id: "TrafficReport" });
export type TrafficReport = z.output<typeof TrafficReport>;
