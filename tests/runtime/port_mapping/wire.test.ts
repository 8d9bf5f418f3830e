// Encoding and decoding of the messages of PCP, NAT-PMP, SSDP and UPnP, valid and invalid.

import assert from "node:assert/strict";
import fc from "fast-check";
import { Endpoint } from "../../../src/krpc/endpoint.ts";
import { hex as text, unhex } from "../../../src/krpc/hex.ts";
import { EpochTime } from "../../../src/runtime/port_mapping/control_router.ts";
import { parseResponse } from "../../../src/runtime/port_mapping/http.ts";
import * as natPmp from "../../../src/runtime/port_mapping/nat_pmp.ts";
import * as pcp from "../../../src/runtime/port_mapping/pcp.ts";
import { endpointOf, isOnOurNetwork } from "../../../src/runtime/port_mapping/router.ts";
import { locationOf, parseLocation } from "../../../src/runtime/port_mapping/ssdp.ts";
import {
  clean,
  escapeXml,
  leavesOf,
  mappingServices,
} from "../../../src/runtime/port_mapping/upnp_service.ts";
import { NONCE, TestClock } from "./routers.ts";

const bytes = (digits: string) => unhex(digits.replace(/\s/g, ""));

const NONCE_HEX = "a0a1a2a3a4a5a6a7a8a9aaab";

Deno.test("RFC 6887: a MAP request for IPv4 and IPv6, byte for byte", () => {
  const internal = endpointOf("192.168.1.20", 8000);
  assert.equal(
    text(pcp.mapRequest({ internal, nonce: NONCE }, undefined, 3600)),
    "0201000000000e10" + "00000000000000000000ffffc0a80114" +
      NONCE_HEX + "11000000" + "1f401f40" + "00000000000000000000ffff00000000",
  );
  const lease = endpointOf("203.0.113.9", 9000);
  assert.equal(
    text(pcp.mapRequest({ internal, nonce: NONCE }, lease, 3600)).slice(-40),
    "1f40232800000000000000000000ffffcb007109",
  );
  assert.equal(
    text(
      pcp.mapRequest({ internal: endpointOf("2001:db8::5", 8000), nonce: NONCE }, undefined, 60),
    ),
    "020100000000003c" + "20010db8000000000000000000000005" +
      NONCE_HEX + "11000000" + "1f401f40" + "0".repeat(32),
  );
  // Deletion: lifetime, suggested port and address are zero (section 15).
  assert.equal(
    text(pcp.mapRequest({ internal, nonce: NONCE }, lease, 0)),
    "0201000000000000" + "00000000000000000000ffffc0a80114" +
      NONCE_HEX + "11000000" + "1f400000" + "00000000000000000000ffff00000000",
  );
  assert.equal(
    text(pcp.announceRequest({ internal, nonce: NONCE })),
    "0200000000000000" + "00000000000000000000ffffc0a80114",
  );
});

Deno.test("RFC 6887: a MAP response is read, and options after it are ignored", () => {
  const response = bytes(
    "0281000000000e1000000400" + "0".repeat(24) + NONCE_HEX + "11000000" + "1f402328" +
      "00000000000000000000ffffcb007109" + "01000004deadbeef",
  );
  const read = pcp.readResponse(response)!;
  assert.deepEqual({ ...read, mapping: undefined }, {
    opcode: 1,
    result: 0,
    lifetimeS: 3600,
    epochS: 1024,
    mapping: undefined,
  });
  assert.equal(`${read.mapping!.external}`, "203.0.113.9:9000");
  assert.equal(read.mapping!.internalPort, 8000);
  assert.deepEqual(read.mapping!.nonce, NONCE);
});

Deno.test("RFC 6886: requests byte for byte, and responses", () => {
  assert.equal(text(natPmp.addressRequest()), "0000");
  assert.equal(text(natPmp.mapRequest(8000, 9000, 3600)), "000100001f40232800000e10");
  assert.equal(text(natPmp.mapRequest(8000, 0, 0)), "000100001f40000000000000");
  const address = natPmp.readResponse(bytes("0080 0000 00000400 cb007109"))!;
  assert.ok(address.kind === "address");
  assert.equal(address.external?.host, "203.0.113.9");
  assert.equal(address.epochS, 1024);
  const mapping = natPmp.readResponse(bytes("0081 0000 00000400 1f40 2328 00000e10"));
  assert.deepEqual(mapping, {
    kind: "mapping",
    result: 0,
    epochS: 1024,
    internalPort: 8000,
    externalPort: 9000,
    lifetimeS: 3600,
  });
  // Errors may come without a body.
  assert.equal(natPmp.readResponse(bytes("0081 0001 00000400"))?.result, 1);
  assert.equal(natPmp.readResponse(bytes("0080 0003 00000400"))?.result, 3);
});

