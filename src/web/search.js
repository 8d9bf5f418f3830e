// Finds what a text may mean: an id, a hash, a key, a name or an address.

import { shortId } from "./format.js";
import { isId } from "./ids.js";
import { VIEWS } from "./routes.js";
import { parseSealLink } from "./seal.js";

/** @typedef {import("./node_state.js").NodeState} NodeState */
/** @typedef {import("../reports/values.ts").Published["published"][number]} PublishedValue */
/** @typedef {import("../reports/swarms.ts").AnnouncedSwarms["swarms"][number]} AnnouncedSwarm */

/**
 * @typedef {object} Result
 * @property {string} title
 * @property {string} detail
 * @property {string} href
 *
 * @typedef {object} Group
 * @property {string} name
 * @property {string} icon
 * @property {Result[]} results the best ones
 * @property {number} total
 */

/** Maximum number of results in a group: about a screenful for all groups. */
export const MAX_RESULTS = 8;

/** @param {string} name @param {string} icon @param {Result[]} results @param {number} [total] @returns {Group} */
function group(name, icon, results, total = results.length) {
  return { name, icon, results: results.slice(0, MAX_RESULTS), total };
}

/** The text that all comparisons use. @param {string} text */
export function normalized(text) {
  return text.trim().toLowerCase();
}

/** @param {string} text */
function isPublicKey(text) {
  return /^[0-9a-f]{64}$/.test(text);
}

/**
 * An address with a port, such as 192.0.2.7:8000, [2001:db8::1]:8000 or node.example.org:8000.
 *
 * @param {string} text
 */
export function isAddress(text) {
  const [, host = "", port = ""] = /^(\[[\da-f:.]+\]|[\w.-]+):(\d{1,5})$/i.exec(text.trim()) ?? [];
  return host !== "" && Number(port) >= 1 && Number(port) <= 65_535;
}

/**
 * Returns what the page knows by itself about a text, without a request. Groups without results are left out.
 *
 * @param {NodeState} state @param {string} text @returns {Group[]}
 */
export function localResults(state, text) {
  const wanted = normalized(text);
  if (wanted === "") return [];
  return [
    group("Exact", "search", exactResults(state, text)),
    peersGroup(state, wanted),
    group("Views and settings", "overview", pageResults(state, wanted)),
  ].filter(({ total }) => total > 0);
}

/**
 * What the text means if it is a complete id, key, link or address.
 *
 * @param {NodeState} state @param {string} text @returns {Result[]}
 */
function exactResults(state, text) {
  const wanted = normalized(text), { stats } = state, trimmed = text.trim();
  if (wanted === stats?.node_id || wanted === stats?.public_key) {
    return [{
      title: "This node",
      detail: `Its ${isId(wanted) ? "id" : "public key"}`,
      href: "#/node",
    }];
  }
  const link = parseSealLink(trimmed);
  if (link !== null) {
    const href = `#/values/${link.hash}?${new URLSearchParams({ seal: link.key })}`;
    return [{ title: `Sealed value ${shortId(link.hash)}`, detail: "Fetch and open it", href }];
  }
  if (isId(wanted)) return idResults(state, wanted);
  if (isPublicKey(wanted)) {
    return [...state.peers.values()].filter(({ public_key }) => public_key === wanted).map((
      peer,
    ) => ({
      title: `Peer ${shortId(peer.node_id)}`,
      detail: `Has this public key, at ${peer.address}`,
      href: `#/peers/${peer.node_id}`,
    }));
  }
  return [];
}

/** @param {NodeState} state @param {string} id @returns {Result[]} */
function idResults(state, id) {
  const name = shortId(id), peer = state.peers.get(id);
  const asPeer = {
    title: `Peer ${name}`,
    detail: peer === undefined ? "Not in the routing table; ping it to find it" : peer.address,
    href: `#/peers/${id}`,
  };
  const others = [
    { title: `Value ${name}`, detail: "Fetch the value with this hash", href: `#/values/${id}` },
    {
      title: `Lookup of ${name}`,
      detail: "Find the nodes closest to this id",
      href: `#/lookups/${id}`,
    },
    { title: `Swarm ${name}`, detail: "Find the peers of this info-hash", href: `#/swarms/${id}` },
  ];
  return peer === undefined ? [...others, asPeer] : [asPeer, ...others];
}

