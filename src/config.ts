// The settings of a node: one table of all settings, and the code that reads them into a frozen Config.

import { firstLine } from "./krpc/error_text.ts";
// Import zod/v3: zod's main entry point also loads messages in dozens of languages, which take up some 4 MB of memory.
import { z } from "zod/v3";
import {
  type HostPort,
  type NetScope,
  parseAddress,
  parseAllowNet,
  parseHostPort,
  parseName,
  parseRange,
} from "./config/addresses.ts";
import { NetworkKey } from "./config/network_key.ts";
import { parseEnvFile } from "./config/env_file.ts";
import { API_TOKENS_NAME, type ApiToken, parseApiTokens } from "./config/api_tokens.ts";
import { parseDenyList } from "./config/deny_list.ts";
import { ConfigError, quote, splitList } from "./config/text.ts";
import { type AddressRange, isLoopbackHost } from "./krpc/address_range.ts";
import { Endpoint } from "./krpc/endpoint.ts";

/** Describes which text a setting accepts, and converts the text to a value. */
interface Format<T> {
  /** Describes the accepted text in messages and documentation, for example "a whole number from 0 to 65535". */
  readonly allowed: string;
  /** All accepted words, if the setting accepts only a few words. */
  readonly choices?: readonly string[];
  readonly schema: z.ZodType<T, z.ZodTypeDef, unknown>;
}

/** One row of the table of settings. */
export interface Setting<T = unknown> {
  /** The name of the environment variable. */
  readonly name: string;
  /**
   * The command-line flag. Null for secrets, because process lists show flags, and for settings that belong in a file.
   */
  readonly flag: string | null;
  /** The default value as written in `.env`; empty if the setting has no default. */
  readonly default: string;
  /** Explains the setting in one clause for `--help`, without a period. */
  readonly meaning: string;
  /** Further sentences for `.env.example` and the documentation. */
  readonly details?: string;
  readonly format: Format<T>;
}

/** Maximum bucket size. With larger buckets, one find_node reply could contain the whole table. Kademlia's k is 20. */
const MAX_BUCKET_SIZE = 128;
/** Maximum concurrent queries of a lookup. With more, many queries would go to nodes whose answers are not needed. */
const MAX_ALPHA = 16;
/** Maximum health check interval: one day. */
const MAX_HEALTH_CHECK_INTERVAL_S = 86_400;
/**
 * Largest allowed MAX_VALUE_SIZE, in bytes. A value can double in size as JSON text, and V8 limits strings to 512 MiB.
 */
const MAX_MAX_VALUE_SIZE = 256 * 1024 * 1024;
/**
 * Maximum relay rate in bytes per second. This is one gigabit per second, more than any node should relay for others.
 */
const MAX_RELAY = 125_000_000;
/** Smallest allowed traffic limit in bytes per second. With less, a node can't maintain its routing table. */
const MIN_LINE_RATE = 1_000;
/** Tokens with fewer characters cause a warning: anyone who can reach the API could guess such a token within days. */
const SHORT_TOKEN_LENGTH = 16;
/**
 * Largest allowed rate limit, in requests per second. No machine answers more requests, so a higher limit must be a
 * typo.
 */
const MAX_RATE = 1_000_000;
/**
 * Maximum connections to the API. Each connection uses up to three file descriptors, and a process can have only a
 * limited number of them.
 */
const MAX_CONNECTIONS = 20_000;

/**
 * Creates a format. For text that is not allowed, `accept` returns undefined, and may call `refuse` with the reason.
 */
function format<T>(
  allowed: string,
  accept: (text: string, refuse: (problem: string) => void) => T | undefined,
): Format<T> {
  const schema = z.string().transform((text, context): T => {
    let message = `expected ${allowed}`;
    const value = accept(text.trim(), (problem) => message = problem);
    if (value !== undefined) return value;
    context.addIssue({ code: "custom", message });
    return z.NEVER;
  });
  return { allowed, schema };
}

/** Creates a format that accepts the same text as the given format, and converts the values with `map`. */
function mapped<T, U>({ schema, ...texts }: Format<T>, map: (value: T) => U): Format<U> {
  return { ...texts, schema: schema.transform(map) };
}

/** The units that may follow a number, by the name of the quantity. Each unit has its factor. */
const UNITS: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  bytes: {
    ...{ kB: 1e3, MB: 1e6, GB: 1e9, TB: 1e12 },
    ...{ KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40 },
  },
  seconds: { s: 1, m: 60, h: 3_600, d: 86_400 },
};

/** Creates the format of a whole number, which may have a unit if it is a number of `bytes` or `seconds`. */
function wholeNumber(min: number, max: number, { of = "", suffix = "" } = {}): Format<number> {
  const noun = `a whole number${of && ` of ${of}`}${suffix}`;
  const units = Object.keys(UNITS[of] ?? {});
  const unit = units.length === 0 ? "" : `, or with a unit: ${units.join(", ")}`;
  return format(`${noun} from ${min} to ${max}${unit}`, (text) => {
    // Match digits only. Number() would also accept 1e3, 0x10 and the empty string, which are mistakes here.
    const [, digits, unit] = /^(\d{1,16}) ?([A-Za-z]*)$/.exec(text) ?? [];
    const factor = unit === "" ? 1 : UNITS[of]?.[unit] ?? NaN;
    const value = Number(digits) * factor;
    return value >= min && value <= max ? value : undefined;
  });
}

