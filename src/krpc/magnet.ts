// Magnet links that name a public key (BEP 46). The owner of the key publishes to which torrent the link refers.

import { bencodeBytes, literal, Scanner } from "./bencode.ts";
import { hex, unhex } from "./hex.ts";
import { Id, ID_BYTES } from "./id.ts";

/** The content of a magnet link: the public key of its owner, and the salt that distinguishes the owner's links. */
export interface Magnet {
  /** The owner's Ed25519 key. */
  readonly publicKey: Uint8Array;
  /** The salt; empty if the link has none. */
  readonly salt: Uint8Array;
}

/**
 * The prefix of a link's `xs` parameter, the number of hex digits of the public key after it, and the maximum number of
 * hex digits of a salt.
 */
const KEY_URN = "urn:btpk:", KEY_DIGITS = 64, MAX_SALT_DIGITS = 128;

/** The link as text. */
export function magnetText({ publicKey, salt }: Magnet): string {
  const suffix = salt.length === 0 ? "" : `&s=${hex(salt)}`;
  return `magnet:?xs=${KEY_URN}${hex(publicKey)}${suffix}`;
}

/**
 * Parses a magnet link. Returns undefined if the link has no key, or if its key or salt is malformed. Other parameters
 * are ignored.
 */
export function parseMagnet(text: string): Magnet | undefined {
  const query = text.indexOf("?") + 1;
  if (text.slice(0, query).toLowerCase() !== "magnet:?") return undefined;
  const parameters = new URLSearchParams(text.slice(query));
  const key = parameters.getAll("xs").find((xs) => xs.toLowerCase().startsWith(KEY_URN))
    ?.slice(KEY_URN.length);
  const salt = parameters.get("s") ?? "";
  const isSalt = salt.length <= MAX_SALT_DIGITS && salt.length % 2 === 0 && isHex(salt);
  if (key?.length !== KEY_DIGITS || !isHex(key) || !isSalt) return undefined;
  return { publicKey: unhex(key), salt: unhex(salt) };
}

function isHex(text: string): boolean {
  return /^[0-9a-fA-F]*$/.test(text);
}

/** Encodes the value that is published under the key: a bencoded dictionary with the torrent's info-hash. */
export function encodePointer(infoHash: Id): Uint8Array {
  return Uint8Array.of(...literal("d2:ih"), ...bencodeBytes(infoHash.toBytes()), ...literal("e"));
}

/** Returns the info-hash in a bencoded value; undefined if the value is not a dictionary with an info-hash. */
export function decodePointer(value: Uint8Array): Id | undefined {
  const scanner = new Scanner(value);
  if (!scanner.take("d".charCodeAt(0))) return undefined;
  let infoHash: Id | undefined;
  while (!scanner.take("e".charCodeAt(0))) {
    if (!scanner.string()) return undefined;
    const isInfoHash = String.fromCharCode(...value.subarray(scanner.start, scanner.end)) === "ih";
    const { pos } = scanner;
    if (!scanner.skip()) return undefined;
    if (!isInfoHash) continue;
    const content = new Scanner(value.subarray(pos, scanner.pos));
    if (!content.string() || content.end - content.start !== ID_BYTES) return undefined;
    infoHash = Id.read(content.bytes, content.start);
  }
  return infoHash;
}
