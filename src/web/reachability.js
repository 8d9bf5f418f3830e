// The reachability of the node: its external address, its kind of NAT, and whether strangers reach it.

import { h } from "preact";
import { isLoopback, natTypeText } from "./findings.js";
import { ago, duration, plural } from "./format.js";
import { Badge, fact } from "./parts.js";

/** @typedef {import("../reports/stats.ts").Stats["nat"]} Nat */
/** @typedef {NonNullable<Nat["mapping"]>} Mapping */

/**
 * Summarizes the node's reachability in one line. Probes on this machine say nothing about other machines.
 *
 * @param {{ nat: Pick<Nat, "type" | "reachable">, addresses: readonly string[] }} props
 */
export function Reachability({ nat: { type, reachable }, addresses }) {
  if (isLoopback(addresses)) {
    return h("span", null, h(Badge, { tone: "dim" }, "only from this machine"), " ", h(Why, null));
  }
  const kind = type === "unknown" ? "" : ` ${natTypeText(type)}`;
  if (reachable === true) return h("span", null, h(Badge, { tone: "ok" }, "reachable"), kind);
  if (reachable === false) {
    return h("span", null, h(Badge, { tone: "warn" }, "not reachable"), kind, " ", h(Why, null));
  }
  return h(
    "span",
    null,
    kind === "" ? "unknown" : `${kind.trim()}, reachability unknown`,
  );
}

/** A link to the explanation. */
function Why() {
  return h("a", { class: "why", href: "#/reachability" }, "Why?");
}

/**
 * Returns all details of the node's reachability, with their evidence.
 *
 * @param {Pick<import("../reports/stats.ts").Stats, "nat" | "addresses">} stats @param {number} now
 * @returns {import("./parts.js").Fact[]}
 */
export function reachabilityFacts({ nat, addresses }, now) {
  const { mode, external_address, type, mapping, pinhole, read_only, introducers, families } = nat;
  return [
    fact("Reachability", h(Reachability, { nat, addresses })),
    fact(
      "External address",
      external_address === null ? "unknown" : h("code", null, external_address),
    ),
    fact(
      "NAT",
      type !== "unknown"
        ? natTypeText(type)
        : mode === "off"
        ? "not detected (NAT=off)"
        : "unknown",
    ),
    ...families.flatMap((family) => familyFacts(family, families.length > 1, now)),
    fact("Port mapping", mappingText(mapping)),
    ...pinhole === null ? [] : [fact("IPv6 pinhole", mappingText(pinhole))],
    fact("Answers strangers", read_only ? "no: read-only (BEP 43)" : "yes"),
    fact("Introducers", introducers === 0 ? "none" : plural(introducers, "node")),
  ];
}

/** The senders whose packets the NAT lets in. @type {Record<string, string>} */
const FILTERING = {
  none: "everyone",
  address: "addresses that this node has sent to",
  address_and_port: "addresses and ports that this node has sent to",
};

/**
 * Returns the evidence for one address family. If there are several families, the labels name this one (`isNamed`).
 *
 * @param {Nat["families"][number]} family @param {boolean} isNamed @param {number} now
 */
function familyFacts({ family, external_address, filtering, evidence }, isNamed, now) {
  const name = (/** @type {string} */ text) => isNamed ? `${text}, IPv${family}` : text;
  const { reason, votes, voters, port_voters, same_port, checked_at, probes, missed } = evidence;
  return [
    fact(name("Reason"), reason),
    ...filtering === "unknown" ? [] : [fact(name("Lets in"), FILTERING[filtering])],
    fact(
      name("Seen by"),
      external_address === null
        ? "no peer yet"
        : `${votes} of ${
          plural(voters, "peer")
        }; of the latest ${port_voters}, ${same_port} see one port`,
    ),
    ...checked_at === null ? [] : [
      fact(
        name("Checked"),
        `${ago(Date.parse(checked_at), now)}, ${plural(probes, "probe")}, ${missed} missed`,
      ),
    ],
  ];
}

/** @type {Record<Mapping["status"], string>} */
const STATUS = {
  searching: "looking for a router that supports it",
  mapped: "mapped",
  behind_another_nat: "mapped, but the router is behind another NAT",
  not_needed: "not needed",
  none: "no router supports it",
  off: "off",
};

/** Describes the state of the router's port mapping. @param {Mapping | null} mapping */
function mappingText(mapping) {
  if (mapping === null) return "none";
  const { status, protocol, gateway, external_address, lease_s, problem } = mapping;
  const by = protocol === null || gateway === null ? "" : `, by ${gateway} (${protocol})`;
  const to = external_address === null ? "" : ` to ${external_address}`;
  const lease = lease_s === null || lease_s === 0
    ? ""
    : `, renewed before ${duration(lease_s)} pass`;
  return `${STATUS[status]}${to}${by}${lease}${problem === null ? "" : `: ${problem}`}`;
}
