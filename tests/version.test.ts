// Names of clients, from the field `v` of their messages.

import assert from "node:assert/strict";
import { clientName } from "../src/version.ts";

/** The first four bytes of `v` as a word. */
const word = (v: string) =>
  [...v.padEnd(4, "\0")].reduce((sum, c) => (sum << 8) | c.charCodeAt(0), 0);

Deno.test("the names of known clients come with their version", () => {
  const names: [v: string, name: string][] = [
    ["DM\x10\x02", "dmnode/1.0.2"],
    ["LT\x02\x0b", "libtorrent/2.0.11"],
    ["lt\x0d\x60", "rakshasa-libtorrent/0.13.6"],
    ["A2\x00\x03", "aria2/0.3"],
    ["UT\xad\x01", "uTorrent/173.1"],
  ];
  for (const [v, name] of names) assert.equal(clientName(word(v)), name);
});

Deno.test("an unknown client is shown as its raw v, and a message without v as null", () => {
  const names: [v: string, name: string | null][] = [
    ["QQ\x01\x02", "QQ\\x01\\x02"],
    ["1.0", "1.0"],
    ["\xff\0\\a", "\\xff\\x00\\x5ca"],
    ["lt\x0e\x01", "lt\\x0e\\x01"],
    ["", null],
  ];
  for (const [v, name] of names) assert.equal(clientName(word(v)), name);
});
