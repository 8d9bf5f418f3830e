// Endpoints, which are pairs of an IP address and a port. The compact form has 6 bytes for IPv4 (BEP 5) and 18 for IPv6
// (BEP 32).

import { putWord, word } from "./id.ts";

/** Address family: 4 for IPv4, 6 for IPv6. */
export type Family = 4 | 6;

/** From where an address can be reached, from narrow to wide. Packets can't be sent to an address with scope `none`. */
export type Scope = "none" | "loopback" | "private" | "global";

/** The second, third and fourth 32-bit words of an IPv6 address. */
type Rest = readonly [b: number, c: number, d: number];

/**
 * An immutable pair of an IP address and a port. An IPv4-mapped IPv6 address becomes the IPv4 address that it contains.
 *
 * The last three words of an IPv6 address are in a separate object, so that IPv4 endpoints are small: a process may run
 * thousands of nodes, each with a hundred or more contacts and their endpoints.
 */
export class Endpoint {
  readonly #rest: Rest | undefined;

  private constructor(
    /** The first 32-bit word of the address, as a signed integer. For IPv4, this is the whole address. */
    readonly a: number,
    /** The port, from 0 to 65535. */
    readonly port: number,
    rest: Rest | undefined,
  ) {
    this.#rest = rest;
  }

  /**
   * Parses an IP address in text form. Returns undefined if `host` is not an IP address, or if the port is out of
   * range.
   */
  static parse(host: string, port: number): Endpoint | undefined {
    if (!Number.isInteger(port) || port < 0 || port > 65535) return undefined;
    const v4 = parseIpv4(host, 0);
    if (v4 !== undefined) return new Endpoint(v4, port, undefined);
    // Fast path for IPv4-mapped addresses: a socket bound to :: reports all IPv4 senders in this form.
    if (host.startsWith(MAPPED)) {
      const mapped = parseIpv4(host, MAPPED.length);
      if (mapped !== undefined) return new Endpoint(mapped, port, undefined);
    }
    const v6 = parseIpv6(host);
    if (v6 === undefined) return undefined;
    return Endpoint.ofIpv6(...v6, port);
  }

  /** Creates an IPv4 endpoint. `a` is the address as a 32-bit word. */
  static ofIpv4(a: number, port: number): Endpoint {
    return new Endpoint(a, port, undefined);
  }

  /**
   * Creates an IPv6 endpoint from the four 32-bit words of its address. An IPv4-mapped address becomes IPv4 (RFC 4291,
   * section 2.5.5.2).
   */
  static ofIpv6(a: number, b: number, c: number, d: number, port: number): Endpoint {
    const isMapped = a === 0 && b === 0 && c === 0xffff;
    return isMapped ? new Endpoint(d, port, undefined) : new Endpoint(a, port, [b, c, d]);
  }

  /**
   * Reads an endpoint in compact form. The caller has checked the length. IPv4-mapped addresses become IPv4, so that a
   * loopback address can't seem global.
   */
  static read(bytes: Uint8Array, at: number, family: Family): Endpoint {
    if (family === 4) {
      return new Endpoint(word(bytes, at), (bytes[at + 4] << 8) | bytes[at + 5], undefined);
    }
    return Endpoint.ofIpv6(
      word(bytes, at),
      word(bytes, at + 4),
      word(bytes, at + 8),
      word(bytes, at + 12),
      (bytes[at + 16] << 8) | bytes[at + 17],
    );
  }

  get family(): Family {
    return this.#rest === undefined ? 4 : 6;
  }

  // The getters `b`, `c` and `d` return the second, third and fourth word of an IPv6 address; 0 for IPv4.
  get b(): number {
    return this.#rest === undefined ? 0 : this.#rest[0];
  }

  get c(): number {
    return this.#rest === undefined ? 0 : this.#rest[1];
  }

  get d(): number {
    return this.#rest === undefined ? 0 : this.#rest[2];
  }

  /** The number of bytes in the compact form of an endpoint. */
  static compactLength(family: Family): 6 | 18 {
    return family === 4 ? 6 : 18;
  }

