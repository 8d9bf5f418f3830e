// Fuzzing of the REST API on a live node: requests made from the OpenAPI document, with valid and invalid parameters,
// headers and bodies. Each answer must be one that the document describes.

import assert from "node:assert/strict";
import fc from "fast-check";
import { type Api, createApi } from "../../src/api/app.ts";
import { type Document, operationsOf } from "../../src/api/docs/document.ts";
import { type ApiServer, serveApi } from "../../src/api/server.ts";
import { loadConfig } from "../../src/config.ts";
import { FakeService, NODE_ID } from "../api/fake_service.ts";
import { type Answer, ServedDocument } from "../api/docs/document.ts";
import { RawClient, upgradeHead } from "../api/events/clients.ts";
import { startNetwork, until } from "../network/nodes.ts";
import { concat } from "../packets.ts";
import type { Subject } from "./subject.ts";

type Schema = {
  readonly $ref?: string;
  readonly type?: string | string[];
  readonly enum?: unknown[];
  readonly anyOf?: Schema[];
  readonly pattern?: string;
  readonly format?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly examples?: unknown[];
  readonly properties?: Record<string, Schema>;
  readonly required?: string[];
  readonly items?: Schema;
};

const CONFIG = loadConfig({ flags: { p2pPort: "0" }, env: { MAX_VALUE_SIZE: "20000" } });

/** The document does not depend on the node. */
const DOCUMENT: Document = await (async () => {
  const api = createApi({ service: new FakeService(), config: CONFIG });
  return await (await api.fetch(new Request("http://127.0.0.1/openapi.json"))).json();
})();

const OPERATIONS = [...operationsOf(DOCUMENT)];

/** Ids and hashes that occur again and again, so that requests meet. The first is the hash of "Hello World!". */
const HASHES = [
  "e5f96f6f38320f0f33959cb4d3d656452117aadb",
  "4a533d47ec9c7d95b1ad75f576cffc641853b750",
  "E5F96F6F38320F0F33959CB4D3D656452117AADB",
  NODE_ID,
  "0".repeat(40),
  "f".repeat(40),
];

const anything = fc.oneof(
  fc.string({ maxLength: 40 }),
  fc.string({ unit: "binary", maxLength: 20 }),
  fc.constantFrom(
    ...["", " ", "0", "-1", "1e9", "NaN", "null", "true", "%00", "..%2f", "../..", "[::1]:1"],
    ...["127.0.0.1:1", "9007199254740993", "18446744073709551616", "x".repeat(3_000), "\r\nX: y"],
  ),
);

/** Values that match a schema of the document. */
function valid(schema: Schema): fc.Arbitrary<unknown> {
  if (schema.$ref !== undefined) return valid(resolve(schema.$ref));
  if (schema.enum !== undefined) return fc.constantFrom(...schema.enum);
  if (schema.anyOf !== undefined) return fc.oneof(...schema.anyOf.map(valid));
  const examples = schema.examples?.map((example) => fc.constant(example)) ?? [];
  if (schema.pattern?.includes("{40}")) return fc.constantFrom(...HASHES);
  switch (Array.isArray(schema.type) ? schema.type[0] : schema.type) {
    case "integer":
    case "number":
      return fc.oneof(
        fc.maxSafeInteger().map((n) => {
          const { minimum = 0, maximum = 1_000 } = schema;
          return minimum + Math.abs(n) % (maximum - minimum + 1);
        }),
        ...[schema.minimum, schema.maximum].flatMap((n) => n === undefined ? [] : fc.constant(n)),
      );
    case "boolean":
      return fc.boolean();
    case "array":
      return fc.array(valid(schema.items ?? {}), { maxLength: 4 });
    case "object": {
      const members = Object.entries(schema.properties ?? {});
      const arbitraries = Object.fromEntries(members.map(([name, inner]) => [name, valid(inner)]));
      return fc.record(arbitraries, { requiredKeys: schema.required ?? [] });
    }
    case "string":
      if (schema.format === "date-time") {
        return fc.constantFrom("2026-04-14T10:29:55Z", "1970-01-01T00:00:00Z");
      }
      if (schema.format === "byte") return fc.base64String({ maxLength: 200 });
      return fc.oneof(fc.string({ maxLength: 64 }), ...examples);
    default:
      return fc.oneof(fc.jsonValue({ maxDepth: 3 }), fc.constant("Hello World!"), ...examples);
  }
}

