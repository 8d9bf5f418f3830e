// Reads request bodies within limits on size, time and memory, and validates requests.

import { z } from "zod";
import { release } from "../krpc/release.ts";
import { parseSeq, type Seq } from "../krpc/seq.ts";
import { isSealKey } from "../web/seal.js";
import { Problem } from "./problems.ts";
import {
  AnnounceRequest,
  decodeBase64,
  MagnetRequest as MagnetBody,
  MAX_KEY_BYTES,
  PinRequest as PinBody,
  type SignedQuery,
  SignedRequest,
  StoreRequest,
} from "./schemas.ts";
import type { AnnounceOptions, PinRequest, SignedItem } from "../node_service.ts";

/** Maximum bytes of a signed item's JSON. Its key, signature, salt and value need less than 2 kB of base64. */
export const SIGNED_BODY_LIMIT = 8192;

/** The header that asks a client to retry after a second. By then, the memory budget may have room for the request. */
export const RETRY = { headers: { "retry-after": "1" } };

/**
 * Minimum upload rate in bytes per second: twice the default of Apache (RequestReadTimeout), and half the rate of a
 * slow mobile network.
 */
const MIN_RATE = 1000;

/** Reads request bodies within one shared memory budget. */
export class BodyReader {
  #held = 0;
  #isStopping = false;

  /**
   * `budget` is the maximum number of bytes of all bodies in memory. `stallMs` is the maximum time in milliseconds by
   * which an upload may lag behind MIN_RATE.
   */
  constructor(
    readonly budget: number,
    readonly stallMs: number,
    readonly now: () => number = () => performance.now(),
  ) {}

  /**
   * Records that the node is stopping. From now on, a body that ends early causes the status 503
   * instead of 400, which would blame the client.
   */
  stop(): void {
    this.#isStopping = true;
  }

  /** Reads the body of `request` and passes it to `use`. Releases the memory when `use` has settled. */
  async read<T>(
    request: Request,
    limit: number,
    use: (body: Uint8Array) => T | Promise<T>,
  ): Promise<T> {
    const chunks: Uint8Array[] = [];
    let length = 0;
    try {
      for await (const chunk of this.stream(request, limit)) {
        length += chunk.length;
        this.#held += chunk.length;
        if (this.#held > this.budget) {
          throw new Problem(503, "Too many large requests at a time; try again.", RETRY);
        }
        chunks.push(chunk);
      }
      const body = new Uint8Array(length);
      let at = 0;
      for (const chunk of chunks.splice(0)) {
        body.set(chunk, at);
        at += chunk.length;
      }
      return await use(body);
    } finally {
      this.#held -= length;
    }
  }

  /** Yields the body without counting it in `budget`. Throws a Problem if it is over `limit`, stalls or ends early. */
  async *stream(request: Request, limit: number): AsyncGenerator<Uint8Array> {
    const encoding = request.headers.get("content-encoding") ?? "identity";
    if (encoding !== "identity") {
      throw new Problem(415, "Content-Encoding is not supported; send the body without it.");
    }
    if (Number(request.headers.get("content-length")) > limit) throw bodyTooLarge(limit);
    const reader = request.body?.getReader();
    try {
      for (let length = 0, behindMs = 0;;) {
        const asked = this.now();
        const chunk = reader && await this.#next(reader, this.stallMs - behindMs);
        if (chunk === undefined) return;
        // Compute by how much the client lags behind MIN_RATE. Count only the time spent waiting for the client. A fast
        // start does not allow the client to be slow later.
        behindMs = Math.max(0, behindMs + this.now() - asked - chunk.length / MIN_RATE * 1000);
        if (behindMs > this.stallMs) throw tooSlow();
        length += chunk.length;
        if (length > limit) throw bodyTooLarge(limit);
        yield inOwnBuffer(chunk);
      }
    } finally {
      reader?.cancel().catch(() => {});
    }
  }

