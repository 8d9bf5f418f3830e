// The tokens of the API with their scopes: a file with one line per token. The file contains only
// hashes of the tokens.

import { quote } from "./text.ts";

/** The permissions that a token can have. `admin` includes all other scopes. */
export const SCOPES = ["read", "store", "fetch", "admin"] as const;
export type Scope = typeof SCOPES[number];

/** The name of the file of tokens in DATA_DIR. API_TOKENS_FILE can name another file instead. */
export const API_TOKENS_NAME = "api_tokens";

/** Maximum number of tokens. Nobody manages more tokens by hand. */
const MAX_TOKENS = 1_000;

/** The maximum size of the file in bytes: 1,000 tokens with the longest names need about 200,000. */
export const MAX_API_TOKENS_BYTES = 1 << 18;

/** Maximum of a token's rate in requests per second. API_RATE_LIMIT has the same maximum. */
export const MAX_TOKEN_RATE = 1_000_000;

/** A token of the API. */
export interface ApiToken {
  readonly name: string;
  readonly scopes: readonly Scope[];
  /** Requests per second; 0 means no limit. */
  readonly rate: number;
  /** When the token expires, in ms since 1970; null means never. */
  readonly expiresAt: number | null;
  /** The SHA-256 of the token, in hex. A token has 256 random bits, so nobody can find the token by brute force. */
  readonly hash: string;
}

/** The first lines of a new file of tokens. */
export const API_TOKENS_HEAD =
  "# Tokens of the API: name, scopes, requests per second, expiry, and SHA-256 of the token.\n" +
  "# dmnode token changes this file. A running node reads it again at SIGHUP.\n";

/**
 * Whether a text can be the name of a token. A name must be readable in a log, and be one word in
 * the file. The name `API_TOKEN` is reserved for the token in the setting API_TOKEN.
 */
export function isTokenName(text: string): boolean {
  return text !== "API_TOKEN" && /^[A-Za-z0-9][\w.@-]{0,63}$/.test(text);
}

/**
 * Parses a list of scopes, such as `read,store`. Returns undefined if the list is empty or contains
 * an unknown scope.
 */
export function parseScopes(text: string): readonly Scope[] | undefined {
  const words = text.split(",").map((word) => word.trim());
  const scopes = SCOPES.filter((scope) => words.includes(scope));
  return words.every((word) => (SCOPES as readonly string[]).includes(word)) ? scopes : undefined;
}

/** Whether a token permits requests that need `scope`. */
export function permits({ scopes }: Pick<ApiToken, "scopes">, scope: Scope): boolean {
  return scopes.includes(scope) || scopes.includes("admin");
}

/** The line of a token in the file. */
export function lineOf({ name, scopes, rate, expiresAt, hash }: ApiToken): string {
  const expiry = expiresAt === null ? "never" : new Date(expiresAt).toISOString();
  return `${name} ${scopes.join()} ${rate} ${expiry} sha256:${hash}\n`;
}

/** Returns the tokens in the file's text, or an error message about the first bad line. */
export function parseApiTokens(text: string): readonly ApiToken[] | string {
  const tokens = new Map<string, ApiToken>();
  for (const [i, line] of text.split("\n").entries()) {
    const content = line.split("#")[0].trim();
    if (content === "") continue;
    const token = parseLine(content);
    if (typeof token === "string") return `line ${i + 1}: ${token}`;
    if (tokens.has(token.name)) return `line ${i + 1}: the name ${token.name} is used twice`;
    tokens.set(token.name, token);
    if (tokens.size > MAX_TOKENS) return `it has more than ${MAX_TOKENS} tokens`;
  }
  return [...tokens.values()];
}

function parseLine(line: string): ApiToken | string {
  const [name, scopeText = "", rateText = "", expiry = "", hashText = "", ...rest] = line.split(
    /\s+/,
  );
  const scopes = parseScopes(scopeText), rate = /^\d{1,7}$/.test(rateText) ? Number(rateText) : NaN;
  const expiresAt = expiry === "never" ? null : parseTime(expiry);
  const hash = /^sha256:([0-9a-f]{64})$/.exec(hashText)?.[1];
  if (!isTokenName(name)) return `${quote(name)} is no name of a token`;
  if (scopes === undefined) return `${quote(scopeText)}: expected scopes: ${SCOPES.join(", ")}`;
  if (!(rate <= MAX_TOKEN_RATE)) return `${quote(rateText)} is no number of requests per second`;
  if (expiresAt === undefined) return `${quote(expiry)} is neither never nor a time`;
  if (hash === undefined || rest.length > 0) return "expected sha256: and 64 hex digits at its end";
  return { name, scopes, rate, expiresAt, hash };
}

/**
 * Parses a date or time in the format of ISO 8601, which is in UTC unless it names a time zone.
 * Returns undefined for other text.
 */
export function parseTime(text: string): number | undefined {
  if (!/^\d{4}-\d\d-\d\d(T[\d:.]+(Z|[+-]\d\d:\d\d))?$/.test(text)) return undefined;
  const time = Date.parse(text);
  return Number.isNaN(time) ? undefined : time;
}
