// Request bodies: read within bounds of size, time and memory, then decoded into what is to be stored.

import type { z } from "@hono/zod-openapi";
import { Problem } from "./problems.ts";
import { decodeBase64, MAX_KEY_BYTES, SignedRequest, StoreQuery, StoreRequest } from "./schemas.ts";
import type { SignedItem } from "../runtime/service.ts";

/** Base64 grows a value by a third and escapes can double text; the rest is the object around it. */
export function jsonBodyLimit(maxValueSize: number): number {
  return 2 * maxValueSize + 4096;
}

/** A key, a signature, a salt and an item's value are under 2 KB of base64 together. */
export const SIGNED_BODY_LIMIT = 8192;

/** Tells a client that was refused for lack of room when to come again. */
export const RETRY = { "retry-after": "1" };

/**
 * Bytes a second that a client has to send while it is waited for. Twice what Apache asks for (RequestReadTimeout),
 * half of what the slowest mobile networks carry.
 */
const LEAST_RATE = 1000;

/** Reads request bodies, and counts the memory that all of them hold at a time. */
export class BodyReader {
  #held = 0;
  #isStopping = false;

  /**
   * @param budget bytes of all bodies in hand together
   * @param stallMs how long a client may send nothing, and how far it may fall behind 1,000 bytes a second
   * @param now milliseconds of a clock that never goes back
   */
  constructor(
    readonly budget: number,
    readonly stallMs: number,
    readonly now: () => number = () => performance.now(),
  ) {}

  /** From now on a body that ends early was not ended by its client. */
  stop(): void {
    this.#isStopping = true;
  }

  /** Reads the body of `request`, hands it to `use`, and lets go of it once that has settled. */
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
          throw new Problem(503, "Too many large requests at a time; try again.", {}, RETRY);
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

  /**
   * The body of `request` as it arrives; what of it is read counts for no budget.
   *
   * @throws {Problem} as soon as it is over `limit` bytes, stalls or breaks off
   */
  async *stream(request: Request, limit: number): AsyncGenerator<Uint8Array> {
    const encoding = request.headers.get("content-encoding") ?? "identity";
    if (encoding !== "identity") {
      throw new Problem(415, "A Content-Encoding is not supported; send the body as it is.");
    }
    const tooLarge = () => new Problem(413, `The body is over ${limit} bytes.`, { limit });
    if (Number(request.headers.get("content-length")) > limit) throw tooLarge();
    const reader = request.body?.getReader();
    try {
      for (let length = 0, behindMs = 0;;) {
        const asked = this.now();
        const chunk = reader && await this.#next(reader, this.stallMs - behindMs);
        if (chunk === undefined) return;
        // Only the time counts in which it was waited for, and a fast start is no credit for a slow end.
        behindMs = Math.max(0, behindMs + this.now() - asked - chunk.length / LEAST_RATE * 1000);
        if (behindMs > this.stallMs) throw tooSlow();
        length += chunk.length;
        if (length > limit) throw tooLarge();
        yield chunk;
      }
    } finally {
      reader?.cancel().catch(() => {});
    }
  }

  async #next(
    reader: ReadableStreamDefaultReader<Uint8Array>,
    withinMs: number,
  ): Promise<Uint8Array | undefined> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const stalled = new Promise<never>((_, reject) => {
      timer = setTimeout(
        () => reject(tooSlow()),
        withinMs,
      );
    });
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

function tooSlow(): Problem {
  return new Problem(408, "The body stalled, or came too slowly.");
}

/** Whether the body is declared as JSON, which is UTF-8 by definition (RFC 8259). */
export function isJson(contentType: string | undefined): boolean {
  const [type, ...parameters] = (contentType ?? "").toLowerCase().split(";").map((s) => s.trim());
  if (type !== "application/json") return false;
  const charset = parameters.find((parameter) => parameter.startsWith("charset="));
  if (charset !== undefined && !/^charset="?utf-?8"?$/.test(charset)) {
    throw new Problem(415, "JSON has to be UTF-8.");
  }
  return true;
}

