// The requests that the document's examples make, and how curl sends them.

import { type Document, type NamedOperation, type Operation, operationsOf } from "./openapi.ts";

/** A request as the examples of an operation's parameters and of its body make it. */
export interface ExampleRequest {
  /** Such as `get /data/{hash}`. */
  readonly operation: string;
  /** What the example of the body says of itself; undefined where there is no body. */
  readonly summary: string | undefined;
  readonly method: string;
  /** Path and query. */
  readonly target: string;
  readonly contentType: string | undefined;
  readonly body: string | undefined;
}

/** A parameter as the document has it; none of ours is a reference. */
interface Parameter {
  readonly name: string;
  readonly in: string;
  readonly example?: string | number;
}

/** A body as the document has it. */
interface Body {
  readonly content: Record<
    string,
    { examples?: Record<string, { summary: string; value: unknown }> }
  >;
}

/** All of them, in the order of the document. */
export function exampleRequests(document: Document): ExampleRequest[] {
  return [...operationsOf(document)].flatMap(requestsOf);
}

/** Those of one operation: one, or one for each example of its body. */
export function requestsOf({ name, method, path, operation }: NamedOperation): ExampleRequest[] {
  const base = { operation: name, method: method.toUpperCase(), target: targetOf(path, operation) };
  const body = operation.requestBody as Body | undefined;
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
  for (const { name, in: place, example } of parameters as Parameter[]) {
    if (example === undefined) continue;
    if (place === "path") path = path.replace(`{${name}}`, String(example));
    // Commas and stars may stand in a query as they are (RFC 3986, section 3.4), and are easier to read.
    if (place === "query") {
      query.push(`${name}=${encodeURIComponent(example).replaceAll("%2C", ",")}`);
    }
  }
  return query.length === 0 ? path : `${path}?${query.join("&")}`;
}

/** The line for a shell. */
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

/** One word of a shell (POSIX, section 2.2). */
function quoted(text: string): string {
  return /^[\w:./@%+,=-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
