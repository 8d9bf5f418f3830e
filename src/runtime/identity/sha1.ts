// SHA-1 (RFC 3174), the hash of item targets. The runtime's own function leaves an object behind at
// each call, which only a full garbage collection frees. While a large value is cut into pieces,
// these objects add up to 80 MB.

const BLOCK_BYTES = 64;

/** The size of the message length at the end of the last block, in bytes. */
const LENGTH_BYTES = 8;

const DIGEST_BYTES = 20;

/** The message schedule of one block, and the padded end of a message. Each call overwrites both. */
const SCHEDULE = new Int32Array(80);
const END = new Uint8Array(2 * BLOCK_BYTES), END_VIEW = new DataView(END.buffer);

/** Returns the 20 bytes of the hash in a new array. */
export function sha1(bytes: Uint8Array): Uint8Array {
  const state = [0x67452301, 0xefcdab89 | 0, 0x98badcfe | 0, 0x10325476, 0xc3d2e1f0 | 0];
  const left = bytes.length % BLOCK_BYTES, whole = bytes.length - left;
  for (let at = 0; at < whole; at += BLOCK_BYTES) compress(state, bytes, at);
  const end = left + 1 + LENGTH_BYTES <= BLOCK_BYTES ? BLOCK_BYTES : 2 * BLOCK_BYTES;
  END.fill(0);
  END.set(bytes.subarray(whole));
  END[left] = 0x80;
  // Write the length of the message, in bits.
  END_VIEW.setUint32(end - 8, Math.floor(bytes.length / 2 ** 29));
  END_VIEW.setUint32(end - 4, bytes.length * 8);
  for (let at = 0; at < end; at += BLOCK_BYTES) compress(state, END, at);
  const digest = new Uint8Array(DIGEST_BYTES), view = new DataView(digest.buffer);
  for (const [i, word] of state.entries()) view.setInt32(4 * i, word);
  return digest;
}

/** Adds one block to the state (RFC 3174, section 6.1). */
function compress(state: number[], bytes: Uint8Array, at: number): void {
  const w = SCHEDULE;
  for (let i = 0; i < 16; i++, at += 4) {
    w[i] = bytes[at] << 24 | bytes[at + 1] << 16 | bytes[at + 2] << 8 | bytes[at + 3];
  }
  for (let i = 16; i < 80; i++) {
    const x = w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16];
    w[i] = x << 1 | x >>> 31;
  }
  let a = state[0], b = state[1], c = state[2], d = state[3], e = state[4], i = 0;
  // Four loops are a third faster than a single loop that chooses the function of each round.
  for (; i < 20; i++) {
    const t = ((a << 5 | a >>> 27) + (d ^ (b & (c ^ d))) + e + 0x5a827999 + w[i]) | 0;
    e = d, d = c, c = b << 30 | b >>> 2, b = a, a = t;
  }
  for (; i < 40; i++) {
    const t = ((a << 5 | a >>> 27) + (b ^ c ^ d) + e + 0x6ed9eba1 + w[i]) | 0;
    e = d, d = c, c = b << 30 | b >>> 2, b = a, a = t;
  }
  for (; i < 60; i++) {
    const t = ((a << 5 | a >>> 27) + ((b & c) | (d & (b | c))) + e + 0x8f1bbcdc + w[i]) | 0;
    e = d, d = c, c = b << 30 | b >>> 2, b = a, a = t;
  }
  for (; i < 80; i++) {
    const t = ((a << 5 | a >>> 27) + (b ^ c ^ d) + e + 0xca62c1d6 + w[i]) | 0;
    e = d, d = c, c = b << 30 | b >>> 2, b = a, a = t;
  }
  state[0] = (state[0] + a) | 0;
  state[1] = (state[1] + b) | 0;
  state[2] = (state[2] + c) | 0;
  state[3] = (state[3] + d) | 0;
  state[4] = (state[4] + e) | 0;
}