/** Creates the format of a word. `others` are further spellings that people use, in lower case. */
function oneOf<const T extends string>(
  choices: readonly T[],
  others: Readonly<Record<string, T>> = {},
): Format<T> {
  const allowed = `${choices.slice(0, -1).join(", ")} or ${choices.at(-1)}`;
  const accept = (text: string) => {
    const word = text.toLowerCase();
    return choices.find((choice) => choice === word) ??
      (Object.hasOwn(others, word) ? others[word] : undefined);
  };
  return { ...format(allowed, accept), choices };
}

/** Creates the format of a setting that is on or off. */
function onOrOff<const T extends string>(on: T, off: T): Format<T> {
  const words = { true: on, yes: on, on, 1: on, false: off, no: off, off, 0: off };
  return oneOf([on, off], words);
}

/** Creates the format of a comma-separated list. For a bad entry, `parse` returns an error text. */
function listOf<T extends object>(
  allowed: string,
  parse: (entry: string) => T | string,
): Format<readonly T[]> {
  return format(allowed, (text, refuse) => {
    const parsed: T[] = [];
    for (const entry of splitList(text)) {
      const result = parse(entry);
      if (typeof result === "string") return void refuse(`${quote(entry)} ${result}`);
      parsed.push(result);
    }
    return parsed;
  });
}

function hostNames(): Format<readonly string[]> {
  const expected = "host names or addresses without ports";
  const hosts = listOf(`${expected}, separated by commas`, (entry) => {
    const name = parseName(entry) ?? parseAddress(entry);
    return name === undefined ? `does not fit; expected ${expected}` : { name };
  });
  return mapped(hosts, (list) => list.map(({ name }) => name));
}

/**
 * Creates the format of this node's endpoints: at most one of each address family, all with the
 * same port.
 */
function externalEndpoints(): Format<readonly HostPort[]> {
  const allowed = "an address and a port for IPv4, IPv6 or both";
  const list = listOf(allowed, (entry) => {
    const parsed = parseHostPort(entry);
    const isAddress = typeof parsed !== "string" && parseAddress(parsed.host) !== undefined;
    if (!isAddress) return `does not fit; expected ${allowed}`;
    const { scope } = Endpoint.parse(parsed.host, parsed.port)!;
    return scope === "none" || scope === "loopback"
      ? "can't be reached by other machines; expected the external address"
      : parsed;
  });
  return checked(list, (endpoints) => {
    const families = new Set(endpoints.map(({ host }) => host.includes(":")));
    const ports = new Set(endpoints.map(({ port }) => port));
    const isGood = families.size === endpoints.length && ports.size <= 1;
    return isGood ? undefined : "expected one address of each family, with the same port";
  });
}

/** Creates a format that also refuses values for which `problemOf` returns a text. */
function checked<T>({ schema, ...texts }: Format<T>, problemOf: (value: T) => string | undefined) {
  const refined = schema.transform((value, context): T => {
    const message = problemOf(value);
    if (message === undefined) return value;
    context.addIssue({ code: "custom", message });
    return z.NEVER;
  });
  return { ...texts, schema: refined };
}

/** Creates the format of a rate of traffic. Converts 0, which means no limit, to null. */
function lineRate(): Format<number | null> {
  const rates = wholeNumber(0, Number.MAX_SAFE_INTEGER, { of: "bytes", suffix: " per second" });
  const isUsable = (rate: number) => rate === 0 || rate >= MIN_LINE_RATE;
  const usable = checked(
    rates,
    (rate) =>
      isUsable(rate)
        ? undefined
        : `expected at least ${MIN_LINE_RATE} bytes per second, or 0 for no limit`,
  );
  return mapped(usable, (rate) => rate === 0 ? null : rate);
}

/** The word for an empty list of hosts. The API then listens only at its Unix socket. */
const NO_HOST = "none";

/** Creates the format of the hosts to bind the API to: at least one host, or the word `none`. */
function apiHosts(): Format<readonly string[]> {
  const expected = "addresses or host names, separated by commas, or none";
  return format(expected, (text, refuse) => {
    if (text.toLowerCase() === NO_HOST) return [];
    const hosts = new Set<string>();
    for (const entry of splitList(text)) {
      const host = parseAddress(entry) ?? parseName(entry);
      if (host === undefined) {
        return void refuse(`${quote(entry)} does not fit; expected ${expected}`);
      }
      hosts.add(host);
    }
    return hosts.size > 0 ? [...hosts] : undefined;
  });
}

/** Whether other machines can reach an API at these hosts. */
export function isExposed(hosts: readonly string[]): boolean {
  return !hosts.every(isLoopbackHost);
}

function addressRanges(): Format<readonly AddressRange[]> {
  return listOf<AddressRange>("addresses or CIDRs, separated by commas", (entry) => {
    const range = parseRange(entry);
    return typeof range === "string" ? `${range}; expected addresses or CIDRs` : range;
  });
}

const FILE_PATH = format("a path without control characters", (text, refuse) => {
  if (text === "" || /\p{Cc}/u.test(text)) return undefined;
  // Refuse `~` and variables, which only a shell expands. The node would create a directory with this literal name.
  if (!/^(~($|[/\\])|\$)/.test(text)) return text;
  refuse("expected a path without ~ or a variable at its start, which only shells replace");
});

