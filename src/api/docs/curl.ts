// Turns the examples of the OpenAPI document into requests and curl commands.

import {
  type Content,
  type Document,
  type NamedOperation,
  type Operation,
  operationsOf,
  type Parameter,
} from "./document.ts";

/** A request built from the examples of an operation's parameters and body. */
export interface ExampleRequest {
  /** Name of the operation, such as `get /data/{hash}`. */
  readonly operation: string;
  /** Summary of the example body; undefined if the request has no body. */
  readonly summary: string | undefined;
  readonly method: string;
  /** Path and query string of the URL. */
  readonly target: string;
  readonly contentType: string | undefined;
  readonly body: string | undefined;
}

/** The example requests of all operations, in the order of the document. */
export function exampleRequests(document: Document): ExampleRequest[] {
  return [...operationsOf(document)].flatMap(requestsOf);
}

/** The example requests of one operation, one for each example of its body. */
export function requestsOf({ name, method, path, operation }: NamedOperation): ExampleRequest[] {
  const base = { operation: name, method: method.toUpperCase(), target: targetOf(path, operation) };
  const body = operation.requestBody as { content: Record<string, Content> } | undefined;
  if (body === undefined) {
    return [{ ...base, summary: undefined, contentType: undefined, body: undefined }];
  }
  return Object.entries(body.content).flatMap(([type, { examples = {} }]) =>
    Object.values(examples).map(({ summary, value }) => ({
      ...base,
      summary,
      contentType: type === "*/*" ? "text/plain" : type,
      body: typeof value === "string" ? value : JSON.stringify(value),
    }))
  );
}

function targetOf(path: string, { parameters = [] }: Operation): string {
  const query: string[] = [];
  for (const { name, in: place, example } of parameters as unknown as Parameter[]) {
    if (example === undefined) continue;
    if (place === "path") path = path.replace(`{${name}}`, String(example));
    // Leave commas unencoded for readability: a query may contain them (RFC 3986, section 3.4).
    if (place === "query") {
      query.push(`${name}=${encodeURIComponent(example).replaceAll("%2C", ",")}`);
    }
  }
  return query.length === 0 ? path : `${path}?${query.join("&")}`;
}

/** The curl command that sends `request` to `origin`. */
export function curlOf(request: ExampleRequest, origin: string): string {
  const { method, target, contentType, body } = request;
  const parts = ["curl"];
  if (method === "HEAD") parts.push("-I");
  else if (method !== "GET" && !(method === "POST" && body !== undefined)) parts.push("-X", method);
  if (contentType !== undefined) parts.push("-H", quoted(`Content-Type: ${contentType}`));
  if (body !== undefined) parts.push("-d", quoted(body));
  parts.push(quoted(origin + target));
  return parts.join(" ");
}

/** Quotes one word for a POSIX shell (Shell Command Language, section 2.2). */
function quoted(text: string): string {
  return /^[\w:./@%+,=-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
