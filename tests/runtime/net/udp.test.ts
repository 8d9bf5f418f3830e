// UDP sockets on loopback, one datagram at a time, and in batches if the system supports them.

import assert from "node:assert/strict";
import type { Endpoint } from "../../../src/krpc/endpoint.ts";
import { openLibrary } from "../../../src/runtime/net/message_batch.ts";
import { BindError, UdpSocket } from "../../../src/runtime/net/udp.ts";
import { endpoint, latin1, text } from "../../packets.ts";

openLibrary();

interface Received {
  readonly text: string;
  readonly from: Endpoint;
}

/** A socket that collects the received datagrams, and lets tests wait for them. */
function openSocket(host: string, port: number, inBatches: boolean) {
  const received: Received[] = [];
  let overflows = 0;
  let wake = () => {};
  const socket = UdpSocket.bind({
    host,
    port,
    inBatches,
    receive: (datagram, from) => {
      received.push({ text: text(datagram), from });
      wake();
    },
    onOverflow: () => overflows++,
  });
  socket.start();
  return {
    socket,
    received,
    at: endpoint(`127.0.0.1:${socket.port}`),
    overflows: () => overflows,
    until: async (count: number) => {
      while (received.length < count) await new Promise<void>((resolve) => wake = resolve);
    },
    [Symbol.asyncDispose]: () => socket.close(),
  };
}

for (const inBatches of [false, true]) testSockets(inBatches);

