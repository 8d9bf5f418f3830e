// The report of signs of an attack: refused packets, the density of ids, and the concentration of addresses.

import { z } from "zod";
import { amount, count, field, hash, time } from "./fields.ts";

const family = field(z.union([z.literal(4), z.literal(6)]), 4);
const reason = field(z.string(), "rate_limited");
const network = field(z.string(), "198.51.100.0/24", "an IPv4 /24 or IPv6 /48");

const Refusals = z.object({
  reason,
  total: field(count, 5_210, "since the start"),
  recent: field(count, 1_200, "in the last `over_s` seconds"),
  per_second: field(amount, 1.5, "in the last one to two minutes"),
});

const OwnIds = z.object({
  family,
  nodes: field(
    count.nullable(),
    7,
    "contacts in the part of the id space around this node's id in which `expected` nodes are expected; null until " +
      "lookups have shown the network's size",
  ),
  expected: field(amount, 6.1),
  limit: field(count, 20, "with this number of nodes, the part is crowded"),
  similar: field(
    count,
    1,
    "contacts with an id much closer to this node's id than most neighbours",
  ),
  expected_similar: field(amount, 1.25),
  max_similar: field(count, 6, "maximum number of such contacts that this node accepts"),
});

const Density = z.object({
  hash,
  family,
  nodes: field(count, 8, "nodes found in the part of the id space around the hash"),
  expected: field(amount, 6.1, "nodes that the network's size predicts there"),
  crowded: field(z.boolean(), false, "whether most of these nodes are probably Sybils"),
  at: field(time, "2026-04-14T10:00:00Z", "when the node counted them"),
});

const Concentration = z.object({
  network,
  contacts: field(count, 2),
  global: field(z.boolean(), true, "whether the network is part of the Internet"),
});

/** The signs of an attack that the node itself reports. */
export const NodeThreats = z.object({
  refused: z.object({
    over_s: field(amount, 3_600, "seconds of `recent`: up to an hour"),
    reasons: z.array(Refusals).meta({ description: "the most frequent first" }),
    sources_since: field(time, "2026-04-14T09:10:00Z"),
    sources: field(
      z.array(z.object({
        network,
        reason,
        packets: field(count, 900, "at least this number since `sources_since`"),
      })),
      [{ network: "198.51.100.0/24", reason: "rate_limited", packets: 900 }],
      "the networks from which most refused packets came, at most 20",
    ),
  }),
  own_ids: z.array(OwnIds).meta({ description: "for each address family" }),
  values: z.object({
    counted: field(count, 12, "own values around which the latest lookups have counted nodes"),
    crowded: field(count, 0),
    densest: z.array(Density).meta({ description: "at most 20, the densest first" }),
  }),
  contacts: z.object({
    all: field(count, 156),
    networks: field(count, 151, "IPv4 /24 and IPv6 /48"),
    largest: z.array(Concentration).meta({ description: "at most 10" }),
    widest: field(
      z.array(Concentration),
      [{ network: "198.51.0.0/16", contacts: 3, global: true }],
      "the largest IPv4 /16 and IPv6 /32, at most 5",
    ),
  }),
});
export type NodeThreats = z.output<typeof NodeThreats>;

/** The signs of an attack, with the requests that the API refused. */
export const Threats = NodeThreats.extend({
  api_refusals: field(
    z.record(z.string(), count),
    { wrong_token: 3 },
    "requests and connections that the API refused since the start, by reason",
  ),
}).meta({ id: "Threats" });
export type Threats = z.output<typeof Threats>;
