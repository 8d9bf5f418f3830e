// JSON whose integers keep all their digits.

import assert from "node:assert/strict";
import { jsonText, parseJson } from "../../src/web/json.js";

Deno.test("integers beyond 2^53 are read and written with all their digits", () => {
  const text = '{"seq":9223372036854775807,"list":[9007199254740993,-9007199254740993,7]}';
  const value = parseJson(text);
  assert.deepEqual(value, {
    seq: 9223372036854775807n,
    list: [9007199254740993n, -9007199254740993n, 7],
  });
  assert.equal(jsonText(value), text);
  assert.equal(jsonText({ seq: 2n ** 63n - 1n }, 2), '{\n  "seq": 9223372036854775807\n}');
});

Deno.test("other values are read and written as by JSON", () => {
  const value = { a: 1.5, b: "9223372036854775807", c: [null, true, { d: 1e300 }], e: {} };
  assert.deepEqual(parseJson(JSON.stringify(value)), value);
  assert.equal(jsonText(value), JSON.stringify(value));
  assert.equal(jsonText(value, 2), JSON.stringify(value, null, 2));
  assert.throws(() => parseJson("{"), SyntaxError);
});
