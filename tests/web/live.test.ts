// The connection for events: parsing, detecting silence, closing, and backing off.

import assert from "node:assert/strict";
import { backoffMs, Live } from "../../src/web/live.js";

/** A socket and a clock that the test drives. */
function setup() {
  const socket = {
    onmessage: null,
    onclose: null,
    onopen: null,
    readyState: WebSocket.OPEN,
    closed: 0,
    close: () => void socket.closed++,
  } as {
    onmessage: ((event: { data: string }) => void) | null;
    onclose: (() => void) | null;
    onopen: (() => void) | null;
    readyState: number;
    closed: number;
    close(): void;
  };
  const timers = new Map<number, () => void>();
  const events: unknown[] = [];
  let ends = 0, next = 0;
  const live = new Live({
    url: "ws://node/ws",
    protocols: ["dmnode"],
    open: (url: string, protocols: string[]) => {
      assert.deepEqual([url, protocols], ["ws://node/ws", ["dmnode"]]);
      return socket as unknown as WebSocket;
    },
    onEvent: (event: unknown) => events.push(event),
    onEnd: () => ends++,
    later: ((run: () => void) => {
      timers.set(++next, run);
      return next;
    }) as never,
    cancel: ((timer: number) => timers.delete(timer)) as never,
  });
  const say = (text: string) => socket.onmessage!({ data: text });
  const wait = () => [...timers.values()].forEach((run) => run());
  return { live, socket, events, timers, say, wait, ends: () => ends };
}

Deno.test("events are reported and malformed messages are ignored", () => {
  const { events, say } = setup();
  say('{"id":1,"type":"hello","data":{}}');
  say("not JSON");
  say('{"id":2,"type":"stats","data":{}}');
  assert.deepEqual(events.map((event) => (event as { id: number }).id), [1, 2]);
});

Deno.test("silence ends the connection once, and later events are ignored", () => {
  const { socket, events, timers, say, wait, ends } = setup();
  say('{"id":1,"type":"hello","data":{}}');
  assert.equal(timers.size, 1, "one timer for the whole connection");
  wait();
  assert.deepEqual([socket.closed, ends()], [1, 1]);
  socket.onclose!();
  say('{"id":2,"type":"stats","data":{}}');
  assert.deepEqual([ends(), events.length, timers.size], [1, 1, 0]);
});

Deno.test("a connection ends if it does not open or is closed", () => {
  const slow = setup();
  slow.wait();
  assert.equal(slow.ends(), 1);
  const closed = setup();
  closed.socket.onclose!();
  assert.deepEqual([closed.ends(), closed.timers.size], [1, 0]);
  const ours = setup();
  ours.live.close();
  assert.deepEqual([ours.ends(), ours.socket.closed], [1, 1]);
  const early = setup();
  early.socket.readyState = WebSocket.CONNECTING;
  early.live.close();
  assert.deepEqual([early.ends(), early.socket.closed], [1, 0], "not before it is open");
  early.socket.onopen!();
  assert.equal(early.socket.closed, 1);
});

Deno.test("waits grow up to a limit and vary randomly", () => {
  const waits = [1, 2, 3, 4, 5, 6, 50].map((n) => backoffMs(n, 0.5));
  assert.deepEqual(waits, [500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000]);
  assert.deepEqual([0, 1].map((random) => Math.round(backoffMs(6, random))), [12_000, 18_000]);
});
