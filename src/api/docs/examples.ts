// Turns the examples of the OpenAPI document into requests, in curl, TypeScript and Python.

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
  /** A string is sent unchanged. Any other value is sent as JSON. */
  readonly body: unknown;
  readonly result: Result;
}

/** The part of a response that an example prints. */
type Result = "json" | "text" | "bytes" | "stream" | "headers" | "status" | "messages";

/** The example requests of all operations, in the order of the document. */
export function exampleRequests(document: Document): ExampleRequest[] {
  return [...operationsOf(document)].flatMap(requestsOf);
}

/** The example requests of one operation, one for each example of its body. */
export function requestsOf({ name, method, path, operation }: NamedOperation): ExampleRequest[] {
  const base = {
    operation: name,
    method: method.toUpperCase(),
    target: targetOf(path, operation),
    result: resultOf(method, operation),
  };
  const body = operation.requestBody as { content: Record<string, Content> } | undefined;
  if (body === undefined) {
    return [{ ...base, summary: undefined, contentType: undefined, body: undefined }];
  }
  return Object.entries(body.content).flatMap(([type, { examples = {} }]) =>
    Object.values(examples).map(({ summary, value }) => ({
      ...base,
      summary,
      contentType: type === "*/*" ? "text/plain" : type,
      body: value,
    }))
  );
}

