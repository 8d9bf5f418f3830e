// The networks from which most refused packets come, estimated in bounded memory.

import assert from "node:assert/strict";
import { REFUSALS_PERIOD_MS, RefusedSources } from "../../src/dht/refused_sources.ts";
import { endpoint } from "../packets.ts";
import { randomSource } from "./virtual_network.ts";

const NOW = 1_000_000, SEED = 0x1234567;

/** Returns random IPv4 addresses of different networks. */
function* strangers(): Generator<string> {
  const bytes = randomSource(7);
  while (true) {
    const [a, b, c, d] = bytes(4);
    yield `${1 + a % 200}.${b}.${c}.${d}:6881`;
  }
}

const named = ({ sources }: ReturnType<RefusedSources["largest"]>) =>
  sources.map(({ network, reason, packets }) => `${network.host} ${reason} ${packets}`);

Deno.test("a network that sends a twentieth of the refused packets is found among 10,000 others", () => {
  const sources = new RefusedSources(SEED, NOW), others = strangers();
  const SENT = 500;
  for (let i = 0; i < 20 * SENT; i++) {
    const from = i % 20 === 0 ? `198.51.100.${i % 256}:${1 + i}` : others.next().value;
    sources.note("rate_limited", endpoint(from), NOW);
  }
  const [{ network, packets }] = sources.largest(1, NOW).sources;
  assert.equal(network.host, "198.51.100.0");
  assert.ok(packets <= SENT && packets > SENT / 2, `${packets}`);
});

Deno.test("reasons are counted apart, IPv6 by its /48, and the list has a limit", () => {
  const sources = new RefusedSources(SEED, NOW);
  for (let i = 0; i < 9; i++) {
    sources.note("malformed", endpoint(`[2001:db8:7:${i}::1]:1`), NOW);
    if (i < 5) sources.note("denied", endpoint("192.0.2.1:1"), NOW);
    if (i < 2) sources.note("malformed", endpoint("192.0.2.2:1"), NOW);
  }
  assert.deepEqual(named(sources.largest(2, NOW)), [
    "2001:db8:7:: malformed 9",
    "192.0.2.0 denied 5",
  ]);
  assert.equal(sources.largest(20, NOW).sources.length, 3);
});

Deno.test("packets count for the present period and the one before it", () => {
  const sources = new RefusedSources(SEED, NOW), from = endpoint("192.0.2.1:1");
  sources.note("denied", from, NOW);
  sources.note("denied", from, NOW + REFUSALS_PERIOD_MS);
  const both = sources.largest(9, NOW + REFUSALS_PERIOD_MS + 1);
  assert.deepEqual(named(both), ["192.0.2.0 denied 2"]);
  assert.equal(both.since, NOW);
  assert.deepEqual(named(sources.largest(9, NOW + 2 * REFUSALS_PERIOD_MS)), ["192.0.2.0 denied 1"]);
  assert.deepEqual(named(sources.largest(9, NOW + 5 * REFUSALS_PERIOD_MS)), []);
});
