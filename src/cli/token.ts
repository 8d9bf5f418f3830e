// `dmnode token`: adds, lists and revokes tokens of the API. A running node reads the file again at SIGHUP.

import { apiTokensPath, loadConfig } from "../config.ts";
import {
  API_TOKENS_HEAD,
  type ApiToken,
  isTokenName,
  lineOf,
  MAX_API_TOKENS_BYTES,
  parseApiTokens,
  type Scope,
} from "../config/api_tokens.ts";
import { quote } from "../config/text.ts";
import { digestHex } from "../digest.ts";
import { readEnvFile } from "./settings.ts";
import { explaining, UserError } from "./terminal/errors.ts";
import { printTable, right } from "./terminal/table.ts";
import { print, printJson, stderr } from "./terminal/terminal.ts";

interface TokenFlags {
  readonly dataDir?: string;
  readonly envFile?: string;
  readonly json?: boolean;
}

/** The number of random bytes in a token. */
const TOKEN_BYTES = 32;

/** The start of every token, by which people and scanners for secrets recognize it. */
const PREFIX = "dmt_";

/** A hint for the user. A node that was started without the file can't open it later. */
const RELOAD =
  "dmnode: a running node reads its tokens again at SIGHUP, if it was started with this file\n";

const ONLY_OWNER = 0o600;

/** Adds a token, and prints it. The token can't be shown again later. */
export async function addToken(
  name: string,
  { scope: scopes, rate, expires, json, ...flags }: TokenFlags & {
    readonly scope: readonly Scope[];
    readonly rate: number;
    /** The time at which the token expires, in ms since 1970. */
    readonly expires?: number;
  },
): Promise<void> {
  if (!isTokenName(name)) {
    const problem = `${quote(name)} is no name: use up to 64 letters, digits and . _ @ -`;
    throw new UserError(problem, true);
  }
  const path = pathOf(flags), { text, tokens } = read(path);
  if (tokens.some((token) => token.name === name)) {
    throw new UserError(`there is a token ${name}: revoke it first, or give another name`);
  }
  const secret = `${PREFIX}${base64Url(crypto.getRandomValues(new Uint8Array(TOKEN_BYTES)))}`;
  const hash = await digestHex("SHA-256", secret);
  const token = { name, scopes, rate, expiresAt: expires ?? null, hash };
  write(path, `${withNewline(text ?? API_TOKENS_HEAD)}${lineOf(token)}`);
  if (json) printJson({ token: secret, file: path, ...reportOf(token) });
  else print(secret);
  stderr.write(
    text === undefined
      ? `dmnode: ${path} is new: restart a running node. From then on, it needs a token\n`
      : RELOAD,
  );
}

/** Prints the name, the rights and the expiry of each token, but not the token itself. */
export function listTokens({ json, ...flags }: TokenFlags): void {
  const path = pathOf(flags), { tokens } = read(path);
  if (json) return printJson({ file: path, tokens: tokens.map(reportOf) });
  if (tokens.length === 0) return print(`${path} has no tokens`);
  const rows = tokens.map((token) => {
    const { name, scopes, rate, expires, expired } = reportOf(token);
    const expiry = expires === null ? "never" : expired ? `${expires} (expired)` : expires;
    return [name, scopes.join(), rate === 0 ? "-" : `${rate}`, expiry];
  });
  printTable(["name", "scopes", right("requests/s"), "expires"], rows);
}

/** Removes tokens from the file. */
export function revokeTokens(names: readonly string[], { json, ...flags }: TokenFlags): void {
  const path = pathOf(flags), { text = "", tokens } = read(path);
  const missing = names.find((name) => !tokens.some((token) => token.name === name));
  if (missing !== undefined) {
    throw new UserError(`${path} has no token ${quote(missing)}; nothing was changed`);
  }
  // Keep a file without tokens. Without the file, the API would be open to everybody on this
  // machine.
  write(
    path,
    text.split("\n").filter((line) => !names.includes(line.trim().split(/\s/)[0])).join("\n"),
  );
  if (json) return printJson({ file: path, revoked: names });
  print(`revoked ${names.join(", ")}`);
  stderr.write(RELOAD);
}

function reportOf({ name, scopes, rate, expiresAt }: ApiToken) {
  const expires = expiresAt === null ? null : new Date(expiresAt).toISOString();
  return { name, scopes, rate, expires, expired: expiresAt !== null && expiresAt <= Date.now() };
}

function pathOf({ dataDir, envFile }: TokenFlags): string {
  const names = ["DATA_DIR", "API_TOKENS_FILE"];
  return apiTokensPath(loadConfig({
    flags: { dataDir },
    // Pass only these variables, because invalid values of other settings should not matter here.
    env: Object.fromEntries(names.map((name) => [name, Deno.env.get(name)])),
    envFile: readEnvFile(envFile),
    envFileName: envFile,
  }));
}

function read(path: string): { text?: string; tokens: readonly ApiToken[] } {
  let text: string;
  try {
    text = Deno.readTextFileSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return { tokens: [] };
    return explaining(`${path} can't be read`, () => {
      throw error;
    });
  }
  const tokens = parseApiTokens(text);
  if (typeof tokens === "string") throw new UserError(`${path}: ${tokens}`);
  return { text, tokens };
}

function write(path: string, text: string): void {
  if (text.length > MAX_API_TOKENS_BYTES) throw new UserError(`${path} would be too long`);
  // A node must be able to read the file. It refuses too many tokens, for example.
  const tokens = parseApiTokens(text);
  if (typeof tokens === "string") throw new UserError(`${path}: ${tokens}`);
  explaining(`${path} can't be written`, () => {
    // Overwrite the file instead of replacing it, because a running node keeps it open.
    Deno.writeTextFileSync(path, text, { mode: ONLY_OWNER });
  });
}

function withNewline(text: string): string {
  return text === "" || text.endsWith("\n") ? text : `${text}\n`;
}

function base64Url(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_")
    .replaceAll("=", "");
}
