// Tests the OpenAPI document itself: it is valid and complete, and its examples match its schemas.

import assert from "node:assert/strict";
import { type Scope, SCOPES } from "../../../src/config/api_tokens.ts";
import { Validator } from "@seriousme/openapi-schema-validator";
import { createApi } from "../../../src/api/app.ts";
import { type Document, operationsOf, TAGS } from "../../../src/api/docs/document.ts";
import { HEADERS } from "../../../src/api/routes/answers.ts";
import { EVENT_TYPES } from "../../../src/reports/events.ts";
import { loadConfig } from "../../../src/config.ts";
import { VERSION } from "../../../src/version.ts";
import { ServedDocument } from "./document.ts";
import { FakeService } from "../fake_service.ts";

const app = createApi({ service: new FakeService(), config: loadConfig({ env: {} }) });

async function documentOf(): Promise<Document> {
  const response = await app.fetch(new Request("http://localhost/openapi.json"));
  assert.equal(response.headers.get("content-type"), "application/json");
  return await response.json();
}

/** Converts a document to the form that the validator accepts. */
function plain(document: unknown): Record<string, unknown> {
  return document as Record<string, unknown>;
}

interface Example {
  readonly summary: string;
  readonly value: unknown;
}

interface Content {
  readonly schema: unknown;
  readonly example?: unknown;
  readonly examples?: Readonly<Record<string, Example>>;
}

const escape = (part: string) =>
  encodeURIComponent(part.replaceAll("~", "~0").replaceAll("/", "~1"));

/** Yields the examples of a body, and the place of its schema. */
function* examplesOf(content: Readonly<Record<string, Content>>, at: string) {
  for (const [type, { example, examples = {} }] of Object.entries(content)) {
    const values = Object.values(examples).map(({ value }) => value);
    if (example !== undefined) values.push(example);
    assert.ok(values.length > 0, `${at} has no example of a ${type}`);
    for (const { summary } of Object.values(examples)) assert.ok(summary.length > 0);
    for (const value of values) {
      // The schema of a stream describes the data of its events.
      const data = /^data: (.*)$/m.exec(String(value))?.[1];
      const shown = type === "text/event-stream" ? JSON.parse(data!) : value;
      yield { value: shown, pointer: `${at}/${escape(type)}/schema` };
    }
  }
}

Deno.test("the document is valid according to the official schema of OpenAPI 3.1", async () => {
  const document = await documentOf();
  const validator = new Validator();
  const result = await validator.validate(plain(document));
  assert.deepEqual(result, { valid: true });
  assert.equal(validator.version, "3.1");
  const broken = { ...document, paths: { "/x": { get: { responses: { nothing: {} } } } } };
  const refused = await new Validator().validate(plain(broken));
  assert.equal(refused.valid, false);
});

Deno.test("the document has a title and a version, and names no person", async () => {
  const { info, servers, tags } = await documentOf();
  assert.equal(info.version, VERSION);
  assert.deepEqual(Object.keys(info).sort(), ["description", "license", "title", "version"]);
  assert.deepEqual(servers?.map(({ url }) => url), ["/"]);
  assert.deepEqual(tags, TAGS);
});