/** Returns a format that also accepts empty text, and converts it to null. */
function orNone<T>({ schema, ...texts }: Format<T>): Format<T | null> {
  const isEmpty = (text: unknown) => typeof text === "string" && text.trim() === "";
  return {
    ...texts,
    schema: z.preprocess((text) => isEmpty(text) ? null : text, schema.nullable()),
  };
}

/**
 * Creates the format of the addresses that the node may exchange packets with. Empty text means
 * only this machine, as if `--allow-net` was missing.
 */
function netScope(): Format<NetScope> {
  const allowed = "any, loopback, or addresses, CIDRs and host names separated by commas";
  return format(allowed, (text, refuse) => {
    try {
      return parseAllowNet(text || undefined);
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      return void refuse(error.message);
    }
  });
}

/** Maximum number of network keys in use at a time: the current key, and a key that is being introduced or retired. */
const MAX_NETWORK_KEYS = 2;

function networkKeys(): Format<readonly NetworkKey[]> {
  return format("at most two network keys, separated by a comma", (text, refuse) => {
    const keys: NetworkKey[] = [];
    for (const word of splitList(text)) {
      const key = NetworkKey.parse(word);
      if (typeof key === "string") return void refuse(key);
      keys.push(key);
    }
    return keys.length <= MAX_NETWORK_KEYS ? keys : undefined;
  });
}

function variable(name: string, flag: string | null, byDefault: string) {
  return { name, flag, default: byDefault };
}

