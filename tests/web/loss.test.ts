// Which values would have too few copies if some peers were gone, and the sizes of pictures.

import assert from "node:assert/strict";
import { lossOf, subnetOf } from "../../src/web/loss.js";
import { pictureSize } from "../../src/web/preview.js";

const value = (hash: string, ...holders: string[]) =>
  ({ hash, key: null, kind: "immutable", holders }) as const;

Deno.test("the values with the fewest copies left come first, and unknown holders are counted", () => {
  const values = [value("a", "1", "2", "3"), value("b", "1", "2"), value("c", "3"), value("d")];
  const { losses, unknown } = lossOf(values, new Set(["1", "2"]), 2);
  assert.deepEqual(
    losses.map(({ value: { hash }, left, lost }) => [hash, left, lost]),
    [["b", 0, 2], ["a", 1, 2], ["c", 1, 0]],
  );
  assert.equal(unknown, 1);
  assert.deepEqual(lossOf(values, new Set(), 1).losses, []);
});

Deno.test("subnets of both families contain the right addresses", () => {
  const v4 = subnetOf("192.0.2.0/24")!, v6 = subnetOf("2001:db8::/32")!;
  assert.deepEqual(["192.0.2.9:1", "192.0.3.9:1", "[2001:db8::1]:1"].map(v4), [true, false, false]);
  assert.deepEqual(["[2001:db8:1::1]:1", "[2001:db9::1]:1", "32.1.13.184:1"].map(v6), [
    true,
    false,
    false,
  ]);
  assert.equal(subnetOf("0.0.0.0/0")!("10.0.0.1:1"), true);
  for (const bad of ["", "x", "192.0.2.0", "192.0.2.0/33", "1.2.3.999/8", "::1::/8", "1:2/8"]) {
    assert.equal(subnetOf(bad), null, bad);
  }
});

Deno.test("the size of a picture is read from its first bytes", () => {
  const bytes = (text: string, ...rest: number[]) =>
    Uint8Array.from([...Array.from(text, (c) => c.charCodeAt(0)), ...rest]);
  const png = bytes("\x89PNG\r\n\x1a\n\0\0\0\rIHDR", 0, 0, 1, 0, 0, 0, 0, 7);
  assert.deepEqual(pictureSize(png), { width: 256, height: 7 });
  assert.deepEqual(pictureSize(bytes("GIF89a", 3, 0, 4, 0)), { width: 3, height: 4 });
  const jpeg = Uint8Array.of(0xff, 0xd8, 0xff, 0xe0, 0, 4, 0, 0, 0xff, 0xc0, 0, 9, 8, 0, 2, 0, 3);
  assert.deepEqual(pictureSize(jpeg), { width: 3, height: 2 });
  for (const other of ["", "PNG", "<svg></svg>", "\xff\xd8\xff", "RIFF1234WEBPVP8 "]) {
    assert.equal(pictureSize(bytes(other)), null);
  }
});
