// SipHash-2-4 with a 64-bit result (Aumasson and Bernstein, 2012): a keyed hash for short inputs.

/** A 128-bit key as four little-endian 32-bit words. */
export type SipKey = readonly [number, number, number, number];

// A 64-bit lane is a pair of 32-bit halves in module variables: no allocation on the packet path.
let v0l = 0, v0h = 0, v1l = 0, v1h = 0, v2l = 0, v2h = 0, v3l = 0, v3h = 0;

/**
 * Hashes `words`, a message of 32-bit little-endian words (at most 63 of them).
 * Returns the low and high half; the second call overwrites the first's array.
 */
export function sipHash(key: SipKey, words: readonly number[]): readonly [number, number] {
  v0l = key[0] ^ 0x70736575, v0h = key[1] ^ 0x736f6d65;
  v1l = key[2] ^ 0x6e646f6d, v1h = key[3] ^ 0x646f7261;
  v2l = key[0] ^ 0x6e657261, v2h = key[1] ^ 0x6c796765;
  v3l = key[2] ^ 0x79746573, v3h = key[3] ^ 0x74656462;
  const { length } = words;
  for (let i = 0; i + 1 < length; i += 2) absorb(words[i], words[i + 1]);
  // The last block ends with the message's length in bytes.
  absorb(length % 2 === 1 ? words[length - 1] : 0, (length * 4) << 24);
  v2l ^= 0xff;
  for (let i = 0; i < 4; i++) round();
  result[0] = v0l ^ v1l ^ v2l ^ v3l;
  result[1] = v0h ^ v1h ^ v2h ^ v3h;
  return result;
}

const result: [number, number] = [0, 0];

function absorb(low: number, high: number): void {
  v3l ^= low, v3h ^= high;
  round();
  round();
  v0l ^= low, v0h ^= high;
}

function round(): void {
  let l = (v0l >>> 0) + (v1l >>> 0);
  v0h = (v0h + v1h + (l > 0xffffffff ? 1 : 0)) | 0, v0l = l | 0;
  let t = (v1l << 13) | (v1h >>> 19);
  v1h = ((v1h << 13) | (v1l >>> 19)) ^ v0h, v1l = t ^ v0l;
  t = v0l, v0l = v0h, v0h = t;
  l = (v2l >>> 0) + (v3l >>> 0);
  v2h = (v2h + v3h + (l > 0xffffffff ? 1 : 0)) | 0, v2l = l | 0;
  t = (v3l << 16) | (v3h >>> 16);
  v3h = ((v3h << 16) | (v3l >>> 16)) ^ v2h, v3l = t ^ v2l;
  l = (v0l >>> 0) + (v3l >>> 0);
  v0h = (v0h + v3h + (l > 0xffffffff ? 1 : 0)) | 0, v0l = l | 0;
  t = (v3l << 21) | (v3h >>> 11);
  v3h = ((v3h << 21) | (v3l >>> 11)) ^ v0h, v3l = t ^ v0l;
  l = (v2l >>> 0) + (v1l >>> 0);
  v2h = (v2h + v1h + (l > 0xffffffff ? 1 : 0)) | 0, v2l = l | 0;
  t = (v1l << 17) | (v1h >>> 15);
  v1h = ((v1h << 17) | (v1l >>> 15)) ^ v2h, v1l = t ^ v2l;
  t = v2l, v2l = v2h, v2h = t;
}