  async #next(
    reader: ReadableStreamDefaultReader<Uint8Array>,
    withinMs: number,
  ): Promise<Uint8Array | undefined> {
    const { promise: stalled, reject } = Promise.withResolvers<never>();
    const timer = setTimeout(() => reject(tooSlow()), withinMs);
    try {
      return (await Promise.race([reader.read(), stalled])).value;
    } catch (error) {
      if (error instanceof Problem) throw error;
      if (this.#isStopping) throw new Problem(503, "The node is stopping.");
      throw new Problem(400, "The body ended early.");
    } finally {
      clearTimeout(timer);
    }
  }
}

/**
 * Moves a chunk into a buffer of its own size. Deno.serve reads each chunk into a new buffer of 64
 * KiB, even if the chunk has one byte. This frees that buffer, which would otherwise wait for the
 * garbage collector.
 */
function inOwnBuffer(chunk: Uint8Array): Uint8Array {
  if (chunk.length === chunk.buffer.byteLength) return chunk;
  const moved = chunk.slice();
  release(new Uint8Array(chunk.buffer));
  return moved;
}

interface JsonBodies<T> {
  /** The name of the body, used in the error about a wrong content type. For example "A pin". */
  readonly name: string;
  /** Maximum bytes of a body. */
  readonly limit: number;
  readonly decode: (body: Uint8Array) => T;
  /** Whether an empty body may come without a content type. */
  readonly mayBeEmpty?: boolean;
}

/** Returns a function that reads and decodes the JSON body of a request. */
export function jsonBodies<T>(
  { stallMs, stopping }: { readonly stallMs: number; readonly stopping: AbortSignal },
  { name, limit, decode, mayBeEmpty = false }: JsonBodies<T>,
): (request: Request) => Promise<T> {
  const bodies = new BodyReader(64 * limit, stallMs);
  stopping.addEventListener("abort", () => bodies.stop());
  return (request) =>
    bodies.read(request, limit, (body) => {
      const isChecked = body.length > 0 || !mayBeEmpty;
      if (isChecked && !isJson(request.headers.get("content-type") ?? undefined)) {
        throw new Problem(415, `${name} must be sent as application/json.`);
      }
      return decode(body);
    });
}

function tooSlow(): Problem {
  return new Problem(408, "The body stalled, or arrived too slowly.");
}

/**
 * Whether the content type is JSON. Throws a Problem if it names a charset other than UTF-8 (RFC 8259), or if the body
 * is a form: the parts of the form would be stored together with their boundaries.
 */
export function isJson(contentType: string | undefined): boolean {
  const [type, ...parameters] = (contentType ?? "").toLowerCase().split(";").map((s) => s.trim());
  if (type.startsWith("multipart/")) {
    throw new Problem(
      415,
      "Send the value itself as the body, not as a form (curl --data-binary @FILE).",
    );
  }
  if (type !== "application/json") return false;
  const charset = parameters.find((parameter) => parameter.startsWith("charset="));
  if (charset !== undefined && !/^charset="?utf-?8"?$/.test(charset)) {
    throw new Problem(415, "JSON must be UTF-8.");
  }
  return true;
}

/** Reads a URL's query. Throws a Problem if a parameter is repeated, or is not one of `names`. */
export function queryOf(url: string, names: readonly string[]): Record<string, string> {
  const { search, searchParams } = new URL(url);
  try {
    decodeURIComponent(search);
  } catch {
    // URLSearchParams would replace malformed bytes, and the value would be stored under the wrong key.
    throw new Problem(400, "The query is not percent-encoded UTF-8.");
  }
  refuseRepeated(url);
  const unknown = [...searchParams.keys()].find((name) => !names.includes(name));
  if (unknown === undefined) return Object.fromEntries(searchParams);
  const known = names.length === 0 ? "there are none here" : `there are ${names.join(", ")}`;
  throw new Problem(400, `query parameter ${unknown.slice(0, 40)}: unknown; ${known}.`);
}

