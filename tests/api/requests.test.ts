// Cutting one member out of a JSON text, against what JSON.parse makes of it.

import assert from "node:assert/strict";
import fc from "fast-check";
import { memberText } from "../../src/api/requests.ts";
import { decodeBase64 } from "../../src/api/schemas.ts";

const cut = (json: string) =>
  new TextDecoder().decode(memberText(new TextEncoder().encode(json), "value"));

Deno.test("memberText: any value, between any other members, however it is printed", () => {
  fc.assert(fc.property(
    fc.jsonValue({ noUnicodeString: false }),
    fc.dictionary(fc.string(), fc.jsonValue()),
    fc.constantFrom(undefined, 1, "\t"),
    (value, others, indent) => {
      delete others.value;
      for (const object of [{ ...others, value }, { value, ...others }]) {
        assert.equal(cut(JSON.stringify(object, null, indent)), JSON.stringify(value));
      }
    },
  ));
});

Deno.test("memberText: escaped names, doubled members and inner members of the same name", () => {
  assert.equal(cut(String.raw`{"v\u0061lue": 1}`), "1");
  assert.equal(cut('{"value":1,"value":[2]}'), "[2]");
  assert.equal(cut('{"a":{"value":1},"value":2,"b":["value",{"value":3}]}'), "2");
  assert.equal(cut(String.raw`{"a":"\"value\":9","value":"\\"}`), String.raw`"\\"`);
  assert.equal(cut('\uFEFF{"value":"\uFEFF"}'), '"\uFEFF"');
  assert.equal(cut('{"value":1.50e+10}'), "1.50e+10");
});

Deno.test("decodeBase64: only what encodes back to the same text", () => {
  fc.assert(fc.property(fc.uint8Array(), (bytes) => {
    const text = btoa(String.fromCharCode(...bytes));
    assert.deepEqual(decodeBase64(text), bytes);
    assert.deepEqual(decodeBase64(text.replace(/=+$/, "")), bytes);
    assert.equal(decodeBase64(text + "!"), undefined);
    assert.equal(decodeBase64(" " + text), undefined);
  }));
  for (const text of ["A", "A=", "AA=", "AB==", "AAA==", "====", "=", "A\nAA"]) {
    assert.equal(decodeBase64(text), undefined, text);
  }
});
