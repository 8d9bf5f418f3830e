// What a node is told: command line, environment and .env, validated into one frozen Config.

import { parse as parseDotenv } from "dotenv";
import { z } from "zod";
import { type AddressRange, isLoopbackHost } from "./krpc/address_range.ts";
import { Endpoint } from "./krpc/endpoint.ts";

/** A bad setting. The message is one line that names the variable, the value and what is allowed. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
}

/** Where a bootstrap node listens; the host may be a name. IPv6 hosts carry no brackets. */
export interface HostPort {
  readonly host: string;
  readonly port: number;
}

/** One entry of `--allow-net=…`. A name stands for whatever it resolves to. */
export type NetEntry = AddressRange | { readonly kind: "host"; readonly name: string };

/** Whom the node may exchange packets with. */
export type NetScope =
  | { readonly mode: "loopback" }
  | { readonly mode: "any" }
  | { readonly mode: "list"; readonly entries: readonly NetEntry[] };

/** The configuration in force, deeply frozen. */
export interface Config {
  readonly p2pPort: number;
  readonly p2pHost: string;
  readonly bootstrapNodes: readonly HostPort[];
  readonly bucketSize: number;
  /** Nodes that have to acknowledge a store, unless it says otherwise. */
  readonly minReplicas: number;
  /** Contacts of one public /24 or /64 in a bucket, and by halves in a lookup; 0: any number. */
  readonly maxPerSubnet: number;
  readonly alpha: number;
  readonly healthCheckIntervalMs: number;
  readonly apiHost: string;
  readonly apiPort: number;
  /** Null where no token is asked for. */
  readonly apiToken: string | null;
  /** Whether what only reads needs no token for other machines; for this one, on loopback, it never does. */
  readonly apiOpenReads: boolean;
  /** Names beside its own under which browsers and proxies may ask for the API, in lower case. */
  readonly apiAllowedHosts: readonly string[];
  /** Requests a second that one client may send, those among them that send packets; 0: any number. */
  readonly apiRateLimit: number;
  readonly apiSendRateLimit: number;
  /** Connections to the API at a time. */
  readonly apiMaxConnections: number;
  /** Whose X-Forwarded-For tells the client's address. */
  readonly apiTrustedProxies: readonly AddressRange[];
  readonly dataDir: string;
  readonly logLevel: "trace" | "debug" | "info" | "warning" | "error";
  /** Null: pretty on a terminal, json otherwise. */
  readonly logFormat: "pretty" | "json" | null;
  readonly maxValueSize: number;
  readonly storageLimit: number;
  readonly nat: "auto" | "off";
  /** Bytes a second of messages between nodes behind NATs that are passed on. */
  readonly relay: number;
  readonly allowNet: NetScope;
  /** Settings that look wrong but don't stop the start, one line each. */
  readonly warnings: readonly string[];
}

/** Text a user can give for one variable, and how it is explained. */
export interface Setting {
  readonly name: string;
  /** Null where there is no flag: a secret would show in the process list. */
  readonly flag: string | null;
  /** As it would be written in `.env`; empty for none. */
  readonly default: string;
  readonly meaning: string;
  /** All that it takes, where that are few words. */
  readonly choices: readonly string[] | undefined;
}

/** What loadConfig reads; nothing else is looked at. */
export interface ConfigSources {
  /** By the flag's name in camel case (`--p2p-port` is `p2pPort`), as Commander's `opts()` gives them. */
  readonly flags?: Readonly<Record<string, unknown>>;
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** The text of the .env file, if there is one. */
  readonly envFile?: string;
  /** How messages call that file. */
  readonly envFileName?: string;
  /** Reads the file that API_TOKEN_FILE names; throws where it can't. */
  readonly readFile?: (path: string) => string;
}

