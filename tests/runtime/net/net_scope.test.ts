// The addresses that --allow-net permits.

import assert from "node:assert/strict";
import { parseAllowNet } from "../../../src/config/addresses.ts";
import { NetFilter, resolveAll } from "../../../src/runtime/net/net_scope.ts";
import { endpoint } from "../../packets.ts";

async function filter(allowNet: string | boolean | undefined) {
  const made = new NetFilter(parseAllowNet(allowNet));
  const failed = await made.resolve();
  return { failed, allows: (address: string) => made.allows(endpoint(address)) };
}

Deno.test("without --allow-net, only loopback is allowed", async () => {
  const { allows } = await filter(undefined);
  for (const good of ["127.0.0.1:1", "127.255.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"]) {
    assert.ok(allows(good), good);
  }
  for (const bad of ["10.0.0.1:1", "128.0.0.1:1", "1.1.1.1:1", "[::]:1", "[fe80::1]:1"]) {
    assert.equal(allows(bad), false, bad);
  }
});

Deno.test("--allow-net without a list allows every address", async () => {
  const { allows } = await filter(true);
  for (const any of ["127.0.0.1:1", "1.1.1.1:1", "[2001:db8::1]:1"]) assert.ok(allows(any));
});

Deno.test("a list allows only its ranges and addresses, not even loopback", async () => {
  const { allows, failed } = await filter("10.0.0.0/8,192.0.2.7,2001:db8::/32");
  assert.deepEqual(failed, []);
  for (const good of ["10.255.1.2:9", "192.0.2.7:9", "[2001:db8:1::5]:9", "[::ffff:10.0.0.1]:9"]) {
    assert.ok(allows(good), good);
  }
  for (const bad of ["11.0.0.1:9", "192.0.2.8:9", "[2001:db9::]:9", "127.0.0.1:9", "[::1]:9"]) {
    assert.equal(allows(bad), false, bad);
  }
});

Deno.test("a host name allows only its addresses", async () => {
  const { allows } = await filter("localhost");
  assert.ok(allows("127.0.0.1:9"));
  assert.equal(allows("10.0.0.1:9"), false);
});

Deno.test("a host name without an address is reported", async () => {
  const { failed } = await filter("localhost,no-such-host.invalid");
  assert.deepEqual(failed, ["no-such-host.invalid"]);
});

Deno.test("bootstrap nodes are resolved in the usable families, and the others are reported with the cause", async () => {
  const nodes = [
    { host: "127.0.0.1", port: 1 },
    { host: "::1", port: 2 },
    { host: "localhost", port: 3 },
    { host: "no-such-host.invalid", port: 4 },
  ];
  const { endpoints, unresolved } = await resolveAll(nodes, [4]);
  assert.deepEqual(endpoints.map(String).sort(), ["127.0.0.1:1", "127.0.0.1:3"]);
  assert.deepEqual(unresolved.map(({ node, cause }) => [node.port, cause]).sort(), [
    [2, "family"],
    [4, "dns"],
  ]);
});
