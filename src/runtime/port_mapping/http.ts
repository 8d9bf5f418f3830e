// One request to a router's web server, over a connection of its own. Not `fetch`: that goes through HTTP_PROXY where
// one is set, follows redirects to other hosts, and does not tell from which of our addresses the router is reached.

import type { Endpoint } from "../../krpc/endpoint.ts";
import type { Clock } from "../../data/item_network.ts";
import { within } from "./router.ts";

/** Answers longer than this are no router's. */
const MAX_RESPONSE_BYTES = 256 * 1024;

/** Slow routers take seconds to make a mapping. */
const WITHIN_MS = 6_000;

export interface HttpRequest {
  readonly server: Endpoint;
  readonly method: "GET" | "POST";
  /** With the query. No control characters and no spaces. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

export interface HttpResponse {
  readonly status: number;
  readonly body: string;
  /** The address of ours that the connection was made from. */
  readonly localAddress: string;
}

/** The answer; undefined where there was none in time, or none that is HTTP of a bearable length. Never rejects. */
export async function exchange(
  request: HttpRequest,
  clock: Clock,
): Promise<HttpResponse | undefined> {
  let conn: Deno.Conn | undefined, isOver = false;
  const run = async () => {
    const { host: hostname, port } = request.server;
    conn = await Deno.connect({ hostname, port });
    if (isOver) conn.close(); // it came too late
    else return await converse(conn, request);
  };
  try {
    return await within(clock, WITHIN_MS, run());
  } catch {
    return undefined;
  } finally {
    isOver = true;
    try {
      conn?.close();
    } catch {
      // Closed above.
    }
  }
}

async function converse(conn: Deno.Conn, request: HttpRequest): Promise<HttpResponse | undefined> {
  const { server, method, path, headers = {}, body = "" } = request;
  const content = new TextEncoder().encode(body);
  const lines = [
    `${method} ${path} HTTP/1.1`,
    `Host: ${server}`,
    "User-Agent: dmnode UPnP/1.1",
    "Connection: close",
    ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
    ...(method === "POST" ? [`Content-Length: ${content.length}`] : []),
  ];
  // In one piece: some routers read no further than the first packet.
  const head = new TextEncoder().encode(`${lines.join("\r\n")}\r\n\r\n`);
  const bytes = new Uint8Array(head.length + content.length);
  bytes.set(head);
  bytes.set(content, head.length);
  for (let sent = 0; sent < bytes.length;) sent += await conn.write(bytes.subarray(sent));

  const received = new Uint8Array(MAX_RESPONSE_BYTES);
  let length = 0, response: Parsed = "more";
  while (response === "more") {
    const read = length < received.length ? await conn.read(received.subarray(length)) : null;
    if (read === null && length === received.length) return undefined;
    length += read ?? 0;
    response = parseResponse(received.subarray(0, length), read === null);
  }
  if (response === "invalid") return undefined;
  return { ...response, localAddress: (conn.localAddr as Deno.NetAddr).hostname };
}

type Parsed = { readonly status: number; readonly body: string } | "more" | "invalid";

/** Reads a response as far as it has come (RFC 9112). `isEnd`: no more comes. */
export function parseResponse(bytes: Uint8Array, isEnd: boolean): Parsed {
  const unfinished = isEnd ? "invalid" : "more";
  const text = latin1(bytes);
  const headEnd = /\r?\n\r?\n/.exec(text);
  if (headEnd === null) return unfinished;
  const [statusLine, ...fields] = text.slice(0, headEnd.index).split(/\r?\n/);
  const status = Number(/^HTTP\/1\.[01] (\d{3})\b/.exec(statusLine)?.[1]);
  if (Number.isNaN(status)) return "invalid";
  const start = headEnd.index + headEnd[0].length;
  const field = (name: string) =>
    fields.find((line) => line.toLowerCase().startsWith(`${name}:`))?.slice(name.length + 1).trim();

  if (/\bchunked\b/i.test(field("transfer-encoding") ?? "")) {
    const body = unchunk(text, start);
    return typeof body === "string" ? { status, body: utf8(body) } : body ? unfinished : "invalid";
  }
  const stated = field("content-length");
  if (stated === undefined) {
    return isEnd ? { status, body: utf8(text.slice(start)) } : "more";
  }
  if (!/^\d{1,9}$/.test(stated)) return "invalid";
  const end = start + Number(stated);
  return text.length >= end ? { status, body: utf8(text.slice(start, end)) } : unfinished;
}

/** The chunks from `at` put together; whether more may come where the last one is not there yet. */
function unchunk(text: string, at: number): string | boolean {
  let body = "";
  for (;;) {
    const lineEnd = text.indexOf("\n", at);
    if (lineEnd < 0) return true;
    const size = /^([0-9a-f]{1,6})\s*(;.*)?$/i.exec(text.slice(at, lineEnd).trim())?.[1];
    if (size === undefined) return false;
    const length = parseInt(size, 16), start = lineEnd + 1;
    if (length === 0) return body;
    if (text.length < start + length) return true;
    body += text.slice(start, start + length);
    at = text.indexOf("\n", start + length) + 1;
    if (at === 0) return true;
  }
}

/** A character for each byte: offsets stay those of the bytes. */
function latin1(bytes: Uint8Array): string {
  let text = "";
  for (let i = 0; i < bytes.length; i += 8192) {
    text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  }
  return text;
}

function utf8(text: string): string {
  return new TextDecoder().decode(Uint8Array.from(text, (c) => c.charCodeAt(0)));
}