// Buckets beyond this make one find_node reply a table dump; Kademlia's own k is 20.
const MAX_BUCKET_SIZE = 128;
// More queries in flight only add load: every node asked past the answer is wasted.
const MAX_ALPHA = 16;
const MAX_HEALTH_CHECK_INTERVAL_S = 86_400;
// A value is held in memory whole, and as JSON text doubled: V8's strings end at 512 MiB.
const MAX_MAX_VALUE_SIZE = 256 * 1024 * 1024;
const MAX_STORAGE_LIMIT = Number.MAX_SAFE_INTEGER;
/** A gigabit a second is more than any node should do for others. */
const MAX_RELAY = 125_000_000;
// Shorter tokens on a reachable address can be guessed within days.
const SHORT_TOKEN = 16;
// More than one machine answers; it only keeps what is typed wrong from meaning no limit.
const MAX_RATE = 1_000_000;
// Each takes up to three file descriptors; systems give a process some tens of thousands.
const MAX_CONNECTIONS = 20_000;

const LOG_LEVELS = ["trace", "debug", "info", "warning", "error"] as const;
const LOG_FORMATS = ["pretty", "json"] as const;
const NAT_MODES = ["auto", "off"] as const;

/** A setting's text turned into its value; `accept` yields undefined for text outside `allowed`. */
function setting<T>(allowed: string, accept: (text: string) => T | undefined) {
  return z.string().transform((text, context): T => {
    const value = accept(text.trim());
    if (value !== undefined) return value;
    context.addIssue({ code: "custom", message: `expected ${allowed}` });
    return z.NEVER;
  });
}

function wholeNumber(min: number, max: number, unit = "") {
  return setting(`a whole number${unit} from ${min} to ${max}`, (text) => {
    // Number() takes 1e3, 0x10 and the empty string, which nobody means here.
    const value = /^\d{1,16}$/.test(text) ? Number(text) : NaN;
    return value >= min && value <= max ? value : undefined;
  });
}

function oneOf<const T extends string>(choices: readonly T[]) {
  const last = choices.at(-1);
  return setting(
    `${choices.slice(0, -1).join(", ")} or ${last}`,
    (text) => choices.find((choice) => choice === text.toLowerCase()),
  );
}

/** A path; the empty text is `empty`. */
function filePath(empty?: string) {
  return setting("a path without control characters", (text) => {
    if (text === "") return empty;
    return /\p{Cc}/u.test(text) ? undefined : text;
  });
}

/** Entries that are apart by commas; `parse` yields what is wrong with one as text. */
function entries<T extends object>(parse: (entry: string) => T | string) {
  return z.string().transform((text, context): T[] => {
    const parsed: T[] = [];
    for (const entry of list(text)) {
      const result = parse(entry);
      if (typeof result === "string") {
        context.addIssue({ code: "custom", message: `${quote(entry)} ${result}` });
        return z.NEVER;
      }
      parsed.push(result);
    }
    return parsed;
  });
}

