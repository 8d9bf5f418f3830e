// Endpoints: text, compact form, scopes, and which endpoints we accept from whom.

import assert from "node:assert/strict";
import fc from "fast-check";
import { countAsGlobal, Endpoint, mayRefer, type Scope } from "../../src/krpc/endpoint.ts";
import { compact, endpoint, hex } from "../packets.ts";

Deno.test("BEP 5: compact peers are 6 bytes, address and port big-endian", () => {
  assert.deepEqual(compact(endpoint("1.2.3.4:6881")), hex("010203041ae1"));
  assert.equal(`${Endpoint.read(hex("ff010203041ae1"), 1, 4)}`, "1.2.3.4:6881");
  assert.equal(`${Endpoint.read(hex("fffefdfcffff"), 0, 4)}`, "255.254.253.252:65535");
});

Deno.test("BEP 32: compact IPv6 peers are 18 bytes", () => {
  const bytes = hex("20010db8000000000000000000000001" + "1ae1");
  assert.deepEqual(compact(endpoint("[2001:db8::1]:6881")), bytes);
  assert.equal(`${Endpoint.read(bytes, 0, 6)}`, "[2001:db8::1]:6881");
});

Deno.test("an endpoint survives conversion to compact form and to text", () => {
  const v4 = fc.uint8Array({ minLength: 6, maxLength: 6 });
  const v6 = fc.uint8Array({ minLength: 18, maxLength: 18 });
  fc.assert(fc.property(fc.oneof(v4, v6), (bytes) => {
    const read = Endpoint.read(bytes, 0, bytes.length === 6 ? 4 : 6);
    assert.deepEqual(compact(read), bytes);
    const parsed = Endpoint.parse(read.host, read.port)!;
    assert.ok(parsed.equals(read));
    assert.equal(`${parsed}`, `${read}`);
  }));
});

Deno.test("literal addresses are parsed, and everything else is refused", () => {
  const good: [string, string][] = [
    ["0.0.0.0", "0.0.0.0"],
    ["255.255.255.255", "255.255.255.255"],
    ["::", "::"],
    ["::1", "::1"],
    ["1::", "1::"],
    ["1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"],
    ["2001:DB8::A", "2001:db8::a"],
    ["64:ff9b::1.2.3.4", "64:ff9b::102:304"],
    ["fe80::1%eth0", "fe80::1"],
  ];
  for (const [text, host] of good) assert.equal(Endpoint.parse(text, 1)?.host, host, text);
  // deno-fmt-ignore
  const bad = [
    "", "1", "1.2.3", "1.2.3.4.5", "1.2.3.256", "01.2.3.4", "1.2.3.4 ", "1.2..4", ".1.2.3", "-1.2.3.4", "1.2.3.4:5",
    "localhost", ":", ":::", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1::2::3", "1:2:3:4::5:6:7:8", "12345::", "::g",
    "[::1]", "::1.2.3", "::1.2.3.4.5", "1.2.3.4::", "1.1:1.2.3.4", "::01.2.3.4", "%", "::".repeat(30),
  ];
  for (const text of bad) assert.equal(Endpoint.parse(text, 1), undefined, text);
  for (const port of [-1, 65536, 1.5, NaN]) {
    assert.equal(Endpoint.parse("1.2.3.4", port), undefined);
  }
});

