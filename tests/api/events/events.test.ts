// Tests /ws and /events on real sockets with events that the tests emit. network.test.ts tests those of a real network.

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createApi } from "../../../src/api/app.ts";
import { Event, EVENT_TYPES, FoundEvents, type ServiceEvent } from "../../../src/reports/events.ts";
import { type ApiServer, serveApi } from "../../../src/api/server.ts";
import { loadConfig } from "../../../src/config.ts";
import { Client, clientFrame, type Message, RawClient, upgradeHead } from "./clients.ts";
import { FakeService, NODE_ID, PEER_A, PEER_B } from "../fake_service.ts";

const AT = Date.UTC(2026, 3, 14, 10, 29, 55, 678);
const TOKEN = "a-token-of/some+length";

interface Setup {
  readonly service: FakeService;
  readonly server: ApiServer;
  /** Opens a WebSocket; `path` follows the port in the URL. */
  open(path: string, options?: ConstructorParameters<typeof Client>[1]): Client;
  raw(path: string, headers?: string): Promise<RawClient>;
  tell(...events: ServiceEvent[]): void;
}

async function withApi(
  use: (setup: Setup) => Promise<void>,
  env: Record<string, string> = {},
): Promise<void> {
  const service = new FakeService(), clients: (Client | RawClient)[] = [];
  const api = createApi({ service, config: loadConfig({ env }) });
  const server = await serveApi(api, { hostnames: ["127.0.0.1"], port: 0 });
  const kept = <T extends Client | RawClient>(client: T): T => {
    clients.push(client);
    return client;
  };
  try {
    await use({
      service,
      server,
      open: (path, options) => kept(new Client(`${server.url}${path}`, options)),
      raw: async (path, headers) =>
        kept(await RawClient.open(server.port, upgradeHead(path, server.port, headers))),
      tell: (...events) => events.forEach((event) => service.events.tell(event, AT)),
    });
  } finally {
    await server.close();
    for (const client of clients) {
      if (client instanceof RawClient) client.close();
      else if (client.socket.readyState !== WebSocket.CLOSED) await client.end();
    }
  }
}

const left = (n: number, reason = "no answer"): ServiceEvent => ({
  type: "peer.leave",
  data: { node_id: PEER_A, address: `192.0.2.1:${n}`, reason },
});
const expired = (hash = PEER_B): ServiceEvent => ({
  type: "data.expire",
  data: { hash, reason: "expired" },
});
const step: ServiceEvent = {
  type: "lookup.step",
  data: {
    lookup: 7,
    target: PEER_B,
    node_id: null,
    address: "192.0.2.1:6881",
    distance: null,
    hop: 1,
    state: "asked",
    rtt_ms: null,
  },
};
/** The port in the address of a `left` event. Tests recognize events by it. */
const portOf = ({ data }: Message) => Number(data.address.split(":")[1]);

/** The ids of all numbered messages. */
async function take(client: Client, count: number): Promise<Message[]> {
  const messages: Message[] = [];
  while (messages.length < count) messages.push(await client.message());
  return messages;
}

Deno.test("hello comes first, and then each event in order under its own number", async () => {
  await withApi(async ({ service, open, tell }) => {
    const client = open("/ws");
    const hello = await client.message();
    assert.deepEqual(Event.parse(hello), hello);
    assert.deepEqual([hello.id, hello.type], [null, "hello"]);
    const { last, ...rest } = hello.data;
    assert.deepEqual(rest, {
      node_id: NODE_ID,
      version: "0.1.0",
      peers: (await service.stats()).routing_table_size,
      resumed: false,
      missed: 0,
    });
    tell(left(1), expired(), left(2));
    const messages = await take(client, 3);
    assert.deepEqual(messages.map(({ id }) => id), [last + 1, last + 2, last + 3]);
    assert.deepEqual(messages[0], {
      id: last + 1,
      type: "peer.leave",
      at: "2026-04-14T10:29:55.678Z",
      data: { node_id: PEER_A, address: "192.0.2.1:1", reason: "no answer" },
    });
    assert.deepEqual(messages.map(({ type }) => type), ["peer.leave", "data.expire", "peer.leave"]);
  });
});

