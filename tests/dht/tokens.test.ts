// Write tokens: at which address and how long they are valid.

import assert from "node:assert/strict";
import { TOKEN_BYTES, TOKEN_ROTATION_MS, Tokens } from "../../src/dht/tokens.ts";
import { endpoint } from "../packets.ts";
import { randomSource } from "./virtual_network.ts";

const MINUTE = 60_000;
const ASKER = endpoint("1.2.3.4:6881");

const make = (now = 0) => new Tokens(randomSource(1), now);
const issue = (tokens: Tokens, now: number, to = ASKER) => tokens.issue(to, now).slice();

Deno.test("BEP 5: a token is valid at its address, with any port, and at no other address", () => {
  const tokens = make();
  const token = issue(tokens, 0);
  for (const to of [ASKER, endpoint("[2a01:db8::1]:6881")]) {
    const theirs = issue(tokens, 0, to);
    assert.equal(theirs.length, TOKEN_BYTES);
    assert.ok(tokens.verify(theirs, to, 0));
    assert.ok(tokens.verify(theirs, to.withPort(7), 0));
  }
  assert.ok(tokens.verify(token, endpoint("[::ffff:1.2.3.4]:6881"), 0), "the same host");
  for (const other of ["1.2.3.5:6881", "0.2.3.4:6881", "[102:304::]:1", "[::102:304]:6881"]) {
    assert.equal(tokens.verify(token, endpoint(other), 0), false, other);
  }
  const v6 = issue(tokens, 0, endpoint("[2a01:db8::1]:6881"));
  for (const other of ["[2a01:db8::2]:1", "[2a01:db8:0:1::1]:1", "[2a01:db8:1::1]:1"]) {
    assert.equal(tokens.verify(v6, endpoint(other), 0), false);
  }
});

Deno.test("no token is valid after all have been renewed", () => {
  const tokens = make();
  const older = issue(tokens, 0), newer = issue(tokens, 2 * TOKEN_ROTATION_MS - 1);
  tokens.renew(2 * TOKEN_ROTATION_MS);
  for (const token of [older, newer]) {
    assert.equal(tokens.verify(token, ASKER, 2 * TOKEN_ROTATION_MS), false);
  }
  const now = 2 * TOKEN_ROTATION_MS;
  assert.ok(tokens.verify(issue(tokens, now), ASKER, now + 10 * MINUTE));
});

Deno.test("BEP 5: tokens are valid for 10 to 15 minutes", () => {
  // Issue at various ages of the secret.
  for (let age = 0; age < TOKEN_ROTATION_MS; age += 10_000) {
    for (const [later, passes] of [[0, true], [10 * MINUTE, true], [15 * MINUTE, false]] as const) {
      const tokens = make();
      const token = issue(tokens, age);
      assert.equal(tokens.verify(token, ASKER, age + later), passes, `${age} ms + ${later} ms`);
    }
  }
});

Deno.test("a token is refused after a long pause without any other call", () => {
  const tokens = make();
  const token = issue(tokens, 0);
  assert.equal(tokens.verify(token, ASKER, 1_000 * MINUTE), false);
  const fresh = issue(tokens, 1_000 * MINUTE);
  assert.ok(tokens.verify(fresh, ASKER, 1_010 * MINUTE));
});

Deno.test("a token changes with each rotation", () => {
  const tokens = make();
  assert.deepEqual(issue(tokens, 0), issue(tokens, TOKEN_ROTATION_MS - 1));
  assert.notDeepEqual(issue(tokens, 0), issue(tokens, TOKEN_ROTATION_MS));
});

Deno.test("a token of one node is invalid at another", () => {
  const tokens = make();
  const other = new Tokens(randomSource(2), 0);
  assert.equal(other.verify(issue(tokens, TOKEN_ROTATION_MS), ASKER, TOKEN_ROTATION_MS), false);
});

Deno.test("a token is refused when any bit of it differs, or its length", () => {
  const tokens = make();
  const token = issue(tokens, 0);
  for (let bit = 0; bit < 8 * TOKEN_BYTES; bit++) {
    const forged = token.slice();
    forged[bit >> 3] ^= 1 << (bit & 7);
    assert.equal(tokens.verify(forged, ASKER, 0), false);
  }
  assert.equal(tokens.verify(token.subarray(1), ASKER, 0), false);
  assert.equal(tokens.verify(new Uint8Array(0), ASKER, 0), false);
});

Deno.test("three tokens don't yield a fourth: unlike a CRC, tokens are not linear", () => {
  const tokens = make();
  const [a, b, c, d] = ["1.2.3.4", "1.2.3.5", "1.2.3.6", "1.2.3.7"]
    .map((host) => issue(tokens, 0, endpoint(`${host}:1`)));
  assert.notDeepEqual(a.map((byte, i) => byte ^ b[i] ^ c[i]), d);
});
