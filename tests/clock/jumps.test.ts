// Wrong clocks and sleeps, with real nodes: nothing is lost, and all times are right again within a minute. A sleep looks
// to a process like a jump of the wall clock, because Linux stops the monotonic clock meanwhile (clock_gettime(2)).

import assert from "node:assert/strict";
import { Client, targetOf } from "../durability/client.ts";
import { type NodeProcess, withNodes } from "../program/program.ts";
import { accelerated, isMissing, WallClock } from "./faketime.ts";

const SECOND = 1_000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE, DAY = 24 * HOUR, YEAR = 365 * DAY;

/** How soon everything must be right again. */
const SOON_MS = MINUTE;

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

// deno-lint-ignore no-explicit-any
async function read({ api }: NodeProcess, path: string): Promise<any> {
  return await (await fetch(`${api}${path}`)).json();
}

async function store({ api }: NodeProcess, value: string): Promise<string> {
  const headers = { "content-type": "text/plain" };
  const response = await fetch(`${api}/network/store`, { method: "POST", body: value, headers });
  assert.equal(response.status, 201);
  return (await response.json()).hash;
}

async function withClient<T>(node: NodeProcess, use: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client(node.udp);
  try {
    return await use(client);
  } finally {
    client.close();
  }
}

const holds = (node: NodeProcess, value: string) =>
  withClient(node, async (client) => (await client.get(targetOf(value))).value !== undefined);

async function put(node: NodeProcess, value: string): Promise<void> {
  assert.equal((await withClient(node, (client) => client.put(value))).kind, "response");
}

/** Polls until `isTrue`, for at most a minute. */
async function soon(what: string, isTrue: () => Promise<boolean>): Promise<void> {
  const end = Date.now() + SOON_MS;
  while (!await isTrue()) {
    assert.ok(Date.now() < end, `within a minute: ${what}`);
    await pause(500);
  }
}

/** Waits until a node reports a jump of its clock of about this size. */
async function noticed(node: NodeProcess, jumpMs: number): Promise<void> {
  const text = jumpMs > 0 ? "jumped ahead" : "was set back";
  const line = await node.line(({ message }) => message.includes(`The system's clock ${text}`));
  const off = Number(line.seconds) * SECOND - Math.abs(jumpMs);
  assert.ok(Math.abs(off) < 30 * SECOND, `${line.seconds} s`);
}

/** Asserts that a time in a report is at most a minute before or after `expected`. */
function near(time: string | null, expected: number, what: string): void {
  const off = Math.abs(Date.parse(time ?? "") - expected);
  assert.ok(off < MINUTE, `${what}: ${time}, not ${new Date(expected).toISOString()}`);
}

/** Asserts that what a node reports from now on has the time that its clock shows. */
async function assertTimes(node: NodeProcess, clock: WallClock): Promise<void> {
  const socket = new WebSocket(`${node.api.replace("http", "ws")}/ws`);
  const event = await new Promise<{ at: string }>((resolve) => {
    socket.onmessage = ({ data }) => resolve(JSON.parse(data));
  });
  socket.close();
  near(event.at, clock.now, "an event");
  near(node.lines.at(-1)!.time as string, clock.now, "a log line");
  await soon("a sample of the history with the right time", async () => {
    const { samples } = await read(node, "/network/history");
    return Math.abs(Date.parse(samples.at(-1)?.at) - clock.now) < MINUTE;
  });
  const { started_at, uptime_s } = await read(node, "/network/stats");
  near(started_at, clock.now - uptime_s * SECOND, "the start");
}

/** Runs a test with a clock and with nodes that keep to it. */
function withClock(
  aheadMs: number,
  body: (
    clock: WallClock,
    start: (name: string, ...bootstrap: readonly NodeProcess[]) => Promise<NodeProcess>,
  ) => Promise<void>,
): () => Promise<void> {
  return withNodes(async (start) => {
    const clock = new WallClock(aheadMs);
    try {
      await body(
        clock,
        (name, ...bootstrap) =>
          start(name, bootstrap.flatMap(({ udp }) => ["--bootstrap", udp]), { env: clock.env }),
      );
    } finally {
      clock.remove();
    }
  });
}

function test(name: string, run: () => Promise<void>): void {
  Deno.test({ name, ignore: isMissing, fn: run });
}

