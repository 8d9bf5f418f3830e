// Reports about swarms: their peers, their sizes, and the announcements of this node.

import { z } from "zod";
import { address, amount, count, exampleOf, field, hash, time } from "./fields.ts";

/** A name of a service, for tests and examples, and the info-hash that is computed from the name (docs/protocol.md). */
export const SERVICE = "chat", SERVICE_HASH = "648be4866f5a0f5153e343a85ee51e9a2d7a050b";

export const infoHash = field(hash, SERVICE_HASH);

const service = field(
  z.string().nullable(),
  SERVICE,
  "the name of the service that the info-hash stands for; null: the request named the info-hash",
);

const port = field(
  z.int().min(1).max(65_535).nullable(),
  6881,
  "the port that is announced; null: the UDP port of this node, as other nodes see it",
);

const seed = field(z.boolean(), false, "whether this host is announced as a seed (BEP 33)");

/** The size of a swarm (BEP 33). */
export const Scrape = z.object({
  seeds: field(count, 3, "estimated number of addresses that seed"),
  peers: field(count, 12, "estimated number of other addresses"),
  nodes: field(count, 14, "nodes whose counts were united"),
});

/** The peers of a swarm. */
export const SwarmPeers = z.object({
  info_hash: infoHash,
  service,
  peers: field(z.array(address), ["192.0.2.7:6881", "[2001:db8::7]:6881"], "in no order"),
  ipv4: field(count, 1, "how many of the peers have an IPv4 address"),
  ipv6: field(count, 1),
  scrape: field(Scrape.nullable(), null, "the size of the swarm; null without ?scrape=1"),
  nodes: field(count, 20, "nodes that answered"),
  queries: field(count, 24),
  elapsed_ms: field(amount, 80.2),
}).meta({ id: "SwarmPeers" });
export type SwarmPeers = z.output<typeof SwarmPeers>;

export const SCRAPED: SwarmPeers = { ...exampleOf(SwarmPeers), scrape: exampleOf(Scrape) };

/** Peers that a running search has found. */
export const FoundPeers = z.object({ peers: field(z.array(address), ["192.0.2.7:6881"]) });
export type FoundPeers = z.output<typeof FoundPeers>;

/** An announcement that this node renews. */
export const AnnouncedSwarm = z.object({
  info_hash: infoHash,
  service,
  port,
  seed,
  first_at: field(time, "2026-04-14T08:00:00Z"),
  last_at: field(
    time.nullable(),
    "2026-04-14T10:15:12Z",
    "when a node last accepted the announcement in this run; null: never",
  ),
  next_at: field(time, "2026-04-14T10:34:40Z"),
  nodes: field(count, 20, "nodes that accepted the latest announcement"),
  failures: field(count, 0, "latest attempts that no node accepted"),
}).meta({ id: "AnnouncedSwarm" });
export type AnnouncedSwarm = z.output<typeof AnnouncedSwarm>;

/** The announcements that this node renews. */
export const AnnouncedSwarms = z.object({
  total: field(count, 1),
  swarms: z.array(AnnouncedSwarm),
}).meta({ id: "AnnouncedSwarms" });
export type AnnouncedSwarms = z.output<typeof AnnouncedSwarms>;