Deno.test("each listener gets the types that it names, and an unknown type is 400", async () => {
  await withApi(async ({ server, open, tell }) => {
    const clients = {
      all: open("/ws"),
      peers: open("/ws?types=peer.*"),
      expired: open("/ws?types=hello,%20data.expire"),
      both: open("/ws?types=data.*,peer.leave"),
    };
    for (const client of Object.values(clients)) {
      assert.equal((await client.message()).type, "hello");
    }
    tell(left(1), expired(), step, left(2));
    assert.deepEqual((await take(clients.peers, 2)).map(portOf), [1, 2]);
    assert.equal((await clients.expired.message()).type, "data.expire");
    assert.deepEqual((await take(clients.both, 3)).map(({ type }) => type), [
      "peer.leave",
      "data.expire",
      "peer.leave",
    ]);
    const all = (await take(clients.all, 3)).map(({ type }) => type);
    assert.ok(!all.includes("lookup.step"), "it must be requested");

    for (const types of ["peer", "peers.*", "peer.join,nothing", "", "data.", ".*", "PEER.JOIN"]) {
      const response = await fetch(`${server.url}/ws?types=${types}`, {
        headers: { "upgrade": "websocket" },
      });
      const problem = await response.json();
      assert.equal(response.status, 400, types);
      assert.deepEqual(problem.types, EVENT_TYPES, types);
      assert.match(problem.detail, /there is no event .*peer\.join, peer\.leave/);
    }
  });
});

Deno.test("the node emits lookup.step only while a listener names that type", async () => {
  await withApi(async ({ service, open, tell }) => {
    const plain = open("/ws?types=*");
    await plain.message();
    assert.equal(service.tellsSteps, false);
    const named = open("/ws?types=*,lookup.step"), pattern = open("/ws?types=lookup.*");
    const [{ data: { last } }] = await Promise.all([named.message(), pattern.message()]);
    assert.equal(service.tellsSteps, true);
    tell(step, expired());
    for (const client of [named, pattern]) {
      const told = await client.message();
      assert.deepEqual(Event.parse(told), told);
      assert.deepEqual([told.id, told.type, told.data.lookup, told.data.distance], [
        null,
        "lookup.step",
        7,
        null,
      ]);
    }
    // It has no number: other listeners would see a gap.
    assert.equal((await plain.of("data.expire")).id, last + 1);
    await named.close();
    assert.equal(service.tellsSteps, true, "one is left");
    await pattern.close();
    await until(() => !service.tellsSteps);
  });
});

Deno.test("stats are made once for all listeners, and not without one", async () => {
  await withApi(async ({ service, open }) => {
    const asked = () => service.calls.filter(([name]) => name === "stats").length;
    const others = open("/ws?types=peer.*");
    await others.message();
    const hellos = asked();
    const clients = [open("/ws"), open("/ws"), open("/ws?types=stats")];
    for (const client of clients) await client.message();
    const messages = await Promise.all(clients.map((client) => client.of("stats")));
    assert.deepEqual(asked() - hellos - clients.length, 1);
    assert.deepEqual(messages[1], messages[0]);
    const { id, data } = messages[0];
    assert.deepEqual([id, data.node_id, "config" in data], [null, NODE_ID, false]);
    assert.deepEqual(Event.parse(messages[0]), messages[0]);
    assert.equal(others.waiting, 0);
  });
});

Deno.test("since: a client that reconnects gets the events that it missed, each once", async () => {
  await withApi(async ({ open, tell }) => {
    const first = open("/ws?types=peer.*");
    await first.message();
    tell(left(1), left(2));
    const { id } = (await take(first, 2))[1];
    await first.close();
    tell(left(3), expired(), left(4));
    const again = open(`/ws?types=peer.*&since=${id}`);
    const hello = await again.message();
    assert.deepEqual(hello.data, { ...hello.data, resumed: true, missed: 0, last: id! + 3 });
    tell(left(5));
    const messages = await take(again, 3);
    assert.deepEqual(messages.map(portOf), [3, 4, 5]);
    assert.deepEqual(messages.map((message) => message.id), [id! + 1, id! + 3, id! + 4]);

    const upToDate = open(`/ws?types=peer.*&since=${id! + 4}`);
    assert.equal((await upToDate.message()).data.resumed, true);
    tell(left(6));
    assert.equal(portOf(await upToDate.message()), 6);
  });
});

