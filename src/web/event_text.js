// Describes each type of event in one sentence, for the page and for `dmnode watch`.

import { bytes, duration, isolated, ms, plural, shortId } from "./format.js";
import { jsonText } from "./json.js";

/** @typedef {import("./live.js").LiveEvent} LiveEvent */
/** @typedef {import("./parts.js").Tone} Tone */

/** The kinds of events that the feed can filter by. */
export const KINDS = /** @type {const} */ (["peers", "data", "swarms", "lookups", "node"]);

/** @typedef {typeof KINDS[number]} Kind */

/** @param {string} type @returns {Kind} */
export function kindOf(type) {
  if (type.startsWith("peer.")) return "peers";
  if (type.startsWith("data.")) return "data";
  if (type.startsWith("swarm.")) return "swarms";
  return type.startsWith("lookup") ? "lookups" : "node";
}

/**
 * The names of all event types that belong to some kinds, in the form that the API expects.
 *
 * @param {ReadonlySet<Kind>} kinds
 */
export function typesOfKinds(kinds) {
  return Object.keys(SENTENCES).filter((type) => kinds.has(kindOf(type))).join();
}

/**
 * @typedef {object} EventText
 * @property {Tone} tone
 * @property {string} text
 * @property {{ href: string, label: string } | null} link to the event's subject; its label precedes the text
 */

/** @param {LiveEvent} event @returns {EventText} */
export function describeEvent({ type, data }) {
  const describe =
    /** @type {Record<string, ((data: any) => EventText) | undefined>} */ (SENTENCES)[
      type
    ];
  try {
    if (describe !== undefined) return describe(data);
  } catch {
    // A node of a newer version may send other fields. Show the raw data then.
  }
  return { tone: "dim", text: jsonText(data), link: null };
}

/** @param {string} id */
const peer = (id) => ({ href: `#/peers/${id}`, label: shortId(id) });
/** @param {string} hash */
const swarm = (hash) => ({ href: `#/swarms/${hash}`, label: shortId(hash) });
/** @param {string} hash */
const value = (hash) => ({ href: `#/values/${hash}`, label: shortId(hash) });

/**
 * Every type that a list shows has a sentence, which may use only the fields of its schema (src/reports/events.ts).
 *
 * @typedef {import("../reports/events.ts").EventType} EventType
 * @typedef {Exclude<EventType, "stats" | "lookup.step" | "watch">} ListedType
 * @type {{ readonly [T in ListedType]: (data: import("../reports/events.ts").EventData<T>) => EventText }}
 */
