// Encodes and decodes the root of a large value, which contains the ids of the top level's pieces, and references to
// roots.

import { literal, Scanner, Writer } from "../krpc/bencode.ts";
import { Id, ID_BYTES } from "../krpc/id.ts";
import { sameBytes } from "../dht/items/item.ts";
import { Layout, MAX_ITEM_BYTES, MAX_SIZE } from "./layout.ts";

const SHA256_BYTES = 32;

const VERSION = 2;

/**
 * The name of the only erasure code: stripes of up to 32 data pieces with Reed-Solomon parity, as defined in
 * docs/protocol.md.
 */
const CODE = literal("rs32");

/** The kind of content that the storing node detected. A reader knows it before the whole value has arrived. */
export type ContentHint = "json" | "text" | "binary";

const HINT_LETTERS = { json: "j", text: "t", binary: "b" } as const;

/** The content of a root item, which describes a large value and leads to its pieces. */
export interface Root {
  /** The size of the value in bytes. */
  readonly size: number;
  readonly sha256: Uint8Array;
  readonly hint: ContentHint;
  /** The ids of the pieces of the top level, 20 bytes each. */
  readonly pieces: Uint8Array;
}

/** Encodes a root as the bencoded value of its item. */
export function encodeRoot({ size, sha256, hint, pieces }: Root): Uint8Array {
  const writer = new Writer(pieces.length + 100);
  writer.raw(literal("d1:c"));
  writer.bytes(pieces);
  writer.raw(literal("2:dm"));
  writer.integer(VERSION);
  writer.raw(literal("1:e"));
  writer.bytes(CODE);
  writer.raw(literal("1:h"));
  writer.bytes(sha256);
  writer.raw(literal("1:s"));
  writer.integer(size);
  writer.raw(literal("1:t"));
  writer.ascii(HINT_LETTERS[hint]);
  writer.raw(literal("e"));
  return writer.done();
}

/**
 * Encodes a reference: the value of a mutable item that refers to a large value. It is a dictionary with the target of
 * the root item.
 */
export function encodeReference(root: Id): Uint8Array {
  const writer = new Writer(64);
  writer.raw(literal("d2:dm"));
  writer.integer(VERSION);
  writer.raw(literal("1:r"));
  writer.bytes(root.toBytes());
  writer.raw(literal("e"));
  return writer.done();
}

/** Whether a bencoded value claims to be a root or a reference, valid or not: it is a dictionary with the key `dm`. */
export function isMarked(value: Uint8Array): boolean {
  return readDictionary(value)?.has("dm") ?? false;
}

/** Decodes a root. Returns undefined if `value` is not exactly what {@link encodeRoot} would write. */
export function decodeRoot(value: Uint8Array): Root | undefined {
  const members = readDictionary(value);
  const pieces = members?.get("c"), sha256 = members?.get("h"), letter = members?.get("t");
  const size = members?.get("s");
  if (typeof size !== "number" || typeof letter !== "object") return undefined;
  if (typeof pieces !== "object" || typeof sha256 !== "object") return undefined;
  const hint = (["json", "text", "binary"] as const)
    .find((name) => sameBytes(literal(HINT_LETTERS[name]), letter));
  if (hint === undefined || sha256.length !== SHA256_BYTES) return undefined;
  // A value that fits in one item has no root. The negated comparison also rejects NaN.
  if (!(size > MAX_ITEM_BYTES && size <= MAX_SIZE)) return undefined;
  if (pieces.length !== ID_BYTES * new Layout(size).top.pieces) return undefined;
  const root = { size, pieces: pieces.slice(), sha256: sha256.slice(), hint };
  // Accept only the canonical encoding: any other, such as one with unsorted or unknown keys, would give the same value
  // a second hash. This comparison also rejects other versions and codes.
  return sameBytes(encodeRoot(root), value) ? root : undefined;
}

/** Decodes a reference, and returns the target of its root item. Returns undefined if `value` is not a reference. */
export function decodeReference(value: Uint8Array): Id | undefined {
  const root = readDictionary(value)?.get("r");
  if (typeof root !== "object" || root.length !== ID_BYTES) return undefined;
  const target = Id.read(root);
  return sameBytes(encodeReference(target), value) ? target : undefined;
}

/** Reads the integers and strings of a dictionary, by key. Returns undefined if `value` is not a dictionary. */
function readDictionary(value: Uint8Array): Map<string, number | Uint8Array> | undefined {
  const scanner = new Scanner(value);
  const members = new Map<string, number | Uint8Array>();
  if (!scanner.take(0x64)) return undefined;
  while (!scanner.take(0x65)) {
    if (!scanner.string()) return undefined;
    const key = String.fromCharCode(...value.subarray(scanner.start, scanner.end));
    const kind = scanner.peek();
    if (kind === 0x69) members.set(key, scanner.integer());
    else if (kind >= 0x30 && kind <= 0x39) {
      if (!scanner.string()) return undefined;
      members.set(key, value.subarray(scanner.start, scanner.end));
    } else if (!scanner.skip()) return undefined;
    if (scanner.failed) return undefined;
  }
  return members;
}
