// Batches of datagrams: permissions, datagrams that the system rejects, and the choice of the right socket.

import assert from "node:assert/strict";
import { join } from "node:path";
import { Endpoint } from "../../../src/krpc/endpoint.ts";
import { LIBC_PATHS, MessageBatch, openLibrary } from "../../../src/runtime/net/message_batch.ts";
import { permissionFlags } from "../../../src/runtime/process/permissions.ts";
import { endpoint, latin1, text } from "../../packets.ts";

openLibrary();

/** Whether this machine supports batches. */
const IS_POSSIBLE = Deno.build.os === "linux" && LIBC_PATHS.some(exists);

function exists(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}

/** A socket that is closed at the end of its block. */
function bind(hostname: string, port = 0): Deno.DatagramConn & Disposable {
  const conn = Deno.listenDatagram({ transport: "udp", hostname, port });
  return Object.assign(conn, { [Symbol.dispose]: () => conn.close() });
}

function addressOf(conn: Deno.DatagramConn): Deno.NetAddr {
  return conn.addr as Deno.NetAddr;
}

function open(conn: Deno.DatagramConn): MessageBatch {
  return MessageBatch.of(addressOf(conn))!;
}

/** Waits until a batch has received this many datagrams. */
async function take(batch: MessageBatch, count: number): Promise<[string, string][]> {
  const taken: [string, string][] = [];
  while (taken.length < count) {
    const received = batch.receive();
    for (let i = 0; i < received; i++) {
      taken.push([text(batch.datagram(i)), `${batch.sender(i)}`]);
    }
    if (received === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  }
  return taken;
}

const test = (name: string, run: () => void | Promise<void>) =>
  Deno.test({ name, ignore: !IS_POSSIBLE, fn: run });

const NOBODY = () => assert.fail("every datagram can be sent");

test("one call receives all waiting datagrams with their lengths and senders", async () => {
  using one = bind("127.0.0.1");
  using other = bind("127.0.0.1");
  const batch = open(one);
  assert.equal(batch.receive(), 0, "nothing waits");
  const lengths = [0, 1, 100, 1_500, 2_048, 5_000];
  for (const length of lengths) await other.send(new Uint8Array(length), addressOf(one));
  const taken = await take(batch, lengths.length);
  assert.deepEqual(taken.map(([text]) => text.length), [0, 1, 100, 1_500, 2_048, 2_048]);
  assert.ok(taken.every(([, from]) => from === `127.0.0.1:${addressOf(other).port}`));
});

test("datagrams beyond a full batch are received with the next", async () => {
  using one = bind("127.0.0.1");
  using other = bind("127.0.0.1");
  const batch = open(one);
  for (let i = 0; i < 70; i++) await other.send(latin1(`${i}`), addressOf(one));
  assert.deepEqual([batch.receive(), batch.receive(), batch.receive()], [32, 32, 6]);
  assert.equal(text(batch.datagram(5)), "69");
});

test("a batch holds 32 datagrams; a flush sends them in their order", async () => {
  using one = bind("127.0.0.1");
  using other = bind("127.0.0.1");
  const batch = open(one), answers = open(other);
  const to = endpoint(`127.0.0.1:${addressOf(other).port}`);
  const buffer = new Uint8Array(1);
  for (let i = 0; i < 32; i++) {
    buffer[0] = i;
    assert.equal(batch.add(buffer, to), true);
  }
  assert.equal(batch.add(buffer, to), false);
  batch.flush(NOBODY);
  batch.flush(NOBODY);
  const taken = await take(answers, 32);
  assert.deepEqual(
    taken.map(([text]) => text.charCodeAt(0)),
    Array.from({ length: 32 }, (_, i) => i),
  );
  assert.equal(answers.receive(), 0, "sent once");
});

test("a datagram that the system rejects is returned, and does not delay the others", async () => {
  using one = bind("127.0.0.1");
  using other = bind("127.0.0.1");
  const batch = open(one), answers = open(other);
  const good = endpoint(`127.0.0.1:${addressOf(other).port}`);
  // Port 0, and an address beyond loopback from a socket that is bound to it.
  const bad = [good.withPort(0), endpoint("192.0.2.1:9")];
  for (const [i, to] of [bad[0], good, bad[1], bad[0], good, good, bad[1]].entries()) {
    batch.add(latin1(`${i}`), to);
  }
  const refused: [string, Endpoint][] = [];
  batch.flush((datagram, to) => refused.push([text(datagram), to]));
  assert.deepEqual(refused, [["0", bad[0]], ["2", bad[1]], ["3", bad[0]], ["6", bad[1]]]);
  assert.deepEqual((await take(answers, 3)).map(([text]) => text), ["1", "4", "5"]);
});

test("an IPv4 socket accepts no IPv6 recipient, and no socket accepts a datagram that is too long", () => {
  using four = bind("127.0.0.1");
  using six = bind("::1");
  const ofFour = open(four), ofSix = open(six);
  const short = latin1("x"), to = [endpoint("1.2.3.4:5"), endpoint("[::1]:5")];
  assert.deepEqual(to.map((to) => ofFour.accepts(short, to)), [true, false]);
  assert.deepEqual(to.map((to) => ofSix.accepts(short, to)), [true, true]);
  assert.deepEqual([1536, 1537].map((n) => ofFour.accepts(new Uint8Array(n), to[0])), [
    true,
    false,
  ]);
});

test("a socket for both families reports senders in their own family, and reaches both", async () => {
  using both = bind("::");
  using four = bind("127.0.0.1");
  using six = bind("::1");
  const { port } = addressOf(both);
  const batch = open(both);
  const senders = [
    [four, "127.0.0.1", `127.0.0.1:${addressOf(four).port}`],
    [six, "::1", `[::1]:${addressOf(six).port}`],
  ] as const;
  for (const [conn, hostname, name] of senders) {
    await conn.send(latin1("hello"), { transport: "udp", hostname, port });
    assert.deepEqual(await take(batch, 1), [["hello", name]]);
    batch.receive();
    batch.add(latin1("back"), endpoint(name));
    batch.flush(NOBODY);
    const [answer] = await conn.receive();
    assert.equal(text(answer), "back");
  }
});

/** Opens a TCP listener and two UDP sockets on one port. Tries other ports if another program uses one. */
function onePort() {
  for (let tries = 0;; tries++) {
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    using sockets = new DisposableStack();
    sockets.defer(() => listener.close());
    try {
      const wrong = sockets.use(bind("127.0.0.2", listener.addr.port));
      const right = sockets.use(bind("127.0.0.1", listener.addr.port));
      sockets.move();
      return { listener, wrong, right };
    } catch (error) {
      if (!(error instanceof Deno.errors.AddrInUse) || tries === 20) throw error;
    }
  }
}

test("the socket is distinguished from a TCP socket with the same port, and from other sockets", async () => {
  for (let i = 0; i < 5; i++) {
    const { listener, wrong: first, right: second } = onePort();
    using wrong = first;
    using right = second;
    const { port } = addressOf(right);
    const batch = open(right);
    await wrong.send(latin1("right"), addressOf(right));
    assert.deepEqual(await take(batch, 1), [["right", `127.0.0.2:${port}`]]);
    listener.close();
  }
});

const PROGRAM = `
import { dropPermissions } from "${
  new URL("../../../src/runtime/process/permissions.ts", import.meta.url).href
}";
import { UdpSocket } from "${new URL("../../../src/runtime/net/udp.ts", import.meta.url).href}";
import { openLibrary } from "${
  new URL("../../../src/runtime/net/message_batch.ts", import.meta.url).href
}";
openLibrary();
const heard = Promise.withResolvers();
const open = (receive) => {
  const socket = UdpSocket.bind({
    host: "127.0.0.1", port: 0, inBatches: true, onOverflow: () => {},
    receive: (datagram, from) => receive(socket, datagram, from),
  });
  socket.start();
  return socket;
};
const one = open((socket, datagram, from) => socket.send(datagram, from));
const other = open(heard.resolve);
dropPermissions({ isService: false });
other.send(new Uint8Array(1), (await import("${
  new URL("../../../src/krpc/endpoint.ts", import.meta.url).href
}")).Endpoint.parse("127.0.0.1", one.port));
await heard.promise;
const attempt = (act) => {
  try {
    act();
    return "done";
  } catch (error) {
    return error.name;
  }
};
console.log(JSON.stringify([
  one.isInBatches,
  attempt(() => Deno.dlopen(Deno.args[0], { getpid: { parameters: [], result: "i32" } })),
  attempt(() => Deno.UnsafePointer.of(new Uint8Array(1))),
]));
Deno.exit(0);
`;

async function runWith(flags: readonly string[]): Promise<unknown> {
  const directory = await Deno.makeTempDir({ prefix: "dmnode-batch-" });
  try {
    const program = join(directory, "main.js");
    await Deno.writeTextFile(program, PROGRAM);
    const config = join(import.meta.dirname!, "../../../deno.json");
    const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--quiet", "--config", config, ...flags, program, LIBC_PATHS.find(exists)!],
      env: { NO_COLOR: "1" },
    }).output();
    const output = new TextDecoder().decode(stdout);
    assert.match(output, /^\[/, new TextDecoder().decode(stderr));
    return JSON.parse(output);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

test("without the permission, datagrams are sent one by one", async () => {
  const refused = [false, "NotCapable", "NotCapable"];
  assert.deepEqual(await runWith(permissionFlags("linux", false)), refused);
  assert.deepEqual(await runWith(["--no-prompt", "--allow-net", "--allow-ffi=/nowhere"]), refused);
});

test("with the permission, a running node can call the library it has opened, and open no other", async () => {
  const flags = permissionFlags("linux");
  assert.deepEqual(await runWith(flags), [true, "NotCapable", "NotCapable"]);
});