const schema = z.object({
  P2P_PORT: wholeNumber(0, 65535),
  P2P_HOST: setting("an IPv4 or IPv6 address", parseAddress),
  BOOTSTRAP_NODES: entries(parseHostPort).transform((nodes) => [
    ...new Map(nodes.map((node) => [`${node.host} ${node.port}`, node])).values(),
  ]),
  K_BUCKET_SIZE: wholeNumber(1, MAX_BUCKET_SIZE),
  MIN_REPLICAS: wholeNumber(1, MAX_BUCKET_SIZE),
  ALPHA: wholeNumber(1, MAX_ALPHA),
  MAX_PER_SUBNET: wholeNumber(0, MAX_BUCKET_SIZE),
  HEALTH_CHECK_INTERVAL: wholeNumber(1, MAX_HEALTH_CHECK_INTERVAL_S, " of seconds"),
  API_HOST: setting(
    "an IPv4 or IPv6 address or a host name",
    (text) => parseAddress(text) ?? parseName(text),
  ),
  API_PORT: wholeNumber(0, 65535),
  API_TOKEN: setting(
    "at most 1024 visible ASCII characters without spaces",
    (text) => /^[!-~]{0,1024}$/.test(text) ? text : undefined,
  ),
  API_TOKEN_FILE: filePath(""),
  API_OPEN_READS: oneOf(["true", "false"]),
  API_ALLOWED_HOSTS: entries((entry) => {
    const name = parseName(entry) ?? parseAddress(entry);
    return name === undefined
      ? "is none; expected host names or addresses without ports"
      : { name };
  }),
  API_TRUSTED_PROXIES: entries((entry) => {
    const range = parseRange(entry);
    return typeof range === "string" ? `${range}; expected addresses or CIDRs` : range;
  }),
  API_RATE_LIMIT: wholeNumber(0, MAX_RATE),
  API_SEND_RATE_LIMIT: wholeNumber(0, MAX_RATE),
  API_MAX_CONNECTIONS: wholeNumber(1, MAX_CONNECTIONS),
  DATA_DIR: filePath(),
  LOG_LEVEL: oneOf(LOG_LEVELS),
  LOG_FORMAT: setting(
    "pretty, json or nothing",
    (text) => (["", ...LOG_FORMATS] as const).find((format) => format === text.toLowerCase()),
  ),
  MAX_VALUE_SIZE: wholeNumber(1, MAX_MAX_VALUE_SIZE, " of bytes"),
  STORAGE_LIMIT: wholeNumber(0, MAX_STORAGE_LIMIT, " of bytes"),
  NAT: oneOf(NAT_MODES),
  RELAY: wholeNumber(0, MAX_RELAY, " of bytes a second"),
}).superRefine((settings, context) => {
  if (settings.MIN_REPLICAS > settings.K_BUCKET_SIZE) {
    context.addIssue({
      code: "custom",
      path: ["MIN_REPLICAS"],
      message: `expected at most K_BUCKET_SIZE, which is ${settings.K_BUCKET_SIZE}`,
    });
  }
  if (settings.API_TOKEN !== "" || isLoopbackHost(settings.API_HOST)) return;
  context.addIssue({
    code: "custom",
    path: ["API_HOST"],
    message: "lets other machines reach the API, which requires an API_TOKEN; " +
      "set one or keep to 127.0.0.1",
  });
});

type Name = keyof z.input<typeof schema>;

const EXPLAINED = {
  P2P_PORT: ["--p2p-port", "8000", "UDP port for P2P (0: any free port)"],
  P2P_HOST: ["--p2p-host", "0.0.0.0", "address to bind under --allow-net"],
  BOOTSTRAP_NODES: ["--bootstrap", "", "comma-separated host:port list (names, IPv4, [IPv6])"],
  K_BUCKET_SIZE: ["--k", "20", "contacts a bucket holds; replicas of a stored value"],
  MIN_REPLICAS: [
    "--min-replicas",
    "1",
    "nodes that must acknowledge a store, unless it says otherwise (1 to K_BUCKET_SIZE)",
  ],
  ALPHA: ["--alpha", "3", "concurrent queries of a lookup"],
  MAX_PER_SUBNET: [
    "--max-per-subnet",
    "2",
    "peers of one public /24, or /64 of IPv6, in a bucket (0: any number)",
  ],
  HEALTH_CHECK_INTERVAL: [
    "--health-check-interval",
    "60",
    "seconds between health checks of a peer",
  ],
  API_HOST: [
    "--api-host",
    "127.0.0.1",
    "HTTP bind address; anything but loopback requires API_TOKEN",
  ],
  API_PORT: ["--api-port", "8080", "HTTP port (0: any free port)"],
  API_TOKEN: [
    null,
    "",
    "bearer token for requests that change or send something, and for what is private",
  ],
  API_TOKEN_FILE: [null, "", "file whose first line is the API_TOKEN"],
  API_OPEN_READS: [
    null,
    "false",
    "true: what only reads needs no token for other machines either (false or true)",
  ],
  API_ALLOWED_HOSTS: [null, "", "comma-separated names by which proxies and browsers may ask"],
  API_TRUSTED_PROXIES: [null, "", "comma-separated addresses or CIDRs of trusted reverse proxies"],
  API_RATE_LIMIT: [null, "200", "requests a second of one client (0: any number)"],
  API_SEND_RATE_LIMIT: [
    null,
    "50",
    "those among them that send packets: store, fetch, find, ping (0: any number)",
  ],
  API_MAX_CONNECTIONS: [null, "1000", "connections to the API at a time (1 to 20000)"],
  DATA_DIR: ["--data-dir", "./data", "identity, routing table, values; created 0700"],
  LOG_LEVEL: ["--log-level", "info", "trace, debug, info, warning, error"],
  LOG_FORMAT: ["--log-format", "", "pretty or json; empty: pretty on a terminal, json otherwise"],
  MAX_VALUE_SIZE: [null, "16777216", "bytes of one stored value"],
  STORAGE_LIMIT: [null, "1073741824", "bytes of other nodes' values held here"],
  NAT: ["--nat", "auto", "auto, off: port mapping, address voting, hole punching"],
  RELAY: [
    "--relay",
    "2048",
    "bytes a second passed on between nodes behind NATs that have no other way (0: none)",
  ],
} as const satisfies Record<Name, readonly [flag: string | null, byDefault: string, string]>;