Deno.test("RFC 5952: the first longest run of at least two zero groups is shortened", () => {
  const cases: [string, string][] = [
    ["2001:0db8:0:0:0:0:2:1", "2001:db8::2:1"],
    ["2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
    ["2001:0:0:1:0:0:0:1", "2001:0:0:1::1"],
    ["2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"],
    ["0:0:0:0:0:0:0:0", "::"],
    ["1:0:0:0:0:0:0:0", "1::"],
  ];
  for (const [text, host] of cases) assert.equal(Endpoint.parse(text, 1)!.host, host);
  assert.equal(`${endpoint("[1:0:0:0:0:0:0:1]:80")}`, "[1::1]:80");
});

Deno.test("IPv4-mapped IPv6 addresses become IPv4, both parsed and read", () => {
  const parsed = Endpoint.parse("::ffff:127.0.0.1", 80)!;
  const read = Endpoint.read(hex("00000000000000000000ffff7f0000010050"), 0, 6);
  for (const mapped of [parsed, read]) {
    assert.equal(mapped.family, 4);
    assert.equal(`${mapped}`, "127.0.0.1:80");
    assert.equal(mapped.scope, "loopback");
  }
});

Deno.test("an IPv4 and an IPv6 endpoint are never equal", () => {
  const v4 = endpoint("1.2.3.4:5"), v6 = endpoint("[102:304::]:5");
  assert.equal(v4.equals(v6), false);
  assert.equal(v4.sameAddress(v6), false);
  assert.ok(v4.sameAddress(v4.withPort(6)));
  assert.equal(v4.equals(v4.withPort(6)), false);
  assert.equal(`${v4.withPort(6)}`, "1.2.3.4:6");
});

const SCOPES: Record<Scope, string[]> = {
  none: [
    "0.1.2.3",
    "224.0.0.1",
    "239.1.1.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::2",
    "ff02::1",
  ],
  loopback: ["127.0.0.1", "127.255.255.255", "::1", "::ffff:127.0.0.1"],
  // deno-fmt-ignore
  private: [
    "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.1.1", "100.64.0.1", "100.127.255.255",
    "192.0.2.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.255",
    "fc00::1", "fd12::1", "fe80::1", "febf::1", "fec0::1", "feff::1", "::ffff:10.0.0.1",
    "2001:db8::1", "2001:db8:ffff::", "64:ff9b::a00:1", "64:ff9b::102:304", "2002:a00:1::1",
  ],
  // deno-fmt-ignore
  global: [
    "1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.0.0.1", "128.0.0.1", "169.253.0.1",
    "172.15.0.1", "172.32.0.1", "192.167.0.1", "192.0.1.255", "192.0.3.0", "198.17.255.255", "198.20.0.0", "198.51.99.255", "198.51.101.0",
    "203.0.112.255", "203.0.114.0", "223.255.255.255", "2001:db7::1", "2001:db9::1", "2001:470::1", "2003::1",
    "64:ff9b:0:1::1", "64:ff9b::1:0:0", "2a00::1", "::ffff:1.1.1.1",
  ],
};

Deno.test("RFC 6890: every address has the scope of its registry", () => {
  for (const [scope, hosts] of Object.entries(SCOPES)) {
    for (const host of hosts) assert.equal(Endpoint.parse(host, 6881)!.scope, scope, host);
  }
  assert.equal(endpoint("1.1.1.1:0").scope, "none", "port 0 can't be sent to");
});

Deno.test("test networks count as global, except addresses that nobody can send to and this machine's", () => {
  countAsGlobal(() => true);
  try {
    for (const host of SCOPES.private) {
      assert.equal(Endpoint.parse(host, 6881)!.scope, "global", host);
    }
    for (const scope of ["none", "loopback"] as const) {
      for (const host of SCOPES[scope]) {
        assert.equal(Endpoint.parse(host, 6881)!.scope, scope, host);
      }
    }
    assert.equal(endpoint("10.0.0.1:0").scope, "none");
  } finally {
    countAsGlobal(undefined);
  }
});

Deno.test("nodes may not refer us to a narrower scope than their own, nor to an unusable address", () => {
  const order: Scope[] = ["none", "loopback", "private", "global"];
  for (const source of order.slice(1)) {
    for (const target of order) {
      const may = target !== "none" && order.indexOf(target) >= order.indexOf(source);
      for (const from of SCOPES[source]) {
        for (const to of SCOPES[target]) {
          const x = Endpoint.parse(from, 1)!, y = Endpoint.parse(to, 1)!;
          if (!y.isLinkLocal) assert.equal(mayRefer(x, y), may, `${from} ${to}`);
        }
      }
    }
  }
  assert.equal(mayRefer(endpoint("1.1.1.1:1"), endpoint("8.8.8.8:0")), false);
});

Deno.test("only nodes with a link-local address may refer us to one", () => {
  const near = [endpoint("[fe80::1]:1"), endpoint("[febf::2]:1")];
  const others = ["[fd00::1]:1", "[fec0::1]:1", "[2003::1]:1", "10.0.0.1:1"].map(endpoint);
  for (const to of near) {
    assert.ok(to.isLinkLocal);
    assert.ok(near.every((from) => mayRefer(from, to)));
    assert.ok(others.every((from) => !from.isLinkLocal && !mayRefer(from, to)));
  }
});

Deno.test("addresses that differ in any word or in their family are different", () => {
  const all = [
    "1.2.3.4:1",
    "1.2.3.5:1",
    "[102:304::]:1",
    "[102:304:0:1::]:1",
    "[102:304::1:0]:1",
    "[102:304::1]:1",
    "[102:304:1::]:1",
  ].map(endpoint);
  for (const x of all) {
    for (const y of all) {
      assert.equal(x.sameAddress(y), x === y, `${x} and ${y}`);
      assert.equal(x.equals(y), x === y);
    }
    assert.ok(x.withPort(9).sameAddress(x) && !x.withPort(9).equals(x));
    assert.equal(`${x.withPort(1)}`, `${x}`);
  }
  assert.deepEqual([all[0].b, all[0].c, all[0].d, all[0].family], [0, 0, 0, 4]);
  assert.deepEqual([all[5].b, all[5].c, all[5].d, all[5].family], [0, 0, 1, 6]);
});

Deno.test("the text of every address is right, also when the cache of texts overflows", () => {
  for (let round = 0; round < 2; round++) {
    for (let i = 0; i < 3_000; i++) {
      const bytes = Uint8Array.of(i & 255, i >> 8, 7, 9, 0, 1);
      assert.equal(Endpoint.read(bytes, 0, 4).host, `${i & 255}.${i >> 8}.7.9`);
    }
  }
});
