// Events as sentences, by type.

import { bytes, ms, plural, shortId } from "./format.js";

/** @typedef {import("./live.js").LiveEvent} LiveEvent */
/** @typedef {import("./parts.js").Tone} Tone */

/** Kinds by which the feed is filtered. */
export const KINDS = /** @type {const} */ (["peers", "data", "lookups", "node"]);

/** @typedef {typeof KINDS[number]} Kind */

/** @param {string} type @returns {Kind} */
export function kindOf(type) {
  if (type.startsWith("peer.")) return "peers";
  if (type.startsWith("data.")) return "data";
  return type.startsWith("lookup") ? "lookups" : "node";
}

/**
 * @typedef {object} EventText
 * @property {Tone} tone
 * @property {string} text
 * @property {{ href: string, label: string } | null} link to what it is about; its label stands before the text
 */

/** @param {LiveEvent} event @returns {EventText} */
export function describeEvent({ type, data }) {
  const describe = SENTENCES[type];
  try {
    if (describe !== undefined) return describe(data);
  } catch {
    // A newer node may tell it otherwise.
  }
  return { tone: "dim", text: JSON.stringify(data), link: null };
}

/** @param {string} id */
const peer = (id) => ({ href: `#/peers/${id}`, label: shortId(id) });
/** @param {string} hash */
const value = (hash) => ({ href: `#/values/${hash}`, label: shortId(hash) });

/** @type {Record<string, (data: any) => EventText>} */
const SENTENCES = {
  "peer.join": (d) => ({ tone: "ok", link: peer(d.node_id), text: `joined from ${d.address}` }),
  "peer.leave": (d) => ({ tone: "dim", link: peer(d.node_id), text: `left: ${d.reason}` }),
  "peer.health": (d) => ({
    tone: d.to === "healthy" ? "ok" : d.to === "degraded" ? "warn" : "bad",
    link: peer(d.node_id),
    text: `is ${d.to}, was ${d.from}: ${d.reason}`,
  }),
  "data.store": (d) => ({
    tone: "accent",
    link: value(d.hash),
    text: `${version(d)}${bytes(d.size)} stored here by ${d.from}`,
  }),
  "data.publish": (d) => ({
    tone: "accent",
    link: value(d.hash),
    text: `${version(d)}${bytes(d.size)} published on ${plural(d.replicas, "node")}`,
  }),
  "data.fetch": (d) => ({
    tone: d.found ? "accent" : "warn",
    link: value(d.hash),
    text: d.found
      ? `fetched${d.size === null ? "" : `, ${bytes(d.size)}`}, in ${ms(d.elapsed_ms)}`
      : `not found, after ${ms(d.elapsed_ms)}`,
  }),
  "data.replicate": (d) => ({
    tone: "accent",
    link: value(d.hash),
    text: `given to ${plural(d.to.length, "node")} that lacked it`,
  }),
  "data.expire": (d) => ({ tone: "dim", link: value(d.hash), text: "expired here" }),
  lookup: (d) => ({
    tone: d.success ? "dim" : "warn",
    link: { href: `#/lookups/${d.target}`, label: shortId(d.target) },
    text: `${d.method} ${d.success ? "answered" : "unanswered"}: ${plural(d.hops, "hop")}, ${
      plural(d.queries, "query", "queries")
    }, ${ms(d.elapsed_ms)}`,
  }),
  id: (d) => ({
    tone: "warn",
    link: null,
    text: `This node's id is now ${d.node_id}, which fits ${d.address}`,
  }),
  bootstrap: (d) => ({
    tone: d.state === "joined" ? "ok" : "bad",
    link: null,
    text: d.state === "joined"
      ? `Joined the network: ${plural(d.contacts, "contact")}`
      : "Could not join the network",
  }),
  nat: (d) => ({
    tone: d.reachable === false ? "warn" : "accent",
    link: null,
    text: `${
      d.external_address
        ? `Seen by others as ${d.external_address}`
        : "Address as others see it not known"
    }, ${
      d.reachable === true
        ? "reachable"
        : d.reachable === false
        ? "not reachable"
        : "reachability not known"
    }`,
  }),
  ready: (d) => ({
    tone: d.ready ? "ok" : "bad",
    link: null,
    text: `${d.ready ? "Ready" : "Not ready"}: ${d.reason}`,
  }),
};

/** @param {{ seq: number | null, key?: string | null }} data */
function version({ seq, key }) {
  if (seq === null) return "";
  return key ? `version ${seq} of “${key}”, ` : `version ${seq}, `;
}
