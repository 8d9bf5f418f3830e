// Builds and reads packets with npm's `bencode`, as other implementations do, instead of with the code under test.

import bencode from "bencode";
import { Endpoint } from "../src/krpc/endpoint.ts";
import { Id } from "../src/krpc/id.ts";
import { literal } from "../src/krpc/bencode.ts";

/** A value that can be bencoded. Strings stand for their Latin-1 bytes. */
export type Value = string | number | Uint8Array | Value[] | { [key: string]: Value };

export function encode(value: Value): Uint8Array {
  return bencode.encode(withBytes(value));
}

function withBytes(value: Value): unknown {
  if (typeof value === "string") return latin1(value);
  if (value instanceof Uint8Array || typeof value === "number") return value;
  if (Array.isArray(value)) return value.map(withBytes);
  return Object.fromEntries(Object.entries(value).map(([key, v]) => [key, withBytes(v)]));
}

/** A decoded message, in which byte strings are arrays. */
// deno-lint-ignore no-explicit-any
export type Decoded = any;

export function decodeAny(packet: Uint8Array): Decoded {
  return bencode.decode(packet);
}

/** Converts text to its Latin-1 bytes. */
export const latin1 = literal;

/** Converts Latin-1 bytes to text. */
export function text(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
}

export function hex(digits: string): Uint8Array {
  return Uint8Array.from(digits.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

/** Returns an id that begins with these hex digits and continues with zeros. */
export function id(prefix: string): Id {
  return Id.parse(prefix.padEnd(40, "0"))!;
}

/** Parses `host:port` or `[host]:port`. */
export function endpoint(address: string): Endpoint {
  const [, host, port] = address.match(/^\[?(.*?)\]?:(\d+)$/)!;
  return Endpoint.parse(host, Number(port))!;
}

/** Returns the compact form of an endpoint: 6 or 18 bytes. */
export function compact(at: Endpoint): Uint8Array {
  const bytes = new Uint8Array(Endpoint.compactLength(at.family));
  at.write(bytes, 0);
  return bytes;
}

/** Concatenates nodes in compact form. */
export function compactNodes(nodes: readonly { id: Id; endpoint: Endpoint }[]): Uint8Array {
  return concat(...nodes.flatMap((node) => [node.id.toBytes(), compact(node.endpoint)]));
}

export function concat(...parts: Uint8Array[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

/** Bytes that make a query long enough for the longest reply, if they are added under any key. */
export const PADDING = new Uint8Array(400);

/** Returns a query from `sender`. The keys in `more` are added, or replace default ones. */
export function query(
  method: string,
  sender: Id,
  args: { [key: string]: Value } = {},
  more: { [key: string]: Value } = {},
): Uint8Array {
  return encode({ t: "aa", y: "q", q: method, a: { id: sender.toBytes(), ...args }, ...more });
}
