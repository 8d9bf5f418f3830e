// Ids as hex text: how far apart they are, and where a peer's bucket lies as seen from the node.

export const ID_BITS = 160;
const ID_DIGITS = 40;

/** @param {string} text */
export function isId(text) {
  return /^[0-9a-f]{40}$/i.test(text);
}

/**
 * How many leading bits two ids share: 0 to 160. It is the number of the bucket, as the routing table counts them, that
 * one has in the table of the other: 0 holds the far half of all ids.
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
 * Binary logarithm of the XOR distance, 0 to 160, with a fraction: `distance` of the API is this, rounded up.
 *
 * @param {string} a @param {string} b
 */
export function distanceLog(a, b) {
  const shared = sharedBits(a, b);
  if (shared === ID_BITS) return 0;
  // The leading 1 that follows the shared bits is what they differ in; the rest is the fraction.
  return ID_BITS - shared - 1 + Math.log2(1 + xorShare(a, b, shared + 1));
}

/** The bits of `a` XOR `b` from `start` on, as a share of 1: the 32 that a picture can show. */
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
 * Where in its bucket an id lies: what follows the bits that the bucket has in common, as a share of 1.
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