Deno.test("every route is in the document, and every operation has a description", async () => {
  const document = await documentOf();
  const operations = [...operationsOf(document)];
  const documented = operations.map(({ name }) => name);
  // Hono's list of routes, without middleware and without the files of pages.
  const routes = app.routes
    .filter(({ method, path }) => method !== "ALL" && !path.startsWith("/assets/"))
    .map(({ method, path }) => `${method.toLowerCase()} ${path.replace(/:(\w+)/g, "{$1}")}`);
  assert.deepEqual([...new Set([...routes, "head /data/{hash}"])].sort(), documented.toSorted());
  const ids = new Set<string>(), used = new Set<string>();
  for (const { name, operation } of operations) {
    const { operationId = "", summary = "", description = "", tags = [], responses = {} } =
      operation;
    assert.match(operationId, /^[a-z][A-Za-z]+$/, name);
    ids.add(operationId);
    assert.ok(summary.length > 5 && description.length > 20, name);
    assert.ok(tags.length === 1 && TAGS.some((tag) => tag.name === tags[0]), name);
    const isOpen = responses[401] === undefined;
    if (isOpen) assert.equal(operation.security, undefined, name);
    else {
      const [{ bearer: scopes }, none, ...rest] = operation.security!;
      assert.ok(scopes.length === 1 && SCOPES.includes(scopes[0] as Scope), name);
      assert.deepEqual([none, rest], [{}, []], name);
    }
    for (const [status, response] of Object.entries(responses)) {
      if ("$ref" in response) continue;
      assert.ok(response.description.length > 3, `${name} ${status}`);
      for (const header of Object.keys(response.headers ?? {})) used.add(header);
    }
  }
  assert.equal(ids.size, operations.length);
  for (const response of Object.values(document.components!.responses!)) {
    assert.ok(!("$ref" in response));
    for (const header of Object.keys(response.headers ?? {})) used.add(header);
  }
  assert.deepEqual([...used].sort(), Object.keys(HEADERS).sort());
});

Deno.test("every request and response has an example, and each fits its schema", async () => {
  const document = await documentOf();
  const served = new ServedDocument(document);
  let count = 0;
  const check = (content: Readonly<Record<string, Content>>, at: string) => {
    for (const { value, pointer } of examplesOf(content, at)) {
      served.validate(pointer, value, `the example at ${pointer}`);
      count++;
    }
  };
  for (const { method, path, operation } of operationsOf(document)) {
    const at = `/paths/${escape(path)}/${method}`;
    for (const [i, given] of (operation.parameters ?? []).entries()) {
      const { in: place, required, example, name } = given as unknown as Record<string, unknown>;
      assert.ok(place !== "path" || (required === true && example !== undefined), `${at} ${name}`);
      if (example === undefined) continue;
      const typed = served.operations.get(`${method} ${path}`)!.parameters![i];
      assert.ok("schema" in typed);
      served.validate(`${at}/parameters/${i}/schema`, example, `${at} ${name}`);
      count++;
    }
    if (operation.requestBody !== undefined) {
      check(
        (operation.requestBody as { content: Record<string, Content> }).content,
        `${at}/requestBody/content`,
      );
    }
    for (const [status, response] of Object.entries(operation.responses ?? {})) {
      if ("$ref" in response || response.content === undefined) continue;
      check(response.content as Record<string, Content>, `${at}/responses/${status}/content`);
    }
  }
  for (const [name, response] of Object.entries(document.components!.responses!)) {
    assert.ok(!("$ref" in response));
    check(response.content as Record<string, Content>, `/components/responses/${name}/content`);
  }
  for (const [name, header] of Object.entries(document.components!.headers!)) {
    assert.ok(!("$ref" in header));
    served.validate(`/components/headers/${name}/schema`, header.example, name);
    count++;
  }
  const { anyOf } = document.components!.schemas!.Event as {
    anyOf: { examples: unknown[]; description: string }[];
  };
  assert.equal(anyOf.length, EVENT_TYPES.length);
  for (const [i, { examples, description }] of anyOf.entries()) {
    assert.ok(description.length > 10);
    served.validate(`/components/schemas/Event/anyOf/${i}`, examples[0], description);
    count++;
  }
  assert.ok(count > 100, `${count} examples`);
});

Deno.test("an example that does not fit its schema is found", async () => {
  const served = new ServedDocument(await documentOf());
  const pointer = "/components/schemas/Ping";
  const pong = {
    node_id: "a".repeat(40),
    address: "x:1",
    rtt_ms: 1,
    health: "healthy",
    via: "direct",
  };
  served.validate(pointer, pong, "a pong");
  for (
    const wrong of [{ ...pong, rtt_ms: "1" }, { ...pong, surplus: 1 }, { ...pong, health: "" }, {}]
  ) {
    assert.throws(() => served.validate(pointer, wrong, "a wrong pong"), /a wrong pong: /);
  }
});
