// Info-hashes of services.

import assert from "node:assert/strict";
import { SERVICE, SERVICE_HASH } from "../../src/reports/swarms.ts";
import { serviceHash } from "../../src/runtime/service_hash.ts";

Deno.test("a service has the info-hash that docs/protocol.md states", async () => {
  const url = new URL("../../docs/protocol.md", import.meta.url);
  const [, name, hash] = /^\| `(\S+)` +\| `dmnode service: .*` +\| `([0-9a-f]{40})` \|$/m
    .exec(await Deno.readTextFile(url))!;
  assert.equal(`${serviceHash(name)}`, hash);
  assert.deepEqual([SERVICE, SERVICE_HASH], [name, hash]);
});

Deno.test("the name of a service counts in UTF-8, with case and spaces", () => {
  const names = ["chat", "Chat", "chat ", "chät", "cha\u0308t"];
  assert.equal(new Set(names.map((name) => `${serviceHash(name)}`)).size, names.length);
});
