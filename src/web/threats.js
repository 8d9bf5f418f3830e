// Judges whether somebody attacks the node, from what the node reports.

import { count, percent, plural, rate } from "./format.js";
import { ok, unknown, warn } from "./findings.js";

/** @typedef {import("../reports/stats.ts").Stats} Stats */
/** @typedef {import("../reports/threats.ts").Threats} Threats */
/** @typedef {import("./findings.js").Finding} Finding */

/** Explains why packets were refused or dropped. @type {ReadonlyMap<string, string>} */
const DROPS = new Map(Object.entries({
  no_id: "Answers without a valid node id",
  malformed: "Not a message of this protocol",
  no_transaction: "Messages without a transaction id",
  unknown_type: "Messages of an unknown type",
  rate_limited: "Queries over the rate limit",
  overloaded: "Queries of strangers while the node was busy",
  over_limit: "Over the limits on traffic",
  not_allowed: "From or to addresses outside --allow-net",
  denied: "From the deny list",
  undecipherable: "Not sealed with the network key",
  not_introduced: "Forwarded by a node that does not introduce this one",
  over_budget: "Over the budget for helping other nodes",
  would_amplify: "Replies that a forged sender could abuse",
}));

/** The reasons for which packets are dropped without an attack too. @type {ReadonlyMap<string, string>} */
const HARMLESS = new Map(Object.entries({
  unmatched: "Late or repeated answers (harmless)",
  read_only: "Queries while this node was read-only (harmless)",
  unproven: "First packets of peers, and replays (harmless)",
  replayed: "Sealed packets that arrived twice (harmless)",
  send_queue_full: "Not sent, because the send queue was full",
  not_sent: "Not sent, because the system refused it (see doctor)",
}));

/** The meaning of a reason for dropping packets. @param {string} reason */
export function dropText(reason) {
  const text = DROPS.get(reason) ?? HARMLESS.get(reason);
  if (text !== undefined) return text;
  const words = reason.replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** Whether packets are dropped for this reason without any attack too. @param {string} reason */
export function isHarmless(reason) {
  return HARMLESS.has(reason);
}

/** Refused packets are a sign of a flood if there are more than this number a second, and more than this share of all. */
const MAX_REFUSED_PER_S = 10, MAX_REFUSED_SHARE = 0.1;

/** One network is too large a part of the contacts if it has more than this share, and this number. */
const MAX_NETWORK_SHARE = 0.25, MIN_NETWORK_CONTACTS = 8;

/** More wrong tokens than this are no typing errors. */
const MAX_WRONG_TOKENS = 20;

/**
 * Returns a finding for each kind of attack that the node can notice.
 *
 * @param {Threats} threats @param {Stats} stats @returns {Finding[]}
 */
export function signsOf(threats, stats) {
  return [
    flood(threats, stats),
    ...threats.own_ids.map((ids) => ownIds(ids, threats.own_ids.length > 1)),
    values(threats),
    otherKeys(stats),
    networks(threats),
    tokens(threats),
  ];
}

/** @param {Threats} threats @param {Stats} stats */
function flood({ refused }, { traffic }) {
  const check = "Flood";
  const harmful = refused.reasons.filter(({ reason }) => !isHarmless(reason));
  const perSecond = harmful.reduce((sum, { per_second }) => sum + per_second, 0);
  const recent = harmful.reduce((sum, { recent }) => sum + recent, 0);
  if (recent === 0) return ok(check, "no packet was refused in the last hour");
  const found = `${rate(perSecond)} packets a second are refused, and ${
    count(recent)
  } were in the last hour`;
  const all = Math.max(traffic.in.messages_per_second, perSecond);
  if (perSecond <= MAX_REFUSED_PER_S || perSecond <= MAX_REFUSED_SHARE * all) {
    return ok(check, found);
  }
  return warn(
    check,
    found,
    "somebody may be flooding this node. It answers its contacts first. Deny the networks below that are not yours, or let a firewall drop their packets",
  );
}

/** @param {Threats["own_ids"][number]} ids @param {boolean} isNamed */
function ownIds(
  { family, nodes, expected, limit, similar, expected_similar, max_similar },
  isNamed,
) {
  const check = `Ids around this node${isNamed ? `, IPv${family}` : ""}`;
  const near = `${plural(similar, "contact")} with a similar id, where ${
    expected_similar.toFixed(1)
  } are expected`;
  const found = nodes === null
    ? near
    : `${plural(nodes, "contact")} close by, where the network's size predicts ${
      expected.toFixed(1)
    }; ${near}`;
  if ((nodes ?? 0) >= limit || similar >= max_similar) {
    return warn(
      check,
      found,
      "somebody may have chosen ids around this node, to cut it off from others. The node accepts only a few such contacts and keeps the others. It would get another id only with another address",
    );
  }
  return nodes === null
    ? unknown(check, `${found}; no lookup has shown the network's size yet`)
    : ok(check, found);
}

/** @param {Threats} threats */
function values({ values: { counted, crowded, densest } }) {
  const check = "Ids around your values";
  if (counted === 0) {
    return unknown(
      check,
      "the node has not stored or republished a value of yours since its start",
    );
  }
  if (crowded === 0) {
    return ok(
      check,
      `none of ${
        plural(counted, "value or piece", "values and pieces")
      } has too many nodes around it; the most are ${count(densest[0]?.nodes ?? 0)}`,
    );
  }
  return warn(
    check,
    `${count(crowded)} of ${plural(counted, "value or piece", "values and pieces")} ${
      crowded === 1 ? "has" : "have"
    } far too many nodes around`,
    "somebody may be trying to hide these values. The node stores them at all nodes around, so that honest ones have them too",
  );
}

/** @param {Stats} stats */
function otherKeys({ lookups: { crowded, latest_crowded: latest } }) {
  const check = "Other keys";
  if (latest === null) return ok(check, "no lookup has met too many nodes around its target");
  return warn(
    check,
    `lookups have met ${
      plural(crowded, "target")
    } with far too many nodes around; the latest is ${latest.target}, at ${latest.at}`,
    "somebody may be trying to hide the value under this key. Lookups ask all nodes around it",
  );
}

/** @param {Threats} threats */
function networks({ contacts: { all, networks, largest, widest } }) {
  const check = "Networks of contacts";
  if (all === 0) return unknown(check, "the node has no contacts");
  const shared = [...largest, ...widest].find(({ contacts, global }) =>
    global && contacts >= MIN_NETWORK_CONTACTS && contacts > MAX_NETWORK_SHARE * all
  );
  if (shared !== undefined) {
    return warn(
      check,
      `${percent(shared.contacts / all)} of the contacts are in ${shared.network}`,
      "one owner of many nodes could cut this node off. If they are not yours, name nodes of other networks in BOOTSTRAP_NODES, or deny that network",
    );
  }
  return ok(check, `${plural(all, "contact")} in ${plural(networks, "network")}`);
}

/** @param {Threats} threats */
function tokens({ api_refusals: { wrong_token = 0, token_rate = 0 } }) {
  const check = "API tokens", wrong = wrong_token + token_rate;
  if (wrong <= MAX_WRONG_TOKENS) {
    return ok(check, wrong === 0 ? "no wrong token" : plural(wrong, "wrong token"));
  }
  return warn(
    check,
    `${plural(wrong, "request")} with a wrong token since the start`,
    "somebody may be guessing the token, or a program has an old one. Let a firewall or proxy limit who reaches the API",
  );
}