/** All settings, in the order of the documentation. Each has the same name here as in Config. */
const TABLE = {
  allowNet: {
    ...variable("ALLOW_NET", "--allow-net", ""),
    meaning: "addresses to talk to; if unset, the node talks only to this machine",
    details: "any stands for all addresses. For example 10.0.0.0/8,boot.example.org.",
    format: netScope(),
  },
  p2pPort: {
    ...variable("P2P_PORT", "--p2p-port", "8000"),
    meaning: "UDP port of the node; 0 picks a free port",
    format: wholeNumber(0, 65535),
  },
  p2pHost: {
    ...variable("P2P_HOST", "--p2p-host", "0.0.0.0"),
    meaning: "address to bind if --allow-net is given",
    details: "Without --allow-net the node binds 127.0.0.1.",
    format: format("an IPv4 or IPv6 address, not an interface: see P2P_INTERFACE", parseAddress),
  },
  p2pInterface: {
    ...variable("P2P_INTERFACE", "--p2p-interface", ""),
    meaning: "name of the only network interface for P2P traffic, such as wg0; on Linux",
    details: "The node then asks no router for a port, and sends no beacons.",
    format: orNone(format(
      "the name of an interface",
      // Linux limits the name of an interface to 15 bytes.
      (text) => /^[^\s/\0]{1,15}$/.test(text) ? text : undefined,
    )),
  },
  p2pExternal: {
    ...variable("P2P_EXTERNAL", "--p2p-external", ""),
    meaning: "external address and port, if you have forwarded a port by hand",
    details:
      "For example 203.0.113.5:8000,[2001:db8::1]:8000. The port must be the same in both. The node then asks no router for a port.",
    format: externalEndpoints(),
  },
  p2pUpLimit: {
    ...variable("P2P_UP_LIMIT", "--p2p-up-limit", "0"),
    meaning: "bytes per second to send, of all P2P traffic; 0: no limit",
    details: "For example 250 kB. Answers and health checks come first, large values last.",
    format: lineRate(),
  },
  p2pDownLimit: {
    ...variable("P2P_DOWN_LIMIT", "--p2p-down-limit", "0"),
    meaning: "bytes per second to accept, of all P2P traffic; 0: no limit",
    details: "The node asks for less, and drops the queries of strangers that exceed the limit.",
    format: lineRate(),
  },
  p2pMonthlyBudget: {
    ...variable("P2P_MONTHLY_BUDGET", "--p2p-monthly-budget", "0"),
    meaning: "bytes to send and receive in a month (UTC); 0: no limit",
    details:
      "For example 100 GB. When they are used up, the node is read-only until the next month.",
    format: mapped(
      wholeNumber(0, Number.MAX_SAFE_INTEGER, { of: "bytes" }),
      (bytes) => bytes === 0 ? null : bytes,
    ),
  },
  bootstrapNodes: {
    ...variable("BOOTSTRAP_NODES", "--bootstrap", ""),
    meaning: "nodes to join the network through: host:port, separated by commas",
    details:
      "For example boot.example.org:8000,192.0.2.1:8000,[2001:db8::1]:8000. A link-local address needs an interface: [fe80::1%eth0]:8000.",
    format: mapped(
      listOf("host:port entries, separated by commas", parseHostPort),
      (nodes) => [...new Map(nodes.map((node) => [`${node.host} ${node.port}`, node])).values()],
    ),
  },
  networkKeys: {
    ...variable("NETWORK_KEY", null, ""),
    meaning: "key that all nodes of a private network share; without it, the node is public",
    details:
      "dmnode network new prints one. While a key is replaced, a second one follows a comma.",
    format: networkKeys(),
  },
  networkKeyFile: {
    ...variable("NETWORK_KEY_FILE", "--network-key-file", ""),
    meaning: "file with the NETWORK_KEY, one key per line",
    details: "Set only one of the two. Only the node's user should be able to read the file.",
    format: orNone(FILE_PATH),
  },
  bucketSize: {
    ...variable("K_BUCKET_SIZE", "--k", "20"),
    meaning: "contacts per bucket, and replicas of a stored value",
    format: wholeNumber(1, MAX_BUCKET_SIZE),
  },
  minReplicas: {
    ...variable("MIN_REPLICAS", "--min-replicas", "1"),
    meaning: "nodes that must acknowledge a store, unless the request says otherwise",
    details: "At most K_BUCKET_SIZE.",
    format: wholeNumber(1, MAX_BUCKET_SIZE),
  },
  alpha: {
    ...variable("ALPHA", "--alpha", "3"),
    meaning: "concurrent queries of a lookup",
    format: wholeNumber(1, MAX_ALPHA),
  },
  maxPerSubnet: {
    ...variable("MAX_PER_SUBNET", "--max-per-subnet", "2"),
    meaning: "peers of one public /24 (IPv6: /64) in a bucket; 0 removes the limit",
    details:
      "A lookup accepts at most twice as many. Nodes in the subnets of this node and of the bootstrap nodes may take all places that no others need.",
    format: wholeNumber(0, MAX_BUCKET_SIZE),
  },
  testNetworks: {
    ...variable("TEST_NETWORKS", "--test-networks", ""),
    meaning: "private and special addresses that count as public, for tests and laboratories",
    details: "Addresses or CIDRs, separated by commas, for example 192.0.2.0/24.",
    format: addressRanges(),
  },
  denyList: {
    ...variable("DENY_LIST", "--deny-list", ""),
    meaning: "file of addresses, CIDRs, node ids and public keys that the node ignores",
    details: "One entry per line, with comments after #. `dmnode deny` changes the file.",
    format: orNone(FILE_PATH),
  },
  healthCheckIntervalMs: {
    ...variable("HEALTH_CHECK_INTERVAL", "--health-check-interval", "60"),
    meaning: "seconds between health checks of a peer",
    details:
      "Peers of other implementations are checked at least every 14 minutes, as BEP 5 needs.",
    format: mapped(wholeNumber(1, MAX_HEALTH_CHECK_INTERVAL_S, { of: "seconds" }), (s) => s * 1000),
  },
  apiHost: {
    ...variable("API_HOST", "--api-host", "127.0.0.1"),
    meaning: "addresses to bind the API to; anything but loopback requires API_TOKEN",
    details:
      "Separated by commas. localhost stands for both loopback addresses, and none for API_SOCKET only.",
    format: apiHosts(),
  },
  apiPort: {
    ...variable("API_PORT", "--api-port", "8080"),
    meaning: "TCP port of the API; 0 picks a free port",
    format: wholeNumber(0, 65535),
  },
  apiSocket: {
    ...variable("API_SOCKET", "--api-socket", ""),
    meaning: "path of a Unix socket for the API, besides or instead of API_HOST",
    details: "Not on Windows. Programs that reach it count as programs on this machine.",
    format: orNone(FILE_PATH),
  },
  apiSocketMode: {
    ...variable("API_SOCKET_MODE", null, "0600"),
    meaning: "permissions of the Unix socket; users with write permission can use the API",
    format: format("an octal number from 0600 to 0777", (text) => {
      const mode = /^0?[67][0-7]{2}$/.test(text) ? parseInt(text, 8) : undefined;
      return mode;
    }),
  },
  apiSocketGroup: {
    ...variable("API_SOCKET_GROUP", null, ""),
    meaning: "group of the Unix socket, by name or number",
    format: orNone(format(
      "the name or the number of a group",
      (text) => /^[\w][\w.-]{0,31}\$?$/.test(text) ? text : undefined,
    )),
  },
  apiToken: {
    ...variable("API_TOKEN", null, ""),
    meaning: "bearer token for requests that change or send something, or read private data",
    details: "Private data: published values, transfers and events. Empty: no token is required.",
    format: orNone(format(
      "at most 1024 visible ASCII characters without spaces",
      (text) => /^[!-~]{1,1024}$/.test(text) ? text : undefined,
    )),
  },
  apiTokenFile: {
    ...variable("API_TOKEN_FILE", null, ""),
    meaning: "file whose first line is the API_TOKEN",
    details: "Set only one of the two. Only the node's user should be able to read the file.",
    format: orNone(FILE_PATH),
  },
  apiTokensFile: {
    ...variable("API_TOKENS_FILE", null, ""),
    meaning: "file of further tokens with scopes, by default api_tokens in DATA_DIR",
    details: "`dmnode token` changes the file, which contains only hashes.",
    format: orNone(FILE_PATH),
  },
  apiOpenReads: {
    ...variable("API_OPEN_READS", null, "false"),
    meaning: "whether other machines may read without a token",
    details:
      "Requests that only read never need a token from programs on this machine. With true, " +
      "they need none from other machines or through a proxy either.",
    format: mapped(onOrOff("true", "false"), (text) => text === "true"),
  },
  apiAllowedHosts: {
    ...variable("API_ALLOWED_HOSTS", null, ""),
    meaning: "further host names under which browsers and proxies may reach the API",
    details: "Separated by commas, for example node.example.org.",
    format: hostNames(),
  },
  apiTrustedProxies: {
    ...variable("API_TRUSTED_PROXIES", null, ""),
    meaning: "reverse proxies whose X-Forwarded-For names the client",
    details: "Addresses or CIDRs, separated by commas.",
    format: addressRanges(),
  },
  apiRateLimit: {
    ...variable("API_RATE_LIMIT", null, "200"),
    meaning: "requests per second from one client; 0 removes the limit",
    details: "Programs on this machine are exempt.",
    format: wholeNumber(0, MAX_RATE),
  },
  apiSendRateLimit: {
    ...variable("API_SEND_RATE_LIMIT", null, "50"),
    meaning: "requests per second from one client that make the node send packets; 0: no limit",
    details: "These are requests to store, fetch, find and ping.",
    format: wholeNumber(0, MAX_RATE),
  },
  apiMaxConnections: {
    ...variable("API_MAX_CONNECTIONS", null, "1000"),
    meaning: "connections to the API at a time",
    details: "One client gets at most a quarter of them.",
    format: wholeNumber(1, MAX_CONNECTIONS),
  },
  dataDir: {
    ...variable("DATA_DIR", "--data-dir", "./data"),
    meaning: "directory of the identity, the routing table and the values",
    details: "The node creates it with mode 0700 and removes other users' access.",
    format: FILE_PATH,
  },
  logLevel: {
    ...variable("LOG_LEVEL", "--log-level", "info"),
    meaning: "lowest level that is logged",
    format: oneOf(["trace", "debug", "info", "warning", "error"], {
      ...{ warn: "warning", notice: "info", err: "error", critical: "error", fatal: "error" },
    }),
  },
  logFormat: {
    ...variable("LOG_FORMAT", "--log-format", ""),
    meaning: "format of the log; by default pretty on a terminal and json elsewhere",
    format: orNone(oneOf(["pretty", "json"], { text: "pretty", plain: "pretty" })),
  },
  maxValueSize: {
    ...variable("MAX_VALUE_SIZE", null, "16777216"),
    meaning: "bytes of the largest value that the API accepts",
    format: wholeNumber(1, MAX_MAX_VALUE_SIZE, { of: "bytes" }),
  },
  storageLimit: {
    ...variable("STORAGE_LIMIT", null, "1073741824"),
    meaning: "bytes that the node stores for other nodes",
    format: wholeNumber(0, Number.MAX_SAFE_INTEGER, { of: "bytes" }),
  },
  nat: {
    ...variable("NAT", "--nat", "auto"),
    meaning: "port mapping, address voting and hole punching",
    format: onOrOff("auto", "off"),
  },
  readOnly: {
    ...variable("READ_ONLY", "--read-only", "false"),
    meaning: "whether to only use the network: no other node keeps this one in its table (BEP 43)",
    details: "The node stores nothing for others, and answers no queries.",
    format: mapped(onOrOff("true", "false"), (text) => text === "true"),
  },
  relay: {
    ...variable("RELAY", "--relay", "2048"),
    meaning: "bytes per second to relay between nodes behind NATs; 0 relays nothing",
    details: "Only nodes that have no other way to reach each other are relayed.",
    format: wholeNumber(0, MAX_RELAY, { of: "bytes", suffix: " per second" }),
  },
  beacons: {
    ...variable("BEACONS", "--beacons", "auto"),
    meaning: "find other nodes with the NETWORK_KEY on the local network, by sealed multicast",
    format: onOrOff("auto", "off"),
  },
  udpBatches: {
    ...variable("UDP_BATCHES", "--udp-batches", "auto"),
    meaning:
      "receive and send many datagrams with one call of Linux's C library, if it can be opened",
    format: onOrOff("auto", "off"),
  },
} satisfies Record<string, Setting>;

