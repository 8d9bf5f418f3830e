// What the database's rows hold, in a form that passes between threads, and how it becomes the core's own.

import {
  type Item,
  PUBLIC_KEY_BYTES,
  SIGNATURE_BYTES,
  type Signed,
  type StoredItem,
} from "../dht/item.ts";
import type { Published } from "../dht/published.ts";
import { Endpoint } from "../krpc/endpoint.ts";
import { Id, ID_BYTES } from "../krpc/id.ts";

type Bytes = Uint8Array;

/** The columns that every signed or hashed value has, wherever it is kept. */
interface ValueRow {
  readonly target: Bytes;
  readonly value: Bytes;
  /** Null, as the three after it, where the value is immutable. */
  readonly public_key: Bytes | null;
  readonly signature: Bytes | null;
  readonly salt: Bytes | null;
  readonly seq: number | null;
}

/** A row of `items`; times are milliseconds since 1970. */
export interface ItemRow extends ValueRow {
  readonly stored_at: number;
  readonly expires_at: number;
}

/** A row of `published`. */
export interface PublishedRow extends ValueRow {
  readonly first_at: number;
  readonly next_at: number;
  /** Null before the first time. */
  readonly last_at: number | null;
  readonly replicas: number;
  readonly failures: number;
}

/** A row of `contacts`; what is unknown is null. */
export interface ContactRow {
  readonly id: Bytes;
  /** Compact form (BEP 5, BEP 32). */
  readonly endpoint: Bytes;
  readonly first_seen: number | null;
  readonly last_seen: number | null;
  readonly rtt: number | null;
  readonly rtt_variation: number | null;
  readonly answer_rate: number | null;
  /** JSON. */
  readonly parts: string | null;
}

/** A contact as it is remembered between runs. What is missing was not known, or not kept by the version that saved it. */
export interface SavedContact {
  readonly id: Id;
  readonly endpoint: Endpoint;
  /** Milliseconds since 1970. */
  readonly firstSeen?: number;
  readonly lastSeen?: number;
  /** Milliseconds; NaN before the first answer. */
  readonly rtt?: number;
  readonly rttVariation?: number;
  /** 0 to 1. */
  readonly answerRate?: number;
  /** Whatever else is to be remembered of it: JSON. */
  readonly parts?: Readonly<Record<string, unknown>>;
}

export function itemRow(item: StoredItem): ItemRow {
  return { ...valueRow(item), stored_at: item.storedAt, expires_at: item.expiresAt };
}

export function storedItem(row: ItemRow): StoredItem {
  // Spelled out: each node holds a great many, and all have to be of one shape.
  const { target, value, signed } = itemOf(row);
  const { stored_at: storedAt, expires_at: expiresAt } = row;
  return { target, value, signed, storedAt, expiresAt, by: undefined };
}

/**
 * Many rows of `items` in two buffers, which pass to another thread without being copied. To clone the rows would take
 * longer than to read them from the disk, and a node can have 100,000 when it starts.
 */
export interface PackedItems {
  /** Of each row: target, value, and, where it is mutable, public key, signature and salt. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Of each row: bytes of the value, bytes of the salt (-1: immutable), seq, and the two times. */
  readonly numbers: Float64Array<ArrayBuffer>;
}

const NUMBERS_A_ROW = 5;

export function packItems(rows: readonly ItemRow[]): PackedItems {
  let length = 0;
  for (const { value, salt } of rows) length += ID_BYTES + value.length + signedLength(salt);
  const bytes = new Uint8Array(length), numbers = new Float64Array(rows.length * NUMBERS_A_ROW);
  let at = 0;
  const put = (part: Bytes) => {
    bytes.set(part, at);
    at += part.length;
  };
  for (const [i, row] of rows.entries()) {
    const { target, value, public_key, signature, salt, seq, stored_at, expires_at } = row;
    put(target);
    put(value);
    if (public_key !== null) put(public_key), put(signature!), put(salt!);
    numbers.set(
      [value.length, salt?.length ?? -1, seq ?? -1, stored_at, expires_at],
      i * NUMBERS_A_ROW,
    );
  }
  return { bytes, numbers };
}