function resolve(ref: string): Schema {
  const name = ref.split("/").at(-1)!;
  return DOCUMENT.components!.schemas![name] as Schema;
}

const mostly = <T>(arbitrary: fc.Arbitrary<T>, other: fc.Arbitrary<unknown>) =>
  fc.oneof({ weight: 4, arbitrary: arbitrary as fc.Arbitrary<unknown> }, {
    weight: 1,
    arbitrary: other,
  });

const HEADERS = fc.array(
  fc.constantFrom<[string, string]>(
    ["accept", "text/event-stream"],
    ["accept", "*/*;q=x"],
    ["accept", "application/openmetrics-text"],
    ["range", "bytes=0-4"],
    ["range", "bytes=-1"],
    ["range", "bytes=9-1"],
    ["range", "bytes=0-1,3-4"],
    ["range", "bytes=99999999999999999999-"],
    ["if-range", '"x"'],
    ["if-none-match", "*"],
    ["if-none-match", 'W/"a", "b"'],
    ["last-event-id", "1"],
    ["last-event-id", "-1"],
    ["content-encoding", "gzip"],
    ["x-transfer-label", "a b"],
    ["x-transfer-length", "99999999999"],
    ["authorization", "Bearer x"],
    ["authorization", "Basic"],
    ["origin", "http://evil.example"],
    ["sec-fetch-site", "cross-site"],
    ["sec-websocket-protocol", "dmnode, bearer.x"],
    ["cookie", "a=b"],
    ["x-forwarded-for", "1.2.3.4, ::1"],
    ["traceparent", "00-0-0-0"],
  ),
  { maxLength: 3 },
);

const TYPES = [
  ...["application/json", "application/json", "application/json", "application/octet-stream"],
  ...[
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data",
    "application/json; x",
    "",
  ],
];

export interface RequestInput {
  readonly method: string;
  readonly path: string;
  readonly headers: readonly (readonly [string, string])[];
  readonly body: string | Uint8Array | null;
}

const text = (value: unknown) => typeof value === "string" ? value : JSON.stringify(value);

/** Requests for one operation of the document. */
function requestsOf({ method, path, operation }: typeof OPERATIONS[number]) {
  type Parameter = { name: string; in: string; schema: Schema; required?: boolean };
  const parameters = (operation.parameters ?? []) as unknown as Parameter[];
  const values = Object.fromEntries(parameters.map((parameter) => [
    parameter.name,
    mostly(
      parameter.required ? valid(parameter.schema) : fc.option(valid(parameter.schema)),
      anything,
    ),
  ]));
  const content = Object.entries(
    operation.requestBody !== undefined && "content" in operation.requestBody
      ? operation.requestBody.content
      : {},
  );
  const body = content.length === 0 ? fc.constantFrom(null, null, null, "x") : fc.oneof(
    ...content.map(([, { schema }]) => mostly(valid(schema as Schema), fc.jsonValue()).map(text)),
    anything,
    fc.uint8Array({ maxLength: 2_000 }),
    fc.constantFrom<string | null>(
      null,
      "",
      "{",
      "[".repeat(5_000),
      '{"value":1,"value":2}',
      "x".repeat(21_000),
    ),
  );
  return fc.record({
    values: fc.record(values),
    unknown: fc.constantFrom("", "", "", "", "surplus=1", "&&=", "%zz"),
    headers: HEADERS,
    type: fc.constantFrom(...TYPES),
    body,
  }).map(({ values, unknown, headers, type, body }): RequestInput => {
    const inPath = path.replace(/\{(\w+)\}/g, (_, id) => encode(text(values[id])) || "%20");
    const of = (place: string) =>
      parameters.flatMap((parameter) => {
        const value = values[parameter.name];
        return parameter.in !== place || value === null
          ? []
          : [[parameter.name, text(value)] as const];
      });
    const query = [
      ...of("query").map(([id, value]) => `${id}=${encode(value)}`),
      ...(unknown === "" ? [] : [unknown]),
    ];
    const isBodiless = body === null || method === "get" || method === "head";
    return {
      method: method.toUpperCase(),
      path: inPath + (query.length === 0 ? "" : `?${query.join("&")}`),
      headers: [
        ...headers,
        ...of("header"),
        ...(isBodiless || type === "" ? [] : [["content-type", type] as const]),
      ],
      body: isBodiless ? null : body as string | Uint8Array,
    };
  });
}