/** @param {NodeState} state @param {string} wanted @returns {Group} */
function peersGroup(state, wanted) {
  if (isId(wanted)) return group("Peers", "peers", []);
  const found = [...state.peers.values()].filter(({ node_id, address, client }) =>
    node_id.startsWith(wanted) || address.includes(wanted) || client?.toLowerCase().includes(wanted)
  );
  // An address that starts with the text is a better answer than one that contains it.
  const order = (/** @type {import("../reports/peers.ts").Peer} */ { node_id, address }) =>
    node_id.startsWith(wanted) || address.startsWith(wanted) ? 0 : 1;
  found.sort((a, b) => order(a) - order(b) || b.score - a.score);
  return group(
    "Peers",
    "peers",
    found.slice(0, MAX_RESULTS).map(({ node_id, address, health, client }) => ({
      title: `Peer ${shortId(node_id)}`,
      detail: [address, health, ...client === null ? [] : [client]].join(", "),
      href: `#/peers/${node_id}`,
    })),
    found.length,
  );
}

/** @param {NodeState} state @param {string} wanted @returns {Result[]} */
function pageResults(state, wanted) {
  const views = VIEWS.filter(({ label }) => label.toLowerCase().startsWith(wanted)).map((
    { label, path },
  ) => ({ title: label, detail: "View", href: path }));
  if (wanted.length < 2) return views;
  const settings = Object.entries(state.stats?.config ?? {})
    .filter(([name]) => name.includes(wanted.replaceAll(/[ -]/g, "_")))
    .map(([name, value]) => ({
      title: name.toUpperCase(),
      detail: `Setting in force: ${
        Array.isArray(value) ? value.join(", ") || "none" : value ?? "not set"
      }`,
      href: "#/node",
    }));
  return [...views, ...settings];
}

/**
 * @param {readonly PublishedValue[]} values @param {number} total @returns {Group}
 */
export function valuesGroup(values, total) {
  return group(
    "Published values",
    "values",
    values.map(({ hash, key, kind }) => ({
      title: key ?? `Value ${shortId(hash)}`,
      detail: key === null ? kind : `Value ${shortId(hash)}`,
      href: `#/values/${hash}`,
    })),
    total,
  );
}

/** The announced swarms that fit a text. @param {readonly AnnouncedSwarm[]} swarms @param {string} text @returns {Group} */
export function swarmsGroup(swarms, text) {
  const wanted = normalized(text);
  const found = swarms.filter(({ info_hash, service }) =>
    info_hash.startsWith(wanted) || (service?.toLowerCase().includes(wanted) ?? false)
  );
  return group(
    "Announced swarms",
    "swarms",
    found.slice(0, MAX_RESULTS).map(({ info_hash, service }) => ({
      title: service ?? `Swarm ${shortId(info_hash)}`,
      detail: service === null ? "Info-hash" : `Service, ${shortId(info_hash)}`,
      href: `#/swarms/${service === null ? info_hash : encodeURIComponent(service)}`,
    })),
    found.length,
  );
}

/** What else the page can do with a text. @param {string} text @returns {Group} */
export function furtherGroup(text) {
  const trimmed = text.trim(), wanted = normalized(text);
  const q = new URLSearchParams({ q: trimmed });
  return group("Search further", "search", [
    ...isAddress(trimmed)
      ? [{
        title: `Connect to ${trimmed}`,
        detail: "Ping this address and join through it",
        href: `#/peers?${new URLSearchParams({ connect: trimmed })}`,
      }]
      : [],
    {
      title: `Events about “${trimmed}”`,
      detail: "Ask the node for its events",
      href: `#/events?${q}`,
    },
    ...isId(wanted) || isPublicKey(wanted) || wanted.startsWith("dm:") || isAddress(trimmed)
      ? []
      : [{
        title: `Service “${trimmed}”`,
        detail: "Find the peers that serve it",
        href: `#/swarms/${encodeURIComponent(trimmed)}`,
      }],
  ]);
}
