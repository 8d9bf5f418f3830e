// IP addresses with a port, as KRPC's compact form carries them (BEP 5: 6 bytes, BEP 32: 18 bytes).

import { putWord, word } from "./id.ts";

/** Address family: 4 for IPv4, 6 for IPv6. */
export type Family = 4 | 6;

/** How far an address reaches, narrowest first. `none` can't be sent to at all. */
export type Scope = "none" | "loopback" | "private" | "global";

/** Words of an IPv6 address after the first. */
type Rest = readonly [b: number, c: number, d: number];

/**
 * An IP address and a port, immutable. IPv4-mapped IPv6 addresses are held as the IPv4 address they stand for.
 *
 * Of no more fields than IPv4 needs: a process with many nodes holds a hundred of these for each of them.
 */
export class Endpoint {
  readonly #rest: Rest | undefined;

  private constructor(
    /** The first word of the address, signed 32-bit; the only one of IPv4. */
    readonly a: number,
    /** 0 to 65535. */
    readonly port: number,
    rest: Rest | undefined,
  ) {
    this.#rest = rest;
  }

  /** The endpoint of a literal address, or undefined where `host` is not one or the port is out of range. */
  static parse(host: string, port: number): Endpoint | undefined {
    if (!Number.isInteger(port) || port < 0 || port > 65535) return undefined;
    const v4 = parseIpv4(host, 0);
    if (v4 !== undefined) return new Endpoint(v4, port, undefined);
    // How a socket on :: names its IPv4 peers: once a packet, so not left to the parser below.
    if (host.startsWith(MAPPED)) {
      const mapped = parseIpv4(host, MAPPED.length);
      if (mapped !== undefined) return new Endpoint(mapped, port, undefined);
    }
    const v6 = parseIpv6(host);
    if (v6 === undefined) return undefined;
    return Endpoint.ofIpv6(...v6, port);
  }

  /** That of an IPv4 address, given as its word. */
  static ofIpv4(a: number, port: number): Endpoint {
    return new Endpoint(a, port, undefined);
  }

  /** That of an IPv6 address, given as its words; of the IPv4 address that a mapped one stands for (RFC 4291, 2.5.5.2). */
  static ofIpv6(a: number, b: number, c: number, d: number, port: number): Endpoint {
    const isMapped = a === 0 && b === 0 && c === 0xffff;
    return isMapped ? new Endpoint(d, port, undefined) : new Endpoint(a, port, [b, c, d]);
  }

  /**
   * Reads the compact form: 4 or 16 address bytes, then the port. The caller has checked the length. The endpoint is
   * of the other family where the address is a mapped one: else `::ffff:127.0.0.1` would pass for a global address.
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

  /** The other words of an IPv6 address; 0 for IPv4. */
  get b(): number {
    return this.#rest === undefined ? 0 : this.#rest[0];
  }

  get c(): number {
    return this.#rest === undefined ? 0 : this.#rest[1];
  }

  get d(): number {
    return this.#rest === undefined ? 0 : this.#rest[2];
  }

  /** Bytes of an endpoint's compact form. */
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

  /** The address alone, as text: dotted for IPv4, RFC 5952 for IPv6. */
  get host(): string {
    return this.#rest === undefined ? formatIpv4(this.a) : formatIpv6([this.a, ...this.#rest]);
  }

