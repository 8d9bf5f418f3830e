// Finds the URL and the token of a node's API. Refuses to send the token to another machine if the URL and the token
// have different sources.

import { readToken } from "../../config.ts";
import { isLoopbackHost } from "../../krpc/address_range.ts";
import { type FoundSetting, type Origin, readSecretFile, variables } from "../settings.ts";
import { presentLoopback } from "../../runtime/net/loopback.ts";
import { NO_PROXY_VARIABLES } from "../../runtime/process/permissions.ts";
import { UserError } from "../terminal/errors.ts";
import { stderr } from "../terminal/terminal.ts";

const DEFAULT_URL = "http://127.0.0.1:8080";

type Find = (name: string) => FoundSetting | undefined;

/** An API's URL, and the settings that it comes from. */
interface ChosenUrl {
  readonly url: string;
  readonly chosenBy: readonly (Pick<FoundSetting, "source" | "origin"> & { name: string })[];
}

/** A token, and the settings that it comes from. */
interface FoundToken extends FoundSetting {
  /** Whether the setting names a file with the token. */
  readonly isInFile: boolean;
}

/** The URL of an API, without a trailing slash, and the token to send there. */
export interface ApiTarget {
  readonly url: string;
  readonly token: Pick<FoundSetting, "text" | "source"> | undefined;
}

/**
 * Finds the API that a command should use. `api` is the URL that --api names, and `envFile` the file that --env-file
 * names.
 * @throws {UserError | ConfigError} if a setting is invalid, or the token must not be sent to the URL
 */
export function apiTarget(api: string | undefined, envFile: string | undefined): ApiTarget {
  const find = variables(envFile);
  const chosen: ChosenUrl = api === undefined ? urlOf(find) : {
    url: api,
    chosenBy: [{ name: "--api", source: "on the command line", origin: "command line" }],
  };
  if (socketOf(chosen.url) === undefined && isLoopbackUrl(chosen.url)) {
    bypassProxy(new URL(chosen.url).hostname);
  }
  const token = tokenOf(find);
  if (token !== undefined) refuseIfForeign(token, chosen);
  return { url: chosen.url, token };
}

function tokenOf(find: Find): FoundToken | undefined {
  const token = find("API_TOKEN"), file = find("API_TOKEN_FILE");
  if (token !== undefined) return { ...token, isInFile: false };
  if (file === undefined) return undefined;
  const { warning, ...read } = readToken(file, readSecretFile);
  if (warning !== undefined) stderr.write(`dmnode: ${warning}\n`);
  return { ...read, origin: file.origin, isInFile: true };
}

/**
 * Refuses to send a token to another machine if the token and the URL have different sources. Otherwise a .env in
 * somebody else's directory could send the user's token to a server of its author.
 */
function refuseIfForeign(token: FoundToken, { url, chosenBy }: ChosenUrl): void {
  if (isLoopbackUrl(url)) return;
  const foreign = chosenBy.find(({ origin }) => !isOfSameSource(token, origin));
  if (foreign === undefined) return;
  throw new UserError(
    `the API_TOKEN ${token.source} is not sent to ${url}, which ${foreign.name} ${foreign.source} ` +
      "names: set both in the environment, or both in a file that --env-file names",
    true,
  );
}

function isOfSameSource({ origin, isInFile }: FoundToken, urlOrigin: Origin): boolean {
  // The user typed the URL for this command, so send any token there, except one from the .env in the working
  // directory.
  if (urlOrigin === "command line") return origin !== "directory";
  // Don't send the token of a file that the .env only names. The author of the .env knows the text in it, but may not
  // know the content of that file.
  if (origin === "directory" && isInFile) return false;
  return origin === urlOrigin;
}

/**
 * Returns the URL in DMNODE_API, or else the URL that results from the node's own settings: API_SOCKET, or API_HOST and
 * API_PORT.
 */
function urlOf(find: Find): ChosenUrl {
  const given = find("DMNODE_API");
  if (given !== undefined) {
    const url = parseApiUrl(given.text);
    if (url !== undefined) return { url, chosenBy: [{ ...given, name: "DMNODE_API" }] };
    const text = JSON.stringify(given.text), expected = `expected a URL such as ${DEFAULT_URL}`;
    throw new UserError(`DMNODE_API: ${text} ${given.source}: ${expected}`, true);
  }
  const socket = find("API_SOCKET");
  if (socket !== undefined) {
    return { url: `${UNIX}${socket.text}`, chosenBy: [{ ...socket, name: "API_SOCKET" }] };
  }
  const host = find("API_HOST"), port = find("API_PORT");
  const url = urlAt(host?.text.split(",")[0].trim() ?? presentLoopback(), port?.text ?? "8080");
  const chosenBy = [
    ...(host === undefined ? [] : [{ ...host, name: "API_HOST" }]),
    ...(port === undefined ? [] : [{ ...port, name: "API_PORT" }]),
  ];
  if (parseApiUrl(url) !== undefined) return { url, chosenBy };
  throw new UserError(
    `API_HOST and API_PORT: ${JSON.stringify(url)} is not a URL: correct them`,
    true,
  );
}

function urlAt(host: string, port: string): string {
  if (port === "0") return DEFAULT_URL;
  if (host === "localhost") return urlAt(presentLoopback(), port);
  const isAny = host === "0.0.0.0" || host === "::";
  return `http://${isAny ? "127.0.0.1" : host.includes(":") ? `[${host}]` : host}:${port}`;
}

/**
 * Checks an API's URL, and removes trailing slashes. The URL may be unix: and the path of a socket. Returns undefined
 * for other URLs that are not HTTP(S), or have a user name, a password, a query or a fragment.
 */
export function parseApiUrl(text: string): string | undefined {
  if (socketOf(text) !== undefined) return text;
  if (!URL.canParse(text)) return undefined;
  const { protocol, username, password, search, hash } = new URL(text);
  const isHttp = protocol === "http:" || protocol === "https:";
  const isPlain = [username, password, search, hash].every((part) => part === "");
  return isHttp && isPlain ? text.replace(/\/+$/, "") : undefined;
}

/**
 * Makes requests to this machine ignore HTTP_PROXY and ALL_PROXY: a proxy elsewhere would look for
 * the node on its own machine. At the first request, Deno reads NO_PROXY or, if that is not set,
 * no_proxy.
 */
function bypassProxy(host: string): void {
  const hosts = Deno.env.get(NO_PROXY_VARIABLES[0]) ?? Deno.env.get(NO_PROXY_VARIABLES[1]);
  const own = host.replace(/^\[|\]$/g, "");
  Deno.env.set(NO_PROXY_VARIABLES[0], hosts ? `${hosts},${own}` : own);
}

/** The beginning of a URL that names a Unix socket. */
const UNIX = "unix:";

/**
 * The path of the Unix socket in a URL of the form unix:/path, unix:///path or unix:path; undefined
 * for other URLs.
 */
export function socketOf(url: string): string | undefined {
  return url.startsWith(UNIX)
    ? url.slice(UNIX.length).replace(/^\/\/(?=\/)/, "") || undefined
    : undefined;
}

/** Whether a URL names this machine: by a loopback address, as localhost, or by a Unix socket. */
export function isLoopbackUrl(url: string): boolean {
  return socketOf(url) !== undefined ||
    isLoopbackHost(new URL(url).hostname.replace(/^\[|\]$/g, ""));
}