function encode(value: string): string {
  return encodeURIComponent(value.toWellFormed());
}

/** Requests that no operation describes. */
const strange: fc.Arbitrary<RequestInput> = fc.record({
  method: fc.constantFrom("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "QUERY"),
  path: fc.oneof(
    fc.constantFrom(
      ...[
        "/",
        "//",
        "/data",
        "/data/",
        "/data/x/y",
        "/network",
        "/network/store/",
        "/%2e%2e/",
        "/docs/../x",
      ],
      ...[
        "/network/find/",
        "/metrics?x",
        "/healthz/",
        "/ws/",
        "/openapi.json/x",
        "/data/%ff",
        "/?" + "a".repeat(9_000),
      ],
      ...OPERATIONS.map(({ path }) => path),
    ),
    anything.map((value) => `/${encode(value)}`),
  ),
  headers: HEADERS,
  body: fc.constant(null),
});

/** Frames and garbage on a WebSocket. */
export interface SocketInput {
  readonly query: string;
  readonly parts: Uint8Array[];
}

const sockets: fc.Arbitrary<SocketInput> = fc.record({
  query: fc.constantFrom(
    "",
    "?types=hello",
    "?types=*&since=0",
    `?watch=${HASHES[0]}`,
    "?types=x",
    "?since=-1",
  ),
  parts: fc.array(
    fc.oneof(
      fc.uint8Array({ minLength: 1, maxLength: 200 }),
      fc.record({ opcode: fc.nat(15), payload: fc.uint8Array({ maxLength: 125 }) })
        .map(({ opcode, payload }) =>
          concat(Uint8Array.of(0x80 | opcode, 0x80 | payload.length, 0, 0, 0, 0), payload)
        ),
    ),
    { maxLength: 5 },
  ),
});

export type ApiInput = { readonly requests: RequestInput[]; readonly sockets: SocketInput[] };

/** Requests and connections of an input arrive at the same time. */
const inputs: fc.Arbitrary<ApiInput> = fc.record({
  requests: fc.array(fc.oneof(...OPERATIONS.map(requestsOf), strange), {
    size: "max",
    minLength: 1,
    maxLength: 20,
  }),
  sockets: fc.array(sockets, { maxLength: 1 }),
});

/** Any request may be too long. So these statuses are not listed for each operation. */
const TOO_LONG = new Set([414, 431]);

/** Within this time, any request of these tests is answered, even on a busy machine. */
const STALL_MS = 60_000;

/** A network of nodes on loopback. The API of the last one is under test. */
export class FuzzedApi {
  readonly subject: Subject<ApiInput>;
  /** Requests and connections so far. */
  sent = 0;
  readonly #close: () => Promise<void>;
  readonly #server: ApiServer;
  readonly #document = new ServedDocument(DOCUMENT);
  readonly #errors: unknown[];

  static async start(): Promise<FuzzedApi> {
    const nodes = await startNetwork(4, {}, { MAX_VALUE_SIZE: "20000" });
    const node = nodes.at(-1)!;
    await until(async () => (await node.readiness()).ready, "the node is ready");
    const errors: unknown[] = [];
    const log = {
      error: (message: string, properties: unknown) => void errors.push([message, properties]),
    };
    const api: Api = createApi({ service: node, config: CONFIG, log });
    const server = serveApi(api, { hostnames: ["127.0.0.1"], port: 0 });
    const close = async () => {
      await server.close(0);
      await Promise.all(nodes.map((one) => one.close()));
    };
    return new FuzzedApi(server, errors, close);
  }

  private constructor(server: ApiServer, errors: unknown[], close: () => Promise<void>) {
    this.#server = server;
    this.#errors = errors;
    this.#close = close;
    this.subject = {
      name: "requests",
      inputs,
      shrinks: 200,
      check: (input) => this.#check(input),
    };
  }

  async #check({ requests, sockets }: ApiInput): Promise<void> {
    await Promise.all([
      ...requests.map((request) => this.#request(request)),
      ...sockets.map((socket) => this.#connect(socket)),
    ]);
    assert.deepEqual(this.#errors, [], "the API logs an error");
    const ready = await fetch(`${this.#server.url}/readyz`);
    await ready.body?.cancel();
    assert.equal(ready.status, 200, "the node is not ready");
  }

  async #request({ method, path, headers, body }: RequestInput): Promise<void> {
    const name = `${method} ${path}`;
    let request: Request;
    // `fetch` refuses to send other characters.
    if (!headers.every(([, value]) => /^[\x20-\x7e]*$/.test(value))) return;
    try {
      const signal = AbortSignal.timeout(STALL_MS);
      const init = {
        method,
        headers: headers.map(([key, value]) => [key, value]) as [string, string][],
        signal,
        redirect: "manual" as const,
      };
      request = new Request(this.#server.url + path, { ...init, body: body as BodyInit | null });
    } catch {
      return; // Not even `fetch` can send it.
    }
    this.sent++;
    const response = await fetch(request);
    const isStream = response.headers.get("content-type")?.startsWith("text/event-stream");
    if (isStream) await response.body?.cancel();
    const answer: Answer = {
      status: response.status,
      headers: response.headers,
      body: isStream ? new Uint8Array() : new Uint8Array(await response.arrayBuffer()),
    };
    assert.notEqual(answer.status, 500, name);
    const documented = this.#operationAt(request);
    try {
      const isTooLong = TOO_LONG.has(answer.status);
      if (documented === undefined || isTooLong) this.#judgeProblem(answer);
      else this.#document.judge(documented, answer);
    } catch (error) {
      throw new Error(`${name}: ${(error as Error).message}`, { cause: error });
    }
    await this.#forget(answer);
  }

  /** The operation that a request matches. Its URL is not always the one that was meant: "/data/.." is "/". */
  #operationAt({ method, url }: Request): string | undefined {
    const { pathname } = new URL(url);
    return OPERATIONS.find(({ method: own, path }) =>
      own === method.toLowerCase() &&
      new RegExp(`^${path.replaceAll(".", "\\.").replace(/\{\w+\}/g, "[^/]+")}$`).test(pathname)
    )?.name;
  }

  /** Asserts that an answer to what the document does not describe is a problem document. */
  #judgeProblem({ status, headers, body }: Answer): void {
    assert.ok(status >= 400, `status ${status}`);
    assert.match(headers.get("content-type") ?? "", /^application\/problem\+json/);
    const problem = body.length === 0 ? undefined : JSON.parse(new TextDecoder().decode(body));
    if (problem !== undefined) assert.equal(problem.status, status);
  }

  /** Ends what the node would keep: a stored or pinned value, or an announcement. Otherwise, it would fill up. */
  async #forget({ status, body }: Answer): Promise<void> {
    if (status !== 201) return;
    const { hash, info_hash: swarm } = JSON.parse(new TextDecoder().decode(body));
    const paths = hash === undefined
      ? [`/network/swarms/${swarm}`]
      : [`/data/${hash}`, `/network/pin/${hash}`];
    for (const path of paths) {
      const response = await fetch(this.#server.url + path, { method: "DELETE" });
      await response.body?.cancel();
    }
  }

  async #connect({ query, parts }: SocketInput): Promise<void> {
    this.sent++;
    const { port } = this.#server;
    const client = await RawClient.open(port, upgradeHead(`/ws${query}`, port));
    const stalled = setTimeout(() => client.close(), STALL_MS);
    try {
      const head = await client.head();
      assert.match(head, /^HTTP\/1\.1 (101|400) /);
      if (head.startsWith("HTTP/1.1 400 ")) return;
      // The server may close the connection meanwhile.
      await client.write(...parts).catch(() => {});
      await client.connection.closeWrite().catch(() => {});
      const code = await client.closeCode();
      assert.ok(code === undefined || code >= 1000, `closed with ${code}`);
    } finally {
      clearTimeout(stalled);
      client.close();
    }
  }

  async close(): Promise<void> {
    await this.#close();
  }
}
