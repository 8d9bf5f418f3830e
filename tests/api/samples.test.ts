// Tests the routes that sample info-hashes (BEP 51).

import assert from "node:assert/strict";
import { createApi } from "../../src/api/app.ts";
import { loadConfig } from "../../src/config.ts";
import { NetworkSample, NodeSample } from "../../src/reports/samples.ts";
import { FakeService, PEER_A } from "./fake_service.ts";

function setup(env: Record<string, string> = {}) {
  const service = new FakeService();
  const app = createApi({ service, config: loadConfig({ env }) });
  const get = async (path: string) => {
    const response = await app.fetch(new Request(`http://localhost/network/samples${path}`));
    return { status: response.status, body: JSON.parse(await response.text()) };
  };
  return { service, get };
}

Deno.test("GET /network/samples/{node_id} samples one node", async () => {
  const { service, get } = setup();
  const { status, body } = await get(`/${PEER_A}`);
  assert.equal(status, 200);
  assert.deepEqual(NodeSample.parse(body), body);
  assert.deepEqual(service.calls, [["sampleNode", PEER_A]]);
});

Deno.test("a node that is unknown, silent or without samples is an error", async () => {
  const { service, get } = setup();
  const address = "192.0.2.10:8000";
  const cases = [
    [404, { outcome: "unknown" }],
    [502, { outcome: "unsupported", address }],
    [504, { outcome: "timeout", address }],
  ] as const;
  for (const [status, outcome] of cases) {
    service.sampled = outcome;
    assert.equal((await get(`/${PEER_A}`)).status, status);
  }
});

Deno.test("GET /network/samples walks within a budget, which is 50 queries by default", async () => {
  const { service, get } = setup();
  const { status, body } = await get("?queries=1000");
  assert.equal(status, 200);
  assert.deepEqual(NetworkSample.parse(body), body);
  await get("");
  assert.deepEqual(service.calls, [["sampleNetwork", 1_000], ["sampleNetwork", 50]]);
  for (const wrong of ["0", "1001", "x", "1.5"]) {
    assert.equal((await get(`?queries=${wrong}`)).status, 400);
  }
});

Deno.test("a walk is 503 while too many others run", async () => {
  const { service, get } = setup();
  service.walked = { outcome: "busy" };
  assert.equal((await get("")).status, 503);
});

Deno.test("samples need the token", async () => {
  const { get } = setup({ API_TOKEN: "a-token-of-some-length" });
  for (const path of ["", `/${PEER_A}`]) assert.equal((await get(path)).status, 401);
});
