// A pinned value outlives its owner and its holders, in 26 hours that pass in minutes (libfaketime).

import assert from "node:assert/strict";
import { type NodeProcess, withNodes } from "../program/program.ts";
import { accelerated, isMissing } from "./faketime.ts";

const HOUR_S = 3_600;

/** Two hours longer than a holder keeps a value that nobody publishes. */
const HOURS = 26;

/** How much faster than real time the nodes live. */
const FACTOR = 600;

/** The life of the value that is unpinned: it is gone soon after. */
const SHORT_S = HOUR_S;

/** After this time, the unpinned value is gone. Node time may lag behind, because a busy machine pauses the processes. */
const GONE_BY_HOURS = HOURS + 6;

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** Repeats a request that a busy machine answers too late: a second is ten minutes here. */
async function tried<T>(run: () => Promise<T>, isRight: (result: T) => boolean): Promise<T> {
  for (let i = 1;; i++) {
    const result = await run();
    if (isRight(result) || i === 10) return result;
    await pause(300);
  }
}

async function post({ api }: NodeProcess, path: string, body: unknown) {
  const headers = { "content-type": "application/json" };
  const request = { method: "POST", body: JSON.stringify(body), headers };
  const { status, body: answer } = await tried(async () => {
    const response = await fetch(api + path, request);
    return { status: response.status, body: await response.json() };
  }, ({ status }) => status === 200 || status === 201);
  assert.ok(status === 200 || status === 201, JSON.stringify(answer));
  return answer;
}

async function value({ api }: NodeProcess, hash: string): Promise<string | undefined> {
  const response = await fetch(`${api}/data/${hash}`);
  const text = await response.text();
  return response.status === 200 ? text : undefined;
}

async function hoursOf({ api }: NodeProcess): Promise<number> {
  const { uptime_s } = await (await fetch(`${api}/network/stats`)).json();
  return uptime_s / HOUR_S;
}

Deno.test({
  name: "a pinned value is readable 26 hours after its owner left and all holders restarted",
  ignore: isMissing,
  fn: withNodes(async (start) => {
    const env = accelerated(FACTOR);
    const pinner = await start("pinner", [], { env });
    const join = ["--bootstrap", pinner.udp];
    const owner = await start("owner", join, { env });
    const holder = await start("holder", join, { env });
    const texts = ["pinned", "pinned and large ".repeat(2_000), "not pinned", "unpinned later"];
    const [small, large, other, short] = await Promise.all(texts.map(async (value, i) => {
      const ttl = i === 3 ? SHORT_S : undefined;
      return (await post(owner, "/network/store", { value, ttl })).hash as string;
    }));
    const keyed = (await post(owner, "/network/store", { value: "keyed", key: "k" })).hash;
    for (const hash of [small, large, keyed]) await post(pinner, "/network/pin", { hash });
    await post(pinner, "/network/pin", { hash: short, ttl: SHORT_S });
    await owner.stop();
    await holder.stop();
    const again = await start("holder", join, { env });

    while (await hoursOf(again) < HOURS) await pause(500);
    const expected = { [small]: texts[0], [large]: texts[1], [keyed]: "keyed", [short]: texts[3] };
    const newcomer = await start("newcomer", join, { env });
    for (const node of [pinner, again, newcomer]) {
      for (const [hash, text] of Object.entries(expected)) {
        const found = await tried(() => value(node, hash), (found) => found === text);
        assert.ok(found === text, `${text.slice(0, 20)} is ${found?.slice(0, 20)}`);
      }
    }
    const gone = await tried(() => value(newcomer, other), (found) => found === undefined);
    assert.equal(gone, undefined, "a value that nobody pinned has ended");

    const unpin = await fetch(`${pinner.api}/network/pin/${short}`, { method: "DELETE" });
    assert.equal(unpin.status, 204);
    for (const node of [pinner, again, newcomer]) {
      while (await value(node, short) !== undefined) {
        assert.ok(await hoursOf(again) < GONE_BY_HOURS, "an unpinned value ends");
        await pause(500);
      }
    }
    assert.equal(await value(newcomer, small), texts[0]);
  }),
});