Deno.test("since: hello reports the number of lost events, and a restart of the node", async () => {
  await withApi(async ({ open, tell }) => {
    const first = open("/ws");
    const { last } = (await first.message()).data;
    tell(left(0));
    await first.of("peer.leave");
    for (let i = 1; i <= 10_000; i++) tell(left(i));
    const again = open(`/ws?types=peer.leave&since=${last + 1}`);
    const hello = await again.message();
    const { missed } = hello.data;
    assert.deepEqual([hello.data.resumed, hello.data.last], [false, last + 10_001]);
    assert.ok(missed > 0 && missed < 10_000, `${missed}`);
    const messages = await take(again, 10_000 - missed);
    assert.deepEqual(messages.map(portOf), numbers(missed + 1, 10_000));

    // For a number of another run, the whole log follows.
    for (const since of [0, last - 1_000_000, last + 1_000_000]) {
      const stranger = open(`/ws?types=peer.leave&since=${since}`);
      const { data } = await stranger.message();
      assert.deepEqual([data.resumed, data.missed], [false, null]);
      assert.equal(portOf(await stranger.message()), missed + 1);
      await stranger.close();
    }
  });
});

Deno.test("/events sends the same events, and resumes after Last-Event-ID", async () => {
  await withApi(async ({ server, tell }) => {
    const open = async (headers: Record<string, string> = {}) => {
      const response = await fetch(`${server.url}/events?types=peer.*`, { headers });
      assert.equal(response.headers.get("content-type"), "text/event-stream");
      return response.body!.pipeThrough(new TextDecoderStream()).getReader();
    };
    const next = async (reader: ReadableStreamDefaultReader<string>) => {
      const text = (await reader.read()).value!;
      return text.trimEnd().split("\n\n").map((block) => ({
        id: /^id: (\d+)$/m.exec(block)?.[1],
        ...JSON.parse(/^data: (.*)$/m.exec(block)![1]),
      }));
    };
    const first = await open();
    const [hello] = await next(first);
    assert.deepEqual([hello.type, hello.id], ["hello", null]);
    tell(left(1));
    const [event] = await next(first);
    assert.deepEqual([event.type, event.id, portOf(event)], [
      "peer.leave",
      hello.data.last + 1,
      1,
    ]);
    await first.cancel();
    tell(left(2), left(3));
    const again = await open({ "last-event-id": `${event.id}` });
    const messages = [...await next(again)];
    while (messages.length < 3) messages.push(...await next(again));
    assert.deepEqual([messages[0].data.resumed, messages.slice(1).map(portOf)], [true, [2, 3]]);
    await again.cancel();
    for (const query of ["types=no", "since=-1"]) {
      const refused = await fetch(`${server.url}/events?${query}`);
      assert.deepEqual([refused.status, (await refused.json()).status], [400, 400], query);
    }
  });
});

Deno.test("?watch= sends only versions, and other events only if types names them", async () => {
  await withApi(async ({ service, open, tell }) => {
    const hash = "0d".repeat(20);
    const version = (seq: number) => ({ seq, size: 5, public_key: "ab", value: new Uint8Array() });
    service.versions.set(hash, version(3));
    const alone = open(`/ws?watch=${hash.toUpperCase()}&key=k`);
    const both = open(`/ws?watch=${hash}&types=peer.*`);
    for (const client of [alone, both]) {
      assert.equal((await client.message()).type, "hello");
      assert.deepEqual((await client.of("watch")).data, {
        hash,
        seq: 3,
        size: 5,
        public_key: "ab",
      });
    }
    tell(left(1));
    assert.equal(portOf(await both.of("peer.leave")), 1);
    service.watches.noteVersion(hash, version(4));
    const told = await alone.message();
    assert.deepEqual([told.type, told.data.seq], ["watch", 4], "and nothing before it");
    assert.equal((await both.of("watch")).data.seq, 4);
  });
});

Deno.test("a client that never reads is closed with 1013, while others get all events", async () => {
  await withApi(async ({ open, raw, tell }) => {
    const slow = await raw("/ws?types=peer.leave");
    assert.match(await slow.head(), /^HTTP\/1\.1 101 /);
    const quick = open("/ws?types=peer.leave");
    await quick.message();
    // More than the system's buffers and the node's log hold: some megabytes, and four.
    const total = 6_000, reason = "x".repeat(4_000);
    const ids: number[] = [];
    for (let i = 0; i < total; i += 100) {
      tell(...numbers(i, i + 99).map((n) => left(n, reason)));
      ids.push(...(await take(quick, 100)).map(({ id }) => id!));
    }
    assert.deepEqual(ids, numbers(ids[0], ids[0] + total - 1));
    // It finds the reason when it reads.
    assert.equal(await slow.closeCode(), 1013);
  });
});

