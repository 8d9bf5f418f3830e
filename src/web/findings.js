// Judges the state of a node from the statistics that it reports, for `dmnode doctor` and for the page.

import { bytes, count, duration, ms, plural } from "./format.js";

/** @typedef {import("../reports/stats.ts").Stats} Stats */

/**
 * The result of one check. `unknown` means that the check is impossible here, or that it is too early for a verdict.
 * `advice` is what the user can do; null if there is nothing to do.
 *
 * @typedef {"ok" | "warn" | "fail" | "unknown"} Verdict
 * @typedef {{ readonly check: string, readonly verdict: Verdict, readonly found: string, readonly advice: string | null }} Finding
 */

/** @param {Verdict} verdict */
function finding(verdict) {
  return (
    /** @type {string} */ check,
    /** @type {string} */ found,
    /** @type {string | null} */ advice = null,
  ) => /** @type {Finding} */ ({ check, verdict, found, advice });
}

export const ok = finding("ok"), warn = finding("warn");
export const fail = finding("fail"), unknown = finding("unknown");

/**
 * Creates a finding: a warning if there is advice, else `ok`.
 *
 * @param {string} check @param {string} found @param {string | false} advice
 */
export function judged(check, found, advice) {
  return advice === false ? ok(check, found) : warn(check, found, advice);
}

/**
 * A node that has run for fewer seconds than this may not have joined yet, so no advice can be
 * given.
 */
const EARLY_S = 10;

/** With this many healthy peers, a node works well in a network of any size. */
const ENOUGH_PEERS = 8;

/** If more than this share of the peers missed the latest check, the network or this node has a problem. */
const MAX_SILENT_SHARE = 0.25;

/** With fewer peers than this, a single silent peer would be a large share. */
const FEW_PEERS = 4;

/** With fewer queries or lookups than these, the shares of successful ones mean nothing. */
const MIN_QUERIES = 20, MIN_LOOKUPS = 5;

/** Lower shares of answered queries or of successful lookups mean that something is wrong. */
const MIN_ANSWER_SHARE = 0.5, MIN_LOOKUP_SHARE = 0.9;

/** Longer lookups are noticeable to users. Longer round trips are rare, even to the other side of the world. */
const SLOW_LOOKUP_MS = 2_000, FAR_RTT_MS = 300;

/** If more than this share of STORAGE_LIMIT is in use, the node is full or will be soon: a full node refuses items. */
const MAX_STORAGE_SHARE = 0.9;

/**
 * If the rate limit refuses more than this share of all packets, the cause is not just a single
 * busy neighbour.
 */
const MAX_REFUSED_SHARE = 0.1;

/** Fewer refusals than this are not reported, even if they are a large share. */
const FEW_REFUSALS = 1_000;

/** The types of NAT. @type {Record<string, string>} */
const NAT_TYPES = {
  none: "no NAT",
  endpoint_independent: "NAT, one port for all",
  symmetric: "symmetric NAT",
};

/** @param {string} type */
export function natTypeText(type) {
  return NAT_TYPES[type] ?? `NAT ${type.replaceAll("_", " ")}`;
}

/** Whether the node listens only to this machine. @param {readonly string[]} addresses */
export function isLoopback(addresses) {
  return addresses.length > 0 &&
    addresses.every((address) => address.startsWith("127.") || address.startsWith("[::1]"));
}

/**
 * Returns the findings about a node. `medianRttMs` is the median round-trip time to its peers, null if unknown.
 *
 * @param {Stats} stats @param {number | null} medianRttMs @returns {Finding[]}
 */
export function judgeNode(stats, medianRttMs) {
  const findings = [
    readiness(stats),
    peers(stats),
    answers(stats),
    lookups(stats, medianRttMs),
    ...networkKey(stats),
    crowding(stats),
    ...leftOut(stats),
    ...clones(stats),
    ...changingIds(stats),
    ...unsent(stats),
    ...droppedPackets(stats),
    ...log(stats),
    ...budget(stats),
    storage(stats),
    ...publishedValues(stats),
    ...reachability(stats),
    ...portMapping(stats),
  ];
  if (stats.uptime_s >= EARLY_S) return findings;
  return findings.map((each) =>
    needsAttention(each)
      ? unknown(
        each.check,
        `${each.found}; too early to judge`,
        `the node has run for only ${
          duration(stats.uptime_s)
        }: check again when it has run for ${EARLY_S} s`,
      )
      : each
  );
}

