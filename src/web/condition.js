// Judges the state of the node for the headline: whether all is well, and what needs attention.

import { count, percent, plural } from "./format.js";

/** @typedef {import("../reports/stats.ts").Stats} Stats */
/** @typedef {import("./parts.js").Tone} Tone */

/** Above this share of peers that missed their latest check, the network or this node has a problem. */
const SILENT_SHARE = 0.25;
/** With fewer peers, a single silent one would be a large share. */
const FEW_PEERS = 4;
/** Above this share of the limit, the node soon refuses other nodes' values. */
const FULL_SHARE = 0.9;
/** Above this share of all packets, refusals by the rate limit are no longer single busy neighbours. */
const REFUSED_SHARE = 0.1;
/** Fewer refusals than this are not reported, whatever their share. */
const FEW_REFUSALS = 1_000;

/** Whether the node listens only to this machine. @param {readonly string[]} addresses */
export function isLoopback(addresses) {
  return addresses.length > 0 &&
    addresses.every((address) => address.startsWith("127.") || address.startsWith("[::1]"));
}

/**
 * @param {Pick<Stats, "readiness" | "peers" | "nat" | "addresses" | "storage" | "traffic">} stats
 * @returns {{ tone: Tone, title: string, problems: string[] }}
 */
export function conditionOf({ readiness, peers, nat, addresses, storage, traffic }) {
  const problems = [];
  const silent = peers.degraded + peers.unhealthy, all = peers.healthy + silent;
  if (all >= FEW_PEERS && silent > all * SILENT_SHARE) {
    problems.push(`${count(silent)} of ${plural(all, "peer")} did not answer their latest check.`);
  }
  if (nat.reachable === false && !isLoopback(addresses)) {
    problems.push("Nodes that do not know this node cannot reach it.");
  }
  const used = storage.limit_bytes === 0 ? 0 : storage.bytes / storage.limit_bytes;
  if (used > FULL_SHARE) {
    problems.push(
      `The storage for other nodes' values is ${percent(used)} full. A full node refuses values.`,
    );
  }
  const refused = traffic.dropped.rate_limited ?? 0;
  if (refused > FEW_REFUSALS && refused > (traffic.in.messages + refused) * REFUSED_SHARE) {
    problems.push(
      `The rate limit refused ${
        plural(refused, "packet")
      } since the start. Somebody may be flooding this node.`,
    );
  }
  const { published_short: short, published_failing: failing, published_ending: ending } = storage;
  const atRisk = short + failing + ending;
  if (atRisk > 0) {
    problems.push(
      `${plural(atRisk, "published value")} ${atRisk === 1 ? "has" : "have"} too few copies.`,
    );
  }
  if (!readiness.ready) return { tone: "bad", title: "Not ready", problems };
  if (problems.length > 0) return { tone: "warn", title: "Needs attention", problems };
  if (all > 0) return { tone: "ok", title: "Ready", problems };
  return {
    tone: "warn",
    title: "No other nodes",
    problems: ["Values that you store here have no copy on another node."],
  };
}
