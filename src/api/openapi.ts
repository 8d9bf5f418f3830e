// The API's OpenAPI document: what the schemas that validate say, completed with words, headers and examples.

import { type OpenAPIHono, z } from "@hono/zod-openapi";
import { VERSION } from "../version.ts";
import { eventExample } from "./openapi_examples.ts";
import {
  ALWAYS,
  COMMON,
  EVENT_WORDS,
  type Examples,
  type Headed,
  HEADERS,
  INTRODUCTION,
  OPERATIONS,
  TAGS,
  type Words,
} from "./openapi_words.ts";
import { Problem, type ProblemStatus } from "./problems.ts";
import { type EventType, FetchQuery, SocketQuery } from "./schemas.ts";

/** The document. */
export type Document = ReturnType<OpenAPIHono["getOpenAPI31Document"]>;

/** One method of one path. */
export type Operation = NonNullable<NonNullable<Document["paths"]>[string]["get"]>;

type Response = Exclude<NonNullable<Operation["responses"]>[string], { $ref: string }>;

interface Content {
  examples?: Examples;
}

const METHODS = ["get", "head", "post", "put", "delete"] as const;

/** An operation of the document, under its name such as `get /data/{hash}`. */
export interface NamedOperation {
  readonly name: string;
  readonly method: string;
  readonly path: string;
  readonly operation: Operation;
}

/** All operations, in the document's order. */
export function* operationsOf({ paths = {} }: Document): Generator<NamedOperation> {
  for (const [path, item] of Object.entries(paths)) {
    for (const method of METHODS) {
      const operation = item[method];
      if (operation !== undefined) yield { name: `${method} ${path}`, method, path, operation };
    }
  }
}

const SocketHeaders = z.object({
  "sec-websocket-protocol": z.string().optional().openapi({
    description:
      "dmnode, and bearer. with the token in base64url where Authorization can't be set.",
  }),
});

/** Enters what is served without the router's validation. */
export function describePlainRoutes({ openAPIRegistry: registry }: OpenAPIHono): void {
  const get = (path: string, summary: string, description: string, types: readonly string[]) => {
    const schema = types[0] === "application/json" ? { type: "object" } : { type: "string" };
    const content = Object.fromEntries(types.map((type) => [type, { schema }] as const));
    registry.registerPath(
      {
        method: "get",
        path,
        summary,
        responses: { 200: { description, content } },
        // The types of the library know no schema as plain as these.
      } as Parameters<typeof registry.registerPath>[0],
    );
  };
  get("/metrics", "What monitoring reads", "The metrics", [
    "text/plain",
    "application/openmetrics-text",
  ]);
  get("/openapi.json", "This document", "OpenAPI 3.1", ["application/json"]);
  get("/docs", "This document as a page", "The page", ["text/html"]);
  get("/", "The dashboard", "The page", ["text/html"]);
  registry.registerPath({
    method: "get",
    path: "/ws",
    summary: "What happens in the node, over a WebSocket",
    request: {
      query: SocketQuery.extend({ key: FetchQuery.shape.key }),
      headers: SocketHeaders,
    },
    responses: {
      101: { description: "The connection speaks WebSocket from now on" },
      400: { description: "No upgrade, or a bad query" },
      503: { description: "Too many clients, or stopping" },
    },
  });
}

/** The document of an API's routes. */
export function apiDocument(app: OpenAPIHono): Document {
  const document = app.getOpenAPI31Document({
    openapi: "3.1.0",
    info: {
      title: "DataMgmt Node",
      version: VERSION,
      description: INTRODUCTION,
      license: { name: "MIT", url: "https://opensource.org/license/mit" },
    },
    servers: [{ url: "/", description: "the node that serves this document" }],
    tags: TAGS.map(({ name, description }) => ({ name, description })),
  });
  const components = document.components ??= {};
  components.headers = Object.fromEntries(
    Object.entries(HEADERS).map(([name, { description, schema, required = true, example }]) => [
      name,
      { description, schema, required, example },
    ]),
  );
  components.responses = Object.fromEntries(
    Object.entries(COMMON).map(([status, words]) => {
      const response = { description: "" };
      completeResponse(response, Number(status), words);
      return [words.name, response];
    }),
  );
  for (const { name, operation } of operationsOf(document)) {
    const words = OPERATIONS[name];
    if (words !== undefined) complete(operation, words);
  }
  const data = document.paths?.["/data/{hash}"];
  if (data?.get !== undefined) data.head = headOf(data.get, components.responses);
  describeEvents(components.schemas?.Event);
  modernize(components.schemas);
  delete document.webhooks;
  return document;
}