const CHOICES: Partial<Record<Name, readonly string[]>> = {
  LOG_LEVEL: LOG_LEVELS,
  LOG_FORMAT: LOG_FORMATS,
  NAT: NAT_MODES,
};

const NAMES = Object.keys(EXPLAINED) as Name[];

/** Every variable, in the order of the documentation. */
export const SETTINGS: readonly Setting[] = Object.freeze(NAMES.map((name) => {
  const [flag, byDefault, meaning] = EXPLAINED[name];
  return Object.freeze({ name, flag, default: byDefault, meaning, choices: CHOICES[name] });
}));

/** Every environment variable the program may read; the compiled program is permitted these alone. */
export const ENV_NAMES: readonly string[] = Object.freeze([...NAMES, "DMNODE_API"]);

/** Taken for a setting, since all other options are one; read for a warning alone. */
export const NO_SETTING = "ALLOW_NET";

interface Given {
  readonly text: string;
  /** How a message says where the text came from. */
  readonly source: string;
}

/**
 * Merges flags, environment, .env and defaults, in falling precedence, and validates each.
 *
 * An empty environment or .env value counts as not set, except where empty is a value of its own.
 *
 * @throws {ConfigError} on the first bad setting
 */
export function loadConfig(sources: ConfigSources = {}): Config {
  const { flags = {}, env = {}, envFile, envFileName = ".env" } = sources;
  const warnings: string[] = [];
  const file = envFile === undefined ? {} : parseEnvFile(envFile, envFileName, warnings);
  if (env[NO_SETTING]) {
    warnings.push(`${NO_SETTING} in the environment is not a setting; use --allow-net`);
  }

  const given = new Map<Name, Given>();
  for (const name of NAMES) {
    const [flag, byDefault] = EXPLAINED[name];
    const fromFlag = flag === null ? undefined : flagText(flags[optionName(flag)]);
    const counts = (text: string | undefined): text is string =>
      text !== undefined && (text.trim() !== "" || byDefault === "");
    const inFile = Object.hasOwn(file, name) ? file[name] : undefined;
    given.set(
      name,
      fromFlag !== undefined
        ? { text: fromFlag, source: "on the command line" }
        : counts(env[name])
        ? { text: env[name], source: "in the environment" }
        : counts(inFile)
        ? { text: inFile, source: `in ${envFileName}` }
        : { text: byDefault, source: "by default" },
    );
  }

  const tokenFile = given.get("API_TOKEN_FILE")!;
  if (tokenFile.text.trim() !== "") {
    if (given.get("API_TOKEN")!.text.trim() !== "") {
      throw new ConfigError(
        refusal("API_TOKEN_FILE", tokenFile, "expected no API_TOKEN beside it; give one of them"),
      );
    }
    given.set("API_TOKEN", readToken(tokenFile, sources.readFile));
  }

  const parsed = schema.safeParse(
    Object.fromEntries([...given].map(([name, { text }]) => [name, text])),
  );
  if (!parsed.success) {
    const { path, message } = parsed.error.issues[0];
    const name = path[0] as Name;
    throw new ConfigError(refusal(name, given.get(name)!, message));
  }
  const s = parsed.data;
  if (!isLoopbackHost(s.API_HOST) && s.API_TOKEN.length < SHORT_TOKEN) {
    warnings.push(
      `API_TOKEN has ${s.API_TOKEN.length} characters and API_HOST is not loopback; ` +
        `use ${SHORT_TOKEN} or more random ones`,
    );
  }
  return deepFreeze({
    p2pPort: s.P2P_PORT,
    p2pHost: s.P2P_HOST,
    bootstrapNodes: s.BOOTSTRAP_NODES,
    bucketSize: s.K_BUCKET_SIZE,
    minReplicas: s.MIN_REPLICAS,
    alpha: s.ALPHA,
    maxPerSubnet: s.MAX_PER_SUBNET,
    healthCheckIntervalMs: s.HEALTH_CHECK_INTERVAL * 1000,
    apiHost: s.API_HOST,
    apiPort: s.API_PORT,
    apiToken: s.API_TOKEN === "" ? null : s.API_TOKEN,
    apiOpenReads: s.API_OPEN_READS === "true",
    apiAllowedHosts: s.API_ALLOWED_HOSTS.map(({ name }) => name),
    apiRateLimit: s.API_RATE_LIMIT,
    apiSendRateLimit: s.API_SEND_RATE_LIMIT,
    apiMaxConnections: s.API_MAX_CONNECTIONS,
    apiTrustedProxies: s.API_TRUSTED_PROXIES,
    dataDir: s.DATA_DIR,
    logLevel: s.LOG_LEVEL,
    logFormat: s.LOG_FORMAT === "" ? null : s.LOG_FORMAT,
    maxValueSize: s.MAX_VALUE_SIZE,
    storageLimit: s.STORAGE_LIMIT,
    nat: s.NAT,
    relay: s.RELAY,
    allowNet: parseAllowNet(flags.allowNet),
    warnings,
  });
}

