// The sockets of a node on a host with several addresses. All of 127.0.0.0/8 are addresses of a Linux machine.

import assert from "node:assert/strict";
import type { Endpoint } from "../../../src/krpc/endpoint.ts";
import { NodeSockets } from "../../../src/runtime/net/node_sockets.ts";
import type { OwnAddress } from "../../../src/runtime/net/own_addresses.ts";
import { BindError, UdpSocket } from "../../../src/runtime/net/udp.ts";
import { endpoint, latin1 } from "../../packets.ts";

const ignore = Deno.build.os !== "linux";

const OWN: readonly OwnAddress[] = [
  { family: 4, host: "127.0.0.2" },
  { family: 4, host: "127.0.0.3" },
];

/** Binds the sockets of a node that sends each datagram back, at all addresses and any port. */
function openEcho(own: readonly OwnAddress[]): NodeSockets {
  const sockets = NodeSockets.bind({
    host: "0.0.0.0",
    port: 0,
    ownAddresses: () => [...own],
    receive: (datagram, from) => sockets.send(datagram, from),
    onOverflow: () => {},
  });
  sockets.start();
  return sockets;
}

/** Sends a datagram, and returns the address from which the answer comes. */
async function answerFrom(to: Endpoint): Promise<string> {
  const answered = Promise.withResolvers<Endpoint>();
  const client = UdpSocket.bind({
    host: "127.0.0.1",
    port: 0,
    receive: (_, from) => answered.resolve(from),
    onOverflow: () => {},
  });
  client.start();
  client.send(latin1("hello"), to);
  const from = await answered.promise;
  await client.close();
  return `${from}`;
}

Deno.test({
  name: "an answer comes from the address that was asked",
  ignore,
  fn: async () => {
    const sockets = openEcho(OWN);
    for (const { host } of OWN) {
      const asked = endpoint(`${host}:${sockets.port}`);
      assert.equal(await answerFrom(asked), `${asked}`);
    }
    await sockets.close();
  },
});

Deno.test({
  name: "a node sends its own queries to another one from the address at which that one knows it",
  ignore,
  fn: async () => {
    const sockets = openEcho(OWN);
    const sources: string[] = [];
    const both = Promise.withResolvers<void>();
    const peer = UdpSocket.bind({
      host: "127.0.0.1",
      port: 0,
      receive: (_, { host }) => sources.push(host) === 2 && both.resolve(),
      onOverflow: () => {},
    });
    peer.start();
    peer.send(latin1("hello"), endpoint(`127.0.0.3:${sockets.port}`));
    while (sources.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    sockets.send(latin1("a query"), endpoint(`127.0.0.1:${peer.port}`));
    await both.promise;
    assert.deepEqual(sources, ["127.0.0.3", "127.0.0.3"]);
    await peer.close();
    await sockets.close();
  },
});

Deno.test("a single address needs no socket of its own", async () => {
  const sockets = openEcho(OWN.slice(0, 1));
  assert.equal(sockets.addresses.length, 1);
  await sockets.close();
});

Deno.test("a port that another node uses is refused, although a node shares its port among its sockets", async () => {
  const sockets = openEcho([]);
  const bind = () =>
    NodeSockets.bind({
      host: "0.0.0.0",
      port: sockets.port,
      receive: () => {},
      onOverflow: () => {},
    });
  assert.throws(bind, BindError);
  await sockets.close();
});
