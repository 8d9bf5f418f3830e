// Tests slow and greedy clients with raw bytes on real sockets. The tests advance the clock.

import assert from "node:assert/strict";
import type { Connection, ConnectionLimits } from "../../../src/api/front/connection.ts";
import { type Clock, connectionLimits, Front } from "../../../src/api/front/front.ts";
import { noRefusals, type Refusals } from "../../../src/api/limits.ts";
import { serveApi, type ServedApp } from "../../../src/api/server.ts";

const encoder = new TextEncoder(), decoder = new TextDecoder();

/** A clock that only `advance` moves. */
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

/** A client that sends any bytes, and reads only on request. */
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

  /** Reads until the text matches `pattern`. */
  async until(pattern: RegExp): Promise<string> {
    while (!pattern.test(this.#text)) {
      assert.ok(await this.#more(), `the connection ended after ${JSON.stringify(this.#text)}`);
    }
    const text = this.#text;
    this.#text = "";
    return text;
  }

  /** Reads until the connection ends. */
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

  /** Reads up to `length` bytes once. */
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
  /** Paths of the requests that reached the app. */
  readonly paths: string[];
  connect(): Promise<RawClient>;
}

/** Answers with the path and the length of a request. */
const echo = async (request: Request) => {
  const { length } = await request.bytes();
  return Response.json({ path: new URL(request.url).pathname, length });
};

async function withFront(
  use: (bench: Bench) => Promise<void>,
  { fetch = echo, limits = {} }: {
    fetch?: ServedApp["fetch"];
    limits?: Partial<ConnectionLimits>;
  } = {},
): Promise<void> {
  const clock = new TestClock(), refusals = noRefusals(), paths: string[] = [];
  const clients: RawClient[] = [];
  const app: ServedApp = {
    fetch(request, caller) {
      paths.push(new URL(request.url).pathname);
      return fetch(request, caller);
    },
  };
  const server = serveApi(app, {
    hostnames: ["127.0.0.1"],
    port: 0,
    limits: { ...connectionLimits(100), ...limits },
    refusals,
    clock,
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
    assert.equal(clock.tasks, 0, "no timer is left");
  }
}

/** Waits for the answer to a request. By then the front has read what other connections sent before. */
async function settle(client: RawClient): Promise<void> {
  await client.send(get("/settled"));
  await client.until(/"\/settled"/);
}

Deno.test("a connection gets its answers in order, even for a thousand requests at once", async () => {
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

Deno.test("a head that arrives byte by byte gets 408 after 20 s, and never reaches the app", async () => {
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

Deno.test("a later head of a connection has the same deadline", async () => {
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

Deno.test("a connection is closed after a minute without a request", async () => {
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

Deno.test("a head of over 32 kB gets 431", async () => {
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

Deno.test("bodies of any size and encoding do not count as heads", async () => {
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

/** An endless answer, and a promise that resolves when it is cancelled. */
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

Deno.test("an answer that its client does not read is cancelled after a minute", async () => {
  const { fetch, cancelled } = endless();
  await withFront(async ({ connect, clock, refusals }) => {
    const client = await connect();
    await client.send(get());
    // The kernel buffers some megabytes before the front has to wait.
    while (refusals.unread_answer === 0) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      clock.advance(30_000);
    }
    await cancelled;
    assert.equal(refusals.unread_answer, 1);
  }, { fetch });
});

Deno.test("an answer that its client reads slowly is not cancelled", async () => {
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

Deno.test("a slow request has no deadline", async () => {
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

Deno.test("bytes after a request with a body, which may belong to it, have a minute", async () => {
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

Deno.test("HTTP/2 gets 505, even if its preface arrives in pieces", async () => {
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

Deno.test("a client that speaks TLS or no HTTP gets 400 at once", async () => {
  await withFront(async ({ connect, paths }) => {
    for (const hello of [[0x16, 3, 1, 2, 0], [0], [0xff, 0xfe], [0x20]]) {
      const client = await connect();
      await client.send(Uint8Array.from(hello));
      assert.match(await client.untilEnd(), /^HTTP\/1\.1 400 .*begins with http/s);
    }
    assert.deepEqual(paths, []);
  });
});

Deno.test("over the limit, the connection that has waited longest is closed", async () => {
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

Deno.test("a new connection gets 503 while all others are in use", async () => {
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

function countedBy(refusals: Refusals) {
  return { refused: (reason: keyof Refusals) => refusals[reason]++ };
}

Deno.test("each client has a limited number of connections, except this machine", async () => {
  const inner = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, () => new Response());
  const clock = new TestClock(), refusals = noRefusals();
  let shared = false;
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const front = new Front({
    listeners: [listener],
    server: () => inner.addr,
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

Deno.test("a lack of file descriptors halves the connections, and the limit recovers step by step", async () => {
  const inner = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, () => new Response());
  const clock = new TestClock(), refusals = noRefusals();
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const limits = connectionLimits(100);
  const front = new Front({
    listeners: [listener],
    server: () => inner.addr,
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
    assert.equal(front.size, 8, "the minimum");
  } finally {
    front.stop();
    front.cut();
    for (const client of clients) client[Symbol.dispose]();
    await inner.shutdown();
  }
});

Deno.test("refused connections are closed after a moment, and only some of them get an answer", async () => {
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

/** An app that takes over the connection of /taken, and writes "taken" there. */
function takingOver(closed: () => void = () => {}) {
  const fetch: ServedApp["fetch"] = (request, { takeOver }) => {
    if (new URL(request.url).pathname !== "/taken") return echo(request);
    void takeOver!({ received() {}, closed }).write(encoder.encode("taken"));
    return new Response("discarded");
  };
  return { fetch };
}

Deno.test("a connection that was taken over may be silent, but its client may not send without end", async () => {
  const closed = Promise.withResolvers<void>();
  await withFront(async ({ connect, clock, refusals }) => {
    const client = await connect();
    await client.send(get("/taken"));
    assert.equal(await client.until(/taken/), "taken");
    for (let hour = 0; hour < 3; hour++) {
      clock.advance(3_600_000);
      await client.send(new Uint8Array(20_000));
      await settle(await connect());
    }
    assert.equal(refusals.too_long, 0);
    await client.send(new Uint8Array(40_000));
    assert.equal(await client.untilEnd(), "", "no part of the answer");
    await closed.promise;
    assert.equal(refusals.too_long, 1);
  }, takingOver(closed.resolve));
});

Deno.test("a client may send its next requests before it has the answers", async () => {
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
    assert.equal(await taken.until(/taken/), "taken", "no other answer");
    assert.deepEqual(refusals, noRefusals());
  }, takingOver());
});

Deno.test("a client that is still sending its body gets an early answer", async () => {
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

Deno.test("a client that disconnects ends the body and the answer of its request", async () => {
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

/** Requests that have arrived in full, and the path and length in their answers. */
const COMPLETE: readonly [string, string][] = [
  [`GET /read ${HEAD}\r\n`, '{"path":"/read","length":0}'],
  [`POST /stored ${HEAD}Content-Length: 5\r\n\r\nhello`, '{"path":"/stored","length":5}'],
];

Deno.test("a client that closes its side after a whole request gets its answer", async () => {
  for (const [request, answer] of COMPLETE) {
    const fetch = async (request: Request) => {
      const response = await echo(request);
      await new Promise((resolve) => setTimeout(resolve, 50));
      return response;
    };
    await withFront(async ({ connect }) => {
      const client = await connect();
      await client.send(request);
      await client.closeWrite();
      const text = await client.untilEnd();
      assert.ok(text.startsWith("HTTP/1.1 200 ") && text.endsWith(answer), text);
    }, { fetch });
  }
});

Deno.test("a client that closes its side within a body gets no answer", async () => {
  await withFront(async ({ connect }) => {
    const client = await connect();
    await client.send(`POST / ${HEAD}Content-Length: 50\r\n\r\nhello`);
    await client.closeWrite();
    assert.doesNotMatch(await client.untilEnd(), /200 OK/);
  });
});

Deno.test("a listener that closes its side ends its event stream", async () => {
  const { fetch, cancelled } = endless();
  await withFront(async ({ connect }) => {
    const client = await connect();
    await client.send(`GET / ${HEAD}Accept: text/event-stream\r\n\r\n`);
    await client.until(/200 OK/);
    await client.closeWrite();
    await cancelled;
  }, { fetch });
});

Deno.test("HTTP/1.1 without Host is 400, HTTP/1.0 is not", async () => {
  await withFront(async ({ connect }) => {
    for (const [version, status] of [["1.1", 400], ["1.0", 200]]) {
      for (const headers of ["", "Accept: */*\r\n"]) {
        const client = await connect();
        await client.send(`GET / HTTP/${version}\r\n${headers}\r\n`);
        await client.until(new RegExp(`^HTTP/1\\.\\d ${status} `));
      }
    }
  });
});

Deno.test("a client that asks before it sends a body that is too large gets 413 at once", async () => {
  const LIMIT = 1000;
  await withFront(async ({ connect, paths }) => {
    const asking = (length: number) =>
      `POST / ${HEAD}Expect: 100-continue\r\nContent-Length: ${length}\r\n\r\n`;
    const greedy = await connect();
    await greedy.send(asking(LIMIT + 1));
    assert.match(await greedy.until(/over 1000 bytes/), /^HTTP\/1\.1 413 /);
    assert.deepEqual(paths, []);
    const modest = await connect();
    await modest.send(asking(LIMIT));
    await modest.until(/^HTTP\/1\.1 100 /);
  }, { limits: { bodyBytes: () => LIMIT } });
});

Deno.test("Deno.serve accepts only requests that came through the front", async () => {
  const owners: (Connection | undefined)[] = [];
  const owned = Promise.withResolvers<[Request, Deno.NetAddr]>();
  const handler = (request: Request, { remoteAddr }: Deno.ServeHandlerInfo<Deno.NetAddr>) => {
    owners.push(front.connectionOf(request, remoteAddr));
    owned.resolve([request, remoteAddr]);
    return new Response(String(owners.length));
  };
  const inner = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, handler);
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const front = new Front({
    listeners: [listener],
    server: () => inner.addr,
    limits: connectionLimits(100),
    ...countedBy(noRefusals()),
    isShared: () => true,
  });
  try {
    using client = await RawClient.connect(listener.addr.port);
    // The client's own header of that name is ignored.
    await client.send(`\r\nGET / ${HEAD}x-dmnode-connection: mine\r\n\r\n`);
    const [request, at] = await owned.promise;
    await client.send(get("/second"));
    await client.until(/2$/);
    using other = await RawClient.connect(inner.addr.port);
    await other.send(get("/other"));
    await other.until(/3$/);
    const [first, second, foreign] = owners;
    assert.ok(first !== undefined && first === second, "both came over one connection");
    assert.equal(foreign, undefined, "another program");
    const elsewhere = { ...at, hostname: "127.0.0.2" };
    assert.equal(front.connectionOf(request, elsewhere), undefined, "the same port elsewhere");
    first.close();
    assert.equal(front.connectionOf(request, at), undefined, "the port after its connection");
  } finally {
    front.stop();
    front.cut();
    await inner.shutdown();
  }
});

Deno.test("another program's request from a connection's port closes that connection", async () => {
  const arrived = Promise.withResolvers<Deno.NetAddr>(),
    answered = Promise.withResolvers<Response>();
  const inner = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, (_, info) => {
    arrived.resolve(info.remoteAddr);
    return answered.promise;
  });
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const front = new Front({
    listeners: [listener],
    server: () => inner.addr,
    limits: connectionLimits(100),
    ...countedBy(noRefusals()),
    isShared: () => true,
  });
  try {
    using client = await RawClient.connect(listener.addr.port);
    await client.send(get());
    const at = await arrived.promise;
    const headers = { "x-dmnode-connection": crypto.randomUUID() };
    const impostor = new Request("http://127.0.0.1/", { headers });
    assert.equal(front.connectionOf(impostor, at), undefined);
    assert.equal(await client.untilEnd(), "");
    assert.equal(front.size, 0);
  } finally {
    answered.resolve(new Response());
    front.stop();
    front.cut();
    await inner.shutdown();
  }
});
