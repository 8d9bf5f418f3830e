// SipHash-2-4 with a 64-bit result (Aumasson and Bernstein, 2012): a keyed hash for short inputs.

/** A 128-bit key as four little-endian 32-bit words. */
export type SipKey = readonly [number, number, number, number];

const result: [number, number] = [0, 0];

/** Hashes at most 63 little-endian 32-bit words. Returns the low and high half; the next call overwrites them. */
export function sipHash(key: SipKey, words: readonly number[]): readonly [number, number] {
  // Each 64-bit lane is a pair of 32-bit halves. This is a single long function so that variables stay in registers.
  let v0l = key[0] ^ 0x70736575, v0h = key[1] ^ 0x736f6d65;
  let v1l = key[2] ^ 0x6e646f6d, v1h = key[3] ^ 0x646f7261;
  let v2l = key[0] ^ 0x6e657261, v2h = key[1] ^ 0x6c796765;
  let v3l = key[2] ^ 0x79746573, v3h = key[3] ^ 0x74656462;
  const { length } = words;
  // Two rounds per block of two words, then four final rounds. The last block ends with the message's length in bytes.
  const compressing = 2 * (length >> 1) + 2;
  let low = 0, high = 0;
  for (let i = 0; i < compressing + 4; i++) {
    if (i === compressing) v2l ^= 0xff;
    else if (i < compressing && i % 2 === 0) {
      low = i < length ? words[i] : 0;
      high = i + 2 < compressing ? words[i + 1] : (length * 4) << 24;
      v3l ^= low, v3h ^= high;
    }

    v0l = (v0l + v1l) | 0;
    v0h = (v0h + v1h + ((v0l >>> 0) < (v1l >>> 0) ? 1 : 0)) | 0;
    let t = (v1l << 13) | (v1h >>> 19);
    v1h = ((v1h << 13) | (v1l >>> 19)) ^ v0h, v1l = t ^ v0l;
    t = v0l, v0l = v0h, v0h = t;
    v2l = (v2l + v3l) | 0;
    v2h = (v2h + v3h + ((v2l >>> 0) < (v3l >>> 0) ? 1 : 0)) | 0;
    t = (v3l << 16) | (v3h >>> 16);
    v3h = ((v3h << 16) | (v3l >>> 16)) ^ v2h, v3l = t ^ v2l;
    v0l = (v0l + v3l) | 0;
    v0h = (v0h + v3h + ((v0l >>> 0) < (v3l >>> 0) ? 1 : 0)) | 0;
    t = (v3l << 21) | (v3h >>> 11);
    v3h = ((v3h << 21) | (v3l >>> 11)) ^ v0h, v3l = t ^ v0l;
    v2l = (v2l + v1l) | 0;
    v2h = (v2h + v1h + ((v2l >>> 0) < (v1l >>> 0) ? 1 : 0)) | 0;
    t = (v1l << 17) | (v1h >>> 15);
    v1h = ((v1h << 17) | (v1l >>> 15)) ^ v2h, v1l = t ^ v2l;
    t = v2l, v2l = v2h, v2h = t;

    if (i < compressing && i % 2 === 1) v0l ^= low, v0h ^= high;
  }
  result[0] = v0l ^ v1l ^ v2l ^ v3l;
  result[1] = v0h ^ v1h ^ v2h ^ v3h;
  return result;
}