type Values = {
  readonly [K in keyof typeof TABLE]: z.output<(typeof TABLE)[K]["format"]["schema"]>;
};

/**
 * The configuration in force, deeply frozen: the values of all settings except those that name the
 * file of a secret.
 */
export interface Config extends Omit<Values, "apiTokenFile" | "networkKeyFile"> {
  /** The entries of the file that `denyList` names. */
  readonly denied: readonly string[];
  /**
   * The tokens with scopes. Null if there is no file of tokens. If `apiToken` is null too, no
   * request needs a token.
   */
  readonly apiTokens: readonly ApiToken[] | null;
  /** One line for each setting that looks wrong but does not prevent the start. */
  readonly warnings: readonly string[];
}

export const SETTINGS: readonly Setting[] = Object.freeze(Object.values(TABLE));

const KNOWN_NAMES: readonly string[] = [...SETTINGS.map(({ name }) => name), "DMNODE_API"];

/** Every environment variable that the executable needs permission to read for its settings. */
export const ENV_NAMES: readonly string[] = KNOWN_NAMES;

/** The sources of settings. `loadConfig` reads nothing else. */
export interface ConfigSources {
  /** Flags by name in camel case (`p2pPort` for `--p2p-port`), as Commander's `opts()` returns them. */
  readonly flags?: Readonly<Record<string, unknown>>;
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** The text of the .env file, if there is one. */
  readonly envFile?: string;
  readonly envFileName?: string;
  /** Reads the file that API_TOKEN_FILE or NETWORK_KEY_FILE names. Throws if the file can't be read. */
  readonly readSecret?: (path: string) => SecretFile;
  /** Reads the file that DENY_LIST names. Throws if the file can't be read. */
  readonly readDenyList?: (path: string) => string;
  /** Reads a file of tokens. Undefined if the file does not exist. Throws if the file can't be read. */
  readonly readApiTokens?: (path: string) => string | undefined;
}

