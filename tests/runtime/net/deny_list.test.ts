// The addresses and ids of the deny list.

import assert from "node:assert/strict";
import { parseAllowNet } from "../../../src/config/addresses.ts";
import { DeniedEntries } from "../../../src/runtime/net/denied_nodes.ts";
import { DenyList } from "../../../src/runtime/net/deny_list.ts";
import { NetFilter } from "../../../src/runtime/net/net_scope.ts";
import { Records } from "../../../src/runtime/records.ts";
import { endpoint } from "../../packets.ts";

Deno.test("a deny list contains its addresses and networks, and no others", () => {
  const list = new DenyList([
    "203.0.113.7",
    "198.51.100.0/22",
    "2001:db8:5::/48",
    "2001:db8:6::1",
    "2001:db8:7:8::/65",
  ]);
  const denied = [
    "203.0.113.7:1",
    "203.0.113.7:65535",
    "198.51.103.255:1",
    "[2001:db8:5:ffff::1]:1",
    "[2001:db8:6::1]:1",
    "[2001:db8:7:8:7fff::]:1",
    "[::ffff:203.0.113.7]:1",
  ];
  for (const address of denied) assert.ok(list.has(endpoint(address)), address);
  const others = [
    "203.0.113.8:1",
    "198.51.104.0:1",
    "[2001:db8:6::2]:1",
    "[2001:db8:7:8:8000::]:1",
  ];
  for (const address of others) assert.equal(list.has(endpoint(address)), false, address);
});

Deno.test("0.0.0.0/0 denies all of IPv4, and nothing of IPv6", () => {
  const list = new DenyList(["0.0.0.0/0"]);
  assert.ok(list.has(endpoint("192.0.2.1:1")));
  assert.equal(list.has(endpoint("[2001:db8::1]:1")), false);
});

Deno.test("ids are in the list in lower case", () => {
  assert.deepEqual([...new DenyList(["AB".repeat(20), "192.0.2.1"]).ids], ["ab".repeat(20)]);
});

Deno.test("the deny list takes precedence over --allow-net", () => {
  const filter = new NetFilter(parseAllowNet("10.0.0.0/8"));
  filter.denied = new DenyList(["10.1.0.0/16"]);
  assert.ok(filter.allows(endpoint("10.2.0.1:1")));
  assert.equal(filter.allows(endpoint("10.1.0.1:1")), false);
});

Deno.test("an added entry is in force at once, and acknowledged when the disk has answered", async () => {
  const inForce: (readonly string[])[] = [], answers: ((isSaved: boolean) => void)[] = [];
  const save = () => new Promise<boolean>((resolve) => answers.push(resolve));
  const denied = new DeniedEntries({
    records: new Records(new Map(), save),
    onChange: (entries) => inForce.push(entries),
    isOwn: () => false,
  });
  const outcomes: unknown[] = [];
  const adding = denied.add("203.0.113.7").then((outcome) => outcomes.push(outcome));
  assert.deepEqual([inForce, outcomes], [[["203.0.113.7"]], []]);
  answers.shift()!(true);
  await adding;
  assert.deepEqual(outcomes, [{ outcome: "denied", isNew: true }]);

  const unsaved = denied.add("203.0.113.8"), kept = denied.remove("203.0.113.7");
  for (const answer of answers) answer(false);
  assert.deepEqual([await unsaved, await kept], [{ outcome: "unsaved" }, "unsaved"]);
  assert.deepEqual(inForce.at(-1), ["203.0.113.8"]);
});
