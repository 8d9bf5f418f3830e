// Tests every operation of the OpenAPI document on a real node of a small network: each documented status that can be
// provoked, and that nothing else occurs.

import assert from "node:assert/strict";
import { createHash, generateKeyPairSync, sign } from "node:crypto";
import { type Api, createApi } from "../../src/api/app.ts";
import { type ApiServer, serveApi } from "../../src/api/server.ts";
import { type Config, loadConfig } from "../../src/config.ts";
import { LocalNode } from "../../src/runtime/local_node.ts";
import type { MagnetOutcome, NodeService } from "../../src/node_service.ts";
import { signedBytes } from "../../src/dht/items/item.ts";
import { bencodeBytes } from "../../src/krpc/bencode.ts";
import { startNetwork, until } from "../network/nodes.ts";
import { type Answer, ServedDocument } from "./docs/document.ts";

const TOKEN = "a-token-for-tests";
const MAX_VALUE_SIZE = 20_000;
const STRANGER = "ee".repeat(20);
const HELLO = "e5f96f6f38320f0f33959cb4d3d656452117aadb";

/** Outcomes that can't be provoked from outside, or would take long. The node is replaced for these only. */
type Forced = Partial<NodeService>;

/** Returns the node with some of its methods replaced. */
function forcedService(node: NodeService, forced: () => Forced): NodeService {
  return new Proxy(node, {
    get(target, name) {
      const replaced = forced()[name as keyof Forced];
      if (replaced !== undefined) return replaced;
      const value = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

interface Call {
  readonly params?: Readonly<Record<string, string>>;
  readonly query?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: BodyInit;
  /** Whether to omit the token on the API that requires one. */
  readonly isTokenless?: boolean;
}

class Contract {
  readonly document: ServedDocument;
  readonly exercised = new Set<string>();
  forced: Forced = {};
  readonly #api: Api;
  readonly #server: ApiServer;
  readonly #guarded: ApiServer;

  static async start(node: LocalNode, config: Config, guardedConfig: Config): Promise<Contract> {
    const contract: { it?: Contract } = {};
    const service = forcedService(node, () => contract.it?.forced ?? {});
    const api = createApi({ service, config, stallMs: 1_000 });
    const server = await serveApi(api, { hostnames: ["127.0.0.1"], port: 0 });
    const guarded = await serveApi(createApi({ service: node, config: guardedConfig }), {
      hostnames: ["127.0.0.1"],
      port: 0,
    });
    return contract.it = new Contract(await ServedDocument.of(server.url), api, server, guarded);
  }

  private constructor(document: ServedDocument, api: Api, server: ApiServer, guarded: ApiServer) {
    this.document = document;
    this.#api = api;
    this.#server = server;
    this.#guarded = guarded;
  }

  get url(): string {
    return this.#server.url;
  }

  /** Sends a request, and checks the response against the document and the expected status. */
  async call(name: string, status: number, call: Call = {}): Promise<Answer> {
    const { headers, body, isTokenless } = call;
    const base = isTokenless ? this.#guarded.url : this.url;
    const response = await fetch(base + target(name, call), {
      method: methodOf(name),
      headers,
      body,
    });
    return await this.judge(name, status, response);
  }

  /** Sends a request and returns the status. */
  async statusOf(name: string, call: Call): Promise<number> {
    const base = call.isTokenless ? this.#guarded.url : this.url;
    const response = await fetch(base + target(name, call), { method: methodOf(name) });
    await response.body?.cancel();
    return response.status;
  }

  /** Sends a request for another host. */
  async callForeign(name: string, call: Call = {}): Promise<Answer> {
    const request = new Request(`http://evil.example${target(name, call)}`, {
      method: methodOf(name),
    });
    return await this.judge(name, 403, await this.#api.fetch(request));
  }

  /** Sends a request with headers that `fetch` does not allow. */
  async callInside(name: string, status: number, headers: Record<string, string>): Promise<Answer> {
    const takeOver = () => assert.fail("no connection is to be taken over");
    const caller = { remoteAddr: { hostname: "127.0.0.1" }, takeOver };
    const request = new Request(`http://127.0.0.1${target(name, {})}`, { headers });
    return await this.judge(name, status, await this.#api.fetch(request, caller));
  }

  /** Checks a response against the document. */
  async judge(name: string, status: number, response: Response): Promise<Answer> {
    const answer = {
      status: response.status,
      headers: response.headers,
      body: new Uint8Array(await response.arrayBuffer()),
    };
    assert.equal(response.status, status, `${name}: ${new TextDecoder().decode(answer.body)}`);
    this.document.judge(name, answer);
    this.note(name, status);
    return answer;
  }

  note(name: string, status: number): void {
    this.exercised.add(`${name} ${status}`);
  }

  /** Sends a request while methods of the node are replaced. */
  async forcing(forced: Forced, name: string, status: number, call: Call = {}): Promise<Answer> {
    this.forced = forced;
    try {
      return await this.call(name, status, call);
    } finally {
      this.forced = {};
    }
  }

  /** Closes the API while a request is in progress. */
  async stop(): Promise<void> {
    await this.#guarded.close();
    const entered = Promise.withResolvers<void>();
    const never = Promise.withResolvers<never>();
    this.forced = {
      find: () => {
        entered.resolve();
        return never.promise;
      },
    };
    const name = "get /network/find/{node_id}";
    const asked = this.call(name, 503, { params: { node_id: STRANGER } });
    await entered.promise;
    await this.#server.close(0);
    await asked;
    // New connections are refused now, but open ones can still send requests.
    const headers = {
      connection: "Upgrade",
      upgrade: "websocket",
      "sec-websocket-version": "13",
      "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    };
    for (const name of ["get /events", "get /ws"]) await this.callInside(name, 503, headers);
  }
}

const methodOf = (name: string) => name.split(" ")[0].toUpperCase();

function target(name: string, { params = {}, query = "" }: Call): string {
  const path = name.split(" ")[1].replace(/\{(\w+)\}/g, (_, param) => params[param]);
  return path + query;
}

const textOf = ({ body }: Answer) => new TextDecoder().decode(body);
const jsonBody = (value: unknown): Call => ({
  headers: { "content-type": "application/json" },
  body: JSON.stringify(value),
});

/** Signs items as a client does that does not give its key to the node. */
class Signer {
  readonly #key = generateKeyPairSync("ed25519");
  readonly #public = this.#key.publicKey.export({ format: "der", type: "spki" }).subarray(-32);

  get hash(): string {
    return createHash("sha1").update(this.#public).digest("hex");
  }

  /** `isBencode`: the value is in bencoded form already, instead of a string to encode. */
  item(seq: number, value: string, more: Record<string, unknown> = {}, isBencode = false) {
    const bytes = new TextEncoder().encode(value);
    const signed = signedBytes(new Uint8Array(0), seq, isBencode ? bytes : bencodeBytes(bytes));
    const sig = sign(null, signed, this.#key.privateKey);
    return {
      k: this.#public.toString("base64"),
      sig: sig.toString("base64"),
      seq,
      v: btoa(value),
      ...more,
    };
  }
}

/** Returns the text of a stream up to the end of its first event. */
async function firstEvent(response: Response): Promise<string> {
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  while (!/^data: .*\n\n/m.test(text)) {
    const { done, value } = await reader.read();
    assert.ok(!done, `the stream ended after ${text}`);
    text += value;
  }
  await reader.cancel();
  return text;
}

/** Reads events of a stream until each of these types has arrived. */
async function eventsOf(response: Response, types: readonly string[]): Promise<Event[]> {
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const events = Array.from(text.matchAll(/^data: (.*)$/gm), ([, data]) => JSON.parse(data));
    if (hasAll(events, types)) {
      await reader.cancel();
      return events;
    }
    const { done, value } = await reader.read();
    assert.ok(!done, `the stream ended after ${text}`);
    text += value;
  }
}

interface Event {
  readonly type: string;
}

function hasAll(events: readonly Event[], types: readonly string[]): boolean {
  return types.every((type) => events.some((event) => event.type === type));
}

/** Reads messages of a WebSocket until each of these types has arrived. */
async function messagesOf(
  url: string,
  types: readonly string[],
  meanwhile: () => Promise<unknown>,
): Promise<Event[]> {
  const socket = new WebSocket(url);
  const messages: Event[] = [];
  await new Promise<void>((resolve, reject) => {
    socket.onopen = () => void meanwhile();
    socket.onerror = () => reject(new Error("the WebSocket failed"));
    socket.onmessage = ({ data }) => {
      messages.push(JSON.parse(data));
      if (hasAll(messages, types)) resolve();
    };
  });
  await new Promise<void>((resolve) => {
    socket.onclose = () => resolve();
    socket.close();
  });
  return messages;
}

Deno.test("the API and its OpenAPI document agree", async (t) => {
  const nodes = await startNetwork(4);
  const bootstrap = `127.0.0.1:${nodes[0].port}`;
  const flags = { p2pPort: "0", bootstrap };
  const env = { MAX_VALUE_SIZE: String(MAX_VALUE_SIZE) };
  const config = loadConfig({ flags, env });
  // If other machines can reach the API, everything except health and documentation needs the token.
  const guardedConfig = loadConfig({
    flags,
    env: { ...env, API_HOST: "0.0.0.0", API_TOKEN: TOKEN },
  });
  const node = await LocalNode.start(config, { persistent: false });
  nodes.push(node);
  await until(async () => (await node.readiness()).ready, "the node is ready");
  const contract = await Contract.start(node, config, guardedConfig);
  const { document } = contract;
  const peer = { node_id: nodes[1].nodeId }, stranger = { node_id: STRANGER };
  const hello = { hash: HELLO }, unknown = { hash: STRANGER };
  const isSecured = (name: string) => document.operations.get(name)!.security !== undefined;
  const sample = (name: string): Call =>
    name.includes("{node_id}")
      ? { params: peer }
      : name.includes("{hash}")
      ? { params: hello }
      : name.includes("{info_hash}")
      ? { params: { info_hash: HELLO } }
      : {};

  try {
    await t.step("/network/samples", async () => {
      const name = "get /network/samples/{node_id}";
      await contract.call(name, 200, { params: peer });
      await contract.call(name, 400, { params: { node_id: "x" } });
      await contract.call(name, 404, { params: stranger });
      const address = "192.0.2.10:8000";
      for (const [status, outcome] of [[502, "unsupported"], [504, "timeout"]] as const) {
        const sampleNode = () => Promise.resolve({ outcome, address });
        await contract.forcing({ sampleNode }, name, status, { params: peer });
      }
      const walk = "get /network/samples";
      const walked = await contract.call(walk, 200, { query: "?queries=5" });
      assert.ok(JSON.parse(textOf(walked)).queries > 0);
      await contract.call(walk, 400, { query: "?queries=0" });
      const sampleNetwork = () => Promise.resolve({ outcome: "busy" } as const);
      await contract.forcing({ sampleNetwork }, walk, 503);
    });

    await t.step("/network/magnets", async () => {
      const name = "post /network/magnets", info_hash = STRANGER;
      const published = await contract.call(name, 201, jsonBody({ info_hash, key: "demo" }));
      const { magnet, hash } = JSON.parse(textOf(published));
      await contract.call(name, 201, jsonBody({ info_hash: HELLO, key: "demo", cas: 1 }));
      await contract.call(name, 400, jsonBody({ info_hash }));
      const stalls = new ReadableStream({ pull: () => new Promise(() => {}) });
      const headers = { "content-type": "application/json" };
      await contract.call(name, 408, { body: stalls, headers });
      await contract.call(name, 412, jsonBody({ info_hash, key: "demo", cas: 1 }));
      await contract.call(name, 413, jsonBody({ x: "x".repeat(5_000) }));
      await contract.call(name, 415, { body: "x" });
      const few = { outcome: "too_few", acknowledged: 2, wanted: 5 } as const;
      const tooFew = { ...few, refusals: [], isPublished: undefined };
      const refused: [number, MagnetOutcome][] = [
        [409, { outcome: "overtaken", seq: 7 }],
        [503, { ...tooFew, isFull: false }],
        [507, { ...tooFew, isFull: true }],
      ];
      for (const [status, outcome] of refused) {
        const publishMagnet = () => Promise.resolve(outcome);
        await contract.forcing({ publishMagnet }, name, status, jsonBody({ info_hash, key: "k" }));
      }
      const resolve = "get /network/magnets", query = `?magnet=${encodeURIComponent(magnet)}`;
      const { info_hash: found, seq } = JSON.parse(
        textOf(await contract.call(resolve, 200, { query })),
      );
      assert.deepEqual([found, seq], [HELLO, 2]);
      await contract.call(resolve, 400, { query: "?magnet=x" });
      await contract.call(resolve, 404, { query: query.replace("%26s%3D", "%26s%3D00") });
      await contract.call("post /network/store", 201, { query: "?key=text", body: "text" });
      const text = magnet.replace(/&s=.*/, "&s=74657874");
      await contract.call(resolve, 502, { query: `?magnet=${encodeURIComponent(text)}` });
      const value = await contract.call("get /data/{hash}", 200, { params: { hash } });
      assert.equal(value.headers.get("content-type"), "application/x-bencode");
      assert.match(textOf(value), /^d2:ih20:/);
    });

    await t.step("/network/swarms", async () => {
      const name = "post /network/swarms/{info_hash}", params = { info_hash: "service:chat" };
      const announced = await contract.call(name, 201, { params, ...jsonBody({ port: 6881 }) });
      const { info_hash, nodes } = JSON.parse(textOf(announced));
      assert.ok(nodes > 0);
      await contract.call(name, 200, { params: { info_hash } });
      await contract.call(name, 400, { params, ...jsonBody({ port: 0 }) });
      const stalls = new ReadableStream({ pull: () => new Promise(() => {}) });
      await contract.call(name, 408, { params, body: stalls });
      await contract.call(name, 413, { params, ...jsonBody({ x: "x".repeat(2_000) }) });
      await contract.call(name, 415, { params, body: "x" });
      for (const refused of [{ outcome: "full", limit: 1_000 }, { outcome: "no_disk" }] as const) {
        await contract.forcing({ announce: () => Promise.resolve(refused) }, name, 507, { params });
      }
      const found = "get /network/swarms/{info_hash}", query = "?scrape=1";
      const { peers, scrape } = JSON.parse(
        textOf(await contract.call(found, 200, { params, query })),
      );
      assert.ok(peers.length > 0 && scrape.peers > 0);
      await contract.call(found, 400, { params: { info_hash: "chat" } });
      const headers = { accept: "text/event-stream" };
      const stream = await contract.call(found, 200, { params, headers });
      assert.match(textOf(stream), /event: peers[^]*event: result/);
      await contract.call("get /network/swarms", 200);
      const withdraw = "delete /network/swarms/{info_hash}";
      await contract.call(withdraw, 204, { params });
      await contract.call(withdraw, 404, { params });
      await contract.call(withdraw, 400, { params: { info_hash: "chat" } });
    });

    await t.step("post /network/store", async () => {
      const name = "post /network/store";
      const stored = await contract.call(name, 201, jsonBody({ value: "Hello World!" }));
      assert.equal(JSON.parse(textOf(stored)).hash, HELLO);
      await contract.call(name, 201, { query: "?key=a", body: "raw" });
      await contract.call(name, 201, { body: new Uint8Array(5000) });
      await contract.call(name, 201, jsonBody({ value: [1], key: "a", cas: 1 }));
      await contract.call(name, 400, jsonBody({ value: "x", surplus: 1 }));
      await contract.call(name, 400, jsonBody({ value: "x", key: "k".repeat(65) }));
      await contract.call(name, 400, { query: "?min_replicas=99", body: "x" });
      const stalls = new ReadableStream({ pull: () => new Promise(() => {}) });
      await contract.call(name, 408, { body: stalls });
      await contract.call(name, 412, { query: "?key=a&cas=1", body: "x" });
      await contract.call(name, 413, { body: "x".repeat(MAX_VALUE_SIZE + 1) });
      await contract.call(name, 413, jsonBody({ value: "x".repeat(MAX_VALUE_SIZE + 1) }));
      await contract.call(name, 415, { headers: { "content-encoding": "gzip" }, body: "x" });
      await contract.forcing(
        { finishUpload: () => Promise.resolve({ outcome: "overtaken", seq: 7 }) },
        name,
        409,
        { body: "x" },
      );
      const refusals = [{ code: 205, text: "no room", nodes: 2 }];
      const few = { outcome: "too_few", acknowledged: 2, wanted: 5, refusals } as const;
      const tooFew = { ...few, isFull: false, isPublished: false };
      await contract.forcing({ finishUpload: () => Promise.resolve(tooFew) }, name, 503, {
        body: "x",
      });
      const room = { neededBytes: 256_000.5, asked: 2, withRoom: 0 };
      for (
        const full of [
          { ...few, isFull: true, isPublished: undefined },
          { outcome: "no_room", room },
          { outcome: "no_room", room: null },
        ] as const
      ) {
        await contract.forcing({ finishUpload: () => Promise.resolve(full) }, name, 507, {
          body: "x",
        });
      }
      const busy = { outcome: "busy", detail: "Too many values are being moved." } as const;
      await contract.forcing({ finishUpload: () => Promise.resolve(busy) }, name, 503, {
        body: "x",
      });
    });

    await t.step("put /data/{hash}", async () => {
      const name = "put /data/{hash}", signer = new Signer(), params = { hash: signer.hash };
      const put = (status: number, item: unknown) =>
        contract.call(name, status, { params, ...jsonBody(item) });
      await put(200, signer.item(2, "two"));
      await put(409, signer.item(1, "one"));
      await put(412, signer.item(3, "three", { cas: 1 }));
      await put(400, { ...signer.item(3, "three"), sig: "AA".repeat(43) });
      await put(400, { ...signer.item(3, "three"), seq: 4 });
      await contract.call(name, 400, { params: unknown, ...jsonBody(signer.item(3, "three")) });
      await put(413, signer.item(3, "x".repeat(1500)));
      await contract.call(name, 413, { params, ...jsonBody("x".repeat(9000)) });
      await contract.call(name, 415, { params, body: "x" });
      const stalls = new ReadableStream({ pull: () => new Promise(() => {}) });
      const headers = { "content-type": "application/json" };
      await contract.call(name, 408, { params, headers, body: stalls });
      const down = { outcome: "unreachable", detail: "The node is stopping." } as const;
      await contract.forcing({ storeSigned: () => Promise.resolve(down) }, name, 503, {
        params,
        ...jsonBody(signer.item(3, "three")),
      });
      const noRoom = { outcome: "no_room", room: null } as const;
      await contract.forcing({ storeSigned: () => Promise.resolve(noRoom) }, name, 507, {
        params,
        ...jsonBody(signer.item(3, "three")),
      });
      await contract.call("get /data/{hash}", 200, { params });
      await contract.call("head /data/{hash}", 200, { params });
    });

    await t.step("get and head /data/{hash}", async () => {
      for (const name of ["get /data/{hash}", "head /data/{hash}"]) {
        await contract.call(name, 200, { params: hello });
        await contract.call(name, 304, {
          params: hello,
          headers: { "if-none-match": `"${HELLO}"` },
        });
        await contract.call(name, 400, { params: { hash: "nonsense" } });
        await contract.call(name, 404, { params: unknown });
      }
      const name = "get /data/{hash}";
      const sealed = await contract.call("post /network/store", 201, {
        query: "?seal=1",
        body: "sealed",
      });
      const { hash, link } = JSON.parse(textOf(sealed)), key = link.split("#")[1];
      const opened = await contract.call(name, 200, {
        params: { hash },
        headers: { "x-seal-key": key },
      });
      assert.equal(textOf(opened), "sealed");
      const wrong = { "x-seal-key": "A".repeat(22) };
      await contract.call(name, 403, { params: { hash }, headers: wrong });
      await contract.call("head /data/{hash}", 403, { params: { hash }, headers: wrong });
      const part = await contract.call(name, 206, {
        params: hello,
        headers: { range: "bytes=0-4" },
      });
      assert.equal(textOf(part), "Hello");
      await contract.call(name, 416, { params: hello, headers: { range: "bytes=99-" } });
      await contract.call(name, 400, { params: hello, query: "?replicas=perhaps" });
      const replicas = await contract.call(name, 200, { params: hello, query: "?replicas=1" });
      document.validate("/components/schemas/Replicas", JSON.parse(textOf(replicas)), "replicas");
      await contract.call(name, 404, { params: unknown, query: "?replicas=1" });

      // The item claims to refer to a large value, but does not.
      const signer = new Signer(), params = { hash: signer.hash };
      const item = signer.item(1, "d2:dmi1ee", {}, true);
      await contract.call("put /data/{hash}", 200, { params, ...jsonBody(item) });
      await contract.call(name, 502, { params });
      await contract.call("head /data/{hash}", 502, { params });
      const busy = { outcome: "busy" } as const;
      const forced = { replicas: () => Promise.resolve(busy) };
      await contract.forcing(forced, name, 503, { params: hello, query: "?replicas=1" });
      await contract.forcing(forced, "head /data/{hash}", 503, {
        params: hello,
        query: "?replicas=1",
      });
      const needed = { outcome: "key_needed" } as const;
      await contract.forcing({ fetch: () => Promise.resolve(needed) }, name, 404, {
        params: hello,
      });
    });

    await t.step("a watched value is a stream of its versions", async () => {
      const name = "get /data/{hash}", headers = { accept: "text/event-stream" };
      const response = await fetch(`${contract.url}/data/${HELLO}`, { headers });
      document.judge(name, { status: 200, headers: response.headers, body: new Uint8Array() });
      const text = await firstEvent(response);
      const version = JSON.parse(/^data: (.*)$/m.exec(text)![1]);
      document.validate("/components/schemas/ValueEvent", version, "the version");
      await contract.forcing({ openWatch: () => Promise.resolve(undefined) }, name, 503, {
        params: hello,
        headers,
      });
      await contract.call(name, 400, {
        params: hello,
        headers: { ...headers, "last-event-id": "x" },
      });
    });

    await t.step("get /network/published, get /network/transfers", async () => {
      await contract.call("get /network/published", 200, { query: "?limit=10&offset=0" });
      await contract.call("get /network/published", 200, { query: "?at_risk=1" });
      await contract.call("get /network/published", 400, { query: "?limit=0" });
      const { published } = JSON.parse(textOf(await contract.call("get /network/published", 200)));
      const detail = "get /network/published/{hash}", { hash } = published[0];
      const one = await contract.call("get /network/published", 200, { query: `?hash=${hash}` });
      assert.equal(JSON.parse(textOf(one)).total, 1);
      await contract.call("get /network/published", 200, { query: `?hash=${"00".repeat(20)}` });
      await contract.call(detail, 200, { params: { hash } });
      await contract.call(detail, 400, { params: { hash: "x" } });
      await contract.call(detail, 404, { params: { hash: "00".repeat(20) } });
      await contract.call("get /network/holders", 200);
      await contract.call("get /network/held", 200, { query: "?limit=10" });
      await contract.call("get /network/held", 400, { query: "?limit=0" });
      const publish = "post /network/published/{hash}";
      await contract.call(publish, 202, { params: hello });
      await contract.call(publish, 400, { params: { hash: "x" } });
      await contract.call(publish, 404, { params: { hash: STRANGER } });
      const progress = {
        transfer: 1,
        label: "backup-7",
        direction: "store",
        hash: null,
        state: "moving",
        done_bytes: 5,
        total_bytes: null,
      } as const;
      await contract.call("get /network/transfers", 200);
      const transfers = () => Promise.resolve([progress]);
      await contract.forcing({ transfers }, "get /network/transfers", 200);
    });

    await t.step("peers, ping, find", async () => {
      await contract.call("get /network/peers", 200, { query: "?health=healthy&sort=rtt&limit=3" });
      await contract.call("get /network/peers", 400, { query: "?sort=luck" });
      await contract.call("get /network/peers/{node_id}", 200, { params: peer });
      await contract.call("get /network/peers/{node_id}", 404, { params: stranger });
      await contract.call("get /network/peers/{node_id}", 400, { params: { node_id: "x" } });
      await contract.call("get /network/ping/{node_id}", 200, { params: peer });
      await contract.call("get /network/ping/{node_id}", 404, { params: stranger });
      await contract.call("get /network/ping/{node_id}", 400, { params: { node_id: "x" } });
      await contract.call("get /network/find/{node_id}", 200, { params: peer });
      await contract.call("get /network/find/{node_id}", 200, {
        params: stranger,
        query: "?trace=1",
      });
      await contract.call("get /network/find/{node_id}", 400, { params: peer, query: "?trace=2" });
      const at = (address: string) => ({ query: `?address=${address}` });
      await contract.call("get /network/ping", 200, at(nodes[1].address));
      await contract.call("get /network/ping", 400, at("nowhere"));
      await contract.call("get /network/ping", 403, at("192.0.2.1:8000"));
      await contract.call("get /network/ping", 404, at("no-such-name.invalid:8000"));
      await contract.call("get /network/ping", 504, at("127.0.0.1:9"));
      const connect = "post /network/peers";
      await contract.call(connect, 200, at(nodes[1].address));
      await contract.call(connect, 400, at("nowhere"));
      await contract.call(connect, 403, at("192.0.2.1:8000"));
      await contract.call(connect, 404, at("no-such-name.invalid:8000"));
      await contract.call(connect, 504, at("127.0.0.1:9"));
      const gone = nodes.splice(3, 1)[0], params = { node_id: gone.nodeId };
      await contract.call("get /network/ping/{node_id}", 200, { params });
      await gone.close();
      await contract.call("get /network/ping/{node_id}", 504, { params });
    });

    await t.step("denied nodes and addresses", async () => {
      const deny = "post /network/denied", allow = "delete /network/denied";
      const entry = { query: "?entry=203.0.113.0%2F24" };
      await contract.call(deny, 201, entry);
      await contract.call(deny, 200, entry);
      await contract.call(deny, 400, { query: "?entry=somebody" });
      await contract.call(deny, 409, { query: `?entry=${node.nodeId}` });
      await contract.call("get /network/denied", 200);
      await contract.call(allow, 204, entry);
      await contract.call(allow, 404, entry);
      await contract.call(allow, 400, { query: "?entry=" });
      const full = { outcome: "full", limit: 1_000 } as const;
      await contract.forcing({ denyEntry: () => Promise.resolve(full) }, deny, 507, entry);
      const unsaved = { outcome: "unsaved" } as const;
      await contract.forcing({ denyEntry: () => Promise.resolve(unsaved) }, deny, 503, entry);
      const kept = { allowEntry: () => Promise.resolve(unsaved.outcome) };
      await contract.forcing(kept, allow, 503, entry);
    });

    await t.step("the node and its documentation", async () => {
      await contract.call("get /network/stats", 200);
      await contract.call("get /network/diagnostics", 200);
      await contract.call("get /network/stats", 400, { query: "?surplus=1" });
      await contract.call("get /network/traffic", 200);
      await contract.call("get /network/threats", 200);
      await contract.call("get /network/history", 200);
      await contract.call("get /network/history", 200, { query: "?after=2026-04-14T10:00:00Z" });
      await contract.call("get /network/history", 400, { query: "?after=yesterday" });
      await contract.call("get /network/history", 200, { query: "?range=month" });
      await contract.call("get /network/history", 400, { query: "?range=year" });
      await contract.call("get /network/events", 200, { query: "?types=peer.*&q=192.0.2" });
      await contract.call("get /network/events", 400, { query: "?types=peer" });
      await contract.call("get /healthz", 200);
      await contract.call("get /readyz", 200);
      await contract.call("get /metrics", 200);
      const open = await contract.call("get /metrics", 200, {
        headers: { accept: "application/openmetrics-text" },
      });
      assert.match(textOf(open), /# EOF\n$/);
      await contract.call("get /openapi.json", 200);
      await contract.call("get /docs", 200);
      const { headers } = await contract.call("get /", 200);
      await contract.call("get /", 304, { headers: { "if-none-match": headers.get("etag")! } });
      const alone = { ready: false, reason: "no peer answers" };
      await contract.forcing({ readiness: () => Promise.resolve(alone) }, "get /readyz", 503);
    });

    await t.step("events, as a stream and over a WebSocket", async () => {
      const find = () => contract.call("get /network/find/{node_id}", 200, { params: stranger });
      const response = await fetch(`${contract.url}/events?types=hello,lookup,stats`);
      document.judge("get /events", {
        status: response.status,
        headers: response.headers,
        body: new Uint8Array(),
      });
      contract.note("get /events", 200);
      const streamed = eventsOf(response, ["hello", "lookup", "stats"]);
      await find();
      const socket = `${contract.url.replace("http", "ws")}/ws?types=*,lookup.step`;
      const messages = await messagesOf(socket, ["hello", "lookup", "lookup.step", "stats"], find);
      contract.note("get /ws", 101);
      for (const event of [...await streamed, ...messages]) {
        document.validate("/components/schemas/Event", event, "an event");
      }

      await contract.call("get /events", 400, { query: "?types=luck" });
      await contract.call("get /ws", 400);
      await contract.call("get /ws", 400, { query: "?watch=x" });
      const wrong = await contract.callInside("get /ws", 400, { upgrade: "websocket" });
      assert.equal(wrong.headers.get("sec-websocket-version"), "13");
    });

    await t.step("delete /data/{hash}", async () => {
      await contract.call("delete /data/{hash}", 204, { params: hello });
      await contract.call("delete /data/{hash}", 404, { params: hello });
      await contract.call("delete /data/{hash}", 400, { params: { hash: "x" } });
    });

    await t.step("post and delete /network/pin, get /network/pins", async () => {
      const name = "post /network/pin", pin = jsonBody({ hash: HELLO });
      await contract.call(name, 201, pin);
      await contract.call(name, 200, jsonBody({ hash: HELLO, ttl: 7200 }));
      await contract.call("get /network/pins", 200, { query: "?limit=10&offset=0" });
      await contract.call("get /network/pins", 400, { query: "?limit=0" });
      for (const body of [{}, { hash: "x" }, { hash: HELLO, ttl: 1 }]) {
        await contract.call(name, 400, jsonBody(body));
      }
      await contract.call(name, 404, jsonBody({ hash: STRANGER }));
      await contract.call(name, 415, { body: "x" });
      await contract.call(name, 413, jsonBody({ key: "x".repeat(5000) }));
      const stalls = new ReadableStream({ pull: () => new Promise(() => {}) });
      const headers = { "content-type": "application/json" };
      await contract.call(name, 408, { headers, body: stalls });
      const outcomes = [
        [404, { outcome: "key_needed" }],
        [413, { outcome: "too_large", size: 2, limit: 1 }],
        [502, { outcome: "invalid", detail: "It is not valid." }],
        [503, { outcome: "busy", detail: "Try again." }],
        [503, { outcome: "unreachable", detail: "The node is stopping." }],
        [507, { outcome: "no_disk" }],
      ] as const;
      for (const [status, outcome] of outcomes) {
        await contract.forcing({ pin: () => Promise.resolve(outcome) }, name, status, pin);
      }
      const params = { hash: HELLO };
      await contract.call("delete /network/pin/{hash}", 204, { params });
      await contract.call("delete /network/pin/{hash}", 404, { params });
      await contract.call("delete /network/pin/{hash}", 400, { params: { hash: "x" } });
    });

    await t.step("exactly the documented operations need a token", async () => {
      for (const name of document.operations.keys()) {
        const call = { ...sample(name), isTokenless: true };
        if (isSecured(name)) await contract.call(name, 401, call);
        else {
          assert.ok(document.operations.get(name)!.responses![401] === undefined, name);
          assert.equal(await contract.statusOf(name, call), 200, name);
        }
      }
      const headers = { authorization: "Bearer wrong" };
      await contract.call("get /network/published", 401, { headers, isTokenless: true });
    });

    await t.step("every operation refuses requests for another host", async () => {
      for (const name of document.operations.keys()) await contract.callForeign(name, sample(name));
    });

    await t.step("a bug in the node is a 500 with a problem document", async () => {
      const fail = () => {
        throw new Error("a planted defect");
      };
      const forced: Forced = { fetch: fail, peers: fail, stats: fail, ping: fail };
      await contract.forcing(forced, "get /data/{hash}", 500, { params: hello });
      await contract.forcing(forced, "head /data/{hash}", 500, { params: hello });
      await contract.forcing(forced, "get /network/ping/{node_id}", 500, { params: peer });
      await contract.forcing(forced, "get /network/stats", 500);
      await contract.forcing(forced, "get /metrics", 500);
    });

    await t.step("paths and methods that are not documented do not exist", async () => {
      const missing = await fetch(`${contract.url}/network/nothing`);
      document.validate("/components/schemas/Problem", await missing.json(), "404");
      assert.equal(missing.status, 404);
      const paths = new Map<string, Set<string>>();
      for (const name of document.operations.keys()) {
        const [method, path] = name.split(" ");
        paths.set(path, (paths.get(path) ?? new Set()).add(method.toUpperCase()));
      }
      for (const [path, documented] of paths) {
        for (const method of ["GET", "POST", "PUT", "DELETE", "PATCH"]) {
          if (documented.has(method)) continue;
          const { params } = sample(`x ${path}`);
          const response = await fetch(contract.url + target(`x ${path}`, { params }), { method });
          const problem = await response.json();
          assert.equal(response.status, 405, `${method} ${path}`);
          document.validate("/components/schemas/Problem", problem, `${method} ${path}`);
          const allowed = response.headers.get("allow")!.split(", ");
          for (const one of documented) {
            assert.ok(allowed.includes(one), `${path} allows ${allowed}`);
          }
        }
      }
    });

    await t.step("an answer that the Accept header refuses is 406", async () => {
      for (const name of ["get /network/stats", "head /data/{hash}"]) {
        await contract.call(name, 406, { ...sample(name), headers: { accept: "*/*;q=0" } });
      }
    });

    await t.step("too many requests are 429", async () => {
      const env = { API_RATE_LIMIT: "1" };
      const limited = createApi({ service: node, config: loadConfig({ flags, env }) });
      const ask = (name: string) =>
        limited.fetch(
          new Request(`http://127.0.0.1${target(name, sample(name))}`, { method: methodOf(name) }),
          { remoteAddr: { hostname: "192.0.2.1" } },
        );
      const [first, ...others] = ["get /healthz", "head /data/{hash}"];
      let response = await ask(first);
      for (let i = 0; i < 100 && response.status === 200; i++) response = await ask(first);
      await contract.judge(first, 429, response);
      for (const name of others) await contract.judge(name, 429, await ask(name));
    });

    await t.step("requests in progress when the node stops get 503", () => contract.stop());

    await t.step("every documented operation and status has been tested", () => {
      // The same code produces the common problems for all operations, so testing one operation is enough.
      const common = new Map<number, boolean>();
      const missed: string[] = [];
      for (const { name, status, isCommon } of document.statuses()) {
        const isExercised = contract.exercised.has(`${name} ${status}`);
        if (isCommon) common.set(status, isExercised || (common.get(status) ?? false));
        else if (!isExercised) missed.push(`${name} ${status}`);
      }
      for (const [status, isExercised] of common) if (!isExercised) missed.push(`any ${status}`);
      assert.deepEqual(missed, []);
    });
  } finally {
    await Promise.all(nodes.map((one) => one.close()));
  }
});