Deno.test("PCP, NAT-PMP: other messages are not read", () => {
  for (
    const hex of [
      "",
      "02",
      "0281",
      "0201" + "0".repeat(44), // a request
      "0181" + "0".repeat(44), // another version
      "0281" + "0".repeat(46), // not a multiple of four bytes
      "0281" + "0".repeat(40),
    ]
  ) assert.equal(pcp.readResponse(bytes(hex)), undefined, hex);
  for (
    const hex of [
      "",
      "0080",
      "0080000000000400", // success without an address
      "00810000000004001f40", // cut
      "0001000000000400cb007109", // a request
      "0280000000000400cb007109",
      "0083000000000400cb007109", // another opcode
    ]
  ) assert.equal(natPmp.readResponse(bytes(hex)), undefined, hex);
});

Deno.test("readers accept any bytes and any text without an exception", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 80 }), (any) => {
    for (const first of [any[0], 0, 2]) {
      if (any.length > 0) any[0] = first;
      pcp.readResponse(any);
      natPmp.readResponse(any);
      parseResponse(any, true);
    }
  }));
  const markup = fc.array(
    fc.constantFrom(
      "<",
      ">",
      "/",
      "a",
      ":",
      "<!--",
      "-->",
      "<![CDATA[",
      "]]>",
      "<?",
      "?>",
      "&",
      ";",
      " ",
      "amp",
    ),
    { maxLength: 60 },
  );
  fc.assert(fc.property(markup, (parts) => {
    const read = [...leavesOf(parts.join(""))];
    assert.ok(read.length <= parts.length + 1);
  }));
});

Deno.test("RFC 6887, section 8.5: the server's clock must agree with ours", () => {
  const passes = (protocol: "pcp" | "nat-pmp", seconds: number, there: number) => {
    const clock = new TestClock(), epoch = new EpochTime(protocol, clock);
    assert.ok(epoch.note(5000), "the first count is always accepted");
    clock.advance(seconds * 1000);
    return epoch.note(5000 + there);
  };
  assert.ok(passes("pcp", 60, 60));
  assert.ok(passes("pcp", 60, 57), "slower by two seconds and a sixteenth");
  assert.ok(!passes("pcp", 60, 53));
  assert.ok(!passes("pcp", 60, 70), "faster");
  assert.ok(!passes("pcp", 60, -4990), "restarted");
  assert.ok(passes("nat-pmp", 60, 51), "RFC 6886, section 3.6: an eighth");
  assert.ok(!passes("nat-pmp", 60, 49));
  assert.ok(passes("nat-pmp", 60, 600), "a fast clock is not a restart");
  assert.ok(passes("pcp", 0, -1) && passes("nat-pmp", 0, -2), "whole seconds");
});

Deno.test("only an address of the same private network may be our router", () => {
  const fits = (own: string, router: string) =>
    isOnOurNetwork(Endpoint.parse(own, 1)!, Endpoint.parse(router, 1)!);
  assert.ok(fits("192.168.1.20", "192.168.1.1"));
  assert.ok(fits("10.0.0.5", "10.255.0.1"));
  assert.ok(fits("172.16.4.4", "172.31.0.1"));
  assert.ok(fits("100.64.0.9", "100.127.0.1"));
  assert.ok(fits("2001:db8:1:2::5", "2001:db8:1:2::1"));
  assert.ok(fits("2001:db8:1:2::5", "fe80::1"));
  assert.ok(fits("127.0.0.1", "127.0.0.1"));
  for (
    const [own, router] of [
      ["192.168.1.20", "10.0.0.1"],
      ["192.168.1.20", "127.0.0.1"],
      ["192.168.1.20", "45.83.113.1"],
      ["192.168.1.20", "0.0.0.0"],
      ["192.168.1.20", "239.255.255.250"],
      ["172.16.4.4", "172.32.0.1"],
      ["172.16.4.4", "172.15.0.1"],
      ["100.64.0.9", "100.128.0.1"],
      ["45.83.113.9", "45.83.113.1"],
      ["192.168.1.20", "fe80::1"],
      ["2001:db8:1:2::5", "2001:db8:1:3::1"],
      ["2001:db8:1:2::5", "192.168.1.1"],
      ["2001:db8:1:2::5", "ff02::1"],
    ]
  ) assert.ok(!fits(own, router), `${own} ${router}`);
});

