// Tests beacons on loopback, where several nodes of one machine hear each other.

import assert from "node:assert/strict";
import { NetworkKey } from "../../../src/config/network_key.ts";
import { BeaconSockets } from "../../../src/runtime/net/beacon_sockets.ts";
import { Beacons } from "../../../src/runtime/net/beacons.ts";

/** A free UDP port, so that no node of this machine takes part. */
function freePort(): number {
  const socket = Deno.listenDatagram({ transport: "udp", hostname: "0.0.0.0", port: 0 });
  const { port } = socket.addr as Deno.NetAddr;
  socket.close();
  return port;
}

/** Starts beacons of a node with this port, runs the test, and closes them. Their nodes are collected by port. */
async function withBeacons(
  keys: Record<number, NetworkKey>,
  test: (heard: Record<number, Set<number>>) => Promise<void>,
  silent: readonly number[] = [],
): Promise<void> {
  const groupPort = freePort();
  const heard: Record<number, Set<number>> = {}, all: Beacons[] = [];
  try {
    for (const [text, key] of Object.entries(keys)) {
      const port = Number(text), ports = heard[port] = new Set<number>();
      const beacons = await Beacons.start({
        keys: [key],
        port,
        addresses: () => [{ family: 4, host: "127.0.0.1" }],
        isSilent: silent.includes(port),
        groupPort,
        allows: () => true,
        now: () => performance.now(),
        onNode: (endpoint) => ports.add(endpoint.port),
      });
      all.push(beacons);
    }
    await test(heard);
  } finally {
    for (const beacons of all) beacons.close();
  }
}

async function until(holds: () => boolean): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!holds()) {
    assert.ok(Date.now() < deadline, "in vain");
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

Deno.test({
  name: "nodes with one key hear each other's beacons, and those with another key do not",
  ignore: Deno.build.os !== "linux",
  fn: async () => {
    const ours = NetworkKey.random(), theirs = NetworkKey.random();
    await withBeacons({ 9001: ours, 9002: ours, 9003: theirs, 9004: theirs }, async (heard) => {
      await until(() =>
        heard[9001].has(9002) && heard[9002].has(9001) && heard[9003].has(9004) &&
        heard[9004].has(9003)
      );
      for (const port of [9003, 9004]) {
        assert.ok(!heard[9001].has(port) && !heard[9002].has(port));
        assert.ok(!heard[port].has(9001) && !heard[port].has(9002));
      }
    });
  },
});

Deno.test({
  name: "a silent node sends no beacons, but hears those of others",
  ignore: Deno.build.os !== "linux",
  fn: async () => {
    const key = NetworkKey.random();
    await withBeacons({ 9001: key, 9002: key, 9003: key }, async (heard) => {
      await until(() => heard[9001].size === 2 && heard[9002].has(9003) && heard[9003].has(9002));
      assert.ok([1, 2, 3].every((n) => !heard[9000 + n].has(9001)));
    }, [9001]);
  },
});

Deno.test({
  name: "a failed join of the IPv4 group is tried again, and a successful one is not",
  ignore: Deno.build.os !== "linux",
  fn: async () => {
    const open = Deno.listenDatagram;
    let joins = 0;
    Deno.listenDatagram = ((options: Deno.UdpListenOptions & { transport: "udp" }) => {
      const conn = open(options), join = conn.joinMulticastV4.bind(conn);
      conn.joinMulticastV4 = (...args) =>
        ++joins === 1 ? Promise.reject(new Error("No such device")) : join(...args);
      return conn;
    }) as typeof open;
    const sockets = new BeaconSockets({ groupPort: freePort(), maxBytes: 1, receive: () => {} });
    try {
      for (let i = 0; i < 3; i++) await sockets.listen([{ family: 4, host: "127.0.0.1" }]);
      assert.equal(joins, 2);
    } finally {
      Deno.listenDatagram = open;
      sockets.close();
    }
  },
});
