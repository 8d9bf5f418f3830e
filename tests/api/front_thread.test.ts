// The node's side of the front: messages that come late or never, and a thread that fails.

import assert from "node:assert/strict";
import type { FrontOrder, FrontReport } from "../../src/api/front_messages.ts";
import { FrontError, FrontThread, type FrontWorker } from "../../src/api/front_thread.ts";
import { serveApi } from "../../src/api/server.ts";

/** Reports what the test says. */
class FakeWorker implements FrontWorker {
  onmessage: ((event: MessageEvent<readonly FrontReport[]>) => void) | null = null;
  onerror = null;
  readonly messages: (readonly FrontOrder[])[] = [];
  isEnded = false;

  postMessage(orders: readonly FrontOrder[]): void {
    this.messages.push(orders);
  }

  terminate(): void {
    this.isEnded = true;
  }

  report(...reports: FrontReport[]): void {
    this.onmessage!(new MessageEvent("message", { data: reports }));
  }
}

const dialed = (id: number, port: number) =>
  ({ type: "dialed", id, port, address: "192.0.2.1" }) as const;
const subscription = {
  format: "frames",
  head: new Uint8Array(),
  types: new Set(["hello"] as const),
  since: null,
  hello: { node_id: "", version: "", peers: 0 },
} as const;

Deno.test("a request that is here before its connection is told of waits for that, but not for long", async () => {
  const worker = new FakeWorker(), front = new FrontThread(worker);
  const first = front.connectionAt(1000), second = front.connectionAt(1000);
  worker.report(dialed(1, 1000));
  assert.equal((await first)?.address, "192.0.2.1");
  assert.equal(await second, await first);
  assert.equal(await front.connectionAt(1001), undefined);
});

Deno.test("a port that is used again is another connection", async () => {
  const worker = new FakeWorker(), front = new FrontThread(worker);
  worker.report(dialed(1, 1000));
  const first = await front.connectionAt(1000);
  worker.report({ type: "closed", id: 1 }, dialed(2, 1000));
  const second = await front.connectionAt(1000);
  assert.notEqual(second, first);
  second!.begin(new Request("http://127.0.0.1/", { method: "POST", body: "x" }))();
  first!.begin(new Request("http://127.0.0.1/"));
  await Promise.resolve();
  assert.deepEqual(worker.messages, [[
    { do: "begin", id: 2, hasBody: false },
    { do: "done", id: 2, hasBody: false },
    { do: "begin", id: 1, hasBody: false },
  ]], "and what is told in one turn is one message");
});

Deno.test("who is subscribed hears once of its end, also where that came first", async () => {
  const worker = new FakeWorker(), front = new FrontThread(worker);
  const heard: string[] = [];
  const events = { left: () => heard.push("left"), closed: () => heard.push("closed") };
  worker.report(dialed(1, 1000), dialed(2, 1001));
  const gone = await front.connectionAt(1000), stays = await front.connectionAt(1001);
  worker.report({ type: "closed", id: 1 });
  await gone!.subscribe(subscription, events).taken;
  assert.deepEqual(heard.splice(0), ["closed"]);
  const { taken } = stays!.subscribe(subscription, events);
  worker.report({ type: "subscribed", id: 2 });
  await taken;
  worker.report({ type: "left", id: 2 }, { type: "closed", id: 2 }, { type: "closed", id: 2 });
  assert.deepEqual(heard, ["left", "closed"]);
});

/** A worker that has loaded, and does what `code` says at its first message. */
function workerThat(code: string): FrontThread {
  const source = `postMessage([{ type: "ready" }]); onmessage = () => { ${code} };`;
  const url = `data:application/javascript,${encodeURIComponent(source)}`;
  return new FrontThread(new Worker(url, { type: "module" }));
}

Deno.test("a thread that fails is told of: at the start, and later", async () => {
  const app = { fetch: () => new Response() }, where = { hostname: "127.0.0.1", port: 0 };
  const fails = workerThat('throw new Error("planted")');
  await fails.ready;
  await assert.rejects(
    serveApi(app, { ...where, front: fails }),
    (error: Error) => error instanceof FrontError && /planted/.test(error.message),
  );
  const front = workerThat(
    'postMessage([{ type: "listening", port: 1 }]); onmessage = () => { throw new Error("planted"); }',
  );
  const server = await serveApi(app, { ...where, front });
  front.noteExhausted();
  assert.match((await server.failed).message, /^the API's thread has failed: .*planted/);
  await server.close();

  const missing = new FrontThread(new Worker("data:,throw", { type: "module" }));
  await assert.rejects(missing.ready, FrontError);
  missing.close();
});