/** The first bytes of a file with a secret, and the file's permissions. */
export interface SecretFile {
  readonly text: string;
  /** The file's Unix permissions; null on Windows. */
  readonly mode: number | null;
}

/** The text of one setting, and where it was found, for messages. */
export interface SettingText {
  readonly text: string;
  /** The place where the setting was found, for example "in the environment". */
  readonly source: string;
}

/**
 * Merges flags, environment, .env and defaults, in this order of precedence. Empty text in the environment or .env is
 * ignored, unless the setting's default is empty too. Throws a ConfigError for a bad setting.
 */
export function loadConfig(sources: ConfigSources = {}): Config {
  const { readDenyList } = sources;
  const { texts, warnings } = settingTexts(sources);

  const { apiTokenFile: _, networkKeyFile: __, ...values } = Object.fromEntries(
    Object.entries(TABLE).map(([member, setting]) => {
      const parsed = setting.format.schema.safeParse(texts.get(setting)!.text);
      if (parsed.success) return [member, parsed.data];
      throw refusal(setting, texts.get(setting)!, parsed.error.issues[0].message);
    }),
  ) as unknown as Values;
  const { minReplicas, bucketSize, apiHost, apiToken } = values;
  if (minReplicas > bucketSize) {
    const expected = `expected at most K_BUCKET_SIZE, which is ${bucketSize}`;
    throw refusal(TABLE.minReplicas, texts.get(TABLE.minReplicas)!, expected);
  }
  if (values.p2pInterface !== null && values.allowNet.mode === "loopback") {
    throw refusal(TABLE.p2pInterface, texts.get(TABLE.p2pInterface)!, "needs ALLOW_NET");
  }
  if (apiHost.length === 0 && values.apiSocket === null) {
    throw refusal(TABLE.apiHost, texts.get(TABLE.apiHost)!, "needs an API_SOCKET");
  }
  const apiTokens = apiTokensIn(values, texts.get(TABLE.apiTokensFile)!, sources.readApiTokens);
  const hasSocketSettings = values.apiSocketGroup !== null ||
    texts.get(TABLE.apiSocketMode)!.text.trim() !== TABLE.apiSocketMode.default;
  if (values.apiSocket === null && hasSocketSettings) {
    warnings.push("API_SOCKET_GROUP and API_SOCKET_MODE have no effect without API_SOCKET: set it");
  }
  const token = isExposed(apiHost) ? apiToken : undefined;
  if (token === null && apiTokens === null) {
    const problem = "lets other machines reach the API, which requires an API_TOKEN; " +
      "set one or use 127.0.0.1";
    throw refusal(TABLE.apiHost, texts.get(TABLE.apiHost)!, problem);
  }
  if (token && token.length < SHORT_TOKEN_LENGTH) {
    warnings.push(
      `API_TOKEN has fewer than ${SHORT_TOKEN_LENGTH} characters, and API_HOST is not loopback; ` +
        "use a longer random one",
    );
  }
  const denied = values.denyList === null
    ? []
    : deniedIn(texts.get(TABLE.denyList)!, values.denyList, readDenyList);
  return deepFreeze({ ...values, denied, apiTokens, warnings });
}

/** Finds the text of each setting. Reads secrets that have their own files from these files. */
function settingTexts(
  { flags = {}, env = {}, envFile, envFileName = ".env", readSecret }: ConfigSources,
): { readonly texts: Map<Setting, SettingText>; readonly warnings: string[] } {
  const file = parseEnvFile(envFile ?? "", envFileName, KNOWN_NAMES);
  const warnings = [...file.warnings];
  for (const name of Object.keys(env)) {
    if (isServiceLink(name, env[name])) warnings.push(serviceLinkWarning(name, env[name]!));
  }
  const texts = new Map(SETTINGS.map((setting) => {
    const inEnvironment = isServiceLink(setting.name, env[setting.name])
      ? undefined
      : variableText(setting, env, "in the environment");
    const given = flagText(setting, flags) ?? inEnvironment ??
      variableText(setting, file.variables, `in ${envFileName}`);
    return [setting, given ?? { text: setting.default, source: "by default" }];
  }));
  for (const secret of SECRETS) {
    const file = texts.get(secret.file)!;
    if (file.text.trim() === "") continue;
    if (texts.get(secret.setting)!.text.trim() !== "") {
      const problem = `expected no ${secret.setting.name} as well; set only one`;
      throw refusal(secret.file, file, problem);
    }
    const { warning, ...found } = readSecretSetting(secret, file, readSecret);
    if (warning !== undefined) warnings.push(warning);
    texts.set(secret.setting, found);
  }
  return { texts, warnings };
}

/**
 * The text of each setting that differs from its default, by variable. Secrets are included, as if they were given by
 * their variables.
 */
