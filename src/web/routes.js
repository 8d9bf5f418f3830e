// Maps the page's URL hash to a view.

/**
 * @typedef {object} Route
 * @property {"overview" | "peers" | "peer" | "lookups" | "values" | "swarms" | "events" | "node"} view
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
  const [name = "", id = ""] = hash.replace(/^#\/?/, "").split("/");
  const decoded = decode(id);
  const given = decoded === "" ? null : decoded.toLowerCase();
  switch (name) {
    case "peers":
      return given === null ? { view: "peers", id: null } : { view: "peer", id: given };
    case "lookups":
    case "values":
    case "swarms":
      return { view: name, id: given };
    case "events":
    case "node":
      return { view: name, id: null };
    default:
      return { view: "overview", id: null };
  }
}

/** @param {string} text */
function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
