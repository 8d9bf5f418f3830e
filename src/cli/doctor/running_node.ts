// Judges the state of a running node from the statistics that it reports.

import { NAT_WORDS } from "../../runtime/reports/nat_report.ts";
import { VERSION } from "../../version.ts";
import { bytes, duration, ms, plural } from "../../web/format.js";
import type { Stats } from "../../reports/stats.ts";
import { fail, type Finding, judged, ok, unknown, warn } from "./finding.ts";

/** With this many healthy peers, a node works well in a network of any size. */
const ENOUGH_PEERS = 8;

/** With fewer queries or lookups than these, the shares of successful ones mean nothing. */
const MIN_QUERIES = 20, MIN_LOOKUPS = 5;

/** Lower shares of answered queries or of successful lookups mean that something is wrong. */
const MIN_ANSWER_SHARE = 0.5, MIN_LOOKUP_SHARE = 0.9;

/** Longer lookups are noticeable to users. Longer round trips are rare, even to the other side of the world. */
const SLOW_LOOKUP_MS = 2_000, FAR_RTT_MS = 300;

/** If more than this share of STORAGE_LIMIT is in use, the node is full or will be soon: a full node refuses items. */
const MAX_STORAGE_SHARE = 0.95;

/** Returns the findings about a node. `medianRttMs` is the median round-trip time to its peers, null if unknown. */
export function judgeNode(stats: Stats, medianRttMs: number | null): Finding[] {
  return [
    version(stats),
    readiness(stats),
    peers(stats),
    answers(stats),
    lookups(stats, medianRttMs),
    ...networkKey(stats),
    crowding(stats),
    ...leftOut(stats),
    ...clones(stats),
    ...droppedPackets(stats),
    storage(stats),
    ...publishedValues(stats),
    ...reachability(stats),
    ...portMapping(stats),
  ];
}

function version({ node_id, version, uptime_s }: Stats): Finding {
  const found = `${node_id}, version ${version}, up for ${duration(uptime_s)}`;
  const advice = `this program is ${VERSION}: restart the node with it`;
  return judged("running node", found, version !== VERSION && advice);
}

function readiness({ readiness: { ready, reason } }: Stats): Finding {
  const advice =
    "check the bootstrap nodes, and whether a firewall blocks incoming or outgoing UDP";
  return ready ? ok("ready", reason) : fail("ready", reason, advice);
}

function peers({ peers, readiness, network_size_estimate: size }: Stats): Finding {
  const { healthy, degraded, unhealthy } = peers;
  const check = "peers";
  const found = `${healthy} healthy, ${degraded} degraded, ${unhealthy} unhealthy`;
  if (healthy === 0) {
    return readiness.ready
      ? warn(check, found, "it is alone: no other node has joined through it yet")
      : fail(check, found, "no peer answers it: see above");
  }
  if (degraded + unhealthy > healthy) {
    return warn(
      check,
      found,
      "most don't answer: an outage, a bad connection or a full receive buffer",
    );
  }
  if (size === null) return ok(check, found);
  const isLow = healthy < ENOUGH_PEERS && size > 2 * healthy;
  const advice = "too few: it has just joined, or others can't reach its port (firewall, NAT)";
  return judged(check, `${found}, of about ${size} nodes`, isLow && advice);
}

function answers({ readiness: { queries, answers, over_s } }: Stats): Finding {
  if (queries < MIN_QUERIES) {
    return unknown("answers", `${answers} to ${queries} queries in ${over_s} s: too few to judge`);
  }
  const share = Math.min(1, answers / queries);
  const found = `${Math.round(100 * share)} % of ${queries} queries in ${over_s} s`;
  const advice =
    "packets are lost: check the network connection and the router's connection table, or wait for dead peers to be dropped";
  return judged("answers", found, share < MIN_ANSWER_SHARE && advice);
}

