// Bloom filters of addresses: BEP 33's test vectors, unions, and filters that can't be right.

import assert from "node:assert/strict";
import {
  bitsOf,
  estimate,
  FILTER_BYTES,
  insert,
  isPlausible,
  mayContain,
  unite,
} from "../../src/krpc/bloom_filter.ts";
import { itemCrypto } from "../../src/runtime/identity/crypto.ts";
import { endpoint, hex } from "../packets.ts";

const V4 = Array.from({ length: 256 }, (_, n) => endpoint(`192.0.2.${n}:6881`));
const V6 = Array.from({ length: 1000 }, (_, n) => endpoint(`[2001:db8::${n.toString(16)}]:6881`));

/** The filter that BEP 33 gives for these addresses. */
const VECTOR = hex(
  "F6C3F5EAA07FFD91BDE89F777F26FB2BFF37BDB8FB2BBAA2FD3DDDE7BACFFF75EE7CCBAE" +
    "FE5EEDB1FBFAFF67F6ABFF5E43DDBCA3FD9B9FFDF4FFD3E9DFF12D1BDF59DB53DBE9FA5B" +
    "7FF3B8FDFCDE1AFB8BEDD7BE2F3EE71EBBBFE93BCDEEFE148246C2BC5DBFF7E7EFDCF24F" +
    "D8DC7ADFFD8FFFDFDDFFF7A4BBEEDF5CB95CE81FC7FCFF1FF4FFFFDFE5F7FDCBB7FD79B3" +
    "FA1FC77BFE07FFF905B7B7FFC7FEFEFFE0B8370BB0CD3F5B7F2BD93FEB4386CFDD6F7FD5" +
    "BFAF2E9EBFFFFEECD67ADBF7C67F17EFD5D75EBA6FFEBA7FFF47A91EB1BFBB53E8ABFB57" +
    "62ABE8FF237279BFEFBFEEF5FFC5FEBFDFE5ADFFADFEE1FB737FFFFBFD9F6AEFFEEE76B6" +
    "FD8F72EF",
);

const bits = (at: typeof V4[number]) => bitsOf(at, itemCrypto.sha1);

function filterOf(...addresses: typeof V4): Uint8Array {
  const filter = new Uint8Array(FILTER_BYTES);
  for (const address of addresses) insert(filter, bits(address));
  return filter;
}

Deno.test("BEP 33: the addresses of the test vector give its filter and its estimate", () => {
  const filter = filterOf(...V4, ...V6);
  assert.deepEqual(filter, VECTOR);
  assert.ok(Math.abs(estimate(filter) - 1224.9308) < 1e-4, `${estimate(filter)}`);
});

Deno.test("a union counts an address of both filters once", () => {
  const filter = filterOf(...V4, ...V6.slice(0, 600));
  unite(filter, filterOf(...V4, ...V6.slice(400)));
  assert.deepEqual(filter, VECTOR);
});

Deno.test("the port of an endpoint does not count", () => {
  assert.equal(bits(V4[0]), bits(V4[0].withPort(1)));
});

Deno.test("a filter contains the addresses that were inserted, and few others", () => {
  const filter = filterOf(...V4.slice(0, 100));
  assert.ok(V4.slice(0, 100).every((address) => mayContain(filter, bits(address))));
  const wrong = V6.filter((address) => mayContain(filter, bits(address))).length;
  assert.ok(wrong < 0.03 * V6.length, `${wrong} false positives`);
});

Deno.test("an empty filter counts no peers", () => {
  assert.equal(estimate(filterOf()), 0);
});

Deno.test("a filter of another size, or one that is nearly full, is not plausible", () => {
  assert.ok(isPlausible(VECTOR));
  assert.equal(isPlausible(VECTOR.subarray(1)), false);
  assert.equal(isPlausible(new Uint8Array(FILTER_BYTES).fill(255)), false);
});
