// The form of large values on the network: byte strings under a tree of manifests, whose shape follows from the size.

import { literal, Scanner, Writer } from "../krpc/bencode.ts";
import { Id, ID_BYTES } from "../krpc/id.ts";
import { sameBytes } from "../dht/item.ts";

/** The longest byte string of one item: bencoded with its `996:` it has BEP 44's 1000 bytes. */
export const CHUNK_BYTES = 996;

/** Children of a full manifest: 900 of its 1000 bytes; the longest root has 981. */
export const FAN_OUT = 45;

/** Levels of manifests: 45^4 chunks are 4 GB, more than any node takes, and a reader's depth is bounded. */
export const MAX_LEVEL = 4;

/** Bytes of the largest value that a manifest can describe. */
export const MAX_SIZE = CHUNK_BYTES * FAN_OUT ** MAX_LEVEL;

export const SHA256_BYTES = 32;

const VERSION = 1;

/** What a value is said to be by whoever stored it, so that a reader needs not see all of it first. */
export type ContentHint = "json" | "text" | "binary";

const HINT_LETTERS = { json: "j", text: "t", binary: "b" } as const;

/** What the root alone says, of the whole value. */
export interface Whole {
  readonly sha256: Uint8Array;
  readonly hint: ContentHint;
}

/** The top of a value's tree. */
export interface Root extends Whole {
  readonly level: number;
  /** Bytes of the value. */
  readonly size: number;
  /** Targets of its children, 20 bytes each. */
  readonly children: Uint8Array;
}

/** Bytes of a full subtree: level 0 is a chunk. */
export function capacity(level: number): number {
  return CHUNK_BYTES * FAN_OUT ** level;
}

/** The level of the root of a value of this size: the lowest that holds it. */
export function levelOf(size: number): number {
  let level = 0;
  while (capacity(level) < size) level++;
  return level;
}

/** How many children a manifest of this level over `size` bytes has. */
export function childCount(level: number, size: number): number {
  return Math.ceil(size / capacity(level - 1));
}

/** A manifest as the bencoded value of an item; with `whole` a root. */
export function encodeManifest(
  level: number,
  size: number,
  children: Uint8Array,
  whole?: Whole,
): Uint8Array {
  const writer = new Writer(children.length + 100);
  writer.raw(literal("d1:c"));
  writer.bytes(children);
  writer.raw(literal("2:dm"));
  writer.integer(VERSION);
  if (whole !== undefined) {
    writer.raw(literal("1:h"));
    writer.bytes(whole.sha256);
  }
  writer.raw(literal("1:l"));
  writer.integer(level);
  writer.raw(literal("1:s"));
  writer.integer(size);
  if (whole !== undefined) {
    writer.raw(literal("1:t"));
    writer.ascii(HINT_LETTERS[whole.hint]);
  }
  writer.raw(literal("e"));
  return writer.done();
}

/** What the value of a mutable item is that stands for a large value: a dictionary that names the root. */
export function encodeReference(root: Id): Uint8Array {
  const writer = new Writer(64);
  writer.raw(literal("d2:dm"));
  writer.integer(VERSION);
  writer.raw(literal("1:r"));
  writer.bytes(root.toBytes());
  writer.raw(literal("e"));
  return writer.done();
}

/**
 * Whether a bencoded value claims to be part of a large value: a dictionary with the key `dm`. Whether it is a valid
 * one the others here tell.
 */
export function isMarked(value: Uint8Array): boolean {
  return readDictionary(value)?.has("dm") ?? false;
}

/** The root that `value` is; undefined where it is not one in exactly the form that {@link encodeManifest} writes. */
export function decodeRoot(value: Uint8Array): Root | undefined {
  const members = readDictionary(value);
  const children = members?.get("c"), sha256 = members?.get("h"), letter = members?.get("t");
  const level = members?.get("l"), size = members?.get("s");
  if (typeof level !== "number" || typeof size !== "number" || typeof letter !== "object") return;
  if (typeof children !== "object" || typeof sha256 !== "object") return;
  const hint = (["json", "text", "binary"] as const)
    .find((name) => sameBytes(literal(HINT_LETTERS[name]), letter));
  if (hint === undefined || sha256.length !== SHA256_BYTES) return;
  // What fits one item is never split, and NaN is in no range.
  if (!(size > CHUNK_BYTES && size <= MAX_SIZE) || level !== levelOf(size)) return;
  if (children.length !== ID_BYTES * childCount(level, size)) return;
  const root = { level, size, children: children.slice(), sha256: sha256.slice(), hint };
  // Keys out of order or unknown: two forms of one value would be two hashes of it.
  return sameBytes(encodeManifest(level, size, children, root), value) ? root : undefined;
}

/** The children in an inner manifest, which has to be of this level and size and nothing else; else undefined. */
export function decodeInner(
  value: Uint8Array,
  level: number,
  size: number,
): Uint8Array | undefined {
  const length = ID_BYTES * childCount(level, size);
  const start = `d1:c${length}:`.length;
  const children = value.slice(start, start + length);
  if (children.length !== length) return undefined;
  return sameBytes(encodeManifest(level, size, children), value) ? children : undefined;
}

/** The root's target in a reference; undefined where `value` is none. */
export function decodeReference(value: Uint8Array): Id | undefined {
  const root = readDictionary(value)?.get("r");
  if (typeof root !== "object" || root.length !== ID_BYTES) return undefined;
  const target = Id.read(root);
  return sameBytes(encodeReference(target), value) ? target : undefined;
}

/**
 * What a value of this form leads to: a manifest's children, a reference's root, nothing for any other. Unlike the others
 * here it believes what it reads, and is for values that were made here or are bounded by who asks.
 */
export function linksOf(value: Uint8Array): Id[] {
  if (value[0] !== 0x64) return [];
  const members = readDictionary(value);
  if (!members?.has("dm")) return [];
  const root = members.get("r"), children = members.get("c");
  if (typeof root === "object") return root.length === ID_BYTES ? [Id.read(root)] : [];
  if (typeof children !== "object") return [];
  const count = Math.floor(children.length / ID_BYTES);
  return Array.from({ length: count }, (_, i) => Id.read(children, i * ID_BYTES));
}

/** The integers and strings of a dictionary by key; undefined where `value` is no dictionary. */
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
