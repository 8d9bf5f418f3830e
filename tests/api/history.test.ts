// Tests the report of the last hour.

import assert from "node:assert/strict";
import { createApi } from "../../src/api/app.ts";
import { History } from "../../src/reports/stats.ts";
import { loadConfig } from "../../src/config.ts";
import { FakeService } from "./fake_service.ts";

const sample = (at: number) => ({
  at: new Date(at).toISOString(),
  peers: 3,
  rtt_ms: null,
  in: { messages_per_second: 5, bytes_per_second: 500 },
  out: { messages_per_second: 10, bytes_per_second: 250 },
  lookups: { count: 5, success: 4, p50_ms: 30, p95_ms: 40 },
  storage: { items: 7, bytes: 700 },
  published: { values: 2, at_risk: 0 },
});

async function get(path: string) {
  const service = new FakeService();
  service.hour = [sample(Date.UTC(2026, 3, 14, 10, 0, 0, 123)), sample(Date.UTC(2026, 3, 14, 11))];
  const app = createApi({ service, config: loadConfig() });
  const response = await app.fetch(new Request(`http://localhost${path}`));
  return { status: response.status, body: await response.json() };
}

Deno.test("GET /network/history returns the samples, oldest first", async () => {
  const { status, body } = await get("/network/history");
  assert.equal(status, 200);
  assert.deepEqual(History.strict().parse(body), body);
  assert.equal(body.interval_s, 10);
  assert.equal(body.samples.length, 2);
  assert.deepEqual(body.samples[0], {
    at: "2026-04-14T10:00:00.123Z",
    peers: 3,
    rtt_ms: null,
    in: { messages_per_second: 5, bytes_per_second: 500 },
    out: { messages_per_second: 10, bytes_per_second: 250 },
    lookups: { count: 5, success: 4, p50_ms: 30, p95_ms: 40 },
    storage: { items: 7, bytes: 700 },
    published: { values: 2, at_risk: 0 },
  });
});

Deno.test("after= leaves out the samples up to the time of the client's latest one", async () => {
  const { body } = await get("/network/history?after=2026-04-14T10:00:00.123Z");
  assert.deepEqual(body.samples.map(({ at }: { at: string }) => at), ["2026-04-14T11:00:00.000Z"]);
  for (const bad of ["", "yesterday", "2026-04-14", "2026-13-14T10:00:00Z", "5"]) {
    const { status, body } = await get(`/network/history?after=${bad}`);
    assert.equal(status, 400, bad);
    assert.match(body.detail, /after/);
  }
});