/** Throws a Problem if the query repeats a parameter. */
export function refuseRepeated(url: string): void {
  const given = [...new URL(url).searchParams.keys()];
  const twice = given.find((name, i) => given.indexOf(name) < i);
  if (twice === undefined) return;
  throw new Problem(400, `query parameter ${twice.slice(0, 40)}: given twice.`);
}

/** The parameters of a store request besides its value, as the client sent them. */
export interface StoreTerms {
  readonly key?: string;
  readonly min_replicas?: number;
  readonly cas?: Seq;
  readonly ttl?: number;
  readonly seal?: boolean;
}

/** Reads the parameters of a store request from the query of its URL. */
export function termsOfQuery(url: string, schema: typeof SignedQuery): StoreTerms {
  return validate("query", schema, queryOf(url, Object.keys(schema.shape)));
}

/** Merges the parameters of a store request from its body and its query. Throws a Problem if a parameter is in both. */
export function mergeTerms(body: StoreTerms, query: StoreTerms): StoreTerms {
  const twice = Object.keys(body).find((name) => Object.hasOwn(query, name));
  if (twice === undefined) return { ...body, ...query };
  throw new Problem(400, `The ${twice} is both in the body and in the query; give only one.`);
}

/** Checks the parameters of a store request. `configured` is the default for min_replicas, and `k` its maximum. */
export function checkTerms(
  { key, min_replicas: minReplicas, cas, ttl }: StoreTerms,
  configured: number,
  k: number,
): { key: string | null; options: { minReplicas: number; cas?: Seq; ttl?: number } } {
  if (minReplicas !== undefined && minReplicas > k) {
    const expected = `a whole number from 1 to ${k}, which is K_BUCKET_SIZE`;
    throw new Problem(400, `min_replicas: expected ${expected}.`, { extension: { limit: k } });
  }
  if (cas !== undefined && key === undefined) {
    throw new Problem(400, "cas: only a value under a key has versions; give a key.");
  }
  return { key: checkKey(key), options: { minReplicas: minReplicas ?? configured, cas, ttl } };
}

/** Decodes the JSON body of `POST /network/store`. */
export function decodeStore(body: Uint8Array): { value: Uint8Array; terms: StoreTerms } {
  const { value, encoding, ...terms } = validate("body", StoreRequest, parseBody(body));
  if (encoding === "base64") {
    const bytes = typeof value === "string" ? decodeBase64(value) : undefined;
    if (bytes === undefined) throw new Problem(400, "body member value: expected base64.");
    return { value: bytes, terms };
  }
  if (typeof value !== "string") return { value: memberText(body, "value"), terms };
  if (!value.isWellFormed()) throw new Problem(400, "body member value: a lone surrogate.");
  return { value: new TextEncoder().encode(value), terms };
}

/** Returns the key, or null if there is none. Throws a Problem if the key is invalid. */
export function checkKey(key: string | undefined): string | null {
  if (key === undefined) return null;
  if (key === "") throw new Problem(400, "The key is empty; leave it out for an immutable value.");
  if (!key.isWellFormed()) throw new Problem(400, "The key has a lone surrogate.");
  const size = new TextEncoder().encode(key).length;
  if (size > MAX_KEY_BYTES) throw keyTooLong(size, MAX_KEY_BYTES);
  return key;
}

/** The request header in which a client gives a transfer a label. */
export const LABEL_HEADER = "x-transfer-label";

/**
 * The request header with the key of a sealed value. It is not a query parameter, because URLs
 * appear in logs and in the browser's history.
 */
export const SEAL_KEY_HEADER = "x-seal-key";

/** The key of a sealed value in a request; null if there is none. Throws a Problem if it is invalid. */
export function sealKeyOf({ headers }: Request): string | null {
  const key = headers.get(SEAL_KEY_HEADER);
  if (key === null || isSealKey(key)) return key;
  const expected = "expected the 22 characters after # in the value's link";
  throw new Problem(400, `${SEAL_KEY_HEADER}: ${expected}.`);
}