function lookups({ lookups }: Stats, medianRttMs: number | null): Finding {
  const { count, success, latency_ms: { p50, p95 } } = lookups;
  if (count < MIN_LOOKUPS || p50 === null || p95 === null) {
    return unknown("lookups", `${count} so far: too few to judge`);
  }
  const share = success / count;
  const found =
    `${Math.round(100 * share)} % of ${count} found nodes; half took up to ${ms(p50)}, ` +
    `95 % up to ${ms(p95)}`;
  const advice = share < MIN_LOOKUP_SHARE
    ? "the others got no answer: outages or lost packets (see answers)"
    : p95 > SLOW_LOOKUP_MS && whySlow(p50, lookups.hops_mean ?? 1, medianRttMs);
  return judged("lookups", found, advice);
}

function networkKey({ network_key: { in_use, mismatch } }: Stats): Finding[] {
  if (!in_use) return [];
  return [
    mismatch === null
      ? ok("network key", "in use: only nodes that have it can talk to this one")
      : warn("network key", mismatch, "dmnode network rotate explains how to replace a key"),
  ];
}

function crowding({ lookups: { crowded, latest_crowded } }: Stats): Finding {
  const check = "Sybils";
  if (latest_crowded === null) return ok(check, "no key has too many nodes around it");
  const { target, at } = latest_crowded;
  return warn(
    check,
    `${
      plural(crowded, "key")
    } with far too many nodes around them; the latest is ${target}, at ${at}`,
    "somebody may be trying to hide the value under this key. This node stores and reads it at all nodes around the key, " +
      "and its readers should run this version too",
  );
}

/** Reports nodes that MAX_PER_SUBNET leaves out. In a large network, a few of them are normal. */
function leftOut(
  { left_out: { nodes, subnets, largest }, routing_table_size, config }: Stats,
): Finding[] {
  if (largest === null) return [];
  const found = `${plural(nodes, "node")} of ${
    plural(subnets, "subnet")
  } such as ${largest} in the past hour`;
  const advice =
    `more than MAX_PER_SUBNET = ${config.max_per_subnet} of one subnet are not accepted: if these nodes are ` +
    "yours, raise it, or name one of them in BOOTSTRAP_NODES";
  return [judged("left out", found, nodes >= routing_table_size && advice)];
}

/** Reports nodes that share an id. If this node is one of them, peers keep only one of the two. */
function clones({ clones }: Stats): Finding[] {
  return clones.map(({ node_id, addresses, is_own }) => {
    const found = `${addresses.join(" and ")} use${is_own ? "s" : ""} the id ${node_id}`;
    const advice =
      "if they are yours, a DATA_DIR was copied: stop one of them, and start it with an empty DATA_DIR";
    // Any stranger can imitate a node, so this is never a failure.
    return is_own
      ? warn("clone", `this node, and another one at ${found} of this node`, advice)
      : warn("clone", `the nodes at ${found}`, advice);
  });
}

function whySlow(p50: number, hops: number, medianRttMs: number | null): string {
  if (p50 < SLOW_LOOKUP_MS / 2) {
    return "slow now and then: those lookups waited for peers that did not answer";
  }
  if (hops * (medianRttMs ?? 0) < p50 / 3) {
    return "slow: they mostly wait for peers that don't answer, or the machine is overloaded";
  }
  return medianRttMs !== null && medianRttMs > FAR_RTT_MS
    ? `slow: half of the round trips to peers take over ${ms(medianRttMs)}; the peers are far ` +
      "away, or the connection is slow"
    : `slow: ${hops.toFixed(1)} hops on average; more peers would mean fewer hops`;
}

function droppedPackets({ traffic }: Stats): Finding[] {
  const counts = Object.entries(traffic.dropped).filter(([, count]) => count > 0);
  if (counts.length === 0) return [];
  const found = counts.map(([reason, count]) => `${count} ${reason}`).join(", ");
  const isOverloaded = (traffic.dropped.send_queue_full ?? 0) > 0;
  const advice =
    "the network connection or the machine is too slow for the packets that the node sends";
  return [judged("dropped packets", found, isOverloaded && advice)];
}

function storage({ storage: { bytes: held, limit_bytes: limit } }: Stats): Finding {
  const advice = "a full node refuses to store; raise STORAGE_LIMIT";
  const isFull = held > MAX_STORAGE_SHARE * limit;
  return judged("values of others", `${bytes(held)} of ${bytes(limit)}`, isFull && advice);
}

