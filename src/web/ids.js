// Calculations with ids in hex: their distance, and the bucket of a peer in the node's table.

export const ID_BITS = 160;
const ID_DIGITS = 40;

/** @param {string} text */
export function isId(text) {
  return /^[0-9a-f]{40}$/i.test(text);
}

/**
 * The number of leading bits that two ids share, 0 to 160. It is also the number of the bucket in which a node with
 * one of the ids keeps a peer with the other. Bucket 0 holds the farther half of all ids.
 *
 * @param {string} a @param {string} b
 */
export function sharedBits(a, b) {
  for (let i = 0; i < ID_DIGITS; i++) {
    const differing = parseInt(a[i], 16) ^ parseInt(b[i], 16);
    if (differing !== 0) return i * 4 + Math.clz32(differing) - 28;
  }
  return ID_BITS;
}

/**
 * The binary logarithm of the XOR distance, 0 to 160, with a fraction. Rounded up, it equals the API's `distance`.
 *
 * @param {string} a @param {string} b
 */
export function distanceLog(a, b) {
  const shared = sharedBits(a, b);
  if (shared === ID_BITS) return 0;
  // The first differing bit is the leading 1 of the distance. The bits after it are the fraction.
  return ID_BITS - shared - 1 + Math.log2(1 + xorShare(a, b, shared + 1));
}

/** The 32 bits of `a` XOR `b` that begin at bit `start`, as a fraction of 1. Further bits would not be visible. */
function xorShare(/** @type {string} */ a, /** @type {string} */ b, /** @type {number} */ start) {
  let share = 0;
  for (let bit = 0; bit < 32 && start + bit < ID_BITS; bit++) {
    const at = start + bit, shift = 3 - at % 4;
    const x = parseInt(a[at >> 2], 16) ^ parseInt(b[at >> 2], 16);
    if ((x >> shift) & 1) share += 2 ** -(bit + 1);
  }
  return share;
}

/**
 * The position of an id in its bucket, from 0 to 1. The position is a fraction, whose bits are those after the prefix
 * that all ids of the bucket share.
 *
 * @param {string} own @param {string} id
 */
export function placeInBucket(own, id) {
  return xorShare(id, "0".repeat(ID_DIGITS), sharedBits(own, id) + 1);
}

/** @returns {string} 40 random hex digits */
export function randomId() {
  const random = crypto.getRandomValues(new Uint8Array(ID_DIGITS / 2));
  return Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