  /** Writes the compact form. */
  write(bytes: Uint8Array, at: number): void {
    putWord(bytes, at, this.a);
    at += 4;
    if (this.family === 6) {
      putWord(bytes, at, this.b);
      putWord(bytes, at + 4, this.c);
      putWord(bytes, at + 8, this.d);
      at += 12;
    }
    bytes[at] = this.port >>> 8;
    bytes[at + 1] = this.port;
  }

  /** The address as text, without the port: dotted decimals for IPv4, and the format of RFC 5952 for IPv6. */
  get host(): string {
    return this.#rest === undefined ? formatIpv4(this.a) : formatIpv6([this.a, ...this.#rest]);
  }

  withPort(port: number): Endpoint {
    return new Endpoint(this.a, port, this.#rest);
  }

  equals(other: Endpoint): boolean {
    return this.port === other.port && this.sameAddress(other);
  }

  sameAddress(other: Endpoint): boolean {
    if (this.a !== other.a) return false;
    const mine = this.#rest, theirs = other.#rest;
    if (mine === undefined || theirs === undefined) return mine === theirs;
    return mine[0] === theirs[0] && mine[1] === theirs[1] && mine[2] === theirs[2];
  }

  /**
   * The scope of the address according to the IANA registries of special addresses (RFC 6890). Port 0, multicast and
   * unspecified addresses have the scope `none`. Addresses for documentation and benchmarks, and IPv6 addresses that
   * contain an IPv4 address, count as private, so that nobody on the Internet can make us send packets to them.
   */
  get scope(): Scope {
    if (this.port === 0) return "none";
    if (this.family === 4) {
      const first = this.a >>> 24, second = (this.a >>> 16) & 255;
      if (first === 0 || first >= 224) return "none";
      if (first === 127) return "loopback";
      const isPrivate = first === 10 || (first === 172 && (second & 0xf0) === 16) ||
        (first === 192 && second === 168) || (first === 169 && second === 254) ||
        (first === 100 && (second & 0xc0) === 64) || // 100.64/10: carrier-grade NAT (RFC 6598)
        (first === 198 && (second & 0xfe) === 18) || // 198.18/15: benchmarks (RFC 2544)
        isDocumentation(this.a >>> 8);
      return isPrivate && !isTestAddress?.(this) ? "private" : "global";
    }
    if (this.a === 0 && this.b === 0 && this.c === 0) {
      return this.d === 1 ? "loopback" : "none";
    }
    const first = this.a >>> 16;
    if (first >= 0xff00) return "none";
    // Private: fc00::/7 (unique local), fe80::/10 (link-local), fec0::/10 (site-local, RFC 3879) and 2002::/16 (6to4,
    // RFC 3056).
    const isPrivate = (first & 0xfe00) === 0xfc00 || (first & 0xff80) === 0xfe80 ||
      first === 0x2002 || this.a === 0x20010db8 || // 2001:db8::/32: documentation (RFC 3849)
      (this.a === 0x64ff9b && this.b === 0 && this.c === 0); // 64:ff9b::/96: NAT64 (RFC 6052)
    return isPrivate && !isTestAddress?.(this) ? "private" : "global";
  }

  /** Whether the address is in fe80::/10. Such an address is valid only on one link. */
  get isLinkLocal(): boolean {
    return this.#rest !== undefined && this.a >>> 22 === 0xfe80 >>> 6;
  }

  /** The endpoint as text: `host:port`, or `[host]:port` for IPv6. */
  toString(): string {
    return this.family === 4 ? `${this.host}:${this.port}` : `[${this.host}]:${this.port}`;
  }
}

/**
 * Whether we accept `endpoint` from a node at `source`. The scope of `endpoint` must not be narrower than that of
 * `source`: otherwise, strangers on the Internet could make us send packets to our own machine or local network. We
 * accept a link-local address only from a node with a link-local address.
 */
export function mayRefer(source: Endpoint, endpoint: Endpoint): boolean {
  const { scope } = endpoint;
  if (scope === "global") return true; // the usual case
  if (endpoint.isLinkLocal && !source.isLinkLocal) return false;
  const { scope: own } = source;
  // Check equality first, because in a private network `source` and `endpoint` usually have the same scope.
  if (scope === own) return scope !== "none";
  return SCOPES.indexOf(scope) >= Math.max(1, SCOPES.indexOf(own));
}

/** Whether the scope of `x` is wider than that of `y`. */
export function isWider(x: Endpoint, y: Endpoint): boolean {
  return SCOPES.indexOf(x.scope) > SCOPES.indexOf(y.scope);
}

/**
 * Makes private addresses count as global if `includes` returns true for them (the setting TEST_NETWORKS). `undefined`
 * ends this exception. The exception applies to the whole process, so call this function before any node starts.
 */
export function countAsGlobal(includes: ((address: Endpoint) => boolean) | undefined): void {
  isTestAddress = includes;
}

let isTestAddress: ((address: Endpoint) => boolean) | undefined;

const MAPPED = "::ffff:";

/** Whether a /24 is reserved for documentation: 192.0.2, 198.51.100 and 203.0.113 (RFC 5737). */
function isDocumentation(network: number): boolean {
  return network === 0xc00002 || network === 0xc63364 || network === 0xcb0071;
}

const SCOPES: readonly Scope[] = ["none", "loopback", "private", "global"];

/**
 * Parses a dotted IPv4 address from index `start` to the end of `text`. The code is written for speed, because it runs
 * once per packet.
 */
function parseIpv4(text: string, start: number): number | undefined {
  let address = 0, value = -1, dots = 0;
  for (let i = start; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c >= 48 && c <= 57) {
      if (value === 0) return undefined; // some parsers read a leading zero as octal
      value = value < 0 ? c - 48 : value * 10 + c - 48;
      if (value > 255) return undefined;
    } else if (c === 46 && value >= 0 && dots < 3) {
      address = (address << 8) | value;
      value = -1;
      dots++;
    } else return undefined;
  }
  return dots === 3 && value >= 0 ? (address << 8) | value : undefined;
}