function publishedValues({ storage }: Stats): Finding[] {
  const { published, published_short, published_failing, published_ending } = storage;
  if (published === 0) return [];
  const found = [
    plural(published, "value"),
    ...(published_ending > 0 ? [`${published_ending} that other nodes will soon drop`] : []),
    ...(published_failing > 0 ? [`${published_failing} on this node only, or not accepted`] : []),
    ...(published_short > 0 ? [`${published_short} short of copies`] : []),
  ].join(", ");
  const check = "published values", list = "dmnode published lists them";
  if (published_ending > 0) {
    return [
      fail(
        check,
        found,
        `publishing them fails: see the findings about peers and answers above; ${list}`,
      ),
    ];
  }
  if (published_failing > 0) {
    return [
      warn(
        check,
        found,
        `no other node acknowledged the latest publication: see the findings about peers above; ${list}`,
      ),
    ];
  }
  const advice =
    `fewer than four fifths of the nodes that should have them do: the others are full or gone; ${list}`;
  return [judged(check, found, published_short > 0 && advice)];
}

/** Reports, for each address family, the node's external address, and whether strangers can reach the node there. */
function reachability({ nat: { families, introducers } }: Stats): Finding[] {
  const observed = families.filter(({ external_address }) => external_address !== null);
  if (observed.length === 0) {
    return [unknown("seen from outside", "no peer has reported its address yet")];
  }
  return observed.map(({ family, external_address, type, reachable, evidence }) => {
    const check = observed.length === 1 ? "seen from outside" : `seen from outside, IPv${family}`;
    const { votes, voters, reason } = evidence;
    const found = `${external_address}, reported by ${votes} of ${plural(voters, "peer")} ` +
      `(${NAT_WORDS[type]})`;
    if (reachable === null) {
      return unknown(check, `${found}; ${reason}`, "run doctor again in some minutes");
    }
    if (reachable) return ok(check, `${found}; strangers can reach it: ${reason}`);
    const introduced = introducers === 0
      ? "no node introduces others to it yet"
      : `${plural(introducers, "node")} introduce others to it`;
    return warn(
      check,
      `${found}; strangers can't reach it: ${reason}. It can still store and fetch, and ${introduced}`,
      "forward UDP P2P_PORT to this machine in the router, or open it in the firewall",
    );
  });
}

function portMapping({ nat: { mapping, pinhole, reachable } }: Stats): Finding[] {
  return [
    ...mapping === null ? [] : [judgeMapping(mapping, reachable)],
    // In all other states, there is no IPv6, or no firewall that the node could open.
    ...pinhole?.status === "mapped"
      ? [ok("IPv6 firewall", `${pinhole.gateway} lets UDP in (${pinhole.protocol})`)]
      : [],
  ];
}

function judgeMapping(
  { status, protocol, gateway, external_address, problem }: NonNullable<Stats["nat"]["mapping"]>,
  reachable: boolean | null,
): Finding {
  const check = "port mapping";
  let advice: string;
  const found = `${external_address} by the router ${gateway} (${protocol})`;
  switch (status) {
    case "mapped":
      advice =
        "look for another NAT or a firewall beyond the router, or check whether the router really maps the port";
      return reachable === false
        ? warn(check, `${found}, but strangers can't reach the node`, advice)
        : ok(check, found);
    case "behind_another_nat":
      advice = "set the outer router to bridge mode, forward the port there too, or ask for a " +
        "public address";
      return warn(check, `${found}: ${problem}`, advice);
    case "not_needed":
      return ok(check, "not needed: this machine has a public address");
    case "none":
      advice = "turn on UPnP, NAT-PMP or PCP in the router, or forward UDP P2P_PORT to this " +
        "machine there";
      return reachable === true
        ? ok(check, `none, and none is needed: ${problem}`)
        : warn(check, `none: ${problem}`, advice);
    default:
      return unknown(check, "the router has not answered yet", "run doctor again in a minute");
  }
}
