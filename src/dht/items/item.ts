// Stored values (BEP 44). The target of an immutable item is the hash of its value. The target of a
// mutable item is the hash of its public key and salt.

import { compareBytes, isCanonical, literal, Writer } from "../../krpc/bencode.ts";
import { Id } from "../../krpc/id.ts";
import { ErrorCode, type Message } from "../../krpc/message.ts";
import { isSeq, type Seq } from "../../krpc/seq.ts";
import type { Millis } from "../deadlines.ts";

/** The maximum size of an item's value in bencoded form. */
export const MAX_VALUE_BYTES = 1000;
export const MAX_SALT_BYTES = 64;
export const PUBLIC_KEY_BYTES = 32;
export const SIGNATURE_BYTES = 64;

/**
 * An item expires a day after its owner's last put (Kademlia, section 2.5). BEP 44's two hours are too short for owners
 * that go offline.
 */
export const ITEM_LIFE_MS = 24 * 3_600_000;

/** The minimum and the maximum lifetime of an item that a put may ask for. */
const MIN_ITEM_LIFE_MS = 3_600_000, MAX_ITEM_LIFE_MS = 7 * ITEM_LIFE_MS;

/** The hash and signature functions for items. The host provides them. */
export interface ItemCrypto {
  /** Returns the 20 bytes of the hash. */
  sha1(bytes: Uint8Array): Uint8Array;
  /** Whether an Ed25519 signature (RFC 8032) is valid. Returns false for malformed input, and never throws. */
  verify(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean;
}

/** The additional fields of a mutable item. */
export interface Signed {
  readonly publicKey: Uint8Array;
  readonly signature: Uint8Array;
  /** The salt; empty if the item has none. */
  readonly salt: Uint8Array;
  readonly seq: Seq;
}

/** A verified value. Its bytes are copies, so the item may be kept after the message is gone. */
export interface Item {
  readonly target: Id;
  /** The value in bencoded form, byte for byte as its owner wrote it. */
  readonly value: Uint8Array;
  /** The additional fields of a mutable item; undefined for an immutable item. */
  readonly signed: Signed | undefined;
}

/** An item that we hold for the network or publish ourselves. */
export interface Held {
  readonly item: Item;
  /** The time when the item's owner last put it, as far as we know. */
  readonly putAt: Millis;
}

/** An item in our store. */
export interface StoredItem extends Item {
  /** The time of the owner's last put, as far as we know. */
  readonly storedAt: Millis;
  /** The time when the item expires. A copy sent to another node expires at about the same time. */
  readonly expiresAt: Millis;
  /** The source charged for the item's space in the store; see {@link GivenItem.by}. */
  readonly by?: string | undefined;
  /** The number of nodes that should hold the item, as its owner asked; undefined means k. */
  readonly copies?: number | undefined;
}

/** An item to store. */
export interface GivenItem {
  readonly item: Item;
  /** Milliseconds since the owner last put the item; 0 by default. */
  readonly ageMs?: Millis;
  /** How long to keep the item after the owner's last put; `ITEM_LIFE_MS` by default. */
  readonly lifeMs?: Millis;
  /**
   * The source that put the item, and that is charged for its space in the store (`sourceOf`). Undefined if no limit
   * applies: for members of a private network, and for items that this node created or fetched.
   */
  readonly by?: string;
  /** The number of nodes that should hold the item; undefined means k. */
  readonly copies?: number;
}

/** Converts an item to its stored form. `held` is the stored version that it will replace, if any. */
export function storedItem(
  { item, ageMs = 0, lifeMs = ITEM_LIFE_MS, by, copies }: GivenItem,
  held: StoredItem | undefined,
  now: Millis,
): StoredItem {
  const { target, value, signed } = item;
  const isSame = held !== undefined && compareVersions(item, held) === 0;
  const putAt = now - ageMs, endsAt = putAt + lifeMs;
  const isLonger = lifeMs > ITEM_LIFE_MS && (!isSame || endsAt > held.expiresAt);
  return {
    target,
    value,
    signed,
    storedAt: isSame ? Math.max(putAt, held.storedAt) : putAt,
    // A repeated put must not shorten the item's life, because anyone can repeat a put.
    expiresAt: isSame ? Math.max(endsAt, held.expiresAt) : endsAt,
    // Charge the item to the source that put it first, even if a stranger puts it again or puts a
    // new version. A life of more than a day is charged to the source that asks for it.
    by: held === undefined || isLonger ? by : held.by,
    copies: isSame ? moreCopies(copies, held.copies) : copies,
  };
}

/**
 * An item's lifetime after its owner's last put, rounded to whole seconds because the times of an item are not exact.
 */
export function lifeTimeOf(
  { storedAt, expiresAt }: Pick<StoredItem, "storedAt" | "expiresAt">,
): Millis {
  return Math.round((expiresAt - storedAt) / 1000) * 1000;
}

/** How long to keep an item, in ms, if its put asks for `ttl` seconds. NaN means that the put has no `ttl`. */
export function lifeOf(ttl: number): Millis {
  if (Number.isNaN(ttl)) return ITEM_LIFE_MS;
  return Math.min(MAX_ITEM_LIFE_MS, Math.max(MIN_ITEM_LIFE_MS, ttl * 1000));
}

/**
 * The higher of two numbers of copies; undefined means k. Anyone can put an item again, so a put must not lower the
 * number.
 */
function moreCopies(x: number | undefined, y: number | undefined): number | undefined {
  return x === undefined || y === undefined ? undefined : Math.max(x, y);
}

/** The reason for refusing an item, as a KRPC error. */
export interface ItemError {
  readonly code: number;
  readonly text: string;
}

const EMPTY = new Uint8Array(0);
const SALT = literal("4:salt"), SEQ = literal("3:seq"), VALUE = literal("1:v");

/** The target of an immutable item: the SHA-1 hash of its bencoded value. */
export function immutableTarget(crypto: ItemCrypto, value: Uint8Array): Id {
  return Id.read(crypto.sha1(value));
}

/** The target of a mutable item: the SHA-1 hash of its public key and salt. */
export function mutableTarget(crypto: ItemCrypto, publicKey: Uint8Array, salt: Uint8Array): Id {
  const both = new Uint8Array(publicKey.length + salt.length);
  both.set(publicKey);
  both.set(salt, publicKey.length);
  return Id.read(crypto.sha1(both));
}

/** The bytes that the owner of a mutable item signs: the salt (if any), the seq and the value, bencoded. */
export function signedBytes(salt: Uint8Array, seq: Seq, value: Uint8Array): Uint8Array {
  const writer = new Writer(value.length + salt.length + 48);
  if (salt.length > 0) writer.raw(SALT), writer.bytes(salt);
  writer.raw(SEQ);
  writer.seq(seq);
  writer.raw(VALUE);
  writer.raw(value);
  return writer.done();
}

/** Creates an immutable item from a bencoded value. */
export function immutableItem(crypto: ItemCrypto, value: Uint8Array): Item {
  return { target: immutableTarget(crypto, value), value, signed: undefined };
}

/** Creates a mutable item, or returns an error if its signature is wrong. */
export function mutableItem(
  crypto: ItemCrypto,
  value: Uint8Array,
  signed: Signed,
): Item | ItemError {
  const { publicKey, salt } = signed;
  return verified(crypto, { target: mutableTarget(crypto, publicKey, salt), value, signed });
}

/** Checks the signature of an item, if it has one. */
export function verified(crypto: ItemCrypto, item: Item): Item | ItemError {
  if (item.signed === undefined) return item;
  const { publicKey, salt, seq, signature } = item.signed;
  if (crypto.verify(publicKey, signedBytes(salt, seq, item.value), signature)) return item;
  return { code: ErrorCode.badSignature, text: "invalid signature" };
}

/** Copies an item from a message, and checks its sizes and signature. The caller must still check the item's target. */
export function itemOf(crypto: ItemCrypto, m: Message, salt?: Uint8Array): Item | ItemError {
  const item = unverifiedItem(crypto, m, salt);
  return isItemError(item) ? item : verified(crypto, item);
}

/** Like {@link itemOf}, but does not check the signature, because that takes far longer than the other checks. */
export function unverifiedItem(
  crypto: ItemCrypto,
  m: Message,
  salt: Uint8Array = m.salt ?? EMPTY,
): Item | ItemError {
  const { value } = m;
  if (value === undefined) return refused("v is missing");
  if (value.length > MAX_VALUE_BYTES) return refused("v is over 1000 bytes", ErrorCode.valueTooBig);
  if (!isCanonical(value)) return refused("v is not valid bencode");
  if (m.publicKey === undefined) return immutableItem(crypto, value.slice());
  if (m.publicKey.length !== PUBLIC_KEY_BYTES) return refused("k is not 32 bytes");
  if (m.signature?.length !== SIGNATURE_BYTES) return refused("sig is not 64 bytes");
  if (salt.length > MAX_SALT_BYTES) return refused("salt is over 64 bytes", ErrorCode.saltTooBig);
  if (!isSeq(m.seq)) return refused("seq is not an integer from 0 to 2^63-1");
  const publicKey = m.publicKey.slice(), signature = m.signature.slice();
  const signed = { publicKey, signature, salt: salt.slice(), seq: m.seq };
  return { target: mutableTarget(crypto, publicKey, signed.salt), value: value.slice(), signed };
}

function refused(text: string, code: number = ErrorCode.protocol): ItemError {
  return { code, text };
}

export function isItemError(result: Item | ItemError): result is ItemError {
  return "code" in result;
}

/**
 * Compares two versions of an item; positive if `x` is newer. The version with the higher seq is newer. An owner that
 * uses one key on two nodes may sign two values with the same seq. Then the value with the greater bencoded bytes
 * counts as newer, so that all nodes end up with the same value.
 */
export function compareVersions(x: Item, y: Item): number {
  const xSeq = x.signed?.seq ?? 0, ySeq = y.signed?.seq ?? 0;
  if (xSeq !== ySeq) return xSeq > ySeq ? 1 : -1;
  return compareBytes(x.value, y.value);
}

/**
 * The reason why `next` may not replace `held` (BEP 44); undefined if it may. `next` must be a newer version or the
 * same version. A `cas`, if given, must equal the seq of `held`.
 */
export function refusal(
  held: Item | undefined,
  next: Item,
  cas: Seq | undefined,
): ItemError | undefined {
  if (held?.signed === undefined || next.signed === undefined) return undefined;
  const { seq } = held.signed;
  const order = compareVersions(next, held);
  // Both versions are the same: the put is a repeated query or a refresh. Accept any cas, because the put changes
  // nothing.
  if (order === 0) return undefined;
  if (cas !== undefined && cas !== seq) {
    return { code: ErrorCode.casMismatch, text: `cas mismatch: seq is ${seq}` };
  }
  if (order > 0) return undefined;
  const isEqual = next.signed.seq === seq;
  const text = isEqual ? `a greater value has seq ${seq}` : `seq is less than current ${seq}`;
  return { code: ErrorCode.seqTooLow, text };
}

export function sameBytes(x: Uint8Array, y: Uint8Array): boolean {
  if (x.length !== y.length) return false;
  for (let i = 0; i < x.length; i++) if (x[i] !== y[i]) return false;
  return true;
}
