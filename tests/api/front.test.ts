// Slow and greedy clients on real sockets, with raw bytes; the time that they waste passes on a clock of the test's.

import assert from "node:assert/strict";
import { type Clock, type ConnectionLimits, connectionLimits, Front } from "../../src/api/front.ts";
import { noRefusals, type Refusals } from "../../src/api/limits.ts";
import { serveApi, type ServedApp } from "../../src/api/server.ts";
import { frontInProcess } from "./front_in_process.ts";

const encoder = new TextEncoder(), decoder = new TextDecoder();

/** Stands still unless it is told otherwise. */
class TestClock implements Clock {
  #now = 1e6;
  readonly #tasks = new Set<() => void>();

  now(): number {
    return this.#now;
  }

  every(_ms: number, task: () => void): () => void {
    this.#tasks.add(task);
    return () => void this.#tasks.delete(task);
  }

  get tasks(): number {
    return this.#tasks.size;
  }

  advance(ms: number): void {
    this.#now += ms;
    for (const task of [...this.#tasks]) task();
  }
}

/** A client that sends what it likes, and reads when it likes. */
class RawClient {
  readonly #socket: Deno.TcpConn;
  #text = "";

  private constructor(socket: Deno.TcpConn) {
    this.#socket = socket;
  }

  static async connect(port: number): Promise<RawClient> {
    return new RawClient(await Deno.connect({ hostname: "127.0.0.1", port }));
  }

  async send(data: string | Uint8Array): Promise<void> {
    const bytes = typeof data === "string" ? encoder.encode(data) : data;
    for (let at = 0; at < bytes.length;) at += await this.#socket.write(bytes.subarray(at));
  }

  /** What has come, once `pattern` is in it. */
  async until(pattern: RegExp): Promise<string> {
    while (!pattern.test(this.#text)) {
      assert.ok(await this.#more(), `the connection ended after ${JSON.stringify(this.#text)}`);
    }
    const text = this.#text;
    this.#text = "";
    return text;
  }

  /** All that comes until the connection ends. */
  async untilEnd(): Promise<string> {
    while (await this.#more());
    return this.#text;
  }

  async #more(): Promise<boolean> {
    const buffer = new Uint8Array(65_536);
    const length = await this.#socket.read(buffer).catch(() => null);
    if (length === null) return false;
    this.#text += decoder.decode(buffer.subarray(0, length), { stream: true });
    return true;
  }

  /** Takes up to `length` bytes of what is there or comes next. */
  async take(length: number): Promise<number> {
    return await this.#socket.read(new Uint8Array(length)) ?? 0;
  }

  closeWrite(): Promise<void> {
    return this.#socket.closeWrite();
  }

  [Symbol.dispose](): void {
    try {
      this.#socket.close();
    } catch {
      // It was closed.
    }
  }
}

const HEAD = "HTTP/1.1\r\nHost: 127.0.0.1\r\n";
const get = (path = "/") => `GET ${path} ${HEAD}\r\n`;

interface Bench {
  readonly port: number;
  readonly clock: TestClock;
  readonly refusals: ReturnType<typeof noRefusals>;
  /** Paths that reached the app. */
  readonly paths: string[];
  connect(): Promise<RawClient>;
}

/** Answers with what a request was. */
const echo = async (request: Request) => {
  const { length } = await request.bytes();
  return Response.json({ path: new URL(request.url).pathname, length });
};

async function withFront(
  use: (bench: Bench) => Promise<void>,
  { fetch = echo, attach, limits = {}, delayMs }: {
    fetch?: ServedApp["fetch"];
    attach?: ServedApp["attach"];
    limits?: Partial<ConnectionLimits>;
    /** How late messages come between the front and the node. */
    delayMs?: number;
  } = {},
): Promise<void> {
  const clock = new TestClock(), refusals = noRefusals(), paths: string[] = [];
  const clients: RawClient[] = [];
  const app: ServedApp = {
    attach,
    fetch(request, caller) {
      paths.push(new URL(request.url).pathname);
      return fetch(request, caller);
    },
  };
  const server = await serveApi(app, {
    hostname: "127.0.0.1",
    port: 0,
    limits: { ...connectionLimits(100), ...limits },
    refusals,
    front: frontInProcess(clock, delayMs),
  });
  try {
    await use({
      port: server.port,
      clock,
      refusals,
      paths,
      async connect() {
        const client = await RawClient.connect(server.port);
        clients.push(client);
        return client;
      },
    });
  } finally {
    for (const client of clients) client[Symbol.dispose]();
    await server.close();
    assert.equal(clock.tasks, 0, "nothing goes on");
  }
}

/** Has a request answered. What other connections had sent before, the front has read by then. */
async function settle(client: RawClient): Promise<void> {
  await client.send(get("/settled"));
  await client.until(/"\/settled"/);
}

Deno.test("requests of one connection are answered in turn, a thousand in a row too", async () => {
  await withFront(async ({ connect, paths }) => {
    const client = await connect();
    await client.send(get("/first"));
    assert.match(await client.until(/"\/first"/), /^HTTP\/1\.1 200 /);
    const expected = Array.from({ length: 1000 }, (_, i) => `/${i}`);
    await client.send(expected.map(get).join(""));
    const text = await client.until(/"\/999"/);
    const answered = Array.from(text.matchAll(/"path":"(\/\d+)"/g), ([, path]) => path);
    assert.deepEqual(answered, expected);
    assert.deepEqual(paths.slice(1), expected);
  });
});

Deno.test("a head that comes byte by byte gets 408 after 20 s, and reaches nobody", async () => {
  await withFront(async ({ connect, clock, refusals, paths }) => {
    const client = await connect(), other = await connect();
    await client.send("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ");
    for (let second = 0; second < 19; second++) {
      await client.send("a");
      await settle(other);
      clock.advance(1000);
    }
    assert.equal(refusals.slow_request, 0);
    clock.advance(2000);
    const answer = await client.untilEnd();
    assert.match(answer, /^HTTP\/1\.1 408 Request Timeout\r\n/);
    assert.match(answer, /\r\nconnection: close\r\n/);
    assert.equal(JSON.parse(answer.split("\r\n\r\n")[1]).status, 408);
    assert.equal(refusals.slow_request, 1);
    assert.deepEqual(new Set(paths), new Set(["/settled"]));
  });
});

Deno.test("a later head of a connection has no more time", async () => {
  await withFront(async ({ connect, clock, refusals }) => {
    const client = await connect(), other = await connect();
    await settle(client);
    clock.advance(50_000);
    await client.send(`GET / ${HEAD}X: `);
    await settle(other);
    clock.advance(19_000);
    assert.equal(refusals.slow_request, 0);
    clock.advance(1000);
    assert.match(await client.untilEnd(), /^HTTP\/1\.1 408 /);
  });
});

Deno.test("a connection without a request is closed after a minute, and a used one is not", async () => {
  await withFront(async ({ connect, clock, refusals }) => {
    const silent = await connect(), blank = await connect(), used = await connect();
    await blank.send("\r\n\r\n");
    await settle(used);
    clock.advance(59_000);
    assert.equal(refusals.idle, 0);
    await settle(used);
    clock.advance(1000);
    assert.deepEqual([await silent.untilEnd(), await blank.untilEnd()], ["", ""]);
    await settle(used);
    clock.advance(60_000);
    assert.equal(await used.untilEnd(), "");
    assert.equal(refusals.idle, 3);
  });
});

Deno.test("a head of over 32 kB gets 431: at once, in pieces, as one URL, or on a used connection", async () => {
  await withFront(async ({ connect, refusals, paths }) => {
    const piece = `X: ${"a".repeat(8000)}\r\n`;
    const heads: string[][] = [
      [`GET / ${HEAD}${piece.repeat(50)}\r\n`],
      [`GET / ${HEAD}`, ...Array<string>(5).fill(piece)],
      [`GET /${"a".repeat(400_000)} ${HEAD}\r\n`],
      ["\r\n".repeat(20_000)],
    ];
    for (const parts of heads) {
      const client = await connect();
      for (const part of parts) await client.send(part).catch(() => {});
      assert.match(await client.untilEnd(), /^HTTP\/1\.1 431 Request Header Fields Too Large\r\n/);
    }
    assert.deepEqual(paths, []);
    const used = await connect();
    await settle(used);
    await used.send(`GET / ${HEAD}${piece.repeat(5)}`);
    assert.match(await used.untilEnd(), /^HTTP\/1\.1 431 /);
    assert.equal(refusals.too_long, 5);
    const large = await connect();
    await large.send(`GET /large ${HEAD}${piece.repeat(3)}\r\n`);
    assert.match(await large.until(/"\/large"/), /^HTTP\/1\.1 200 /);
  });
});

Deno.test("bodies are no heads: of any size, at once with their head, chunked, and one after the other", async () => {
  await withFront(async ({ connect, refusals }) => {
    const client = await connect();
    const body = "b\n\n".repeat(1_000_000);
    for (let i = 0; i < 3; i++) {
      await client.send(
        `POST /fixed ${HEAD}Content-Length: ${body.length}\r\n\r\n${body}${get("/next")}`,
      );
      assert.match(await client.until(/"\/next"/), new RegExp(`"length":${body.length}`));
      const chunk = `${body.length.toString(16)}\r\n${body}\r\n`;
      await client.send(
        `POST /chunked ${HEAD}Transfer-Encoding: chunked\r\n\r\n${chunk}${chunk}0\r\n\r\n`,
      );
      assert.match(await client.until(/"\/chunked"/), new RegExp(`"length":${2 * body.length}`));
    }
    assert.deepEqual(refusals, noRefusals());
  });
});

/** An answer without end, and what became of it. */
function endless() {
  const cancelled = Promise.withResolvers<void>();
  const fetch = () =>
    new Response(
      new ReadableStream({
        pull: (controller) => controller.enqueue(new Uint8Array(65_536)),
        cancel: () => cancelled.resolve(),
      }, { highWaterMark: 0 }),
    );
  return { fetch, cancelled: cancelled.promise };
}

Deno.test("an answer that its client does not read is given up after a minute, at its source too", async () => {
  const { fetch, cancelled } = endless();
  await withFront(async ({ connect, clock, refusals }) => {
    const client = await connect();
    await client.send(get());
    // The kernel takes some megabytes; then the front waits, from when on the clock tells.
    while (refusals.unread_answer === 0) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      clock.advance(30_000);
    }
    await cancelled;
    assert.equal(refusals.unread_answer, 1);
  }, { fetch });
});

Deno.test("an answer that its client reads slowly is not given up", async () => {
  const { fetch, cancelled } = endless();
  await withFront(async ({ connect, clock, refusals }) => {
    const client = await connect();
    await client.send(get());
    for (let i = 0; i < 20; i++) {
      let taken = 0;
      while (taken < 8 << 20) taken += await client.take(1 << 20);
      clock.advance(50_000);
    }
    assert.equal(refusals.unread_answer, 0);
    client[Symbol.dispose]();
    await cancelled;
  }, { fetch });
});

Deno.test("a request that takes long is waited for", async () => {
  const answer = Promise.withResolvers<Response>();
  await withFront(async ({ connect, clock, refusals }) => {
    const client = await connect(), other = await connect();
    await client.send(get("/slow"));
    await settle(other);
    clock.advance(3_600_000);
    answer.resolve(new Response("at last"));
    assert.match(await client.until(/at last/), /^HTTP\/1\.1 200 /);
    assert.equal(refusals.slow_request, 0);
  }, { fetch: (request) => request.url.endsWith("/slow") ? answer.promise : echo(request) });
});

Deno.test("after a request with a body, what may be its rest has a minute", async () => {
  await withFront(async ({ connect, clock, refusals }) => {
    const client = await connect(), other = await connect();
    await client.send(`POST /body ${HEAD}Content-Length: 3\r\n\r\nabc`);
    await client.until(/"\/body"/);
    for (let second = 0; second < 59; second++) {
      await client.send("GET / HTTP/1.1\r\n"[second % 16]);
      await settle(other);
      clock.advance(1000);
    }
    assert.equal(refusals.idle, 0);
    clock.advance(1000);
    assert.equal(await client.untilEnd(), "");
    assert.equal(refusals.idle, 1);
  });
});

Deno.test("HTTP/2 is told that it is not served, in pieces too", async () => {
  await withFront(async ({ connect, refusals, paths }) => {
    for (
      const parts of [["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"], ["P", "RI * HTTP/2.0\r\n", "\r\nSM"]]
    ) {
      const client = await connect();
      for (const part of parts) await client.send(part);
      assert.match(await client.untilEnd(), /^HTTP\/1\.1 505 HTTP Version Not Supported\r\n/);
    }
    assert.deepEqual([refusals.http2, paths.length], [2, 0]);
  });
});

Deno.test("who speaks TLS, or nothing known, is told so at once", async () => {
  await withFront(async ({ connect, paths }) => {
    for (const hello of [[0x16, 3, 1, 2, 0], [0], [0xff, 0xfe], [0x20]]) {
      const client = await connect();
      await client.send(Uint8Array.from(hello));
      assert.match(await client.untilEnd(), /^HTTP\/1\.1 400 .*begins with http/s);
    }
    assert.deepEqual(paths, []);
  });
});

Deno.test("for a connection too many the one that has waited longest is closed", async () => {
  await withFront(async ({ connect, refusals }) => {
    const first = await connect();
    await settle(first);
    const second = await connect();
    await settle(second);
    await settle(first);
    const third = await connect(), fourth = await connect();
    await settle(third);
    await settle(fourth);
    assert.equal(await second.untilEnd(), "");
    await settle(first);
    assert.equal(refusals.idle, 1);
  }, { limits: { connections: 3 } });
});

Deno.test("where all connections are in use one more gets 503, until one is free", async () => {
  const answers: PromiseWithResolvers<Response>[] = [];
  const fetch = () => {
    answers.push(Promise.withResolvers<Response>());
    return answers.at(-1)!.promise;
  };
  await withFront(async ({ connect, refusals, paths }) => {
    const clients = [await connect(), await connect()];
    for (const client of clients) await client.send(get());
    while (paths.length < 2) await new Promise((resolve) => setTimeout(resolve, 5));
    const refused = await connect();
    await refused.send(get());
    const answer = await refused.untilEnd();
    assert.match(answer, /^HTTP\/1\.1 503 .*\r\nretry-after: 1\r\n/s);
    assert.match(answer, /Too many connections/);
    assert.equal(refusals.connections, 1);
    for (const { resolve } of answers) resolve(new Response("done"));
    for (const client of clients) await client.until(/done/);
    const next = await connect();
    await next.send(get());
    while (answers.length < 3) await new Promise((resolve) => setTimeout(resolve, 5));
    answers[2].resolve(new Response("done"));
    assert.match(await next.until(/done/), /^HTTP\/1\.1 200 /);
  }, { limits: { connections: 2 }, fetch });
});

/** A front by itself, whose connections nobody wants to hear of. */
function countedBy(refusals: Refusals) {
  const refused = (reason: keyof Refusals) => refusals[reason]++;
  return { refused, dialed() {}, closed() {} };
}

Deno.test("one client has its share of connections; all of one IPv6 /64 share it, and this machine none", async () => {
  const inner = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, () => new Response());
  const clock = new TestClock(), refusals = noRefusals();
  let shared = false;
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const front = new Front({
    listener,
    port: () => inner.addr.port,
    limits: { ...connectionLimits(100), clientConnections: 2 },
    ...countedBy(refusals),
    isShared: () => shared,
    clock,
  });
  const connect = () => RawClient.connect(listener.addr.port);
  try {
    using first = await connect();
    using _second = await connect();
    using refused = await connect();
    assert.match(await refused.untilEnd(), /^HTTP\/1\.1 429 .*from your address/s);
    assert.deepEqual([refusals.client_connections, front.size], [1, 2]);
    first[Symbol.dispose]();
    while (front.size > 1) await new Promise((resolve) => setTimeout(resolve, 5));
    using third = await connect();
    await third.send(get());
    await third.until(/200 OK/);
    shared = true;
    using fourth = await connect();
    await fourth.send(get());
    await fourth.until(/200 OK/);
    assert.equal(refusals.client_connections, 1);
  } finally {
    front.stop();
    front.cut();
    await inner.shutdown();
  }
});

Deno.test("without file descriptors half of the connections make room, one by one taken again later", async () => {
  const inner = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, () => new Response());
  const clock = new TestClock(), refusals = noRefusals();
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const limits = connectionLimits(100);
  const port = () => inner.addr.port;
  const front = new Front({
    listener,
    port,
    limits,
    ...countedBy(refusals),
    isShared: () => true,
    clock,
  });
  const clients: RawClient[] = [];
  const open = async (count: number) => {
    const taken = refusals.idle + front.size + count;
    for (let i = 0; i < count; i++) clients.push(await RawClient.connect(listener.addr.port));
    while (refusals.idle + front.size < taken) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  };
  try {
    await open(40);
    front.noteExhausted();
    assert.deepEqual([front.size, refusals.idle, refusals.no_descriptors], [20, 20, 1]);
    await open(10);
    assert.equal(front.size, 20);
    for (let second = 0; second < 5; second++) clock.advance(1000);
    await open(10);
    assert.equal(front.size, 25);
    for (let i = 0; i < 9; i++) front.noteExhausted();
    await open(20);
    assert.equal(front.size, 8, "never fewer");
  } finally {
    front.stop();
    front.cut();
    for (const client of clients) client[Symbol.dispose]();
    await inner.shutdown();
  }
});

Deno.test("who is refused and does not go is closed, and of many not each gets an answer", async () => {
  const answer = Promise.withResolvers<Response>();
  await withFront(async ({ connect, clock, refusals, paths }) => {
    const busy = await connect();
    await busy.send(get());
    while (paths.length < 1) await new Promise((resolve) => setTimeout(resolve, 5));
    const refused = [];
    for (let i = 0; i < 100; i++) refused.push(await connect());
    while (refusals.connections < 100) await new Promise((resolve) => setTimeout(resolve, 5));
    clock.advance(2000);
    const answers = await Promise.all(refused.map((client) => client.untilEnd()));
    assert.equal(answers.filter((text) => text.startsWith("HTTP/1.1 503 ")).length, 64);
    answer.resolve(new Response("done"));
    await busy.until(/done/);
  }, { limits: { connections: 1 }, fetch: () => answer.promise });
});

/** An app of which /taken listens to events. */
function listening(closed: () => void = () => {}) {
  const fetch: ServedApp["fetch"] = async (request, { subscribe }) => {
    if (new URL(request.url).pathname !== "/taken") return echo(request);
    const { taken } = subscribe!({
      format: "stream",
      head: encoder.encode("taken"),
      types: new Set(["hello"]),
      since: null,
      hello: { node_id: "", version: "", peers: 0 },
    }, { left() {}, closed });
    await taken;
    return new Response("for nobody");
  };
  const attach: ServedApp["attach"] = (events) => events.numberEventsFrom(1);
  return { fetch, attach };
}

Deno.test("a connection that was taken over may be silent for long, but its client may not talk without end", async () => {
  const closed = Promise.withResolvers<void>();
  await withFront(async ({ connect, clock, refusals }) => {
    const client = await connect();
    await client.send(get("/taken"));
    assert.match(await client.until(/\n\n/), /^takendata: .*"hello".*\n\n$/);
    for (let hour = 0; hour < 3; hour++) {
      clock.advance(3_600_000);
      await client.send(new Uint8Array(20_000));
      await settle(await connect());
    }
    assert.equal(refusals.too_long, 0);
    await client.send(new Uint8Array(40_000));
    assert.equal(await client.untilEnd(), "", "and nothing of the answer");
    await closed.promise;
    assert.equal(refusals.too_long, 1);
  }, listening(closed.resolve));
});

Deno.test("what front and node tell each other may come late", async () => {
  await withFront(async ({ connect, refusals }) => {
    const client = await connect();
    const body = "b\n\n".repeat(100_000);
    const post = `POST /body ${HEAD}Content-Length: ${body.length}\r\n\r\n${body}`;
    for (let i = 0; i < 3; i++) {
      await client.send(`${get("/first")}${post}${get("/next")}`);
      assert.match(await client.until(/"\/next"/), /"\/first".*"length":300000/s);
    }
    const taken = await connect();
    await taken.send(get("/taken"));
    assert.match(await taken.until(/\n\n/), /^takendata: .*"hello".*\n\n$/, "no other answer");
    assert.deepEqual(refusals, noRefusals());
  }, { ...listening(), delayMs: 20 });
});

Deno.test("a connection whose request the node has not told of yet makes no room for others", async () => {
  await withFront(async ({ connect }) => {
    const client = await connect();
    await client.send(get("/first"));
    // The front reads it meanwhile.
    await new Promise((resolve) => setTimeout(resolve, 25));
    const refused = await connect();
    assert.match(await refused.untilEnd(), /^HTTP\/1\.1 503 /);
    await client.until(/"\/first"/);
  }, { limits: { connections: 1 }, delayMs: 50 });
});

Deno.test("an answer that comes before the body was sent reaches its client, who goes on sending", async () => {
  const fetch = (request: Request) => {
    request.body?.cancel().catch(() => {});
    return new Response("enough", { status: 413, headers: { connection: "close" } });
  };
  await withFront(async ({ connect }) => {
    const client = await connect();
    await client.send(`POST / ${HEAD}Content-Length: 100000000\r\n\r\n`);
    const sending = (async () => {
      for (let i = 0; i < 200; i++) await client.send(new Uint8Array(65_536));
    })().catch(() => {});
    assert.match(await client.until(/enough/), /^HTTP\/1\.1 413 /);
    await sending;
  }, { fetch });
});

Deno.test("a client that leaves ends its request's body and answer", async () => {
  const { fetch, cancelled } = endless();
  await withFront(async ({ connect, paths }) => {
    const client = await connect();
    await client.send(get());
    await client.until(/200 OK/);
    client[Symbol.dispose]();
    await cancelled;
    const halfway = await connect();
    await halfway.send(`GET / ${HEAD}`);
    await halfway.closeWrite();
    assert.equal(await halfway.untilEnd(), "");
    assert.equal(paths.length, 1);
  }, { fetch });
});

/** Ports of 127.0.0.1 that this machine listens on, as Linux tells them. */
function listeningPorts(): Set<number> {
  const lines = Deno.readTextFileSync("/proc/net/tcp").split("\n").slice(1);
  return new Set(lines.flatMap((line) => {
    const [, local, , state] = line.trim().split(/\s+/);
    return state === "0A" && local.startsWith("0100007F:") ? [parseInt(local.slice(9), 16)] : [];
  }));
}

Deno.test({
  name: "whoever goes round the front, to Deno.serve itself, gets nothing",
  ignore: Deno.build.os !== "linux",
  fn: async () => {
    const before = listeningPorts();
    await withFront(async ({ port, paths }) => {
      const others = [...listeningPorts()].filter((other) => other !== port && !before.has(other));
      assert.ok(others.length > 0);
      let refused = 0;
      for (const other of others) {
        const response = await fetch(`http://127.0.0.1:${other}/`).catch(() => undefined);
        const text = await response?.text();
        if (text?.includes("The API is at another port")) refused++;
      }
      assert.deepEqual([refused, paths], [1, []]);
    });
  },
});