/** Returns the label of a transfer. Throws a Problem if the label is invalid. */
export function checkLabel(label: string | null): string | null {
  if (label === null || /^[!-~]{1,64}$/.test(label)) return label;
  const expected = "expected 1 to 64 visible ASCII characters without spaces";
  throw new Problem(400, `${LABEL_HEADER}: ${expected}.`);
}

/** Announces the length of a body that is sent without Content-Length, as streaming clients send it. */
export const LENGTH_HEADER = "x-transfer-length";

/**
 * The length of a body as announced by its client; null if it announced none. Throws a Problem if the length is invalid
 * or over `limit`.
 */
export function announcedLength({ headers }: Request, limit: number): number | null {
  const given = headers.get("content-length") ?? headers.get(LENGTH_HEADER);
  if (given === null) return null;
  if (!/^\d{1,15}$/.test(given)) {
    throw new Problem(400, `${LENGTH_HEADER}: expected a number of bytes.`);
  }
  if (Number(given) > limit) throw bodyTooLarge(limit);
  return Number(given);
}

function bodyTooLarge(limit: number): Problem {
  return new Problem(413, `The body is over ${limit} bytes.`, { extension: { limit } });
}

/** The error for a key that is too long to be the salt of an item (BEP 44). */
export function keyTooLong(size: number, limit: number): Problem {
  const detail = `The key has ${size} bytes of UTF-8; at most ${limit} are allowed.`;
  return new Problem(400, detail, { extension: { size, limit } });
}

/** Decodes the JSON body of `PUT /data/{hash}`. */
export function decodeSigned(body: Uint8Array): { item: SignedItem; terms: StoreTerms } {
  const { k, sig, seq, salt, v, cas, ...terms } = validate("body", SignedRequest, parseBody(body));
  const item = {
    publicKey: k,
    signature: sig,
    seq,
    // BEP 44 signs an empty salt like a missing one.
    salt: salt?.length ? salt : null,
    value: v,
    cas: cas ?? null,
  };
  return { item, terms };
}

/** Decodes the JSON body of `POST /network/pin`. */
export function decodePin(body: Uint8Array): PinRequest {
  const { hash, key, public_key, ttl } = validate("body", PinBody, parseBody(body));
  return { hash, key: key ?? null, publicKey: public_key?.toLowerCase(), ttl };
}

/** Decodes the JSON body of `POST /network/magnets`. */
export function decodeMagnet(body: Uint8Array): {
  infoHash: string;
  key: string;
  terms: StoreTerms;
} {
  const { info_hash: infoHash, key, ...terms } = validate("body", MagnetBody, parseBody(body));
  return { infoHash, key, terms };
}

/**
 * Decodes the JSON body of `POST /network/swarms/{info_hash}`. An empty body has the same meaning as an empty object.
 */
export function decodeAnnounce(body: Uint8Array): AnnounceOptions {
  const given = body.length === 0 ? {} : parseBody(body);
  const { port = null, seed: isSeed = false } = validate("body", AnnounceRequest, given);
  return { port, isSeed };
}

/** Parses a body. Its members `seq` and `cas` keep all their digits, which JSON.parse would round beyond 2^53. */
function parseBody(body: Uint8Array): unknown {
  const value = parseJson(body);
  if (typeof value !== "object" || value === null) return value;
  const members = value as Record<string, unknown>;
  for (const name of ["seq", "cas"]) {
    if (typeof members[name] !== "number" || Number.isSafeInteger(members[name])) continue;
    const exact = parseSeq(new TextDecoder().decode(memberText(body, name)));
    if (exact !== undefined) members[name] = exact;
  }
  return value;
}

