// The encoding of a large value's root, and of references to it. A root has the ids of the top level's pieces.

import { literal, Scanner, Writer } from "../krpc/bencode.ts";
import { Id, ID_BYTES } from "../krpc/id.ts";
import { sameBytes } from "../dht/items/item.ts";
import { Layout, MAX_ITEM_BYTES, MAX_SIZE } from "./layout.ts";

const SHA256_BYTES = 32;

const VERSION = 2;

/** The name of the only code: stripes of up to 32 data pieces with Reed-Solomon parity, as docs/protocol.md defines. */
const CODE = literal("rs32");

/** The kind of content, as the storing node detected it. A reader learns it before the whole value has arrived. */
export type ContentHint = "json" | "text" | "binary";

const HINT_LETTERS = { json: "j", text: "t", binary: "b" } as const;

/** The top of a value's tree. */
export interface Root {
  /** The size of the value in bytes. */
  readonly size: number;
  readonly sha256: Uint8Array;
  readonly hint: ContentHint;
  /** The ids of the pieces of the top level, 20 bytes each. */
  readonly pieces: Uint8Array;
}

/** Encodes a root as the bencoded value of an item. */
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

/** The value of a mutable item that refers to a large value: a dictionary with the root's target. */
export function encodeReference(root: Id): Uint8Array {
  const writer = new Writer(64);
  writer.raw(literal("d2:dm"));
  writer.integer(VERSION);
  writer.raw(literal("1:r"));
  writer.bytes(root.toBytes());
  writer.raw(literal("e"));
  return writer.done();
}

/** Whether a bencoded value claims to be part of a large value, valid or not: a dictionary with the key `dm`. */
export function isMarked(value: Uint8Array): boolean {
  return readDictionary(value)?.has("dm") ?? false;
}

/** Decodes a root; undefined if `value` is not exactly what {@link encodeRoot} writes. */
export function decodeRoot(value: Uint8Array): Root | undefined {
  const members = readDictionary(value);
  const pieces = members?.get("c"), sha256 = members?.get("h"), letter = members?.get("t");
  const size = members?.get("s");
  if (typeof size !== "number" || typeof letter !== "object") return undefined;
  if (typeof pieces !== "object" || typeof sha256 !== "object") return undefined;
  const hint = (["json", "text", "binary"] as const)
    .find((name) => sameBytes(literal(HINT_LETTERS[name]), letter));
  if (hint === undefined || sha256.length !== SHA256_BYTES) return undefined;
  // A value that fits in one item is never cut. The negated comparison also rejects NaN.
  if (!(size > MAX_ITEM_BYTES && size <= MAX_SIZE)) return undefined;
  if (pieces.length !== ID_BYTES * new Layout(size).top.pieces) return undefined;
  const root = { size, pieces: pieces.slice(), sha256: sha256.slice(), hint };
  // Any other encoding, such as one with unsorted or unknown keys, would give the same value a second hash. The
  // comparison also rejects other versions and codes.
  return sameBytes(encodeRoot(root), value) ? root : undefined;
}

/** The target of the root that a reference refers to; undefined if `value` is not a reference. */
export function decodeReference(value: Uint8Array): Id | undefined {
  const root = readDictionary(value)?.get("r");
  if (typeof root !== "object" || root.length !== ID_BYTES) return undefined;
  const target = Id.read(root);
  return sameBytes(encodeReference(target), value) ? target : undefined;
}

/** The integers and strings of a dictionary by key; undefined if `value` is not a dictionary. */
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
