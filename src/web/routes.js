// Maps the page's URL hash to a view and its parameters, as in `#/peers?q=10.0.0.1`.

import { isId } from "./ids.js";

/**
 * @typedef {object} Route
 * @property {"overview" | "peers" | "peer" | "lookups" | "values" | "value" | "loss" | "swarms" | "events" | "node" | "map" | "reachability" | "traffic" | "threats" | "search"} view
 * @property {string | null} id the id of a peer, the target of a lookup, the hash of a value, or the info-hash of a swarm
 */

/** The views in the order of the navigation. */
export const VIEWS = /** @type {const} */ ([
  { view: "overview", path: "#/", label: "Overview" },
  { view: "peers", path: "#/peers", label: "Peers" },
  { view: "lookups", path: "#/lookups", label: "Lookups" },
  { view: "values", path: "#/values", label: "Values" },
  { view: "swarms", path: "#/swarms", label: "Swarms" },
  { view: "events", path: "#/events", label: "Events" },
  { view: "node", path: "#/node", label: "Node" },
]);

/** @param {string} hash `location.hash` @returns {Route} */
export function routeOf(hash) {
  const [name = "", id = ""] = splitHash(hash).path.split("/");
  const decoded = decode(id);
  // Ids are shown in lower case. The name of a service keeps its case.
  const lower = decoded.toLowerCase();
  const given = decoded === "" ? null : name === "swarms" && !isId(lower) ? decoded : lower;
  switch (name) {
    case "peers":
      return given === null ? { view: "peers", id: null } : { view: "peer", id: given };
    case "values":
      return given === null ? { view: "values", id: null } : { view: "value", id: given };
    case "loss":
      return { view: "loss", id: null };
    case "lookups":
    case "swarms":
      return { view: name, id: given };
    case "events":
    case "node":
    case "map":
    case "reachability":
    case "traffic":
    case "threats":
    case "search":
      return { view: name, id: null };
    default:
      return { view: "overview", id: null };
  }
}

/** A parameter of a view, or null. @param {string} hash `location.hash` @param {string} name */
export function parameterOf(hash, name) {
  return new URLSearchParams(splitHash(hash).query).get(name);
}

/**
 * Opens a view, as a link does.
 *
 * @param {string} path @param {Record<string, string>} [parameters] empty ones are left out
 */
export function open(path, parameters = {}) {
  location.hash = withParameters(
    path,
    new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== "")),
  );
}

/** Changes a parameter of the view without a new entry in the history. @param {string} name @param {string | null} value */
export function setParameter(name, value) {
  const { path, query } = splitHash(location.hash), parameters = new URLSearchParams(query);
  if (value === null) parameters.delete(name);
  else parameters.set(name, value);
  history.replaceState(null, "", withParameters(`#/${path}`, parameters));
  // Dispatch the event here, because the browser sends none if a script replaces the address.
  dispatchEvent(new HashChangeEvent("hashchange"));
}

/** @param {string} path @param {URLSearchParams} parameters */
function withParameters(path, parameters) {
  return parameters.size === 0 ? path : `${path}?${parameters}`;
}

/** @param {string} hash */
function splitHash(hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split("?");
  return { path, query };
}

/** @param {string} text */
function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
