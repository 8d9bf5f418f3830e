// SipHash-2-4, compared with the vectors of its authors' reference implementation (vectors.h, key 00 to 0f).

import assert from "node:assert/strict";
import { sipHash, type SipKey } from "../../src/dht/siphash.ts";

const littleEndian = (from: number) =>
  [0, 1, 2, 3].reduce((word, i) => word | ((from + i) << (8 * i)), 0);
const KEY = [0, 4, 8, 12].map(littleEndian) as unknown as SipKey;

/** The results for the messages 00, 01, 02 … of 4n bytes, as 64-bit integers. */
const VECTORS = [
  0x726fdb47dd0e0e31n,
  0xcf2794e0277187b7n,
  0x93f5f5799a932462n,
  0x751e8fbc860ee5fbn,
  0x3f2acc7f57c29bdbn,
];

Deno.test("SipHash-2-4: the reference vectors for messages of whole 32-bit words", () => {
  VECTORS.forEach((expected, words) => {
    const message = Array.from({ length: words }, (_, i) => littleEndian(4 * i));
    const [low, high] = sipHash(KEY, message);
    const result = (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
    assert.equal(result.toString(16), expected.toString(16), `${4 * words} bytes`);
  });
});
