// Addresses in settings: nodes as host:port, ranges as CIDRs, and the list of `--allow-net`.

import type { AddressRange } from "../krpc/address_range.ts";
import { Endpoint } from "../krpc/endpoint.ts";
import { ConfigError, quote, splitList } from "./text.ts";

/** The address of a bootstrap node. The host may be a name. IPv6 hosts have no brackets. */
export interface HostPort {
  readonly host: string;
  readonly port: number;
}

/** Formats a node as `host:port`, with an IPv6 address in brackets. */
export function hostPortText({ host, port }: HostPort): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** One entry of `--allow-net=…`. A name matches all addresses that it resolves to. */
type NetEntry = AddressRange | { readonly kind: "host"; readonly name: string };

/** The addresses that the node may exchange packets with. */
export type NetScope =
  | { readonly mode: "loopback" }
  | { readonly mode: "any" }
  | { readonly mode: "list"; readonly entries: readonly NetEntry[] };

/**
 * The words in `--allow-net` that allow any address, and those that allow only this machine. Usual words for on and off
 * count too.
 */
const ANY = ["any", "true", "yes", "on", "1"], LOOPBACK = ["loopback", "false", "no", "off", "0"];

/**
 * Parses `--allow-net`. Without the flag, only loopback is allowed. The flag without a list allows any address. Throws
 * a ConfigError for a bad entry.
 */
export function parseAllowNet(value: string | boolean | undefined): NetScope {
  if (value === undefined || value === false) return { mode: "loopback" };
  if (value === true) return { mode: "any" };
  const text = value, word = text.trim().toLowerCase();
  if (ANY.includes(word)) return { mode: "any" };
  if (LOOPBACK.includes(word)) return { mode: "loopback" };
  const entries = splitList(text).map(parseNetEntry);
  // Refuse an empty list. It may come from an unset shell variable, and must not permit all
  // addresses.
  if (entries.length === 0) {
    throw new ConfigError(
      `${quote(text)} allows no address: expected addresses, CIDRs or host names separated by ` +
        "commas, or any for any address",
    );
  }
  return { mode: "list", entries };
}

/** Describes in one line of the start-up log which addresses the node talks to. */
export function describeScope(scope: NetScope): string {
  if (scope.mode === "loopback") return "loopback only (no --allow-net)";
  if (scope.mode === "any") return "any address (--allow-net)";
  return scope.entries.map(describeEntry).join(", ") + " (--allow-net)";
}

/** Formats an entry as a user writes it after `--allow-net=`. */
export function describeEntry(entry: NetEntry): string {
  return entry.kind === "host" ? entry.name : `${entry.address.host}/${entry.prefix}`;
}

function parseNetEntry(entry: string): NetEntry {
  const range = parseRange(entry);
  if (typeof range !== "string") return range;
  const name = entry.includes("/") ? undefined : parseName(entry);
  if (name !== undefined) return { kind: "host", name };
  const reason = entry.includes("/") ? range : "is not an address or a host name";
  throw new ConfigError(
    `${quote(entry)} ${reason}; expected a CIDR such as 10.0.0.0/8, ` +
      "an IP address or a host name, without a port",
  );
}

/** Parses a CIDR or a single address. If `entry` is neither, returns an error message. */
export function parseRange(entry: string): AddressRange | string {
  const slash = entry.indexOf("/");
  const hostText = slash < 0 ? entry : entry.slice(0, slash);
  const address = parseAddress(hostText) === undefined
    ? undefined
    : Endpoint.parse(unbracket(hostText), 0);
  if (address === undefined) return slash < 0 ? "is not an address" : "is not a CIDR: bad address";
  const bits = address.family === 4 ? 32 : 128;
  if (slash < 0) return { kind: "cidr", address, prefix: bits };
  const prefixText = entry.slice(slash + 1);
  const mapped = address.family === 4 && hostText.includes(":");
  const max = mapped ? 128 : bits, min = mapped ? 96 : 0;
  const prefix = /^\d{1,3}$/.test(prefixText) ? Number(prefixText) : NaN;
  if (!(prefix >= min && prefix <= max)) {
    return `is not a CIDR: the prefix length must be ${min} to ${max}`;
  }
  return { kind: "cidr", address, prefix: prefix - min };
}

/** Parses an IPv4 or IPv6 address, and returns it in its usual form. */
export function parseAddress(text: string): string | undefined {
  if (text.includes("%")) return undefined;
  return Endpoint.parse(unbracket(text), 0)?.host;
}

function unbracket(text: string): string {
  return /^\[.*:.*\]$/.test(text) ? text.slice(1, -1) : text;
}

/** Parses a link-local IPv6 address with its zone, such as [fe80::1%eth0]. The zone is an interface of this machine. */
function parseLinkLocal(text: string): string | undefined {
  const [, address, zone] = /^\[?([^%\]]+)%([\w.-]{1,15})\]?$/.exec(text) ?? [];
  const endpoint = address === undefined ? undefined : Endpoint.parse(address, 0);
  if (endpoint?.family !== 6 || endpoint.a >>> 22 !== 0x3fa) return undefined;
  return `${endpoint.host}%${zone}`;
}

/** Parses a host name (RFC 1123, but also underscores, as in container networks), and returns it in lower case. */
export function parseName(text: string): string | undefined {
  const name = text.toLowerCase().replace(/\.$/, "");
  const labels = name.split(".");
  if (name.length > 253) return undefined;
  if (!labels.every((label) => /^(?!-)[a-z0-9_-]{1,63}(?<!-)$/.test(label))) return undefined;
  // Refuse names that end in a number, such as 10.0.0 and 256.1.1.1. They are mistyped addresses.
  return /^\d+$/.test(labels.at(-1)!) ? undefined : name;
}

/** Parses a node as host:port. If `entry` is invalid, returns an error message. */
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
  const host = parseLinkLocal(hostText) ?? parseAddress(hostText) ?? parseName(hostText);
  if (host === undefined) return `has no valid host; ${expected}`;
  return { host, port };
}
