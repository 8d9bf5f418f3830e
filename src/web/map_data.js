// What the map of the id space shows: the ids that this node is responsible for, clusters of addresses, the peers of an
// earlier time, and the ways of lookups.

import { distanceLog, ID_BITS, sharedBits } from "./ids.js";

/** @typedef {import("../reports/peers.ts").Peer} Peer */
/** @typedef {import("../reports/peers.ts").TraceStep} TraceStep */
/** @typedef {{ type: string, at: string, data: any }} PeerEvent */

/**
 * Returns the range of ids for which this node is one of the `k` closest nodes: those that share at least `bits` bits
 * with its own id. 0 means all ids. This is an estimate from the peers that the node knows.
 *
 * @param {string} own @param {readonly Peer[]} peers @param {number} k
 * @returns {{ bits: number, share: number }} `share` of all ids
 */
export function responsibility(own, peers, k) {
  const shared = peers.filter(({ health }) => health !== "unhealthy")
    .map(({ node_id }) => sharedBits(own, node_id)).sort((a, b) => b - a);
  const bits = shared.length < k ? 0 : shared[k - 1];
  return { bits, share: 2 ** -bits };
}

/**
 * The network of an address: /24 of IPv4, /48 of IPv6. Addresses in one network often belong to one operator.
 *
 * @param {string} address with a port
 */
export function networkOf(address) {
  const [, six] = /^\[(.*)\]:\d+$/.exec(address) ?? [];
  if (six === undefined) return `${address.split(":")[0].split(".").slice(0, 3).join(".")}.0/24`;
  const [head, tail = ""] = six.split("::");
  const before = head === "" ? [] : head.split(":"), after = tail === "" ? [] : tail.split(":");
  const zeros = six.includes("::") ? Math.max(0, 8 - before.length - after.length) : 0;
  const words = [...before, .../** @type {string[]} */ (Array(zeros).fill("0")), ...after];
  return `${words.slice(0, 3).map((word) => parseInt(word, 16).toString(16)).join(":")}::/48`;
}

/**
 * Returns the networks that have several peers, the largest first.
 *
 * @param {readonly Peer[]} peers
 * @returns {{ network: string, peers: Peer[] }[]}
 */
export function clustersOf(peers) {
  /** @type {Map<string, Peer[]>} */
  const networks = new Map();
  for (const peer of peers) {
    const network = networkOf(peer.address);
    networks.set(network, [...networks.get(network) ?? [], peer]);
  }
  return Array.from(networks, ([network, members]) => ({ network, peers: members }))
    .filter(({ peers: members }) => members.length > 1)
    .sort((a, b) => b.peers.length - a.peers.length || (a.network < b.network ? -1 : 1));
}

/**
 * Returns the peers at an earlier time, by undoing the events since then. A peer that has left since then appears with
 * the address at which it was; other details of it are unknown.
 *
 * @param {Iterable<Peer>} now @param {readonly PeerEvent[]} events newest first @param {number} time in ms since 1970
 * @returns {Peer[]}
 */
export function peersAt(now, events, time) {
  const peers = new Map(Array.from(now, (peer) => [peer.node_id, peer]));
  for (const { type, at, data } of events) {
    if (Date.parse(at) <= time) break;
    const peer = peers.get(data.node_id);
    if (type === "peer.join") peers.delete(data.node_id);
    else if (type === "peer.health" && peer !== undefined) {
      peers.set(data.node_id, { ...peer, health: data.from });
    } else if (type === "peer.leave") {
      peers.set(data.node_id, {
        node_id: data.node_id,
        address: data.address,
        distance: 0,
        last_seen: at,
        health: "unhealthy",
        rtt_ms: null,
        score: 0.5,
        first_seen: at,
        client: null,
        public_key: null,
      });
    }
  }
  return [...peers.values()];
}

/**
 * Returns the nodes that brought a lookup closer to its target, in the order of their answers.
 *
 * @param {string} target @param {readonly TraceStep[]} trace
 * @returns {string[]} ids
 */
export function wayOf(target, trace) {
  let least = ID_BITS + 1;
  const answered = trace.filter(({ outcome, node_id }) =>
    outcome === "responded" && node_id !== null
  )
    .sort((a, b) => a.started_ms + (a.rtt_ms ?? 0) - b.started_ms - (b.rtt_ms ?? 0));
  return answered.flatMap(({ node_id }) => {
    const distance = distanceLog(node_id ?? "", target);
    if (node_id === null || distance >= least) return [];
    least = distance;
    return [node_id];
  });
}
