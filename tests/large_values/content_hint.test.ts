// Detection of JSON, text and binary in a stream, compared with JSON.parse and TextDecoder on the whole.

import assert from "node:assert/strict";
import fc from "fast-check";
import { ContentGuess, JsonChecker } from "../../src/large_values/content_hint.ts";

const encode = (text: string) => new TextEncoder().encode(text);

function isJson(text: string): boolean {
  const checker = new JsonChecker();
  checker.add(encode(text));
  return checker.isComplete();
}

function parses(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

Deno.test("JSON: exactly what JSON.parse accepts", () => {
  const texts = [
    ..."0 -0 1 -1 10 1.5 -1.5e3 1E+5 1e-05 0.0 00 01 -01 1. .5 - + +1 1e 1e+ 1.e5 0x1 1_0".split(
      " ",
    ),
    ...'"" "a" "\\n" "\\u00e9" "\\ud800" "\\x" "\\u12" "\\u12g4" "a'.split(" "),
    ..."[] [1] [1,2] [1,] [,1] [ [1 1] ] [[]] [[],[]] [1}] {]".split(" "),
    ...'{} {"a":1} {"a"} {"a":} {"a":1,} {a:1} {"a":1,"a":2} {1:1} {"a":{"b":[]}} } {"a":1]'.split(
      " ",
    ),
    ..."true false null tru truee nulll True NaN Infinity undefined ,".split(" "),
    "",
    " ",
    " 1 ",
    "\t\r\n[ 1 , 2 ] \n",
    "\f1",
    "1 2",
    '"a" "b"',
    '"\t"',
    '"\u007f"',
    '"ü"',
    "\uFEFF1",
    "\u00a01",
    '{"a" : "b" , "c" : [ true , null ] }',
    "[1,2]x",
    "123abc",
    "1e5.5",
    "1.5.5",
    "--1",
    "[-]",
    "[1.]",
    "[1e]",
    '["\\"]"]',
  ];
  for (const text of texts) assert.equal(isJson(text), parses(text), JSON.stringify(text));
});

Deno.test("JSON: random texts, valid and broken, split anywhere", () => {
  const token = fc.constantFrom(
    ...'[]{},: \n"\\-+.0123eE'.split(""),
    "true",
    "null",
    '"a"',
    "\\u00ff",
    "1.5",
    "ü",
  );
  fc.assert(
    fc.property(fc.array(token, { maxLength: 12 }), (tokens) => {
      const text = tokens.join("");
      assert.equal(isJson(text), parses(text), text);
    }),
    { numRuns: 20_000 },
  );
  fc.assert(fc.property(fc.json(), fc.nat(), fc.nat(2), (text, at, indent) => {
    const printed = JSON.stringify(JSON.parse(text), null, indent);
    assert.ok(isJson(printed), printed);
    const bytes = encode(printed), cut = at % (bytes.length + 1);
    const guess = new ContentGuess();
    guess.add(bytes.subarray(0, cut));
    guess.add(bytes.subarray(cut));
    assert.equal(guess.end(), "json");
    const broken = printed.slice(0, cut) + printed.slice(cut + 1);
    assert.equal(isJson(broken), parses(broken), broken);
  }));
});

Deno.test("UTF-8 in any pieces is text, and everything else is binary", () => {
  const guess = (pieces: number[][]) => {
    const guess = new ContentGuess();
    for (const piece of pieces) guess.add(new Uint8Array(piece));
    return guess.end();
  };
  const word = [...encode("größe €𝄞")];
  for (let cut = 0; cut <= word.length; cut++) {
    assert.equal(guess([word.slice(0, cut), word.slice(cut)]), "text");
  }
  assert.equal(guess([]), "text");
  assert.equal(guess([[0xef, 0xbb, 0xbf, 0x31]]), "text", "a byte order mark is no JSON");
  for (const bad of [[0xff], [0xc3], [0xed, 0xa0, 0x80], [0xc0, 0x80], [0x31, 0x80]]) {
    assert.equal(guess([bad]), "binary");
    assert.equal(guess([word, bad]), "binary");
  }
  assert.equal(guess([[0xc3], [0x28]]), "binary");
});

Deno.test("JSON that nests too deep counts as text", () => {
  const nested = (depth: number) => "[".repeat(depth) + "]".repeat(depth);
  assert.equal(isJson(nested(10_000)), true);
  assert.equal(isJson(nested(10_001)), false);
  const guess = new ContentGuess();
  for (let i = 0; i < 100; i++) guess.add(encode("[".repeat(100_000)));
  assert.equal(guess.end(), "text");
});