/** The token in the file that API_TOKEN_FILE names: its first line, so that an editor's last newline does not count. */
function readToken(file: Given, readFile: ConfigSources["readFile"]): Given {
  const path = file.text.trim();
  let text: string | undefined;
  try {
    text = readFile?.(path);
  } catch (error) {
    const reason = error instanceof Error ? error.message.split("\n")[0] : String(error);
    throw new ConfigError(
      refusal("API_TOKEN_FILE", file, `expected a file that can be read: ${reason}`),
    );
  }
  const token = text?.split(/\r?\n/)[0].trim() ?? "";
  // Else an empty secret would leave the API open.
  if (token === "") {
    throw new ConfigError(refusal("API_TOKEN_FILE", file, "expected a token in its first line"));
  }
  return { text: token, source: `in ${path}` };
}

/**
 * Reads the value of `--allow-net`: absent or false keeps to loopback, true (the bare flag) allows anyone.
 *
 * @throws {ConfigError} on an entry that is neither an address, a CIDR nor a host name
 */
export function parseAllowNet(value: unknown): NetScope {
  if (value === undefined || value === false) return { mode: "loopback" };
  if (value === true) return { mode: "any" };
  const text = flagText(value) ?? "";
  const entries = list(text).map(parseNetEntry);
  // An unset shell variable must not turn a short list into the whole Internet, nor into nothing.
  if (entries.length === 0) {
    throw new ConfigError(
      `--allow-net=${quote(text)} names nobody: give addresses, CIDRs or host names ` +
        "separated by commas, or --allow-net alone for anyone",
    );
  }
  return { mode: "list", entries };
}

/** One line on whom the node talks to, for the start-up log. */
export function describeScope(scope: NetScope): string {
  if (scope.mode === "loopback") return "loopback only (no --allow-net)";
  if (scope.mode === "any") return "any address (--allow-net)";
  return scope.entries.map(describeEntry).join(", ") + " (--allow-net)";
}