Deno.test("SSDP: a router's location must be the sender of the answer", () => {
  const own = endpointOf("192.168.1.20", 1), from = endpointOf("192.168.1.1", 1900);
  const at = (location: string, head = "HTTP/1.1 200 OK") =>
    locationOf(`${head}\r\nST: x\r\nLOCATION: ${location}\r\n\r\n`, from, own);
  const good = at("http://192.168.1.1:5000/rootDesc.xml?a=b")!;
  assert.deepEqual([`${good.server}`, good.path], ["192.168.1.1:5000", "/rootDesc.xml?a=b"]);
  assert.equal(`${at("http://192.168.1.1")!.server}`, "192.168.1.1:80");
  for (
    const location of [
      "http://192.168.1.9:5000/", // another host in the network
      "http://127.0.0.1:8080/",
      "http://169.254.169.254/latest/meta-data/",
      "http://203.0.113.9/",
      "http://router.local/",
      "https://192.168.1.1/",
      "file:///etc/passwd",
      "http://user:pass@192.168.1.1/",
      "http://192.168.1.1@203.0.113.9/",
      "http://[::1]/",
      "http://192.168.1.1:0/",
      "http://192.168.1.1:99999/",
      `http://192.168.1.1/${"x".repeat(600)}`,
      "/relative",
      "",
    ]
  ) assert.equal(at(location), undefined, location);
  const answer = "LOCATION: http://192.168.1.1/\r\n\r\n";
  assert.equal(at("http://192.168.1.1/", "NOTIFY * HTTP/1.1"), undefined);
  assert.equal(at("http://192.168.1.1/", "HTTP/1.1 404 Not Found"), undefined);
  assert.equal(locationOf(answer, from, own), undefined);
  assert.equal(locationOf("HTTP/1.1 200 OK\r\n\r\n", from, own), undefined);

  const own6 = endpointOf("2001:db8:1:2::5", 1), from6 = endpointOf("fe80::1", 1900);
  const at6 = (url: string) =>
    locationOf(`HTTP/1.1 200 OK\r\nLocation:${url}\r\n\r\n`, from6, own6);
  assert.equal(`${at6("http://[2001:db8:1:2::1]:5000/")!.server}`, "[2001:db8:1:2::1]:5000");
  assert.equal(at6("http://[2001:db8:1:3::1]:5000/"), undefined);
});

Deno.test("paths can't insert lines into a request", () => {
  const base = parseLocation("http://192.168.1.1:5000/desc.xml")!;
  for (const url of ["/a\r\nX: y", "/a b", "/\u0000", "//192.168.1.1:5000/x y"]) {
    const path = parseLocation(url, base)?.path ?? "";
    assert.doesNotMatch(path, /[\s\p{Cc}]/u, JSON.stringify(url));
  }
  assert.equal(parseLocation("ctl/IPConn", base)!.path, "/ctl/IPConn");
  assert.equal(parseLocation("//203.0.113.9/x", base)!.server.host, "203.0.113.9");
});

const service = (type: string, url: string) =>
  `<service><serviceType>urn:schemas-upnp-org:service:${type}</serviceType><controlURL>${url}</controlURL></service>`;

