// Computes the positions of peers on the map: this node is in the centre, with a ring for each bucket. Near buckets are
// inside.

import { placeInBucket, sharedBits } from "./ids.js";

/** @typedef {import("../reports/peers.ts").Peer} Peer */

/**
 * Because of the minimum number of rings, a small network looks small. Beyond the maximum, nearer
 * buckets share the innermost ring.
 */
const LEAST_RINGS = 5, MOST_RINGS = 20;
/** Radius of the innermost ring, as a fraction of the outermost. */
const INNERMOST = 0.2;

/**
 * @typedef {object} Dot
 * @property {Peer} peer
 * @property {number} bucket 0 holds the far half of all ids
 * @property {number} x -1 to 1, from the centre
 * @property {number} y -1 to 1, downwards
 *
 * @typedef {object} Ring
 * @property {number} bucket
 * @property {number} radius 0 to 1
 * @property {number} peers
 */

/**
 * @param {string} own @param {Iterable<Peer>} peers
 * @returns {{ dots: Dot[], rings: Ring[] }} dots from ring to ring inwards, and clockwise on each
 */
export function layoutPeers(own, peers) {
  const placed = Array.from(peers, (peer) => ({
    peer,
    shared: Math.min(sharedBits(own, peer.node_id), MOST_RINGS - 1),
    place: placeInBucket(own, peer.node_id),
  })).sort((a, b) => a.shared - b.shared || a.place - b.place);
  const deepest = placed.at(-1)?.shared ?? 0;
  const count = Math.min(MOST_RINGS, Math.max(LEAST_RINGS, deepest + 1));
  const rings = Array.from({ length: count }, (_, bucket) => ({
    bucket,
    radius: 1 - bucket * (1 - INNERMOST) / (count - 1),
    peers: 0,
  }));
  const dots = placed.map(({ peer, shared, place }) => {
    const ring = rings[shared], angle = 2 * Math.PI * place - Math.PI / 2;
    ring.peers++;
    const x = ring.radius * Math.cos(angle), y = ring.radius * Math.sin(angle);
    return { peer, bucket: shared, x, y };
  });
  return { dots, rings };
}

/**
 * Returns the place of any id on the map, such as that of a value.
 *
 * @param {string} own @param {string} id @param {readonly Ring[]} rings
 * @returns {{ bucket: number, x: number, y: number }}
 */
export function placeOnMap(own, id, rings) {
  const bucket = Math.min(sharedBits(own, id), rings.length - 1);
  const { radius } = rings[bucket], angle = 2 * Math.PI * placeInBucket(own, id) - Math.PI / 2;
  return { bucket, x: radius * Math.cos(angle), y: radius * Math.sin(angle) };
}

/**
 * Returns the dot nearest to a point, or null if none is within `reach`.
 *
 * @param {readonly Dot[]} dots @param {{ x: number, y: number }} point @param {number} reach
 */
export function dotAt(dots, { x, y }, reach) {
  let found = null, least = reach * reach;
  for (const dot of dots) {
    const square = (dot.x - x) ** 2 + (dot.y - y) ** 2;
    if (square > least) continue;
    least = square;
    found = dot;
  }
  return found;
}