  /** This address with another port. */
  withPort(port: number): Endpoint {
    return new Endpoint(this.a, port, this.#rest);
  }

  equals(other: Endpoint): boolean {
    return this.port === other.port && this.sameAddress(other);
  }

  /** Whether both have the same IP address, whatever the ports. */
  sameAddress(other: Endpoint): boolean {
    if (this.a !== other.a) return false;
    const mine = this.#rest, theirs = other.#rest;
    if (mine === undefined || theirs === undefined) return mine === theirs;
    return mine[0] === theirs[0] && mine[1] === theirs[1] && mine[2] === theirs[2];
  }

  /** How far the address reaches (RFC 6890's registries); port 0, multicast and unspecified addresses are `none`. */
  get scope(): Scope {
    if (this.port === 0) return "none";
    if (this.family === 4) {
      const first = this.a >>> 24, second = (this.a >>> 16) & 255;
      if (first === 0 || first >= 224) return "none";
      if (first === 127) return "loopback";
      const isPrivate = first === 10 || (first === 172 && (second & 0xf0) === 16) ||
        (first === 192 && second === 168) || (first === 169 && second === 254) ||
        (first === 100 && (second & 0xc0) === 64); // 100.64/10: carrier-grade NAT, RFC 6598
      return isPrivate ? "private" : "global";
    }
    if (this.a === 0 && this.b === 0 && this.c === 0) {
      return this.d === 1 ? "loopback" : "none";
    }
    const first = this.a >>> 16;
    if (first >= 0xff00) return "none";
    // fc00::/7 unique local, fe80::/10 link local
    if ((first & 0xfe00) === 0xfc00 || (first & 0xffc0) === 0xfe80) return "private";
    return "global";
  }

  /** `host:port`, IPv6 hosts in brackets. */
  toString(): string {
    return this.family === 4 ? `${this.host}:${this.port}` : `[${this.host}]:${this.port}`;
  }
}

/**
 * Whether somebody at `teller` may point us at `endpoint`: never at a narrower scope than their own, so that a
 * stranger on the Internet can't make this node send packets into its own machine or local network.
 */
export function mayRefer(teller: Endpoint, endpoint: Endpoint): boolean {
  const { scope } = endpoint;
  // Nearly all there are.
  if (scope === "global") return true;
  return SCOPES.indexOf(scope) >= Math.max(1, SCOPES.indexOf(teller.scope));
}

/** Whether `x` reaches farther than `y`. */
export function isWider(x: Endpoint, y: Endpoint): boolean {
  return SCOPES.indexOf(x.scope) > SCOPES.indexOf(y.scope);
}

const MAPPED = "::ffff:";

const SCOPES: readonly Scope[] = ["none", "loopback", "private", "global"];

/** Parses dotted IPv4 from `start` to the end of `text`; runs once a packet, hence by hand. */
function parseIpv4(text: string, start: number): number | undefined {
  let address = 0, value = -1, dots = 0;
  for (let i = start; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c >= 48 && c <= 57) {
      if (value === 0) return undefined; // a leading zero: octal to some parsers
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
  const zone = text.indexOf("%");
  if (zone >= 0) text = text.slice(0, zone);
  const lastColon = text.lastIndexOf(":");
  if (lastColon < 0 || text.length > 45) return undefined;
  let tail: string[] = [];
  if (text.includes(".")) {
    const v4 = parseIpv4(text, lastColon + 1);
    if (v4 === undefined) return undefined;
    tail = [(v4 >>> 16).toString(16), (v4 & 0xffff).toString(16)];
    text = text.slice(0, lastColon + 1) + tail.join(":");
  }
  const halves = text.split("::");
  if (halves.length > 2) return undefined;
  const [head, rest] = halves.map((half) => half === "" ? [] : half.split(":"));
  const missing = 8 - head.length - (rest?.length ?? 0);
  if (rest === undefined ? missing !== 0 : missing < 1) return undefined;
  const groups = [...head, ...Array(missing).fill("0"), ...(rest ?? [])];
  if (!groups.every((group) => /^[0-9a-fA-F]{1,4}$/.test(group))) return undefined;
  const n = groups.map((group) => parseInt(group, 16));
  return [0, 2, 4, 6].map((i) => (n[i] << 16) | n[i + 1]) as [number, number, number, number];
}

/** IPv4 addresses written lately, as text; a node writes to the same few again and again. */
const WRITTEN_BITS = 9;
const WRITTEN = new Array<number>(1 << WRITTEN_BITS).fill(0);
const WRITTEN_AS = new Array<string>(1 << WRITTEN_BITS).fill("0.0.0.0");

function formatIpv4(a: number): string {
  const slot = Math.imul(a, 0x9e3779b1) >>> (32 - WRITTEN_BITS);
  if (WRITTEN[slot] !== a) {
    WRITTEN[slot] = a;
    WRITTEN_AS[slot] = `${a >>> 24}.${(a >>> 16) & 255}.${(a >>> 8) & 255}.${a & 255}`;
  }
  return WRITTEN_AS[slot];
}

/** RFC 5952: lower case, no leading zeros, the longest run of two or more zero groups as `::`. */
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
