// Generates the API's OpenAPI document from the routes and their schemas.

import type { OpenAPIHono } from "@hono/zod-openapi";
import { VERSION } from "../../version.ts";

export type Document = ReturnType<OpenAPIHono["getOpenAPI31Document"]>;

/** An OpenAPI operation: one method of one path. */
export type Operation = NonNullable<NonNullable<Document["paths"]>[string]["get"]>;

type Response = Exclude<NonNullable<Operation["responses"]>[string], { $ref: string }>;

/** A JSON schema, with only the members that the documentation page shows. */
export interface Schema {
  readonly $ref?: string;
  readonly type?: string | readonly string[];
  readonly description?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: Schema | boolean;
  readonly items?: Schema;
  readonly anyOf?: readonly Schema[];
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly default?: unknown;
  readonly format?: string;
  readonly pattern?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly examples?: readonly unknown[];
}

/** A parameter of an operation. This API's document defines all parameters inline, without `$ref`. */
export interface Parameter {
  readonly name: string;
  readonly in: string;
  readonly required?: boolean;
  readonly description?: string;
  readonly schema: Schema;
  readonly example?: string | number;
}

/** The content of a request or response body, for one media type. */
export interface Content {
  readonly schema?: Schema;
  readonly example?: unknown;
  readonly examples?: Readonly<Record<string, { summary: string; value: unknown }>>;
}

const INTRODUCTION =
  `One node of a distributed hash table that speaks BitTorrent's Mainline KRPC. This API stores and fetches
values, looks up nodes, and reports the state of the node.

- Bodies are JSON in UTF-8 with snake_case names, unless the operation says otherwise. Times are RFC 3339 in UTC. Ids and
  hashes are 40 hex digits: lower-case in answers, in either case in requests.
- Every error is a problem document (RFC 9457). An unknown path is 404. A method that a path does not have is 405, with
  \`Allow\`. An \`Accept\` header that refuses the type of the answer (\`q=0\`) leads to 406. Any request may be answered with 500, which is a bug in the node, or with 503 while the node stops. A URL or
  header that is too long is 414 or 431.
- Every \`GET\` may be sent as \`HEAD\`.
- If the node has an \`API_TOKEN\`, requests that change or send something need it as a bearer token. If other machines can
  reach the API, everything except health and documentation needs it, unless \`API_OPEN_READS\` is set.
- Requests from web pages of other origins are refused. There is no CORS.`;

/** The groups of operations, in the order of the documentation page. */
export const TAGS: readonly { readonly name: string; readonly description: string }[] = [
  { name: "Values", description: "Store, fetch, watch and stop publishing values." },
  {
    name: "Swarms",
    description: "Find the peers of info-hashes and services, and announce this host.",
  },
  { name: "Network", description: "Peers, lookups and pings." },
  { name: "Events", description: "What happens in the node, as it happens." },
  { name: "Node", description: "The node's state, for people, load balancers and monitoring." },
  { name: "Documentation", description: "This document, and pages for browsers." },
];

const METHODS = ["get", "head", "post", "put", "delete"] as const;

/** An operation with its method, path and name, such as `get /data/{hash}`. */
export interface NamedOperation {
  readonly name: string;
  readonly method: string;
  readonly path: string;
  readonly operation: Operation;
}

/** All operations, in the order of the document. */
export function* operationsOf({ paths = {} }: Document): Generator<NamedOperation> {
  for (const [path, item] of Object.entries(paths)) {
    for (const method of METHODS) {
      const operation = item[method];
      if (operation !== undefined) yield { name: `${method} ${path}`, method, path, operation };
    }
  }
}

/** Generates the OpenAPI document of an app's routes. */
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
    tags: [...TAGS],
  });
  const data = document.paths?.["/data/{hash}"];
  if (data?.get !== undefined) data.head = headOf(data.get, document.components?.responses ?? {});
  delete document.webhooks;
  return document;
}

/** Derives the HEAD operation from a GET operation: the same responses, but without bodies or ranges. */
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
    summary: "Fetch the headers of a value",
    description:
      "The same as `GET`, without the body. For a chunked value, only the root is fetched.",
    responses: Object.fromEntries(responses),
  };
}