/** The `?key=` of a store, or undefined. */
export function keyOfQuery(url: string): string | undefined {
  const { search, searchParams } = new URL(url);
  try {
    decodeURIComponent(search);
  } catch {
    // Else it would be stored under a key that nobody wrote.
    throw new Problem(400, "The query is not percent-encoded UTF-8.");
  }
  const keys = searchParams.getAll("key");
  if (keys.length > 1) throw new Problem(400, "query parameter key: given twice.");
  return keys[0];
}

/** @throws {Problem} where the query has a parameter twice */
export function refuseRepeated(url: string): void {
  const names = [...new URL(url).searchParams.keys()];
  const twice = names.find((name, i) => names.indexOf(name) < i);
  if (twice === undefined) return;
  throw new Problem(400, `query parameter ${twice.slice(0, 40)}: given twice.`);
}

/** What a store asks for beside its value, as it was given. */
export interface StoreTerms {
  readonly key?: string;
  readonly min_replicas?: number;
  readonly cas?: number;
}

/** What the query of a store says. */
export function termsOfQuery(url: string): StoreTerms {
  const key = keyOfQuery(url);
  const { searchParams } = new URL(url);
  const given = (name: string) => {
    const values = searchParams.getAll(name);
    if (values.length > 1) throw new Problem(400, `query parameter ${name}: given twice.`);
    return values[0];
  };
  const parsed = StoreQuery.safeParse({
    key,
    min_replicas: given("min_replicas"),
    cas: given("cas"),
  });
  if (!parsed.success) throw invalid("query", parsed.error);
  return parsed.data;
}

/** What is given in the body or in the query, and not in both. */
export function mergeTerms(body: StoreTerms, query: StoreTerms): StoreTerms {
  for (const name of ["key", "min_replicas", "cas"] as const) {
    if (body[name] !== undefined && query[name] !== undefined) {
      throw new Problem(400, `The ${name} is both in the body and in the query; give one.`);
    }
  }
  return {
    key: body.key ?? query.key,
    min_replicas: body.min_replicas ?? query.min_replicas,
    cas: body.cas ?? query.cas,
  };
}

/** The terms of a store, checked; `configured` is what the configuration says, `k` the most. */
export function checkTerms(
  { key, min_replicas: minReplicas, cas }: StoreTerms,
  configured: number,
  k: number,
): { key: string | null; options: { minReplicas: number; cas?: number } } {
  if (minReplicas !== undefined && minReplicas > k) {
    throw new Problem(
      400,
      `min_replicas: expected a whole number from 1 to ${k}, which is K_BUCKET_SIZE.`,
      { limit: k },
    );
  }
  if (cas !== undefined && key === undefined) {
    throw new Problem(400, "cas: only a value under a key has versions; give a key.");
  }
  return { key: checkKey(key), options: { minReplicas: minReplicas ?? configured, cas } };
}

/** What a JSON body of `POST /network/store` asks to store. */
export function decodeStore(body: Uint8Array): { value: Uint8Array; terms: StoreTerms } {
  const { value, encoding, ...terms } = validate(StoreRequest, parseJson(body));
  if (encoding === "base64") {
    const bytes = typeof value === "string" ? decodeBase64(value) : undefined;
    if (bytes === undefined) throw new Problem(400, "body member value: expected base64.");
    return { value: bytes, terms };
  }
  if (typeof value !== "string") return { value: memberText(body, "value"), terms };
  if (!value.isWellFormed()) throw new Problem(400, "body member value: a lone surrogate.");
  return { value: new TextEncoder().encode(value), terms };
}

