// Sends one HTTP request to a router's web server, over a new connection. `fetch` is unsuitable: it uses HTTP_PROXY,
// follows redirects to other hosts, and does not report the connection's local address.

import { Buffer } from "node:buffer";
import type { Endpoint } from "../../krpc/endpoint.ts";
import type { Clock } from "../../large_values/item_network.ts";
import { within } from "../clock.ts";

/** Maximum size of a response in bytes. Longer responses are rejected: no router sends them. */
const MAX_RESPONSE_BYTES = 256 * 1024;

/** Timeout for a response. Slow routers need several seconds to make a mapping. */
const WITHIN_MS = 6_000;

export interface HttpRequest {
  readonly server: Endpoint;
  readonly method: "GET" | "POST";
  /** The path and the query string, without control characters or spaces. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** Returns the response, or undefined if it is late, too long or not HTTP. Never rejects. */
export async function exchange(request: HttpRequest, clock: Clock) {
  const { host: hostname, port } = request.server;
  const connecting = Deno.connect({ hostname, port });
  try {
    return await within(clock, WITHIN_MS, connecting.then((conn) => converse(conn, request)));
  } catch {
    return undefined;
  } finally {
    void connecting.then((conn) => conn.close(), () => {});
  }
}

/** Sends the request and reads the response. `localAddress` in the result is our own address on this connection. */
async function converse(conn: Deno.Conn, request: HttpRequest) {
  const { server, method, path, headers = {}, body = "" } = request;
  const content = Buffer.from(body);
  const lines = [
    `${method} ${path} HTTP/1.1`,
    `Host: ${server}`,
    "User-Agent: dmnode UPnP/1.1",
    "Connection: close",
    ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
    ...(method === "POST" ? [`Content-Length: ${content.length}`] : []),
  ];
  // Send head and body in one write, because some routers read only the first packet.
  const bytes = Buffer.concat([Buffer.from(`${lines.join("\r\n")}\r\n\r\n`), content]);
  for (let sent = 0; sent < bytes.length;) sent += await conn.write(bytes.subarray(sent));

  const received = new Uint8Array(MAX_RESPONSE_BYTES);
  let length = 0, response: Parsed = "more";
  while (response === "more") {
    if (length === received.length) return undefined;
    const read = await conn.read(received.subarray(length));
    length += read ?? 0;
    response = parseResponse(received.subarray(0, length), read === null);
  }
  if (response === "invalid") return undefined;
  return { ...response, localAddress: (conn.localAddr as Deno.NetAddr).hostname };
}

type Parsed = { readonly status: number; readonly body: string } | "more" | "invalid";

/** Parses the response received so far (RFC 9112). `isEnd` means that the connection has ended. */
export function parseResponse(bytes: Uint8Array, isEnd: boolean): Parsed {
  const unfinished = isEnd ? "invalid" : "more";
  // Each byte becomes one character, so that offsets stay the same.
  const text = Buffer.from(bytes).toString("latin1");
  const headEnd = /\r?\n\r?\n/.exec(text);
  if (headEnd === null) return unfinished;
  const [statusLine, ...fields] = text.slice(0, headEnd.index).split(/\r?\n/);
  const status = Number(/^HTTP\/1\.[01] (\d{3})\b/.exec(statusLine)?.[1]);
  if (Number.isNaN(status)) return "invalid";
  const start = headEnd.index + headEnd[0].length;
  const field = (name: string) =>
    fields.find((line) => line.toLowerCase().startsWith(`${name}:`))?.slice(name.length + 1).trim();

  if (/\bchunked\b/i.test(field("transfer-encoding") ?? "")) {
    const content = unchunk(text, start);
    if (content === "more") return unfinished;
    return content === "invalid" ? content : { status, body: utf8(content.body) };
  }
  const stated = field("content-length");
  if (stated === undefined) {
    return isEnd ? { status, body: utf8(text.slice(start)) } : "more";
  }
  if (!/^\d{1,9}$/.test(stated)) return "invalid";
  const end = start + Number(stated);
  return text.length >= end ? { status, body: utf8(text.slice(start, end)) } : unfinished;
}

/** Decodes a chunked body that starts at `at`. Returns "more" if it is incomplete, or "invalid". */
function unchunk(text: string, at: number): { readonly body: string } | "more" | "invalid" {
  for (let body = "";;) {
    const start = text.indexOf("\n", at) + 1;
    if (start === 0) return "more";
    const size = /^\s*([0-9a-f]{1,6})\s*(;.*)?$/i.exec(text.slice(at, start).trimEnd())?.[1];
    if (size === undefined) return "invalid";
    const end = start + parseInt(size, 16);
    if (end === start) return { body };
    body += text.slice(start, end);
    at = text.indexOf("\n", end) + 1;
    if (at === 0) return "more";
  }
}

function utf8(text: string): string {
  return Buffer.from(text, "latin1").toString();
}