test(
  "a start two years back, the clock is set, and a restart: nothing is lost, all times are right",
  withClock(-2 * YEAR, async (clock, start) => {
    let node = await start("1");
    const early = await store(node, "stored too early");
    await put(node, "foreign, put too early");
    clock.set(0);
    await noticed(node, 2 * YEAR);
    const hash = await store(node, "stored later");
    await put(node, "foreign, put later");
    await assertTimes(node, clock);
    near((await read(node, "/network/stats")).started_at, clock.now, "the start");
    for (const { first_at, last_at } of (await read(node, "/network/published")).published) {
      near(first_at, clock.now, "the first publication");
      near(last_at, clock.now, "the last publication");
    }
    for (const signal of ["SIGTERM", "SIGKILL"] as const) {
      await node.stop(signal);
      node = await start("1");
      for (const value of ["foreign, put too early", "foreign, put later"]) {
        assert.ok(await holds(node, value), `${value}, after ${signal}`);
      }
      for (const own of [early, hash]) {
        assert.equal((await fetch(`${node.api}/data/${own}`)).status, 200, `own, after ${signal}`);
      }
    }
  }),
);

test(
  "a start with the clock a year ahead, and one with the right clock: nothing is deleted",
  withClock(0, async (clock, start) => {
    for (const aheadMs of [0, YEAR, 0, -YEAR, 0]) {
      clock.set(aheadMs);
      const node = await start("1");
      if (aheadMs === 0) await put(node, "foreign");
      assert.ok(await holds(node, "foreign"), `${aheadMs} ms ahead`);
      await node.stop();
    }
    clock.set(YEAR);
    const node = await start("1");
    clock.set(0);
    await noticed(node, -YEAR);
    assert.ok(await holds(node, "foreign"));
    await assertTimes(node, clock);
  }),
);

for (
  const [name, jumpMs] of [
    ["a sleep of 8 hours", 8 * HOUR],
    ["the clock is set back by a day", -DAY],
  ] as const
) {
  test(
    `${name}: old write tokens are refused, values are published, times are right`,
    withClock(0, async (clock, start) => {
      const other = await start("1"), node = await start("2", other);
      const startedAt = clock.now;
      const hash = await store(node, "own");
      await put(node, "foreign");
      await withClient(node, async (client) => {
        await client.get(targetOf("foreign"));
        clock.set(jumpMs);
        await noticed(node, jumpMs);
        const answer = await client.put("with an old token");
        assert.equal(answer.kind === "error" && answer.code, 203);
      });
      await put(node, "with a new token");
      await assertTimes(node, clock);
      await soon("the value is published", async () => {
        const { published: [{ last_at }] } = await read(node, "/network/published");
        const isRecent = Math.abs(Date.parse(last_at) - clock.now) < MINUTE;
        return isRecent && (await read(node, "/network/stats")).storage.republications > 0;
      });
      const { published: [{ next_at }] } = await read(node, "/network/published");
      assert.ok(Date.parse(next_at) > clock.now && Date.parse(next_at) < clock.now + 2 * HOUR);
      if (jumpMs > 0) near((await read(node, "/network/stats")).started_at, startedAt, "the start");
      await node.stop();
      const again = await start("2", other);
      assert.ok(await holds(again, "foreign"));
      assert.equal((await fetch(`${again.api}/data/${hash}`)).status, 200);
    }),
  );
}

test(
  "a restart right after a sleep: the value is published within a minute",
  withClock(0, async (clock, start) => {
    const other = await start("1"), node = await start("2", other);
    await store(node, "own");
    clock.set(8 * HOUR);
    await node.stop();
    const again = await start("2", other);
    await soon(
      "the value is published",
      async () => (await read(again, "/network/stats")).storage.republications > 0,
    );
  }),
);

test(
  "a process that is stopped for two minutes of its clocks notices it, and its tokens are renewed",
  withNodes(async (start) => {
    const FACTOR = 60;
    const node = await start("1", [], { env: accelerated(FACTOR) });
    await withClient(node, async (client) => {
      await client.get(targetOf("foreign"));
      node.signal("SIGSTOP");
      await pause(2 * MINUTE / FACTOR);
      node.signal("SIGCONT");
      await node.line(({ message, seconds }) =>
        message.includes("jumped ahead") && Number(seconds) >= 110
      );
      const answer = await client.put("with an old token");
      assert.equal(answer.kind === "error" && answer.code, 203);
    });
  }),
);