function parseJson(body: Uint8Array): unknown {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(body);
  } catch {
    throw new Problem(400, "The body is not UTF-8.");
  }
  try {
    return JSON.parse(text);
  } catch (error) {
    const reason = error instanceof SyntaxError ? error.message : "too deep or too long";
    throw new Problem(400, `The body is not JSON: ${reason.slice(0, 200)}.`);
  }
}

/** Parses a part of a request with its schema. Throws a Problem if the part does not match. */
export function validate<T extends z.ZodType>(
  part: RequestPart,
  schema: T,
  value: unknown,
): z.output<T> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw invalid(part, parsed.error);
}

type RequestPart = "body" | "query" | "path";

/** The error for a part of a request that does not match its schema. */
export function invalid(part: RequestPart, error: z.ZodError): Problem {
  const [issue] = error.issues;
  const { path } = issue;
  const noun = { body: "body member", query: "query parameter", path: "path parameter" }[part];
  const where = path.length === 0 ? part : `${noun} ${path.join(".")}`;
  return new Problem(400, `${where}: ${issue.message}.`);
}

/** Default error messages, for schemas that define none of their own. */
z.config({
  customError: (issue) => {
    switch (issue.code) {
      case "invalid_type":
        if (issue.input === undefined) return "is missing";
        if (issue.expected === "int") return "expected a whole number";
        return `expected ${/^[aeiou]/.test(issue.expected) ? "an" : "a"} ${issue.expected}`;
      case "too_small":
        return `expected ${issue.minimum}${unitOf(issue)} or more`;
      case "too_big":
        return `expected ${issue.maximum}${unitOf(issue)} or less`;
      case "invalid_value":
        return `expected one of ${issue.values.join(", ")}`;
      case "unrecognized_keys":
        return `unknown: ${issue.keys.map((key) => JSON.stringify(key.slice(0, 40))).join(", ")}`;
    }
  },
});

function unitOf({ origin }: { readonly origin: string }): string {
  return origin === "string" ? " characters" : "";
}

const QUOTE = 0x22, BACKSLASH = 0x5c, COMMA = 0x2c, COLON = 0x3a;
const OPEN_BRACE = 0x7b, CLOSE_BRACE = 0x7d, OPEN_BRACKET = 0x5b, CLOSE_BRACKET = 0x5d;

/**
 * Returns the JSON text of a member, without white space between tokens. `json` must be an object with this member.
 * Serializing the parsed value instead would round long numbers, and overflow the stack on deep nesting.
 */
export function memberText(json: Uint8Array, name: string): Uint8Array {
  const out = new Uint8Array(json.length);
  let length = 0, depth = 0, key: string | undefined, inside = false;
  for (let at = startOfText(json); at < json.length; at++) {
    const byte = json[at];
    if (byte <= 0x20) continue;
    if (byte === QUOTE) {
      const end = endOfString(json, at);
      const string = json.subarray(at, end + 1);
      if (inside) {
        out.set(string, length);
        length += string.length;
      } else if (depth === 1) key = JSON.parse(new TextDecoder().decode(string));
      at = end;
      continue;
    }
    if (depth === 1 && byte === COLON) {
      inside = key === name;
      if (inside) length = 0; // the last of several members with the same name wins, as in JSON.parse
      continue;
    }
    if (depth === 1 && (byte === COMMA || byte === CLOSE_BRACE)) inside = false;
    if (byte === OPEN_BRACE || byte === OPEN_BRACKET) depth++;
    if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) depth--;
    if (inside) out[length++] = byte;
  }
  return out.slice(0, length);
}

function startOfText(json: Uint8Array): number {
  return json[0] === 0xef && json[1] === 0xbb && json[2] === 0xbf ? 3 : 0;
}

function endOfString(json: Uint8Array, start: number): number {
  let at = start + 1;
  while (json[at] !== QUOTE && at < json.length) at += json[at] === BACKSLASH ? 2 : 1;
  return at;
}
