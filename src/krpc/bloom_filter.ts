// Bloom filters of IP addresses (BEP 33). The union of several nodes' filters gives an estimate of a swarm's size.

import { Endpoint } from "./endpoint.ts";

/** The size of a filter in bytes, as fixed by BEP 33. */
export const FILTER_BYTES = 256;

/** The number of bits in a filter (`m` in BEP 33), and the number of bits that each address sets (`k`). */
const BITS = 8 * FILTER_BYTES, BITS_PER_ADDRESS = 2;

/**
 * A filter with fewer zero bits than this is ignored. BEP 33 limits the number of addresses to 6,000, which leaves
 * about 6 of 2,048 bits zero. A node that sends a fuller filter is faulty, or wants to distort the count.
 */
const MIN_ZERO_BITS = 6;

/**
 * Returns the positions of the two bits that an address sets in a filter, packed into one number. `sha1` returns a hash
 * of 20 bytes.
 */
export function bitsOf(endpoint: Endpoint, sha1: (bytes: Uint8Array) => Uint8Array): number {
  const bytes = new Uint8Array(Endpoint.compactLength(endpoint.family));
  endpoint.write(bytes, 0);
  const hash = sha1(bytes.subarray(0, bytes.length - 2));
  const first = (hash[0] | hash[1] << 8) % BITS, second = (hash[2] | hash[3] << 8) % BITS;
  return first * BITS + second;
}

/** Adds an address to a filter. `bits` is the result of {@link bitsOf} for this address. */
export function insert(filter: Uint8Array, bits: number): void {
  const first = Math.floor(bits / BITS), second = bits % BITS;
  filter[first >> 3] |= 1 << (first & 7);
  filter[second >> 3] |= 1 << (second & 7);
}

/** Whether a filter may contain an address. `bits` is the result of {@link bitsOf} for this address. */
export function mayContain(filter: Uint8Array, bits: number): boolean {
  const first = Math.floor(bits / BITS), second = bits % BITS;
  return (filter[first >> 3] & 1 << (first & 7)) !== 0 &&
    (filter[second >> 3] & 1 << (second & 7)) !== 0;
}

/** Adds all addresses of the filter `other` to `filter`. */
export function unite(filter: Uint8Array, other: Uint8Array): void {
  for (let i = 0; i < FILTER_BYTES; i++) filter[i] |= other[i];
}

/** Whether a filter from another node has the right size, and is not too full to estimate its number of addresses. */
export function isPlausible(filter: Uint8Array): boolean {
  return filter.length === FILTER_BYTES && zeroBits(filter) >= MIN_ZERO_BITS;
}

/**
 * Returns the estimated number of addresses in a filter. For an empty filter it returns 0, unlike the formula of BEP
 * 33, which gives 0.5.
 */
export function estimate(filter: Uint8Array): number {
  const zeros = Math.max(1, zeroBits(filter));
  return Math.log(BITS / zeros) / (-BITS_PER_ADDRESS * Math.log(1 - 1 / BITS));
}

function zeroBits(filter: Uint8Array): number {
  let zeros = 0;
  for (let byte of filter) {
    for (zeros += 8; byte !== 0; byte &= byte - 1) zeros--;
  }
  return zeros;
}
