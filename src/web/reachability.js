// How the node stands towards the outside: its address as others see it, the kind of NAT, whether strangers reach it.

import { h } from "preact";
import { NONE, plural } from "./format.js";
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
 * All that is told of it. What a newer node tells besides is shown as it is.
 *
 * @param {Nat} nat
 * @returns {import("./parts.js").Fact[]}
 */
export function reachabilityFacts(nat) {
  const { mode, external_address, votes, type, reachable: _, mapping, ...more } = nat;
  return [
    fact("Reachability", h(Reachability, { nat })),
    fact(
      "Seen by others as",
      external_address === null ? "not known yet" : h("code", null, external_address),
    ),
    fact("Told by", plural(votes, "peer")),
    fact(
      "NAT",
      type === "unknown"
        ? mode === "off" ? "not looked for (NAT=off)" : "not known yet"
        : typeText(type),
    ),
    fact("Port mapping", mapping === null || mapping === undefined ? "none" : valueText(mapping)),
    ...Object.entries(more).flatMap(([name, value]) => moreFacts(name, value)),
  ];
}

/** @param {string} name @param {unknown} value @returns {import("./parts.js").Fact[]} */
function moreFacts(name, value) {
  // A list of members, such as one of each address family: a fact of each.
  if (Array.isArray(value) && value.some((part) => typeof part === "object" && part !== null)) {
    return value.map((part, i) => fact(partName(name, part, i), valueText(part)));
  }
  return [fact(words(name), valueText(value))];
}

/** @param {string} name @param {Record<string, unknown>} part @param {number} i */
function partName(name, part, i) {
  return name === "families" && typeof part.family === "number"
    ? `IPv${part.family}`
    : `${words(name)} ${i + 1}`;
}

/** @param {string} name */
function words(name) {
  const text = name.replaceAll("_", " ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** @param {unknown} value @returns {string} */
function valueText(value) {
  if (value === null || value === undefined) return NONE;
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value !== "object") return String(value);
  if (Array.isArray(value)) return value.length === 0 ? "none" : value.map(valueText).join(", ");
  return Object.entries(value)
    .filter(([name, part]) => part !== null && name !== "family")
    .map(([name, part]) => `${name.replaceAll("_", " ")}: ${valueText(part)}`).join("; ");
}