/** An entry as one would write it after `--allow-net=`. */
export function describeEntry(entry: NetEntry): string {
  return entry.kind === "host" ? entry.name : `${entry.address.host}/${entry.prefix}`;
}

function optionName(flag: string): string {
  return flag.slice(2).replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

function flagText(value: unknown): string | undefined {
  if (value === undefined) return undefined;
  return Array.isArray(value) ? value.join(",") : String(value);
}

function list(text: string): string[] {
  return text.split(",").map((entry) => entry.trim()).filter((entry) => entry !== "");
}

/** One printable line of bounded length, whatever the text is. */
function quote(text: string): string {
  return JSON.stringify(text.length > 80 ? text.slice(0, 79) + "…" : text);
}

function refusal(name: Name, { text, source }: Given, message: string): string {
  const [flag] = EXPLAINED[name];
  const variable = flag === null ? name : `${name} (${flag})`;
  // A token ends up in logs otherwise.
  const value = name === "API_TOKEN" ? `the value of ${text.length} characters` : quote(text);
  return `${variable}: ${value} ${source}: ${message}`;
}

function parseAddress(text: string): string | undefined {
  if (text.includes("%")) return undefined;
  return Endpoint.parse(unbracket(text), 0)?.host;
}

function unbracket(text: string): string {
  return /^\[.*:.*\]$/.test(text) ? text.slice(1, -1) : text;
}

/** A host name in lower case (RFC 1123, and the underscores of container networks). */
function parseName(text: string): string | undefined {
  const name = text.toLowerCase().replace(/\.$/, "");
  const labels = name.split(".");
  if (name.length > 253) return undefined;
  if (!labels.every((label) => /^(?!-)[a-z0-9_-]{1,63}(?<!-)$/.test(label))) return undefined;
  // 10.0.0 and 256.1.1.1 are mistyped addresses: no top-level domain is a number.
  return /^\d+$/.test(labels.at(-1)!) ? undefined : name;
}

/** The node that `entry` names, or what is wrong with it. */
export function parseHostPort(entry: string): HostPort | string {
  const expected = "expected host:port with a name, an IPv4 address or an [IPv6] address";
  if (Endpoint.parse(unbracket(entry), 0)?.family === 6) {
    return `has no port; expected [${unbracket(entry)}]:port`;
  }
  const colon = entry.lastIndexOf(":");
  if (colon < 0) return `has no port; ${expected}`;
  const hostText = entry.slice(0, colon), portText = entry.slice(colon + 1);
  const port = /^\d{1,5}$/.test(portText) ? Number(portText) : 0;
  if (port < 1 || port > 65535) return `has no port from 1 to 65535; ${expected}`;
  const host = parseAddress(hostText) ?? parseName(hostText);
  if (host === undefined) return `has no valid host; ${expected}`;
  return { host, port };
}

function parseNetEntry(entry: string): NetEntry {
  const range = parseRange(entry);
  if (typeof range !== "string") return range;
  const name = entry.includes("/") ? undefined : parseName(entry);
  if (name !== undefined) return { kind: "host", name };
  const reason = entry.includes("/") ? range : "is no address or host name";
  throw new ConfigError(
    `--allow-net: ${quote(entry)} ${reason}; expected a CIDR such as 10.0.0.0/8, ` +
      "an IP address or a host name, without a port",
  );
}

/** The addresses of a CIDR or the one that is given alone, or what is wrong with it. */
function parseRange(entry: string): AddressRange | string {
  const slash = entry.indexOf("/");
  const hostText = slash < 0 ? entry : entry.slice(0, slash);
  const address = parseAddress(hostText) === undefined
    ? undefined
    : Endpoint.parse(unbracket(hostText), 0);
  if (address === undefined) return slash < 0 ? "is no address" : "is no CIDR: bad address";
  const bits = address.family === 4 ? 32 : 128;
  if (slash < 0) return { kind: "cidr", address, prefix: bits };
  const prefixText = entry.slice(slash + 1);
  const mapped = address.family === 4 && hostText.includes(":");
  const max = mapped ? 128 : bits, min = mapped ? 96 : 0;
  const prefix = /^\d{1,3}$/.test(prefixText) ? Number(prefixText) : NaN;
  if (!(prefix >= min && prefix <= max)) {
    return `is no CIDR: the prefix length must be ${min} to ${max}`;
  }
  return { kind: "cidr", address, prefix: prefix - min };
}

/** Parses .env text; dotenv skips what it can't read, so the lines are looked at here as well. */
function parseEnvFile(
  text: string,
  fileName: string,
  warnings: string[],
): Record<string, string> {
  const seen = new Map<string, number>();
  const lines = text.replace(/^\uFEFF/, "").split(/\r\n?|\n/);
  for (let i = 0; i < lines.length; i++) {
    const line = lines[i];
    if (/^\s*(#|$)/.test(line)) continue;
    const match = /^\s*(?:export\s+)?([\w.-]+)(?:\s*=|:\s)\s*(.*)$/.exec(line);
    if (match === null) {
      // The first word alone: the rest may be a secret.
      const word = /^\s*([^\s=:]*)/.exec(line)![1];
      throw new ConfigError(
        `${fileName}, line ${i + 1}: ${quote(word)}… is not NAME=value, a comment or empty`,
      );
    }
    const [, name, value] = match;
    if (NAMES.includes(name as Name) && seen.has(name)) {
      warnings.push(
        `${fileName}, line ${i + 1}: ${name} is set again; line ${seen.get(name)} has no effect`,
      );
    }
    seen.set(name, i + 1);
    if (!ENV_NAMES.includes(name)) {
      const meant = ENV_NAMES.find((known) => looksLike(name, known));
      if (name === NO_SETTING) {
        warnings.push(
          `${fileName}, line ${i + 1}: ${NO_SETTING} is not a setting; use --allow-net`,
        );
      } else if (meant !== undefined) {
        warnings.push(
          `${fileName}, line ${i + 1}: ${quote(name)} is not a setting; did you mean ${meant}?`,
        );
      }
    }
    if (ENV_NAMES.includes(name) && /^[^\s"'`#][^\s#]*#/.test(value)) {
      warnings.push(
        `${fileName}, line ${i + 1}: the value of ${name} ends at the #; quote it to keep the rest`,
      );
    }
    const mark = value[0];
    if (/["'`]/.test(mark ?? "") && !value.slice(1).includes(mark)) {
      const end = lines.findIndex((later, at) => at > i && later.includes(mark));
      if (end > 0) i = end;
    }
  }
  return parseDotenv(lines.join("\n"));
}

function looksLike(name: string, known: string): boolean {
  const upper = name.toUpperCase().replaceAll(/[.-]/g, "_").replace(/^DMNODE_/, "");
  if (upper === known) return true;
  // Short names are one letter from too many others (NAT, PAT).
  return known.length > 4 && withinEdits(upper, known, known.length > 7 ? 2 : 1);
}

/** Whether `a` becomes `b` within `most` insertions, deletions, substitutions or swaps of neighbours. */
export function withinEdits(a: string, b: string, most: number): boolean {
  if (Math.abs(a.length - b.length) > most) return false;
  const rows = [Array.from({ length: b.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= a.length; i++) {
    rows[i] = [i];
    for (let j = 1; j <= b.length; j++) {
      const substituted = rows[i - 1][j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1);
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]
        ? rows[i - 2][j - 2] + 1
        : Infinity;
      rows[i][j] = Math.min(rows[i - 1][j] + 1, rows[i][j - 1] + 1, substituted, swapped);
    }
  }
  return rows[a.length][b.length] <= most;
}

function deepFreeze<T>(value: T): T {
  if (typeof value !== "object" || value === null || value instanceof Endpoint) return value;
  Object.values(value).forEach(deepFreeze);
  return Object.freeze(value);
}