function complete(operation: Operation, words: Words): void {
  operation.operationId = words.id;
  operation.tags = [words.tag];
  operation.description = words.description;
  if (!words.isOpen) operation.security = [{ bearer: [] }, {}];
  for (const parameter of operation.parameters ?? []) {
    if ("$ref" in parameter) continue;
    modernize(parameter.schema);
    const example = words.parameters?.[parameter.name];
    if (example !== undefined) parameter.example = example;
  }
  const { requestBody, responses = {} } = operation;
  if (requestBody !== undefined && !("$ref" in requestBody)) {
    for (const [type, content] of Object.entries(requestBody.content)) {
      (content as Content).examples = words.bodies?.[type];
    }
  }
  const statuses = [
    ...Object.keys(responses),
    ...Object.keys(words.responses),
    ...ALWAYS,
    ...words.isOpen ? [] : [401],
  ];
  for (const status of new Set(statuses.map(Number))) {
    const said = words.responses[status], common = COMMON[status];
    if (said === undefined && common !== undefined) {
      responses[status] = { $ref: `#/components/responses/${common.name}` };
      continue;
    }
    const response = responses[status] ??= { description: "" };
    if (!("$ref" in response)) completeResponse(response, status, said ?? {});
  }
}

/** What all responses have but the one that is none of HTTP any more. */
const OF_ALL = ["X-Content-Type-Options", "Cross-Origin-Resource-Policy", "Cache-Control"];

function completeResponse(response: Response, status: number, said: Headed): void {
  const { description, headers = [], examples, problem } = said;
  if (description !== undefined) response.description = description;
  if (status !== 101) {
    response.headers = Object.fromEntries(
      [...OF_ALL, ...headers].map((name) => [name, { $ref: `#/components/headers/${name}` }]),
    );
  }
  if (problem !== undefined) {
    const { detail, ...members } = problem;
    response.content = {
      "application/problem+json": {
        schema: { $ref: "#/components/schemas/Problem" },
        example: new Problem(status as ProblemStatus, detail, members).document,
      },
    };
  }
  for (const [type, named] of Object.entries(examples ?? {})) {
    const content = (response.content ??= {})[type] ??= { schema: { type: "string" } };
    content.examples = named;
  }
}

/** What HEAD answers is what GET does, without bodies and ranges. */
function headOf(get: Operation, common: Record<string, unknown>): Operation {
  const responses = Object.entries(get.responses ?? {})
    .filter(([status]) => status !== "206" && status !== "416")
    .map(([status, given]) => {
      const name = "$ref" in given ? given.$ref.split("/").at(-1)! : undefined;
      const { description, headers } = (name === undefined ? given : common[name]) as Response;
      return [status, { description, headers }];
    });
  return {
    ...get,
    operationId: "fetchHeaders",
    summary: "The headers of a value",
    description: "As `GET`, without the body. Of a chunked value nothing but the root is fetched.",
    responses: Object.fromEntries(responses),
  };
}

function describeEvents(schema: unknown): void {
  const { anyOf } = schema as {
    anyOf: {
      description?: string;
      examples?: unknown[];
      properties: { type: { enum: [EventType] } };
    }[];
  };
  for (const event of anyOf) {
    const [type] = event.properties.type.enum;
    event.description = EVENT_WORDS[type];
    event.examples = [eventExample(type)];
  }
}

/** `example` in a schema is OpenAPI's own and deprecated; `examples` is JSON Schema's. */
function modernize(schema: unknown): void {
  if (typeof schema !== "object" || schema === null) return;
  for (const value of Object.values(schema)) modernize(value);
  if ("example" in schema && typeof schema.example !== "object") {
    Object.assign(schema, { examples: [schema.example] });
    delete schema.example;
  }
}