/** The items of `packItems`. Each has bytes of its own, and can go without the others. */
export function* unpackItems({ bytes, numbers }: PackedItems): Generator<StoredItem> {
  let at = 0;
  const take = (length: number) => bytes.slice(at, at += length);
  for (let i = 0; i < numbers.length; i += NUMBERS_A_ROW) {
    const saltLength = numbers[i + 1];
    const target = Id.read(bytes, at);
    at += ID_BYTES;
    const value = take(numbers[i]);
    const signed: Signed | undefined = saltLength < 0 ? undefined : {
      publicKey: take(PUBLIC_KEY_BYTES),
      signature: take(SIGNATURE_BYTES),
      salt: take(saltLength),
      seq: numbers[i + 2],
    };
    const storedAt = numbers[i + 3], expiresAt = numbers[i + 4];
    yield { target, value, signed, storedAt, expiresAt, by: undefined };
  }
}

function signedLength(salt: Bytes | null): number {
  return salt === null ? 0 : PUBLIC_KEY_BYTES + SIGNATURE_BYTES + salt.length;
}

export function publishedRow(published: Published): PublishedRow {
  const { item, firstAt, nextAt, lastAt, replicas, failures } = published;
  return {
    ...valueRow(item),
    first_at: firstAt,
    next_at: nextAt,
    last_at: lastAt === -Infinity ? null : lastAt,
    replicas,
    failures,
  };
}

export function publishedOf(row: PublishedRow): Published {
  return {
    item: itemOf(row),
    firstAt: row.first_at,
    nextAt: row.next_at,
    lastAt: row.last_at ?? -Infinity,
    replicas: row.replicas,
    failures: row.failures,
  };
}

export function contactRow(contact: SavedContact): ContactRow {
  const { id, endpoint, firstSeen, lastSeen, rtt, rttVariation, answerRate, parts } = contact;
  const bytes = new Uint8Array(Endpoint.compactLength(endpoint.family));
  endpoint.write(bytes, 0);
  return {
    id: id.toBytes(),
    endpoint: bytes,
    first_seen: known(firstSeen),
    last_seen: known(lastSeen),
    rtt: known(rtt),
    rtt_variation: known(rttVariation),
    answer_rate: known(answerRate),
    parts: parts === undefined ? null : JSON.stringify(parts),
  };
}

export function savedContact(row: ContactRow): SavedContact {
  const { id, endpoint, parts } = row;
  return {
    id: Id.read(id),
    endpoint: Endpoint.read(endpoint, 0, endpoint.length === 6 ? 4 : 6),
    firstSeen: row.first_seen ?? undefined,
    lastSeen: row.last_seen ?? undefined,
    rtt: row.rtt ?? undefined,
    rttVariation: row.rtt_variation ?? undefined,
    answerRate: row.answer_rate ?? undefined,
    parts: parts === null ? undefined : partsOf(parts),
  };
}

/** What is damaged is as if not known: a contact is worth a try without it. */
function partsOf(json: string): Record<string, unknown> | undefined {
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}

function valueRow({ target, value, signed }: Item): ValueRow {
  return {
    target: target.toBytes(),
    value: own(value),
    public_key: signed === undefined ? null : own(signed.publicKey),
    signature: signed === undefined ? null : own(signed.signature),
    salt: signed === undefined ? null : own(signed.salt),
    seq: signed?.seq ?? null,
  };
}

function itemOf({ target, value, public_key, signature, salt, seq }: ValueRow): Item {
  const signed: Signed | undefined = public_key === null
    ? undefined
    : { publicKey: public_key, signature: signature!, salt: salt!, seq: seq! };
  return { target: Id.read(target), value, signed };
}

/** Bytes that are a part of a larger buffer would take all of it to the other thread. */
function own(bytes: Bytes): Bytes {
  return bytes.byteLength === bytes.buffer.byteLength ? bytes : new Uint8Array(bytes);
}

/** SQLite knows no NaN and JavaScript's other ways to say that there is no number. */
function known(value: number | undefined): number | null {
  return value === undefined || !Number.isFinite(value) ? null : value;
}