Deno.test("one client too many gets 503 until another leaves", async () => {
  await withApi(async ({ server, open, raw }) => {
    const clients = [open("/ws"), open("/ws")];
    for (const client of clients) await client.message();
    const stream = await fetch(`${server.url}/events`);
    const refused = await raw("/ws");
    assert.match(await refused.head(), /^HTTP\/1\.1 503 [^]*retry-after: \d/i);
    const response = await fetch(`${server.url}/events`);
    assert.deepEqual([response.status, (await response.json()).detail], [
      503,
      "Too many clients listen to events; try again.",
    ]);
    await clients[0].close();
    await until(async () => /101/.test(await (await raw("/ws")).head()));
    await stream.body!.cancel();
    await until(async () => /101/.test(await (await raw("/ws")).head()));
  }, { API_MAX_CONNECTIONS: "4" });
});

Deno.test("pages of other origins, invalid handshakes and invalid queries are refused", async () => {
  await withApi(async ({ server, raw }) => {
    const status = async (path: string, headers = "") =>
      Number((await (await raw(path, headers)).head()).slice(9, 12));
    assert.equal(await status("/ws", "Origin: https://evil.example\r\n"), 403);
    assert.equal(await status("/ws", "Origin: null\r\n"), 403);
    assert.equal(await status("/ws", `Origin: ${server.url}\r\n`), 101);
    assert.equal(await status("/ws"), 101, "not a browser");
    for (
      const query of ["since=x", "since=-1", "since=1.5", "since=99999999999999999", "watch=1"]
    ) {
      assert.equal(await status(`/ws?${query}`), 400, query);
    }
    for (
      const [line, instead] of [
        [/Sec-WebSocket-Key.*\r\n/, ""],
        [/Sec-WebSocket-Key.*/, "Sec-WebSocket-Key: short"],
        [/Version: 13/, "Version: 8"],
        [/Connection: .*/, "Connection: keep-alive"],
        [/Upgrade: .*/, "Upgrade: h2c"],
        [/^GET/, "POST"],
      ] as const
    ) {
      const head = upgradeHead("/ws", server.port).replace(line, instead);
      const other = await RawClient.open(server.port, head);
      assert.match(await other.head(), /^HTTP\/1\.1 40[05] /, head);
      other.close();
    }
    const listed = upgradeHead("/ws", server.port)
      .replace("Connection: Upgrade", "connection: keep-alive, UPGRADE").replace(
        "websocket",
        "WebSocket",
      );
    const firefox = await RawClient.open(server.port, listed);
    // The example of RFC 6455, section 1.3, has this key.
    assert.match(await firefox.head(), /accept: s3pPLMBiTxaQ9kYGzzhZRbK\+xOo=\r\n/);
    firefox.close();
    const plain = await fetch(`${server.url}/ws`);
    assert.deepEqual([plain.status, (await plain.json()).title], [400, "Bad Request"]);
    const page = { headers: { origin: "https://evil.example" } };
    const events = await fetch(`${server.url}/events`, page);
    assert.equal(events.status, 403);
    await events.body?.cancel();
  });
});

Deno.test("the token is a header or a subprotocol, and a wrong one is refused", async () => {
  await withApi(async ({ server, raw, open }) => {
    const status = async (headers = "") =>
      Number((await (await raw("/ws", headers)).head()).slice(9, 12));
    const protocol = (token: string) => {
      const text = Buffer.from(token).toString("base64url");
      return `Sec-WebSocket-Protocol: dmnode, bearer.${text}\r\n`;
    };
    assert.equal(await status(), 401);
    assert.equal(await status("Authorization: Bearer no\r\n"), 401);
    assert.equal(await status(`Authorization: Bearer ${TOKEN}\r\n`), 101);
    assert.equal(await status(protocol(TOKEN)), 101);
    assert.equal(await status(protocol(`${TOKEN}x`)), 401);
    assert.equal(await status(protocol("two words")), 401);
    assert.equal(await status("Sec-WebSocket-Protocol: dmnode, bearer.***\r\n"), 401);
    assert.equal(await status("Sec-WebSocket-Protocol: dmnode\r\n"), 401);
    // The header has precedence over the subprotocol.
    assert.equal(await status(`Authorization: Bearer no\r\n${protocol(TOKEN)}`), 401);
    assert.equal(await status(`Origin: https://evil.example\r\n${protocol(TOKEN)}`), 403);

    const text = Buffer.from(TOKEN).toString("base64url");
    const client = open("/ws", ["dmnode", `bearer.${text}`]);
    assert.equal((await client.message()).type, "hello");
    assert.equal(client.socket.protocol, "dmnode", "never the token");
    const refused = await fetch(`${server.url}/events`);
    assert.deepEqual([refused.status, (await refused.json()).status], [401, 401]);
  }, { API_TOKEN: TOKEN });
});