/** @param {Finding} finding */
export function needsAttention({ verdict }) {
  return verdict === "warn" || verdict === "fail";
}

/** If more than this share of the monthly budget is used, it may not last. */
const MAX_BUDGET_SHARE = 0.9;

/** @param {Stats} stats @returns {Finding[]} */
function budget({ traffic: { budget } }) {
  if (budget === null) return [];
  const found = `${bytes(budget.used)} of ${bytes(budget.bytes)} used, until ${budget.until}`;
  if (budget.read_only) {
    const advice = "raise P2P_MONTHLY_BUDGET and send the node SIGHUP, or wait until then";
    return [fail("traffic budget", `${found}: the node is read-only`, advice)];
  }
  const isLow = budget.used > MAX_BUDGET_SHARE * budget.bytes;
  const advice = "lower P2P_UP_LIMIT, or raise P2P_MONTHLY_BUDGET: without a rest, the node is " +
    "read-only";
  return [judged("traffic budget", found, isLow && advice)];
}

/** @param {Stats} stats */
function readiness({ readiness: { ready, reason } }) {
  const advice =
    "check the bootstrap nodes. If none of them answers, a firewall may block incoming or outgoing UDP";
  return ready ? ok("ready", reason) : fail("ready", reason, advice);
}

/** @param {Stats} stats */
function peers({ peers, readiness, network_size_estimate: size }) {
  const { healthy, degraded, unhealthy } = peers;
  const check = "peers", silent = degraded + unhealthy, all = healthy + silent;
  const found = `${count(healthy)} healthy, ${count(degraded)} degraded, ${
    count(unhealthy)
  } unhealthy`;
  if (healthy === 0) {
    const advice =
      "no other node has joined through this one yet, so values stored here have no other copy";
    return readiness.ready
      ? warn(check, found, advice)
      : fail(check, found, "no peer answers it: see above");
  }
  if (all >= FEW_PEERS && silent > all * MAX_SILENT_SHARE) {
    const advice =
      "many missed their latest check: an outage, a bad connection or a full receive buffer";
    return warn(check, found, advice);
  }
  if (size === null) return ok(check, found);
  const isLow = healthy < ENOUGH_PEERS && size > 2 * healthy;
  const advice = "too few: it has just joined, or others can't reach its port (firewall, NAT)";
  return judged(check, `${found}, of about ${count(size)} nodes`, isLow && advice);
}

/** @param {Stats} stats */
function answers({ readiness: { ready, queries, answers, over_s }, routing_table_size }) {
  if (ready && routing_table_size === 0) {
    // The first node of a network queries only those who have queried it, and these may be mere clients.
    return unknown("answers", `${answers} to ${queries} queries in ${over_s} s, and no peer yet`);
  }
  if (queries < MIN_QUERIES) {
    return unknown("answers", `${answers} to ${queries} queries in ${over_s} s: too few to judge`);
  }
  const share = Math.min(1, answers / queries);
  const found = `${Math.round(100 * share)} % of ${queries} queries in ${over_s} s`;
  const advice =
    "packets are lost: check the network connection and the router's connection table, or wait for dead peers to be dropped";
  return judged("answers", found, share < MIN_ANSWER_SHARE && advice);
}