/** Finds the kind of result in the description of the first response, which is the successful one. */
function resultOf(method: string, { responses = {} }: Operation): Result {
  const [[status, response]] = Object.entries(responses);
  if (status === "101") return "messages";
  if (method === "head") return "headers";
  const types = "content" in response ? Object.keys(response.content ?? {}) : [];
  if (types.length === 0) return "status";
  if (types.includes("application/octet-stream")) return "bytes";
  if (types[0] === "text/event-stream") return "stream";
  return types[0] === "application/json" ? "json" : "text";
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

/** A language of the examples. */
export interface Language {
  readonly id: string;
  readonly title: string;
  /** Returns code that sends `request` to `origin` and prints the result. */
  readonly render: (request: ExampleRequest, origin: string) => string;
}

/** The languages of the examples. The page shows the first one until the reader chooses another. */
export const LANGUAGES: readonly Language[] = [
  { id: "curl", title: "curl", render: curlOf },
  { id: "typescript", title: "TypeScript", render: typescriptOf },
  { id: "python", title: "Python", render: pythonOf },
];

/**
 * The headers of a WebSocket handshake, which curl does not add itself. The key is the example in RFC 6455, section
 * 1.3.
 */
const HANDSHAKE = [
  "Connection: Upgrade",
  "Upgrade: websocket",
  "Sec-WebSocket-Version: 13",
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
];

function curlOf(request: ExampleRequest, origin: string): string {
  const { method, target, contentType, body, result } = request;
  const parts = ["curl"];
  if (result === "headers") parts.push("-I");
  else if (method !== "GET" && !(method === "POST" && body !== undefined)) parts.push("-X", method);
  if (result === "stream") parts.push("-N");
  if (result === "messages") {
    parts.push("-i", "-N", "--http1.1", ...HANDSHAKE.flatMap((header) => ["-H", quoted(header)]));
  }
  if (contentType !== undefined) parts.push("-H", quoted(`Content-Type: ${contentType}`));
  if (body !== undefined) {
    parts.push("-d", quoted(typeof body === "string" ? body : JSON.stringify(body)));
  }
  parts.push(quoted(origin + target));
  return parts.join(" ");
}

/** Quotes one word for a POSIX shell (Shell Command Language, section 2.2). */
function quoted(text: string): string {
  return /^[\w:./@%+,=-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

/** Prints a response in TypeScript, by kind of result. */
const TYPESCRIPT_RESULTS: Readonly<Record<Exclude<Result, "messages">, string>> = {
  json: "console.log(await response.json());",
  text: "console.log(await response.text());",
  bytes: "console.log(new Uint8Array(await response.arrayBuffer()));",
  stream: "for await (const text of response.body!.pipeThrough(new TextDecoderStream())) {\n" +
    "  console.log(text);\n}",
  headers: "console.log(Object.fromEntries(response.headers));",
  status: "console.log(response.status);",
};

function typescriptOf(request: ExampleRequest, origin: string): string {
  const { method, target, contentType, body, result } = request;
  if (result === "messages") {
    const url = JSON.stringify(origin.replace(/^http/, "ws") + target);
    return `const socket = new WebSocket(${url});\n` +
      "socket.onmessage = ({ data }) => console.log(JSON.parse(data));";
  }
  const options: string[] = [];
  if (method !== "GET") options.push(`method: ${JSON.stringify(method)}`);
  if (contentType !== undefined) {
    options.push(`headers: { "Content-Type": ${JSON.stringify(contentType)} }`);
  }
  if (body !== undefined) {
    const literal = JSON.stringify(body);
    options.push(`body: ${typeof body === "string" ? literal : `JSON.stringify(${literal})`}`);
  }
  const rest = options.length === 0
    ? ""
    : `, {\n${options.map((option) => `  ${option},\n`).join("")}}`;
  return [
    `const response = await fetch(${JSON.stringify(origin + target)}${rest});`,
    result === "headers" || result === "status"
      ? "if (!response.ok) throw new Error(response.statusText);"
      : "if (!response.ok) throw new Error(await response.text());",
    TYPESCRIPT_RESULTS[result],
  ].join("\n");
}

/** Prints a response in Python, by kind of result. */
const PYTHON_RESULTS: Readonly<Record<Exclude<Result, "messages">, string>> = {
  json: "    print(json.load(response))",
  text: "    print(response.read().decode())",
  bytes: "    print(response.read())",
  stream: '    for line in response:\n        print(line.decode(), end="")',
  headers: "    print(response.headers)",
  status: "    print(response.status)",
};

function pythonOf(request: ExampleRequest, origin: string): string {
  const { method, target, contentType, body, result } = request;
  if (result === "messages") {
    const url = JSON.stringify(origin.replace(/^http/, "ws") + target);
    return "from websockets.sync.client import connect  # pip install websockets\n\n" +
      `with connect(${url}) as socket:\n` +
      "    for message in socket:\n        print(message)";
  }
  const needsJson = result === "json" || (body !== undefined && typeof body !== "string");
  const url = JSON.stringify(origin + target);
  const open = [`with urlopen(request) as response:`, PYTHON_RESULTS[result]];
  if (method === "GET") {
    open[0] = `with urlopen(${url}) as response:`;
    return [...imports(needsJson, "urlopen"), ...open].join("\n");
  }
  const options = [url, `method=${JSON.stringify(method)}`];
  if (contentType !== undefined) {
    options.push(`headers={"Content-Type": ${JSON.stringify(contentType)}}`);
  }
  if (body !== undefined) {
    const literal = pythonLiteral(body);
    options.push(`data=${typeof body === "string" ? literal : `json.dumps(${literal})`}.encode()`);
  }
  return [
    ...imports(needsJson, "Request, urlopen"),
    "request = Request(",
    ...options.map((option) => `    ${option},`),
    ")",
    ...open,
  ].join("\n");
}

function imports(needsJson: boolean, names: string): string[] {
  return [...needsJson ? ["import json"] : [], `from urllib.request import ${names}`, ""];
}

/** Writes a JSON value as a Python expression. The escape sequences of JSON strings are valid in Python. */
function pythonLiteral(value: unknown): string {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map(pythonLiteral).join(", ")}]`;
  if (typeof value !== "object") return JSON.stringify(value);
  const entries = Object.entries(value).map(([name, inner]) =>
    `${JSON.stringify(name)}: ${pythonLiteral(inner)}`
  );
  return `{${entries.join(", ")}}`;
}
