// How the node stands towards the outside: its address as others see it, the kind of NAT, whether strangers reach it.

import { h } from "preact";
import { ago, NONE, plural } from "./format.js";
import { Badge, fact } from "./parts.js";

/** @typedef {import("../api/types.ts").Stats["nat"]} Nat */

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
  const { mode, external_address, type, mapping, read_only, introducers, families } = nat;
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
    fact("Port mapping", mapping === null || mapping === undefined ? "none" : valueText(mapping)),
    fact("Answers strangers", read_only ? "no: read-only (BEP 43)" : "yes"),
    fact("Introduced by", introducers === 0 ? "nobody" : plural(introducers, "node")),
  ];
}

/**
 * What a family's state is known from. Of several families each is named.
 *
 * @param {Nat["families"][number]} family @param {boolean} isNamed @param {number} now
 */
function familyFacts({ family, external_address, evidence }, isNamed, now) {
  const name = (/** @type {string} */ text) => isNamed ? `${text}, IPv${family}` : text;
  const { reason, votes, voters, port_voters, same_port, checked_at, probes, missed } = evidence;
  return [
    fact(name("Because"), reason),
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

/** @param {unknown} value @returns {string} */
function valueText(value) {
  if (value === null || value === undefined) return NONE;
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value !== "object") return String(value);
  if (Array.isArray(value)) return value.length === 0 ? "none" : value.map(valueText).join(", ");
  return Object.entries(value).map(([name, part]) =>
    `${name.replaceAll("_", " ")} ${valueText(part)}`
  )
    .join(", ");
}