export function givenSettings(sources: ConfigSources): ReadonlyMap<string, string> {
  const { texts } = settingTexts(sources);
  for (const { file } of SECRETS) texts.delete(file);
  return new Map(
    [...texts].filter(([setting, { text }]) => text.trim() !== setting.default)
      .map(([{ name }, { text }]) => [name, text.trim()]),
  );
}

/** The path of the file of tokens with scopes. */
export function apiTokensPath(
  { apiTokensFile, dataDir }: Pick<Values, "apiTokensFile" | "dataDir">,
): string {
  return apiTokensFile ?? `${dataDir}/${API_TOKENS_NAME}`;
}

/** Reads the tokens with scopes. Null if there is no file. If API_TOKENS_FILE names a file, the file must exist. */
function apiTokensIn(
  values: Pick<Values, "apiTokensFile" | "dataDir">,
  given: SettingText,
  read: ConfigSources["readApiTokens"],
): readonly ApiToken[] | null {
  const path = apiTokensPath(values);
  const text = given.text.trim() === "" ? { text: path, source: "by default" } : given;
  let tokens: readonly ApiToken[] | string | null;
  try {
    const content = read?.(path);
    tokens = content === undefined ? null : parseApiTokens(content);
  } catch (error) {
    const problem = `expected a file that can be read: ${firstLine(error)}`;
    // Without API_TOKENS_FILE, the file is in DATA_DIR, so advise about that directory.
    const advice = values.apiTokensFile === null ? "; the directory is DATA_DIR" : "";
    throw refusal(TABLE.apiTokensFile, text, problem + advice);
  }
  if (typeof tokens === "string") throw refusal(TABLE.apiTokensFile, text, tokens);
  if (tokens === null && read !== undefined && values.apiTokensFile !== null) {
    throw refusal(
      TABLE.apiTokensFile,
      text,
      "the file does not exist: dmnode token add creates it",
    );
  }
  return tokens;
}

/**
 * Reads the deny list. If the sources have no function that reads it, as in commands that run no node, the list is
 * empty.
 */
function deniedIn(
  given: SettingText,
  path: string,
  read: ConfigSources["readDenyList"],
): readonly string[] {
  let entries: readonly string[] | string;
  try {
    entries = parseDenyList(read?.(path) ?? "");
  } catch (error) {
    throw refusal(TABLE.denyList, given, `expected a file that can be read: ${firstLine(error)}`);
  }
  if (typeof entries !== "string") return entries;
  throw refusal(TABLE.denyList, given, entries);
}

/**
 * Whether a variable is one that Kubernetes sets in each container for a Service named `api` or
 * `p2p`, such as API_PORT=tcp://10.0.0.1:80. Such a variable is not a setting of this node.
 */
export function isServiceLink(name: string, text: string | undefined): boolean {
  return name.endsWith("_PORT") && /^(tcp|udp|sctp):\/\//.test(text?.trim() ?? "");
}

/** The settings that a running node can change, besides the deny list and the tokens with scopes. */
const RELOADABLE: readonly (keyof Config)[] = [
  "networkKeys",
  "apiToken",
  "apiOpenReads",
  "apiAllowedHosts",
  "apiRateLimit",
  "apiSendRateLimit",
  "p2pUpLimit",
  "p2pDownLimit",
  "p2pMonthlyBudget",
  "logLevel",
];

/** The result of reading the settings again, and the names of the variables that have changed. */
export interface Reloaded {
  /** The former settings, with the new values of those that a running node can change. */
  readonly config: Config;
  /** The names of the variables whose new values are in `config`, and so take effect now. */
  readonly now: readonly string[];
  /** The names of the changed variables whose new values take effect only at the next start. */
  readonly later: readonly string[];
}

/**
 * Applies settings that were read again to a running node. Throws a ConfigError if an API that other machines can reach
 * would then need no token, or if network keys would begin or cease to be used.
 */
export function reloaded(before: Config, read: Config): Reloaded {
  const config: Record<string, unknown> = { ...before };
  const now: string[] = [], later: string[] = [];
  for (const [member, { name }] of Object.entries(TABLE)) {
    const key = member as keyof Config;
    if (JSON.stringify(before[key], spelled) === JSON.stringify(read[key], spelled)) continue;
    if (RELOADABLE.includes(key)) config[key] = read[key];
    (RELOADABLE.includes(key) ? now : later).push(name);
  }
  if (config.denyList === read.denyList && before.denied.join() !== read.denied.join()) {
    config.denied = read.denied;
    now.push("the deny list");
  }
  if (
    JSON.stringify(before.apiTokens) !== JSON.stringify(read.apiTokens) &&
    config.apiTokensFile === read.apiTokensFile
  ) {
    config.apiTokens = read.apiTokens;
    now.push("the tokens");
  }
  if (
    config.apiToken === null && config.apiTokens === null && isExposed(before.apiHost)
  ) {
    throw new ConfigError("API_TOKEN: expected a token until the API listens on loopback only");
  }
  if (before.networkKeys.length > 0 !== read.networkKeys.length > 0) {
    throw new ConfigError(
      "NETWORK_KEY: a running node can't begin or cease to use one: restart it",
    );
  }
  return { config: config as unknown as Config, now, later };
}

/**
 * A replacer for JSON.stringify that writes endpoints and keys as text. Their fields are private,
 * so JSON would omit them.
 */
