// Node ids bound to addresses (BEP 42), compared with the proposal's vectors.

import assert from "node:assert/strict";
import { isSecureId, secureId } from "../../../src/dht/routing/secure_id.ts";
import { crc32c } from "../../../src/krpc/crc.ts";
import { Id } from "../../../src/krpc/id.ts";
import { endpoint, hex, id, latin1 } from "../../packets.ts";
import { randomSource } from "../virtual_network.ts";

const VECTORS: [string, number, string, string][] = [
  ["124.31.75.21", 1, "5fbfbf", "f10c5d6a4ec8a88e4c6ab4c28b95eee4"],
  ["21.75.31.124", 86, "5a3ce9", "c14e7a08645677bbd1cfe7d8f956d532"],
  ["65.23.51.170", 22, "a5d432", "20bc8f112a3d426c84764f8c2a1150e6"],
  ["84.124.73.14", 65, "1b0321", "dd1bb1fe518101ceef99462b947a01ff"],
  ["43.213.53.83", 90, "e56f6c", "bf5b7c4be0237986d5243b87aa6d5130"],
];

const vectorId = ([, rand, prefix, rest]: (typeof VECTORS)[number]) =>
  Id.parse(prefix + rest + rand.toString(16).padStart(2, "0"))!;

Deno.test("CRC-32C has its check value (RFC 3720)", () => {
  assert.equal(crc32c(latin1("123456789")) >>> 0, 0xe3069283);
  assert.equal(crc32c(new Uint8Array(32)) >>> 0, 0x8a9136aa);
});

Deno.test("BEP 42: the proposal's ids are valid at their addresses, and nowhere else", () => {
  for (const vector of VECTORS) {
    for (const [address] of VECTORS) {
      const fits = isSecureId(vectorId(vector), endpoint(`${address}:6881`));
      assert.equal(fits, address === vector[0], `${vector[0]} at ${address}`);
    }
  }
});

Deno.test("BEP 42: only the first 21 bits and the last byte matter", () => {
  for (const vector of VECTORS) {
    const at = endpoint(`${vector[0]}:1`), secure = vectorId(vector);
    for (let bit = 0; bit < 160; bit++) {
      // The hash depends on r: the low three bits of the last byte.
      const isBound = bit < 21 || bit >= 157;
      assert.equal(isSecureId(secure.flip(bit), at), !isBound, `bit ${bit}`);
    }
  }
});

Deno.test("BEP 42: ids from the vectors' random bytes begin like the vectors", () => {
  for (const [address, rand, prefix, rest] of VECTORS) {
    const random = hex(`ff${prefix.slice(2)}${rest}${rand.toString(16).padStart(2, "0")}`);
    const made = secureId(endpoint(`${address}:1`), random);
    assert.equal(`${made}`, `${vectorId([address, rand, prefix, rest])}`);
  }
});

Deno.test("BEP 42: a generated id is valid at its address, with IPv4 and IPv6", () => {
  const random = randomSource(1);
  for (const address of ["8.8.8.8:1", "223.1.2.3:1", "[2a01:db8::1]:1", "[2a00:1450:4001::1]:1"]) {
    for (let i = 0; i < 50; i++) {
      assert.ok(isSecureId(secureId(endpoint(address), random(20)), endpoint(address)));
    }
  }
});

Deno.test("BEP 42: IPv6 binds the masked high 64 bits with crc32c over 8 bytes", () => {
  // The reference expression: crc32c((high64 & 0x0103070f1f3f7fff) | r << 61).
  const r = 5n, high = 0x20010db8_12345678n;
  const masked = (high & 0x0103070f1f3f7fffn) | (r << 61n);
  const crc = crc32c(hex(masked.toString(16).padStart(16, "0"))) >>> 0;
  const bound = Id.parse(crc.toString(16).padStart(8, "0") + "0".repeat(30) + "05")!;
  assert.ok(isSecureId(bound, endpoint("[2a01:db8:1234:5678::1]:1")));
  assert.ok(isSecureId(bound, endpoint("[2a01:db8:1234:5678:ffff::9]:1")), "the low half is free");
  assert.equal(isSecureId(bound, endpoint("[2a01:db8:1234:5679::1]:1")), false);
});

Deno.test("BEP 42: local networks may have any id: 10/8, 172.16/12, 192.168/16, 169.254/16, 127/8", () => {
  const any = id("123456");
  // deno-fmt-ignore
  const exempt = [
    "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "169.254.0.1", "127.0.0.1",
  ];
  for (const host of exempt) assert.ok(isSecureId(any, endpoint(`${host}:1`)), host);
  for (const host of ["9.255.255.255", "172.15.0.1", "172.32.0.1", "192.167.0.1", "100.64.0.1"]) {
    assert.equal(isSecureId(any, endpoint(`${host}:1`)), false, host);
  }
});