const SENTENCES = {
  hello: (d) => ({
    tone: d.missed ? "warn" : "dim",
    link: null,
    text: `Connected to ${shortId(d.node_id)}${
      d.missed ? `; ${plural(d.missed, "event")} missed` : ""
    }`,
  }),
  "peer.join": (d) => ({ tone: "ok", link: peer(d.node_id), text: `joined from ${d.address}` }),
  "peer.leave": (d) => ({
    tone: "dim",
    link: peer(d.node_id),
    text: `at ${d.address} left: ${d.reason}`,
  }),
  "peer.health": (d) => ({
    tone: d.to === "healthy" ? "ok" : d.to === "degraded" ? "warn" : "bad",
    link: peer(d.node_id),
    text: `at ${d.address} is ${d.to}, was ${d.from}: ${d.reason}`,
  }),
  "data.store": (d) => ({
    tone: "accent",
    link: value(d.hash),
    text: `${version(d)}${bytes(d.size)} stored here by ${d.from}`,
  }),
  "data.publish": (d) => ({
    tone: "accent",
    link: value(d.hash),
    text: d.this_node_only
      ? `${version(d)}${bytes(d.size)} stored on this node only`
      : `${version(d)}${bytes(d.size)} published on ${plural(d.replicas, "node")}`,
  }),
  "data.health": (d) => ({
    tone: d.to === "safe" ? "ok" : d.to === "short" ? "warn" : "bad",
    link: value(d.hash),
    text: d.to === "safe"
      ? `safe again, on ${plural(d.replicas, "node")}`
      : d.to === "short"
      ? `short of copies: on ${plural(d.replicas, "node")}`
      : d.to === "failing"
      ? "no other node acknowledged it"
      : "other nodes will soon drop it: publishing it has failed for too long",
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
    text: `copied to ${plural(d.to.length, "node")} that lacked it`,
  }),
  "data.adopt": (d) => ({
    tone: "warn",
    link: value(d.hash),
    text: d.seq === d.former_seq
      ? `lost its version ${d.seq} to another node's value, which this node now publishes`
      : `has version ${d.seq} of another node, which this node now publishes`,
  }),
  "data.expire": (d) => ({ tone: "dim", link: value(d.hash), text: `${d.reason} here` }),
  "data.progress": (d) => ({
    tone: d.state === "failed" ? "bad" : "dim",
    link: d.hash === null ? null : value(d.hash),
    text: `${d.direction} ${d.state}, ${bytes(d.done_bytes)}`,
  }),
  "swarm.announce": (d) => ({
    tone: d.nodes === 0 ? "warn" : "accent",
    link: swarm(d.info_hash),
    text: d.nodes === 0
      ? "not announced: no node accepted it"
      : `${name(d)}announced to ${plural(d.nodes, "node")}`,
  }),
  "swarm.withdraw": (d) => ({
    tone: "dim",
    link: swarm(d.info_hash),
    text: `${name(d)}no longer announced`,
  }),
  "swarm.find": (d) => ({
    tone: d.peers === 0 ? "dim" : "accent",
    link: swarm(d.info_hash),
    text: `${plural(d.peers, "peer")} found in ${ms(d.elapsed_ms)}`,
  }),
  lookup: (d) => ({
    tone: d.success ? "dim" : "warn",
    link: { href: `#/lookups/${d.target}`, label: shortId(d.target) },
    text: `${d.method} ${d.success ? "answered" : "unanswered"}: ${plural(d.hops, "hop")}, ${
      plural(d.queries, "query", "queries")
    }, ${ms(d.elapsed_ms)}`,
  }),
  "lookup.crowded": (d) => ({
    tone: "bad",
    link: { href: `#/lookups/${d.target}`, label: shortId(d.target) },
    text: `has ${plural(d.nodes, "node")} around it instead of about ${
      Math.round(d.expected)
    }: somebody may be trying to hide its value`,
  }),
  id: (d) => ({
    tone: "warn",
    link: null,
    text: `This node has the new id ${d.node_id}, which matches its address ${d.address}`,
  }),
  clone: (d) => ({
    tone: "bad",
    link: null,
    text: d.is_own
      ? `Another node at ${
        d.addresses[0]
      } has this node's id: a copy of its DATA_DIR, or an imitation`
      : `Two nodes at ${d.addresses.join(" and ")} have the id ${d.node_id}`,
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
      d.external_address ? `External address ${d.external_address}` : "External address unknown"
    }, ${
      d.reachable === true
        ? "reachable"
        : d.reachable === false
        ? "not reachable"
        : "reachability unknown"
    }`,
  }),
  ready: (d) => ({
    tone: d.ready ? "ok" : "bad",
    link: null,
    text: `${d.ready ? "Ready" : "Not ready"}: ${d.reason}`,
  }),
  budget: (d) => ({
    tone: d.read_only ? "bad" : "ok",
    link: null,
    text: d.read_only
      ? `The monthly budget for traffic is used up (${bytes(d.used)}): read-only until next month`
      : "The node answers others again: its budget for traffic has room",
  }),
  clock: (d) => ({
    tone: "warn",
    link: null,
    text: `The clock jumped ${d.jump_s >= 0 ? "ahead" : "back"} by ${duration(Math.abs(d.jump_s))}`,
  }),
};

/** @param {{ service: string | null }} data */
function name({ service }) {
  return service === null ? "" : `“${isolated(service)}” `;
}

/** @param {{ seq: number | bigint | null, key?: string | null }} data */
function version({ seq, key }) {
  if (seq === null) return "";
  return key ? `version ${seq} of “${isolated(key)}”, ` : `version ${seq}, `;
}
