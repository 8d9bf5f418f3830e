// Stored values (BEP 44): immutable ones named by their hash, mutable ones by their owner's key and a salt.

import { isCanonical, literal, Writer } from "../krpc/bencode.ts";
import { Id } from "../krpc/id.ts";
import { ErrorCode, type Message } from "../krpc/message.ts";
import type { Millis } from "./deadlines.ts";

/** The largest bencoded value of one item. */
export const MAX_VALUE_BYTES = 1000;
export const MAX_SALT_BYTES = 64;
export const PUBLIC_KEY_BYTES = 32;
export const SIGNATURE_BYTES = 64;

/**
 * An item expires a day after its owner last put it (Kademlia, section 2.5). BEP 44 allows two hours: then a value
 * would not outlive an owner that is away for an evening.
 */
export const ITEM_LIFE_MS = 24 * 3_600_000;

/** The hash and signature functions an item needs; part of the node's host. */
export interface ItemCrypto {
  /** 20 bytes. */
  sha1(bytes: Uint8Array): Uint8Array;
  /** Ed25519 (RFC 8032); false for anything that is not a valid signature. Never throws. */
  verify(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean;
}

/** The part of a mutable item that its owner signed. */
export interface Signed {
  readonly publicKey: Uint8Array;
  readonly signature: Uint8Array;
  /** Empty where there is none. */
  readonly salt: Uint8Array;
  readonly seq: number;
}

/** A verified value. All bytes are the item's own: it may be kept. */
export interface Item {
  readonly target: Id;
  /** Bencoded, exactly as its owner wrote it. */
  readonly value: Uint8Array;
  /** Undefined where the item is immutable. */
  readonly signed: Signed | undefined;
}

/** When a holder sees to the copies of an item. */
export interface Turn {
  at: Millis;
  /** How often the neighbourhood had changed when that was settled. */
  changes: number;
  /** How often in a row others have done it before us. */
  readonly deferrals: number;
  /** The last of them. */
  readonly by: Id | undefined;
}

/** An item as a store holds it. */
export interface StoredItem extends Item {
  /** When its owner last put it, as far as is known. */
  readonly storedAt: Millis;
  readonly expiresAt: Millis;
  /** Who put it here: an owner of addresses; undefined where that was an earlier run, or this node. */
  readonly by?: string | undefined;
  /** When it is our turn to count its copies; see the replicator. */
  turn?: Turn;
}

/** An item as it is stored at `now`, `ageMs` after its owner put it, where `held` was in its place; `by`: by whom. */
export function storedItem(
  { target, value, signed }: Item,
  held: StoredItem | undefined,
  now: Millis,
  ageMs: Millis,
  by: string | undefined,
): StoredItem {
  const isSame = held !== undefined && held.signed?.seq === signed?.seq;
  const storedAt = Math.max(now - ageMs, isSame ? held.storedAt : -Infinity);
  return { target, value, signed, storedAt, expiresAt: storedAt + ITEM_LIFE_MS, by };
}

/** A refusal in KRPC's terms. */
export interface ItemError {
  readonly code: number;
  readonly text: string;
}

const EMPTY = new Uint8Array(0);
const SALT = literal("4:salt"), SEQ = literal("3:seq"), VALUE = literal("1:v");

/** SHA-1 of the bencoded value. */
export function immutableTarget(crypto: ItemCrypto, value: Uint8Array): Id {
  return Id.read(crypto.sha1(value));
}

/** SHA-1 of the public key and the salt. */
export function mutableTarget(crypto: ItemCrypto, publicKey: Uint8Array, salt: Uint8Array): Id {
  const both = new Uint8Array(publicKey.length + salt.length);
  both.set(publicKey);
  both.set(salt, publicKey.length);
  return Id.read(crypto.sha1(both));
}

/** The bytes that the owner of a mutable item signs: its salt (where there is one), seq and value, bencoded. */
export function signedBytes(salt: Uint8Array, seq: number, value: Uint8Array): Uint8Array {
  const writer = new Writer(value.length + salt.length + 48);
  if (salt.length > 0) writer.raw(SALT), writer.bytes(salt);
  writer.raw(SEQ);
  writer.integer(seq);
  writer.raw(VALUE);
  writer.raw(value);
  return writer.done();
}

/** Makes an immutable item of bencoded bytes. */
export function immutableItem(crypto: ItemCrypto, value: Uint8Array): Item {
  return { target: immutableTarget(crypto, value), value, signed: undefined };
}

/** Checks a mutable item's signature; an error where it does not fit. */
export function mutableItem(
  crypto: ItemCrypto,
  value: Uint8Array,
  signed: Signed,
): Item | ItemError {
  const { publicKey, salt, seq, signature } = signed;
  if (!crypto.verify(publicKey, signedBytes(salt, seq, value), signature)) {
    return { code: ErrorCode.badSignature, text: "invalid signature" };
  }
  return { target: mutableTarget(crypto, publicKey, salt), value, signed };
}

/**
 * The item in a `put`, or in the response to a `get`, for whose target `salt` is known. Copies what it keeps and
 * verifies everything; the caller compares the target.
 */
export function itemOf(
  crypto: ItemCrypto,
  m: Message,
  salt: Uint8Array = m.salt ?? EMPTY,
): Item | ItemError {
  const { value } = m;
  if (value === undefined) return { code: ErrorCode.protocol, text: "v is missing" };
  if (value.length > MAX_VALUE_BYTES) {
    return { code: ErrorCode.valueTooBig, text: "v is over 1000 bytes" };
  }
  if (!isCanonical(value)) return { code: ErrorCode.protocol, text: "v is not valid bencode" };
  if (m.publicKey === undefined) return immutableItem(crypto, value.slice());
  if (m.publicKey.length !== PUBLIC_KEY_BYTES) {
    return { code: ErrorCode.protocol, text: "k is not 32 bytes" };
  }
  if (m.signature?.length !== SIGNATURE_BYTES) {
    return { code: ErrorCode.protocol, text: "sig is not 64 bytes" };
  }
  if (salt.length > MAX_SALT_BYTES) {
    return { code: ErrorCode.saltTooBig, text: "salt is over 64 bytes" };
  }
  if (!Number.isSafeInteger(m.seq) || m.seq < 0) {
    return { code: ErrorCode.protocol, text: "seq is not an integer from 0 to 2^53-1" };
  }
  return mutableItem(crypto, value.slice(), {
    publicKey: m.publicKey.slice(),
    signature: m.signature.slice(),
    salt: salt.slice(),
    seq: m.seq,
  });
}

export function isItemError(result: Item | ItemError): result is ItemError {
  return "code" in result;
}

/**
 * Whether `next` may take the place of `held` (BEP 44): never a lower seq, an equal one only with the same value,
 * and only over the seq that `cas` names.
 */
export function refusal(
  held: Item | undefined,
  next: Item,
  cas: number | undefined,
): ItemError | undefined {
  if (held?.signed === undefined || next.signed === undefined) return undefined;
  const { seq } = held.signed;
  // The very item again: a query that was sent twice, or a refresh. Whatever its cas, it is what it would lead to.
  if (next.signed.seq === seq && sameBytes(held.value, next.value)) return undefined;
  if (cas !== undefined && cas !== seq) {
    return { code: ErrorCode.casMismatch, text: `cas mismatch: seq is ${seq}` };
  }
  if (next.signed.seq < seq) {
    return { code: ErrorCode.seqTooLow, text: `seq is less than current ${seq}` };
  }
  if (next.signed.seq === seq) {
    return { code: ErrorCode.seqTooLow, text: `another value has seq ${seq}` };
  }
  return undefined;
}

export function sameBytes(x: Uint8Array, y: Uint8Array): boolean {
  if (x.length !== y.length) return false;
  for (let i = 0; i < x.length; i++) if (x[i] !== y[i]) return false;
  return true;
}
