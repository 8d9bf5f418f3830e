// The API's OpenAPI document: what the schemas that validate say, completed with words, headers and examples.

import type { OpenAPIHono } from "@hono/zod-openapi";
import { VERSION } from "../version.ts";
import {
  ALWAYS,
  COMMON,
  type Examples,
  type Headed,
  HEADERS,
  INTRODUCTION,
  OPERATIONS,
  TAGS,
  type Words,
} from "./openapi_words.ts";
import { Problem, type ProblemStatus } from "./problems.ts";
import { FetchQuery, HashParams, SocketQuery } from "./schemas.ts";

/** The document. */
export type Document = ReturnType<OpenAPIHono["getOpenAPI31Document"]>;

/** One method of one path. */
export type Operation = NonNullable<NonNullable<Document["paths"]>[string]["get"]>;

type Response = Exclude<NonNullable<Operation["responses"]>[string], { $ref: string }>;

interface Content {
  examples?: Examples;
}

/** The methods that a path may have in the document. */
export const METHODS = ["get", "head", "post", "put", "delete"] as const;

/** All operations, under their names such as `get /data/{hash}`. */
export function* operationsOf(
  { paths = {} }: Document,
): Generator<{ name: string; method: typeof METHODS[number]; path: string; operation: Operation }> {
  for (const [path, item] of Object.entries(paths)) {
    for (const method of METHODS) {
      const operation = item[method];
      if (operation !== undefined) yield { name: `${method} ${path}`, method, path, operation };
    }
  }
}

/** Describes what is served without the router's own validation. */
export function describePlainRoutes(app: OpenAPIHono, security: Record<string, string[]>[]): void {
  const { openAPIRegistry: registry } = app;
  const text = { schema: { type: "string" } } as const;
  const get = (path: string, summary: string, type: string, ...others: string[]) =>
    registry.registerPath({
      method: "get",
      path,
      summary,
      responses: {
        200: {
          description: "As it says",
          content: Object.fromEntries([type, ...others].map((one) => [one, text])),
        },
      },
    });
  get("/metrics", "What monitoring reads", "text/plain", "application/openmetrics-text");
  get("/docs", "This document as a page", "text/html");
  get("/", "The dashboard", "text/html");
  registry.registerPath({
    method: "get",
    path: "/openapi.json",
    summary: "This document",
    responses: {
      200: {
        description: "OpenAPI 3.1",
        content: { "application/json": { schema: { type: "object" } } },
      },
    },
  });
  registry.registerPath({
    method: "get",
    path: "/ws",
    summary: "What happens in the node, over a WebSocket",
    security,
    request: { query: SocketQuery },
    responses: {
      101: { description: "Switching to WebSocket" },
      400: { description: "Malformed: no upgrade, or a bad query" },
      401: { description: "" },
    },
  });
  const problem = (description: string) => ({ description });
  registry.registerPath({
    method: "head",
    path: "/data/{hash}",
    summary: "The headers of a value",
    security,
    request: { params: HashParams, query: FetchQuery },
    responses: {
      200: { description: "It is there" },
      304: { description: "Unchanged" },
      400: problem("Malformed path or query"),
      401: problem("The token is missing or wrong"),
      403: problem("Sent by a foreign web page, or for another host"),
      404: problem("Not found on the network"),
      500: problem("A defect of the node"),
      502: problem("What the network holds is no valid value"),
      503: problem("Too much at a time, or stopping"),
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
  document.components ??= {};
  document.components.headers = Object.fromEntries(
    Object.entries(HEADERS).map(([name, { description, schema, required = true, example }]) => [
      name,
      { description, schema, required, example },
    ]),
  );
  document.components.responses = Object.fromEntries(
    Object.entries(COMMON).map(([status, words]) => {
      const response = { description: words.description! };
      completeResponse(response, Number(status), words);
      return [words.name, response];
    }),
  );
  for (const { name, method, operation } of operationsOf(document)) {
    const words = OPERATIONS[name];
    if (words !== undefined) complete(operation, words, method === "head");
  }
  modernize(document.components.schemas);
  return document;
}

function complete(operation: Operation, words: Words, isBodiless: boolean): void {
  operation.operationId = words.id;
  operation.tags = [words.tag];
  operation.description = words.description;
  for (const parameter of operation.parameters ?? []) {
    if ("$ref" in parameter) continue;
    modernize(parameter.schema);
    const example = words.parameters?.[parameter.name];
    if (example !== undefined) parameter.example = example;
  }
  const { requestBody, responses = operation.responses = {} } = operation;
  if (requestBody !== undefined && !("$ref" in requestBody)) {
    for (const [type, content] of Object.entries(requestBody.content)) {
      content.examples = words.bodies?.[type];
    }
  }
  const statuses = new Set(
    [...Object.keys(responses), ...Object.keys(words.responses)].map(Number),
  );
  if (!isBodiless) { for (const status of ALWAYS) statuses.add(status); }
  for (const status of statuses) {
    const said = words.responses[status], common = COMMON[status];
    if (said === undefined && common !== undefined && !isBodiless) {
      responses[status] = { $ref: `#/components/responses/${common.name}` };
    } else {
      const response = responses[status] ??= { description: "" };
      if (!("$ref" in response)) completeResponse(response, status, said ?? {});
    }
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
  for (const [type, content] of Object.entries<Content>(response.content ?? {})) {
    if (examples?.[type] !== undefined) content.examples = examples[type];
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
