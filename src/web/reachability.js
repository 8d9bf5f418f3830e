// How the node stands towards the outside: its address as others see it, the kind of NAT, whether strangers reach it.

import { h } from "preact";
import { ago, duration, plural } from "./format.js";
import { Badge, fact } from "./parts.js";

/** @typedef {import("../api/types.ts").Stats["nat"]} Nat */
/** @typedef {NonNullable<Nat["mapping"]>} Mapping */

/** @type {Record<string, string>} */
const TYPES = {
  none: "no NAT",
  endpoint_independent: "NAT, one port for all",
  symmetric: "symmetric NAT",
};

/** @param {string} type */
function typeText(type) {
  return TYPES[type] ?? type.replaceAll("_", " ");
}

/** In one line. @param {{ nat: Pick<Nat, "type" | "reachable"> }} props */
export function Reachability({ nat: { type, reachable } }) {
  const kind = type === "unknown" ? "" : ` ${typeText(type)}`;
  if (reachable === true) return h("span", null, h(Badge, { tone: "ok" }, "reachable"), kind);
  if (reachable === false) {
    return h("span", null, h(Badge, { tone: "warn" }, "not reachable"), kind);
  }
  return h(
    "span",
    null,
    kind === "" ? "not known yet" : `${kind.trim()}, not known whether reachable`,
  );
}

/**
 * All that is told of it, with the evidence.
 *
 * @param {Nat} nat @param {number} now
 * @returns {import("./parts.js").Fact[]}
 */
export function reachabilityFacts(nat, now) {
  const { mode, external_address, type, mapping, pinhole, read_only, introducers, families } = nat;
  return [
    fact("Reachability", h(Reachability, { nat })),
    fact(
      "Seen by others as",
      external_address === null ? "not known yet" : h("code", null, external_address),
    ),
    fact(
      "NAT",
      type !== "unknown"
        ? typeText(type)
        : mode === "off"
        ? "not looked for (NAT=off)"
        : "not known yet",
    ),
    ...families.flatMap((family) => familyFacts(family, families.length > 1, now)),
    fact("Port mapping", mappingText(mapping)),
    ...pinhole === null ? [] : [fact("IPv6 pinhole", mappingText(pinhole))],
    fact("Answers strangers", read_only ? "no: read-only (BEP 43)" : "yes"),
    fact("Introduced by", introducers === 0 ? "nobody" : plural(introducers, "node")),
  ];
}

/** Whom the NAT lets in. @type {Record<string, string>} */
const FILTERING = {
  none: "everybody",
  address: "addresses that this node has sent to",
  address_and_port: "addresses and ports that this node has sent to",
};

/**
 * What a family's state is known from. Of several families each is named.
 *
 * @param {Nat["families"][number]} family @param {boolean} isNamed @param {number} now
 */
function familyFacts({ family, external_address, filtering, evidence }, isNamed, now) {
  const name = (/** @type {string} */ text) => isNamed ? `${text}, IPv${family}` : text;
  const { reason, votes, voters, port_voters, same_port, checked_at, probes, missed } = evidence;
  return [
    fact(name("Because"), reason),
    ...filtering === "unknown" ? [] : [fact(name("Lets in"), FILTERING[filtering])],
    fact(
      name("Seen by"),
      external_address === null
        ? "nobody yet"
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
  searching: "looking for a router that does it",
  mapped: "mapped",
  behind_another_nat: "mapped, but the router is behind another NAT",
  not_needed: "not needed",
  none: "no router that does it",
  off: "off",
};

/** What the router does for the port. @param {Mapping | null} mapping */
function mappingText(mapping) {
  if (mapping === null) return "none";
  const { status, protocol, gateway, external_address, lease_s, problem } = mapping;
  const by = protocol === null || gateway === null ? "" : `, by ${gateway} (${protocol})`;
  const to = external_address === null ? "" : ` to ${external_address}`;
  const lease = lease_s === null || lease_s === 0 ? "" : `, for ${duration(lease_s)} at a time`;
  return `${STATUS[status]}${to}${by}${lease}${problem === null ? "" : `: ${problem}`}`;
}