Deno.test("clients that send messages or violate the protocol are closed", async () => {
  await withApi(async ({ raw, open }) => {
    const closed = async (...bytes: Uint8Array[]) => {
      const client = await raw("/ws");
      await client.head();
      await client.write(...bytes);
      return await client.closeCode();
    };
    const message = (opcode: number, length: number) =>
      [clientFrame(opcode, length), new Uint8Array(length).fill(0x20)] as const;
    assert.equal(await closed(...message(1, 5)), 1003);
    assert.equal(await closed(...message(1, 0)), 1003);
    assert.equal(await closed(...message(2, 5)), 1003);
    assert.equal(await closed(...message(1, 2_000)), 1009);
    assert.equal(await closed(...message(2, 2_000)), 1009);
    // The message is refused before its payload has arrived.
    assert.equal(await closed(clientFrame(1, 2 ** 40)), 1009);
    assert.equal(await closed(clientFrame(1, 5, false)), 1003);
    assert.equal(await closed(clientFrame(3, 0)), 1002);
    assert.equal(await closed(Uint8Array.of(0x81, 2, 65, 66)), 1002, "it is not masked");
    // The server answers a close frame with its code, or with 1002 if that is invalid.
    const mask = [0, 0, 0, 0];
    assert.equal(await closed(Uint8Array.of(0x88, 0x82, ...mask, 0x0f, 0xa1)), 4001);
    assert.equal(await closed(Uint8Array.of(0x88, 0x80, ...mask)), 1000);
    assert.equal(await closed(Uint8Array.of(0x88, 0x81, ...mask, 3)), 1002);
    assert.equal(await closed(Uint8Array.of(0x88, 0x82, ...mask, 0x03, 0xed)), 1002, "1005");

    const pinging = await raw("/ws?types=peer.*");
    await pinging.head();
    await pinging.frame();
    for (const byte of [0x89, 0x82, 1, 2, 3, 4, 65 ^ 1, 66 ^ 2]) await pinging.write(byte);
    assert.deepEqual(await pinging.frame(), { opcode: 10, payload: Uint8Array.of(65, 66) });
    const next = open("/ws");
    assert.equal((await next.message()).type, "hello", "the node goes on");
  });
});

Deno.test("a stopping node closes sockets with 1001, ends streams, and accepts no more", async () => {
  const service = new FakeService();
  const api = createApi({ service, config: loadConfig({ env: {} }) });
  const server = await serveApi(api, { hostnames: ["127.0.0.1"], port: 0 });
  const client = new Client(`${server.url}/ws`);
  const watching = new Client(`${server.url}/ws?watch=${PEER_A}`);
  await Promise.all([client.message(), watching.message()]);
  const open = async (path: string, accept: string) => {
    const reader = (await fetch(`${server.url}${path}`, { headers: { accept } })).body!.getReader();
    await reader.read();
    return reader;
  };
  const streams = [
    await open("/events", "*/*"),
    await open(`/data/${PEER_A}`, "text/event-stream"),
  ];
  await server.close();
  assert.deepEqual([(await client.end()).code, (await watching.end()).code], [1001, 1001]);
  for (const stream of streams) assert.equal((await stream.read()).done, true);
  assert.equal(service.watches.size, 0);
});

function numbers(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, i) => from + i);
}

async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!await holds()) {
    assert.ok(Date.now() < deadline, `in vain: ${holds}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

Deno.test("a search finds the latest events of some types that contain a text", async () => {
  await withApi(async ({ server, tell }) => {
    const search = async (query: string) => {
      const response = await fetch(`${server.url}/network/events${query}`);
      assert.equal(response.status, 200);
      const { events } = FoundEvents.parse(await response.json());
      return events.map(({ type, data }) => "address" in data ? data.address : type);
    };
    tell(left(1), expired(), step, left(2), left(10));
    assert.deepEqual(await search("?types=peer.*"), ["192.0.2.1:10", "192.0.2.1:2", "192.0.2.1:1"]);
    assert.deepEqual(await search("?types=peer.*&limit=1"), ["192.0.2.1:10"]);
    assert.deepEqual(await search("?q=192.0.2.1:1"), ["192.0.2.1:10", "192.0.2.1:1"]);
    assert.deepEqual(await search(`?q=${PEER_B.toUpperCase()}`), ["data.expire"]);
    assert.deepEqual(await search("?q=nothing"), []);
    for (const query of ["?types=peer", "?limit=0", "?limit=1001", "?since=1"]) {
      const response = await fetch(`${server.url}/network/events${query}`);
      assert.equal(response.status, 400, query);
      await response.body?.cancel();
    }
  });
});