/** A key that can be a salt; null for none. */
export function checkKey(key: string | undefined): string | null {
  if (key === undefined) return null;
  if (key === "") throw new Problem(400, "The key is empty; leave it out for an immutable value.");
  if (!key.isWellFormed()) throw new Problem(400, "The key has a lone surrogate.");
  const size = new TextEncoder().encode(key).length;
  if (size > MAX_KEY_BYTES) throw keyTooLong(size, MAX_KEY_BYTES);
  return key;
}

/** The header by which a client names its transfer, to know it among others. */
export const LABEL_HEADER = "x-transfer-label";

/** The label of a transfer; null for none. */
export function checkLabel(label: string | null): string | null {
  if (label === null || /^[!-~]{1,64}$/.test(label)) return label;
  throw new Problem(400, `${LABEL_HEADER} takes 1 to 64 visible ASCII characters without spaces.`);
}

/** The refusal of a key that is no salt. */
export function keyTooLong(size: number, limit: number): Problem {
  return new Problem(400, `The key has ${size} bytes of UTF-8; at most ${limit} are allowed.`, {
    size,
    limit,
  });
}

/** The item in a JSON body of `PUT /data/{hash}`, and how many nodes have to acknowledge it where that is said. */
export function decodeSigned(body: Uint8Array): { item: SignedItem; terms: StoreTerms } {
  const { k, sig, seq, salt, v, cas, min_replicas } = validate(SignedRequest, parseJson(body));
  const item = {
    publicKey: k,
    signature: sig,
    seq,
    // BEP 44 signs an absent salt and an empty one alike.
    salt: salt?.length ? salt : null,
    value: v,
    cas: cas ?? null,
  };
  return { item, terms: { min_replicas } };
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

function validate<T extends z.ZodType>(schema: T, document: unknown): z.output<T> {
  const parsed = schema.safeParse(document);
  if (parsed.success) return parsed.data;
  throw invalid("body", parsed.error);
}

/** The refusal of a part of the request that its schema does not take. */
export function invalid(part: "body" | "query" | "path", error: z.ZodError): Problem {
  const [issue] = error.issues;
  const { path } = issue;
  const noun = { body: "body member", query: "query parameter", path: "path parameter" }[part];
  const where = path.length === 0 ? part : `${noun} ${path.join(".")}`;
  return new Problem(400, `${where}: ${wordsOf(issue)}.`);
}

/** What zod says where a schema has no words of its own, in the words of the others. */
function wordsOf(issue: z.core.$ZodIssue): string {
  const { message } = issue;
  if (!/^(Invalid input|Invalid option|Too small|Too big|Unrecognized key)/.test(message)) {
    return message;
  }
  switch (issue.code) {
    case "invalid_type":
      if (message.endsWith("received undefined")) return "is missing";
      if (issue.expected === "int") return "expected a whole number";
      return `expected ${/^[aeiou]/.test(issue.expected) ? "an" : "a"} ${issue.expected}`;
    case "too_small":
      return `expected ${issue.minimum}${issue.origin === "string" ? " characters" : ""} or more`;
    case "too_big":
      return `expected ${issue.maximum}${issue.origin === "string" ? " characters" : ""} or less`;
    case "invalid_value":
      return `expected one of ${issue.values.join(", ")}`;
    case "unrecognized_keys":
      return `there is no ${issue.keys.map((key) => JSON.stringify(key.slice(0, 40))).join(", ")}`;
    default:
      return message;
  }
}

const QUOTE = 0x22, BACKSLASH = 0x5c, COMMA = 0x2c, COLON = 0x3a;
const OPEN_BRACE = 0x7b, CLOSE_BRACE = 0x7d, OPEN_BRACKET = 0x5b, CLOSE_BRACKET = 0x5d;

/**
 * The text of one member of the object that `json` holds, without white space between its tokens.
 *
 * Cut out instead of printed anew, because parsing would round long numbers and printing recurses: the nesting of
 * a stranger's JSON has no bound. The caller has checked that `json` is a valid object with such a member.
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
      if (inside) length = 0; // of two members with one name the last counts, as in JSON.parse
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