function parseIpv6(text: string): [number, number, number, number] | undefined {
  const [address] = text.split("%"); // without the zone
  const url = /^[0-9a-f:.]+$/i.test(address) ? URL.parse(`http://[${address}]`) : null;
  if (url === null) return undefined;
  const [head, tail] = url.hostname.slice(1, -1).split("::")
    .map((half) => half === "" ? [] : half.split(":"));
  const zeros = Array(8 - head.length - (tail?.length ?? 0)).fill("0");
  const n = [...head, ...zeros, ...(tail ?? [])].map((group) => parseInt(group, 16));
  return [0, 2, 4, 6].map((i) => (n[i] << 16) | n[i + 1]) as [number, number, number, number];
}

/**
 * The cache of IPv4 addresses in text form has 2 to this power entries. Most packets come from or go to the same few
 * addresses.
 */
const CACHE_BITS = 9;
const CACHED = new Array<number>(1 << CACHE_BITS).fill(0);
const CACHED_TEXT = new Array<string>(1 << CACHE_BITS).fill("0.0.0.0");

function formatIpv4(a: number): string {
  const slot = Math.imul(a, 0x9e3779b1) >>> (32 - CACHE_BITS);
  if (CACHED[slot] !== a) {
    CACHED[slot] = a;
    CACHED_TEXT[slot] = `${a >>> 24}.${(a >>> 16) & 255}.${(a >>> 8) & 255}.${a & 255}`;
  }
  return CACHED_TEXT[slot];
}

/**
 * Formats an IPv6 address as in RFC 5952: lower case, no leading zeros, and `::` for the longest run of two or more
 * zero groups.
 */
function formatIpv6(words: number[]): string {
  const groups = words.flatMap((w) => [w >>> 16, w & 0xffff]);
  let best = -1, bestLength = 1;
  for (let i = 0; i < 8; i++) {
    let length = 0;
    while (i + length < 8 && groups[i + length] === 0) length++;
    if (length > bestLength) best = i, bestLength = length;
  }
  const text = (part: number[]) => part.map((group) => group.toString(16)).join(":");
  return best < 0
    ? text(groups)
    : `${text(groups.slice(0, best))}::${text(groups.slice(best + bestLength))}`;
}