function spelled(_: string, value: unknown): unknown {
  if (value instanceof NetworkKey) return value.secretText();
  return value instanceof Endpoint ? `${value}` : value;
}

function serviceLinkWarning(name: string, text: string): string {
  const service = name.slice(0, -"_PORT".length).toLowerCase();
  return `${name}: ${
    quote(text)
  } in the environment is ignored: Kubernetes sets it for a Service ` +
    `named ${service}; set ${name} in the pod, or enableServiceLinks: false`;
}

function flagText({ flag }: Setting, flags: Readonly<Record<string, unknown>>) {
  if (flag === null) return undefined;
  const name = flag.slice(2).replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
  const value = flags[name], source = "on the command line";
  if (value === undefined) return undefined;
  // An empty list must not count as a missing flag, because it may come from an unset shell
  // variable.
  if (name === "allowNet") {
    return { text: value === true ? "any" : `${value}`.trim() || ",", source };
  }
  return { text: String(value), source };
}

function variableText(
  setting: Setting,
  variables: Readonly<Record<string, string | undefined>>,
  source: string,
): SettingText | undefined {
  const text = Object.hasOwn(variables, setting.name) ? variables[setting.name] : undefined;
  const isSet = text !== undefined && (text.trim() !== "" || setting.default === "");
  return isSet ? { text, source } : undefined;
}

/**
 * Two masks for a file's mode. The first matches if other users may write the file. The second matches if its group may
 * write it or other users may read it.
 */
const OTHERS_WRITE = 0o002, GROUP_WRITES_OR_OTHERS_READ = 0o024;

/** A setting that is a secret, and the setting that names a file with it. */
interface SecretSetting {
  readonly setting: Setting;
  readonly file: Setting;
  /** A phrase that describes what the file must contain, for messages. */
  readonly noun: string;
  /** Returns the secret that the lines of the file contain; an empty text if there is none. */
  readonly read: (lines: readonly string[]) => string;
}

const TOKEN_SECRET: SecretSetting = {
  setting: TABLE.apiToken,
  file: TABLE.apiTokenFile,
  noun: "a token in its first line",
  read: ([first]) => first.trim(),
};

/** The network keys and the file with them. In the file, lines that start with # are comments. */
const KEY_SECRET: SecretSetting = {
  setting: TABLE.networkKeys,
  file: TABLE.networkKeyFile,
  noun: "a network key in a line of its own",
  read: (lines) =>
    lines.map((line) => line.trim()).filter((line) => line !== "" && !line.startsWith("#")).join(),
};

const SECRETS: readonly SecretSetting[] = [TOKEN_SECRET, KEY_SECRET];

/** Reads the token from the file that API_TOKEN_FILE names, as `readSecretSetting` does. */
export function readToken(
  file: SettingText,
  readSecret: ConfigSources["readSecret"],
): SettingText & { readonly warning?: string } {
  return readSecretSetting(TOKEN_SECRET, file, readSecret);
}

/**
 * Reads a secret from a file. Throws a ConfigError if the file contains no secret, because the node would then be open
 * to anyone, or if every user of the machine may change the file. If other users may only read the file, or only its
 * group may change it, adds a warning instead: containers mount secrets with mode 0444.
 */
function readSecretSetting(
  secret: SecretSetting,
  file: SettingText,
  readSecret: ConfigSources["readSecret"],
): SettingText & { readonly warning?: string } {
  const path = file.text.trim();
  let content: SecretFile | undefined;
  try {
    content = readSecret?.(path);
  } catch (error) {
    const reason = firstLine(error);
    throw refusal(secret.file, file, `expected a file that can be read: ${reason}`);
  }
  const { text = "", mode = null } = content ?? {};
  const permissions = (mode ?? 0) & 0o777, octal = permissions.toString(8).padStart(4, "0");
  if (permissions & OTHERS_WRITE) {
    const problem = `every user of this machine can change the file: chmod 600 ${path}`;
    throw refusal(secret.file, file, problem);
  }
  const value = secret.read(text.split(/\r?\n/));
  if (value === "") throw refusal(secret.file, file, `expected ${secret.noun}`);
  const found = { text: value, source: `in ${path}` };
  // Check the format. This often detects that the file contains another kind of secret, such as a key.
  const parsed = secret.setting.format.schema.safeParse(value);
  if (!parsed.success) throw refusal(secret.setting, found, parsed.error.issues[0].message);
  if (!(permissions & GROUP_WRITES_OR_OTHERS_READ)) return found;
  const warning = `${secret.file.name} ${quote(path)} has mode ${octal}, so other users may read ` +
    `or change the secret: chmod 600 ${path}, or mount it with mode 0400`;
  return { ...found, warning };
}

function refusal({ name, flag }: Setting, { text, source }: SettingText, problem: string) {
  const variable = flag === null ? name : `${name} (${flag})`;
  // Don't put a secret into a message, because messages end up in logs.
  const value = SECRETS.some(({ setting }) => setting.name === name)
    ? `the value of ${text.length} characters`
    : quote(text);
  return new ConfigError(`${variable}: ${value} ${source}: ${problem}`);
}

function deepFreeze<T>(value: T): T {
  if (typeof value !== "object" || value === null) return value;
  if (value instanceof Endpoint || value instanceof NetworkKey) return value;
  Object.values(value).forEach(deepFreeze);
  return Object.freeze(value);
}
