// Attacks on the API of a node: it keeps answering its peers, and serves the API again afterwards.

import assert from "node:assert/strict";
import { innerConnections, sendFrom } from "./impostor.ts";
import { type NodeProcess, withNodes } from "./program.ts";

const encoder = new TextEncoder(), decoder = new TextDecoder();
const PINGS = 50;

function portOf(address: string): number {
  return Number(address.split(":").pop());
}

/** Sends pings over UDP (BEP 5), one after the other, and counts the answers. */
async function pings(node: NodeProcess): Promise<number> {
  const socket = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  const to = { transport: "udp", hostname: "127.0.0.1", port: portOf(node.udp) } as const;
  const late = setTimeout(() => socket.close(), 20_000);
  let answered = 0;
  try {
    while (answered < PINGS) {
      const transaction = String(answered).padStart(2, "0");
      const ping = `d1:ad2:id20:${"p".repeat(20)}e1:q4:ping1:t2:${transaction}1:y1:qe`;
      await socket.send(encoder.encode(ping), to);
      for (;;) {
        const text = decoder.decode((await socket.receive())[0]);
        if (text.includes(`1:t2:${transaction}`) && text.includes("1:y1:r")) break;
      }
      answered++;
    }
    socket.close();
  } catch (error) {
    // The socket was closed because no answer came.
    if (!(error instanceof Deno.errors.BadResource || error instanceof Deno.errors.Interrupted)) {
      throw error;
    }
  } finally {
    clearTimeout(late);
  }
  return answered;
}

/** Opens connections that send `text` and read nothing. Returns those that the node accepts. */
async function open(node: NodeProcess, connections: number, text: string): Promise<Deno.TcpConn[]> {
  const { hostname, port } = new URL(node.api);
  const opened: Deno.TcpConn[] = [];
  for (let i = 0; i < connections; i++) {
    try {
      const connection = await Deno.connect({ hostname, port: Number(port) });
      opened.push(connection);
      await connection.write(encoder.encode(text));
    } catch {
      // Refused or reset.
    }
  }
  return opened;
}

const HEAD = "HTTP/1.1\r\nHost: 127.0.0.1\r\n";
const ATTACKS: Record<string, string> = {
  "connections that say nothing": "",
  "heads that never end": `GET /healthz ${HEAD}X: `,
  "heads without measure": `GET /healthz ${HEAD}X: ${"a".repeat(200_000)}`,
  "bodies that never come": `POST /network/store ${HEAD}Content-Length: 100000\r\n\r\nabc`,
  "answers that nobody reads": `GET /network/stats ${HEAD}\r\n`.repeat(100),
  "HTTP/2": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
  "garbage": "\x16\x03\x01\x02\x00\x01",
};

/** Repeats a request until there is an answer: during an attack the API may refuse or close connections. */
async function healthy(node: NodeProcess): Promise<void> {
  for (let attempt = 0;; attempt++) {
    const response = await fetch(`${node.api}/healthz`).catch((error) => error as Error);
    if (response instanceof Response) {
      await response.body?.cancel();
      if (response.status === 200) return;
    }
    assert.ok(attempt < 50, `${response}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

async function attack(node: NodeProcess, connections: number): Promise<void> {
  for (const [name, text] of Object.entries(ATTACKS)) {
    const opened = await open(node, connections, text);
    assert.ok(opened.length > 0, name);
    assert.equal(await pings(node), PINGS, name);
    for (const connection of opened) connection.close();
    await healthy(node);
  }
}

Deno.test(
  "a node answers its peers during attacks on its API, and serves the API right after them",
  withNodes(async (start) => {
    const node = await start("data", [], { env: { API_MAX_CONNECTIONS: "100" } });
    await attack(node, 300);
    assert.equal((await node.stop()).code, 0);
  }),
);

Deno.test({
  name: "a node that runs out of file descriptors answers its peers, and serves the API afterwards",
  ignore: Deno.build.os === "windows",
  fn: withNodes(async (start) => {
    const node = await start("data", [], { descriptors: 128 });
    await attack(node, 300);
    const body = new Uint8Array(100_000).fill(7);
    const stored = await fetch(`${node.api}/network/store`, { method: "POST", body });
    assert.equal(stored.status, 201);
    await stored.body?.cancel();
    assert.equal((await node.stop()).code, 0);
  }),
});

Deno.test(
  "a new client is served while idle connections occupy all slots",
  withNodes(async (start) => {
    const node = await start("data", [], { env: { API_MAX_CONNECTIONS: "50" } });
    const opened = await open(node, 200, "");
    for (let i = 0; i < 20; i++) {
      const response = await fetch(`${node.api}/network/peers`);
      assert.equal(response.status, 200);
      await response.body?.cancel();
    }
    for (const connection of opened) connection.close();
  }),
);

const TOKEN = "a-token-of-some-length";

/** An IPv4 address of this machine that other machines could use; loopback if there is none. */
function ownAddress(): string {
  const addresses = Deno.networkInterfaces().filter(({ family }) => family === "IPv4");
  return addresses.find(({ address }) => !address.startsWith("127."))?.address ?? "127.0.0.1";
}

Deno.test({
  name: "a local program can't pass for another client at the port behind the API",
  ignore: Deno.build.os !== "linux",
  fn: withNodes(async (start) => {
    const node = await start("data", [], { env: { API_HOST: "0.0.0.0", API_TOKEN: TOKEN } });
    // Requests of other addresses than loopback are limited for each client.
    const api = { hostname: ownAddress(), port: portOf(node.api) };
    using victim = await Deno.connect(api);
    const ask = async () => {
      const authorization = `Authorization: Bearer ${TOKEN}\r\n`;
      const host = `Host: ${api.hostname}:${api.port}\r\n`;
      await victim.write(
        encoder.encode(`GET /healthz HTTP/1.1\r\n${host}${authorization}\r\n`),
      );
      const buffer = new Uint8Array(65_536);
      return decoder.decode(buffer.subarray(0, (await victim.read(buffer))!));
    };
    assert.match(await ask(), /^HTTP\/1\.1 200 /);

    const inner = innerConnections(node.pid);
    assert.ok(inner.length > 0);
    for (const { localPort: port, remotePort } of inner) {
      const send = (target: string, token: string, times = 1) => {
        const head =
          `${target} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer ${token}\r\n\r\n`;
        return sendFrom({ host: "127.0.0.2", port }, remotePort, Array(times).fill(head));
      };
      assert.match(await send("GET /healthz", TOKEN), /^HTTP\/1\.1 403 /);
      assert.match(await send("GET /events", TOKEN), /^HTTP\/1\.1 403 /);
      // More than the number of wrong tokens that lock a client out.
      assert.doesNotMatch(await send("GET /network/stats", "wrong", 100), /HTTP\/1\.1 4[^0]/);
    }
    const answer = await ask();
    assert.match(answer, /^HTTP\/1\.1 200 /, "neither events nor 429");
    assert.match(answer, /\{"status":"ok"\}/);
    assert.equal((await node.stop()).code, 0);
  }),
});
