// Hex digits.

import assert from "node:assert/strict";
import { hex, unhex } from "../../src/krpc/hex.ts";

Deno.test("bytes become two lower-case digits each, and digits of either case become bytes", () => {
  assert.equal(hex(Uint8Array.of(0, 10, 255)), "000aff");
  assert.deepEqual(unhex("000AfF"), Uint8Array.of(0, 10, 255));
});