Deno.test("UPnP: the services of a description are sorted by rank, without those on other hosts", () => {
  const location = parseLocation("http://192.168.1.1:5000/root/desc.xml")!;
  const controls = (description: string, family: 4 | 6 = 4) =>
    mappingServices(description, location, family).map(({ type, control }) =>
      `${type.split(":service:")[1]} ${control.server}${control.path}`
    );
  assert.deepEqual(
    controls(
      `<root>${service("WANPPPConnection:1", "/ppp")}${service("WANIPConnection:1", "ip1")}` +
        `${service("Layer3Forwarding:1", "/l3f")}${
          service("WANIPConnection:2", "http://192.168.1.1:81/ip2")
        }</root>`,
    ),
    [
      "WANIPConnection:2 192.168.1.1:81/ip2",
      "WANIPConnection:1 192.168.1.1:5000/root/ip1",
      "WANPPPConnection:1 192.168.1.1:5000/ppp",
    ],
  );
  assert.deepEqual(
    controls(`<URLBase>http://192.168.1.1:8081/b/</URLBase>${service("WANIPConnection:1", "ip")}`),
    ["WANIPConnection:1 192.168.1.1:8081/b/ip"],
  );
  assert.deepEqual(
    controls(`<URLBase>http://203.0.113.9/</URLBase>${service("WANIPConnection:1", "ip")}`),
    [],
  );
  assert.deepEqual(controls(service("WANIPConnection:1", "http://127.0.0.1:8080/x")), []);
  assert.deepEqual(controls(service("WANIPConnection:1", "https://192.168.1.1/x")), []);
  assert.deepEqual(controls(service("WANIPConnection:9", "/x")), []);
  assert.deepEqual(controls(service("WANIPv6FirewallControl:1", "/6"), 6), [
    "WANIPv6FirewallControl:1 192.168.1.1:5000/6",
  ]);
  assert.ok(controls(service("WANIPConnection:1", "/x").repeat(500)).length <= 8);
  assert.deepEqual(controls("<html><body>Not found</html>"), []);
});

Deno.test("XML with prefixes, comments, CDATA and attributes is read, even if it is not well-formed", () => {
  const leaves = leavesOf(
    '<?xml version="1.0"?><!DOCTYPE x><s:a xmlns:s="q"><!-- <b>no</b> --><u:b x="1"> 1 &amp; &lt;2 </u:b>' +
      "<c><![CDATA[<d>]]></c><e/><f>unclosed<b>second</b></a>",
  );
  assert.deepEqual([...leaves], [["b", "1 & <2"], ["c", "<d>"], ["e", ""], ["b", "second"]]);
  // Entities are not expanded, so that a short document can't become gigabytes.
  const bomb = '<!DOCTYPE l [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><r><t>&b;</t></r>';
  assert.equal(new Map(leavesOf(bomb)).get("t"), "&b;");
  assert.equal([...leavesOf("<a>".repeat(100_000))].length, 0);
  assert.deepEqual(
    [...leavesOf(`<a>${escapeXml(`<&>"'`)}</a>`.replace(/&#(\d+);/g, "?"))],
    [["a", "?????"]],
  );
});

Deno.test("HTTP: responses with a length, with chunks, until the end, and invalid ones", () => {
  const read = (response: string, isEnd = false) =>
    parseResponse(new TextEncoder().encode(response), isEnd);
  const ok = { status: 200, body: "häl" };
  assert.deepEqual(read("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhäl"), ok);
  assert.deepEqual(read("HTTP/1.0 200 OK\ncontent-length:4\n\nhäl and more"), ok);
  assert.deepEqual(read("HTTP/1.1 200 OK\r\n\r\nhäl", true), ok);
  assert.deepEqual(
    read("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nh\xc3\r\n"),
    "more",
  );
  assert.deepEqual(
    read(
      "HTTP/1.1 500 X\r\nTransfer-Encoding: Chunked\r\n\r\n1\r\na\r\nB\r\nbcdefghijkl\r\n0\r\n\r\n",
    ),
    { status: 500, body: "abcdefghijkl" },
  );
  for (const cut of ["", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhal"]) {
    assert.equal(read(cut), "more", cut);
    assert.equal(read(cut, true), "invalid", cut);
  }
  for (
    const bad of [
      "SSH-2.0-OpenSSH_9.2\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffff\r\n",
    ]
  ) assert.equal(read(bad), "invalid", bad);
});

Deno.test("a stranger's text becomes one short line", () => {
  assert.equal(clean("  a\r\n\u0007\u202eb\tc "), "a b c");
  assert.equal(clean("x".repeat(500)).length, 100);
});