/** @param {Stats} stats @param {number | null} medianRttMs */
function lookups({ lookups }, medianRttMs) {
  const { count, success, latency_ms: { p50, p95 } } = lookups;
  if (count < MIN_LOOKUPS) return unknown("lookups", `${count} so far: too few to judge`);
  if (p50 === null || p95 === null) {
    return unknown("lookups", `${count} so far, and none found another node`);
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

/** @param {number} p50 @param {number} hops @param {number | null} medianRttMs */
function whySlow(p50, hops, medianRttMs) {
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

/** @param {Stats} stats */
function networkKey({ network_key: { in_use, mismatch } }) {
  if (!in_use) return [];
  return [
    mismatch === null
      ? ok("network key", "in use: only nodes that have it can talk to this one")
      : warn("network key", mismatch, "dmnode network rotate explains how to replace a key"),
  ];
}

/** @param {Stats} stats */
function crowding({ lookups: { crowded, latest_crowded } }) {
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

/**
 * Reports nodes that are not accepted because of MAX_PER_SUBNET. In a large network, a few such nodes are normal.
 * `config` is missing in the statistics of events.
 *
 * @param {Omit<Stats, "config"> & { config?: Stats["config"] }} stats
 */
function leftOut({ left_out: { nodes, subnets, largest }, routing_table_size, config }) {
  if (largest === null) return [];
  const found = `${plural(nodes, "node")} of ${
    plural(subnets, "subnet")
  } such as ${largest} in the past hour`;
  const advice =
    `more than MAX_PER_SUBNET${
      config === undefined ? "" : ` = ${config.max_per_subnet}`
    } of one subnet are not accepted: if these nodes are ` +
    "yours, raise it, or name one of them in BOOTSTRAP_NODES";
  return [judged("left out", found, nodes >= routing_table_size && advice)];
}

/** Reports nodes that share an id. If this node is one of them, peers keep only one of the two. @param {Stats} stats */
function clones({ clones }) {
  return clones.map(({ node_id, addresses, is_own }) => {
    const places = addresses.join(" and ");
    const found = is_own
      ? `another node, at ${places}, uses this node's id ${node_id} too`
      : `the nodes at ${places} use one id, ${node_id}`;
    // Any stranger can imitate a node, so two nodes with one id are never a failure.
    return warn(
      "clone",
      found,
      "if they are yours, a DATA_DIR was copied: stop one of them, and start it with an empty DATA_DIR",
    );
  });
}

/** Reports addresses at which a node keeps changing its id. @param {Stats} stats @returns {Finding[]} */
function changingIds({ changing_ids: { addresses, worst, changes }, routing_table_size }) {
  if (worst === null) return [];
  const found =
    `${plural(addresses, "address")} of the past hour such as ${worst}, which answered under ` +
    `${changes} new ids`;
  const host = worst.slice(0, worst.lastIndexOf(":")).replace(/^\[|\]$/g, "");
  const advice =
    "such a node is broken or hostile, and stores nothing: name other bootstrap nodes, or drop it with " +
    `dmnode deny ${host}`;
  return [judged("changing ids", found, addresses >= routing_table_size && advice)];
}

/** Reports that the system refuses to send. If other peers answer, it is no problem. @param {Stats} stats */
function unsent({ traffic: { unsent, dropped }, peers }) {
  if (unsent === null) return [];
  const found = `the system refused ${
    plural(dropped.not_sent ?? 0, "packet")
  }, the latest to ${unsent}`;
  if (peers.healthy > 0) return [ok("sending", found)];
  return [fail("sending", found, "correct the routes or the firewall of this machine")];
}

/** The log counts as stalled if its reader has taken nothing for this long. */
const STALLED_LOG_S = 5;

/** @param {Stats} stats @returns {Finding[]} */
function log({ log: { dropped, stalled_s } }) {
  const isStalled = stalled_s >= STALLED_LOG_S;
  if (dropped === 0 && !isStalled) return [];
  const found = [
    ...(dropped > 0 ? [`${plural(dropped, "line")} could not be written`] : []),
    ...(isStalled ? [`nobody has read it for ${duration(stalled_s)}`] : []),
  ].join("; ");
  const advice =
    "check the program that reads the node's standard output, or the disk that it goes to";
  return [warn("log", found, advice)];
}

/** @param {Stats} stats */
function droppedPackets({ traffic }) {
  const counts = Object.entries(traffic.dropped).filter(([, count]) => count > 0);
  if (counts.length === 0) return [];
  const found = counts.map(([reason, n]) => `${count(n)} ${reason}`).join(", ");
  const { send_queue_full: overflowed = 0, rate_limited: refused = 0 } = traffic.dropped;
  const isFlooded = refused > FEW_REFUSALS &&
    refused > (traffic.in.messages + refused) * MAX_REFUSED_SHARE;
  const advice = overflowed > 0
    ? "the network connection or the machine is too slow for the packets that the node sends"
    : isFlooded &&
      "the rate limit refuses many packets: somebody may be flooding this node";
  return [judged("dropped packets", found, advice)];
}

/** @param {Stats} stats */
function storage({ storage: { bytes: held, limit_bytes: limit } }) {
  const advice = "a full node refuses to store; raise STORAGE_LIMIT";
  const isFull = held > MAX_STORAGE_SHARE * limit;
  return judged("values of others", `${bytes(held)} of ${bytes(limit)}`, isFull && advice);
}

/** @param {Stats} stats */
function publishedValues({ storage }) {
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
    const advice = `publishing them fails: see the findings about peers and answers; ${list}`;
    return [fail(check, found, advice)];
  }
  if (published_failing > 0) {
    const advice =
      `no other node acknowledged the latest publication: see the findings about peers; ${list}`;
    return [warn(check, found, advice)];
  }
  const advice =
    `fewer than four fifths of the nodes that should have them do: the others are full or gone; ${list}`;
  return [judged(check, found, published_short > 0 && advice)];
}

/**
 * Reports, for each address family, the node's external address, and whether strangers can reach the node there.
 *
 * @param {Stats} stats
 */
function reachability({ nat: { families, introducers }, addresses }) {
  const observed = families.filter(({ external_address }) => external_address !== null);
  if (observed.length === 0) {
    return [unknown("seen from outside", "no peer has reported its address yet")];
  }
  if (isLoopback(addresses)) {
    return [ok("seen from outside", "the node listens only to this machine")];
  }
  return observed.map(({ family, external_address, type, reachable, evidence }) => {
    const check = observed.length === 1 ? "seen from outside" : `seen from outside, IPv${family}`;
    const { votes, voters, reason } = evidence;
    const found = `${external_address}, reported by ${votes} of ${plural(voters, "peer")} ` +
      `(${natTypeText(type)})`;
    if (reachable === null) {
      return unknown(check, `${found}; ${reason}`, "check again in a few minutes");
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

/** @param {Stats} stats */
function portMapping({ nat: { mapping, pinhole, reachable } }) {
  return [
    ...mapping === null ? [] : [judgeMapping(mapping, reachable)],
    // Mention no other state of the pinhole: there is no IPv6, or no firewall that the node could open.
    ...pinhole?.status === "mapped"
      ? [ok("IPv6 firewall", `${pinhole.gateway} lets UDP in (${pinhole.protocol})`)]
      : [],
  ];
}

/** @param {NonNullable<Stats["nat"]["mapping"]>} mapping @param {boolean | null} reachable */
function judgeMapping({ status, protocol, gateway, external_address, problem }, reachable) {
  const check = "port mapping";
  let advice;
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
      if (reachable === true) return ok(check, `none, and none is needed: ${problem}`);
      return (reachable === false ? warn : unknown)(check, `none: ${problem}`, advice);
    default:
      return unknown(check, "the router has not answered yet", "check again in a minute");
  }
}

/** @param {readonly { readonly rtt_ms: number | null }[]} peers @returns {number | null} */
export function medianRttOf(peers) {
  const rtts = peers.flatMap(({ rtt_ms }) => rtt_ms ?? []).sort((x, y) => x - y);
  return rtts[rtts.length >> 1] ?? null;
}

/**
 * Returns the headline about a node, and the findings that need attention, failures first.
 *
 * @param {Stats} stats @param {number | null} medianRttMs
 * @returns {{ tone: import("./parts.js").Tone, title: string, findings: Finding[] }}
 */
export function conditionOf(stats, medianRttMs) {
  const findings = judgeNode(stats, medianRttMs).filter(needsAttention)
    .sort((x, y) => Number(y.verdict === "fail") - Number(x.verdict === "fail"));
  const { readiness, peers: { healthy, degraded, unhealthy } } = stats;
  if (!readiness.ready) return { tone: "bad", title: "Not ready", findings };
  if (healthy + degraded + unhealthy === 0) {
    return { tone: "warn", title: "No other nodes", findings };
  }
  return findings.length > 0
    ? { tone: "warn", title: "Needs attention", findings }
    : { tone: "ok", title: "Ready", findings };
}