function testSockets(inBatches: boolean): void {
  const test = (name: string, run: () => Promise<void>) =>
    Deno.test(`${inBatches ? "in batches" : "one by one"}: ${name}`, run);
  const open = (host = "127.0.0.1", port = 0) => openSocket(host, port, inBatches);

  test("datagrams arrive whole, with the sender's address", async () => {
    await using one = open();
    await using other = open();
    one.socket.send(latin1("hello"), other.at);
    one.socket.send(latin1("x".repeat(1500)), other.at);
    await other.until(2);
    assert.deepEqual(other.received.map((r) => r.text.length).sort(), [1500, 5], "in any order");
    assert.ok(other.received.every(({ from }) => from.equals(one.at)));
  });

  test("a datagram that the system refuses to send is reported with the error", async () => {
    const { promise: refused, resolve } = Promise.withResolvers<[unknown, Endpoint]>();
    const socket = UdpSocket.bind({
      host: "127.0.0.1",
      port: 0,
      inBatches,
      receive: () => {},
      onOverflow: () => {},
      onRefused: (...given) => resolve(given),
    });
    const nowhere = endpoint("127.0.0.1:0");
    socket.send(latin1("x"), nowhere);
    const [error, to] = await refused;
    assert.ok(error instanceof Error && to === nowhere);
    await socket.close();
  });

  test("a datagram is copied when it is sent, so that its buffer can be reused at once", async () => {
    await using one = open();
    await using other = open();
    const buffer = new Uint8Array(1);
    for (let i = 0; i < 100; i++) {
      buffer[0] = i;
      one.socket.send(buffer, other.at);
    }
    await other.until(100);
    assert.equal(new Set(other.received.map((r) => r.text)).size, 100);
  });

  test("a socket reports for how long it waits, which is not at all while datagrams are waiting for it", async () => {
    const SENT = 100, waits: number[] = [];
    const { promise: allHandled, resolve } = Promise.withResolvers<void>();
    let handled = 0;
    const socket = UdpSocket.bind({
      host: "127.0.0.1",
      port: 0,
      inBatches,
      receive: () => {
        if (++handled === SENT) resolve();
      },
      onReceive: (waitedMs) => void waits.push(waitedMs),
      onOverflow: () => {},
    });
    await using one = open();
    const at = endpoint(`127.0.0.1:${socket.port}`);
    const sender = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
    const to = { transport: "udp", hostname: "127.0.0.1", port: socket.port } as const;
    for (let i = 0; i < SENT; i++) await sender.send(latin1("x"), to);
    sender.close();
    socket.start();
    await allHandled;
    const busy = waits.splice(0);
    assert.ok(busy.some((waitedMs) => waitedMs === 0), `${busy}`);
    // Now the socket waits before each datagram.
    while (!waits.some((waitedMs) => waitedMs > 0)) {
      one.socket.send(latin1("y"), at);
      await new Promise((done) => setTimeout(done, 1));
    }
    await socket.close();
  });

  test("0.0.0.0 binds IPv4, and IPv6 if the machine has it, on one port", async () => {
    await using both = open("0.0.0.0");
    await using four = open();
    four.socket.send(latin1("four"), both.at);
    await both.until(1);
    assert.ok(both.received[0].from.equals(four.at), "the sender is not an IPv4-mapped address");
    both.socket.send(latin1("back"), four.at);
    await four.until(1);
    assert.equal(both.socket.families.includes(4), true);
    if (!both.socket.families.includes(6)) return;
    await using six = open("::1");
    six.socket.send(latin1("six"), endpoint(`[::1]:${both.socket.port}`));
    await both.until(2);
    assert.equal(both.received[1].from.family, 6);
  });

  test("datagrams beyond the limit of the queue are lost and counted", async () => {
    await using one = open();
    await using other = open();
    for (let i = 0; i < 5_000; i++) one.socket.send(latin1("x"), other.at);
    // Batches are sent at once, so that losses occur in the receive buffer of the other socket.
    assert.equal(one.overflows(), one.socket.isInBatches ? 0 : 5_000 - 1_024);
    await other.until(100);
    one.socket.send(latin1("after"), other.at);
    const last = () => other.received.at(-1)?.text;
    while (last() !== "after") await other.until(other.received.length + 1);
  });

  test("a datagram too long for a send slot is lost and counted", async () => {
    await using one = open();
    one.socket.send(new Uint8Array(2_000), one.at);
    assert.equal(one.overflows(), 1);
  });

  test("a socket survives a datagram to a closed port", async () => {
    await using one = open();
    await using other = open();
    const gone = open();
    await gone.socket.close();
    for (let i = 0; i < 5; i++) one.socket.send(latin1("anybody?"), gone.at);
    other.socket.send(latin1("hello"), one.at);
    await one.until(1);
    assert.equal(one.received[0].text, "hello");
  });

  test("a port in use, or an address of another machine, is refused with one line", async () => {
    await using one = open();
    for (
      const [host, port, hint] of [
        ["127.0.0.1", one.socket.port, /--p2p-port/],
        ["192.0.2.1", 0, /--p2p-host/],
      ] as const
    ) {
      assert.throws(() => open(host, port), (error) => {
        assert.ok(error instanceof BindError);
        assert.match(error.message, hint);
        assert.equal(error.message.includes("\n"), false);
        return true;
      });
    }
  });

  test("a second close does nothing, and a datagram sent after it is lost", async () => {
    const one = open();
    await one.socket.close();
    await one.socket.close();
    one.socket.send(latin1("late"), one.at);
  });

  test("a socket that was never started can be closed", async () => {
    const socket = UdpSocket.bind({
      host: "127.0.0.1",
      port: 0,
      inBatches,
      receive: () => {},
      onOverflow: () => {},
    });
    await socket.close();
  });

  test("the sockets of a process share their send slots", async () => {
    await using one = open();
    await using two = open();
    await using other = open();
    for (let round = 1; round <= 3; round++) {
      for (let i = 0; i < 100; i++) {
        one.socket.send(latin1(`one ${round} ${i}`), other.at);
        two.socket.send(latin1(`two ${round} ${i}`), other.at);
      }
      await other.until(200 * round);
    }
    assert.equal(new Set(other.received.map((r) => r.text)).size, 600);
    for (const { text, from } of other.received) {
      assert.ok(from.equals(text.startsWith("one") ? one.at : two.at));
    }
    assert.equal(one.overflows() + two.overflows(), 0);
  });
}

Deno.test({
  name: "a socket that is kept to an interface works there, and only there",
  ignore: Deno.build.os !== "linux",
  fn: async () => {
    const received = Promise.withResolvers<string>();
    const options = { host: "0.0.0.0", port: 0, onOverflow: () => {} };
    const bind = (interfaceName: string, receive: (datagram: Uint8Array) => void = () => {}) =>
      UdpSocket.bind({ ...options, interfaceName, receive });
    const kept = bind("lo", (datagram) => received.resolve(text(datagram)));
    const sender = bind("lo");
    try {
      kept.start();
      sender.start();
      sender.send(latin1("through lo"), endpoint(`127.0.0.1:${kept.port}`));
      assert.equal(await received.promise, "through lo");
    } finally {
      await Promise.all([kept.close(), sender.close()]);
    }
    assert.throws(() => bind("no-such-if"), (error) => {
      assert.ok(error instanceof BindError);
      assert.match(
        error.message,
        /^P2P_INTERFACE no-such-if: the socket can't be restricted to this interface/,
      );
      return true;
    });
  },
});
