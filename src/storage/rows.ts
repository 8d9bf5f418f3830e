// The types of database rows, which can be sent to another thread, and their conversions from and to the core's types.

import type { Item, Signed, StoredItem } from "../dht/items/item.ts";
import type { ItemRecord } from "../dht/items/item_table.ts";
import type { Published } from "../dht/items/published.ts";
import type { OwnAnnouncement } from "../dht/serving/announcements.ts";
import { Endpoint } from "../krpc/endpoint.ts";
import { Id, ID_BYTES, word } from "../krpc/id.ts";
import type { Seq } from "../krpc/seq.ts";

type Bytes = Uint8Array;

/** The columns that the tables `items` and `published` share. */
interface ValueRow {
  readonly target: Bytes;
  readonly value: Bytes;
  /** The public key. This column, `signature`, `salt` and `seq` are null if the value is immutable. */
  readonly public_key: Bytes | null;
  readonly signature: Bytes | null;
  readonly salt: Bytes | null;
  readonly seq: Seq | null;
}

/**
 * A row of the table `items`. Times are in node time. Program versions without node time saved milliseconds since 1970.
 */
export interface ItemRow extends ValueRow {
  readonly stored_at: number;
  readonly expires_at: number;
  /** The source from which the item came; see `StoredItem.by`. */
  readonly source: string | null;
  /** The number of nodes that should hold the item; see `StoredItem.copies`. */
  readonly copies: number | null;
}

/** A row of `published`. */
export interface PublishedRow extends ValueRow {
  readonly first_at: number;
  readonly next_at: number;
  /** The time when another node last acknowledged the value; null if none has yet. */
  readonly last_at: number | null;
  readonly replicas: number;
  readonly failures: number;
  /**
   * The id of the blob that contains a large value. This column, `ids_blob` and `next_piece` are null unless the item
   * is a root.
   */
  readonly value_blob: number | null;
  readonly ids_blob: number | null;
  readonly next_piece: number | null;
  /** How long other nodes should keep the item (`Published.lifeMs`); null for the default `ITEM_LIFE_MS`. */
  readonly life: number | null;
  /** Why the value is pinned (`Published.pin`), as an index into `PINS`; null if it is not pinned. */
  readonly pinned: number | null;
}

/** The possible values of `Published.pin`, by index. */
const PINS = ["only", "too", "part"] as const;

/** A row of `announcements`. */
export interface AnnouncementRow {
  readonly info_hash: Bytes;
  /** The announced port; null for the port of the node itself. */
  readonly port: number | null;
  /** 1 if the host is a seed of the swarm, otherwise 0. */
  readonly seed: number;
  readonly service: string | null;
  /** The node time at which the user started the announcement. */
  readonly first_at: number;
}

/** The properties of an announcement that are saved for the next run. */
export type SavedAnnouncement = Pick<
  OwnAnnouncement,
  "infoHash" | "port" | "isSeed" | "service" | "firstAt"
>;

/** A row of the table `contacts`. Unknown properties are null. */
export interface ContactRow {
  readonly id: Bytes;
  /** The contact's endpoint in compact form (BEP 5, BEP 32). */
  readonly endpoint: Bytes;
  readonly first_seen: number | null;
  readonly last_seen: number | null;
  readonly rtt: number | null;
  readonly rtt_variation: number | null;
  readonly answer_rate: number | null;
  /** Further properties of the contact, as JSON. */
  readonly parts: string | null;
}

/**
 * The properties of a contact that are saved for the next run. A property is missing if it is unknown, or if an earlier
 * schema had no column for it.
 */
export interface SavedContact {
  readonly id: Id;
  readonly endpoint: Endpoint;
  /** The node time at which the contact was first seen. */
  readonly firstSeen?: number;
  readonly lastSeen?: number;
  /** The smoothed round-trip time in milliseconds; NaN before the first answer. */
  readonly rtt?: number;
  readonly rttVariation?: number;
  /** The share of our queries that the contact answered, from 0 to 1. */
  readonly answerRate?: number;
  /** Further properties of the contact, saved as JSON. */
  readonly parts?: Readonly<Record<string, unknown>>;
}

export function itemRow(item: StoredItem): ItemRow {
  return {
    ...valueRow(item),
    stored_at: item.storedAt,
    expires_at: item.expiresAt,
    source: item.by ?? null,
    copies: item.copies ?? null,
  };
}

export function storedItem(row: ItemRow): StoredItem {
  const { target, value, signed } = itemOf(row);
  const { stored_at: storedAt, expires_at: expiresAt, source, copies } = row;
  const by = source ?? undefined;
  return { target, value, signed, storedAt, expiresAt, by, copies: copies ?? undefined };
}

/** The records of many rows of `items`, packed so that another thread receives them without a copy. */
export interface PackedItems {
  /** The target of each row, 20 bytes each. */
  readonly targets: Uint8Array<ArrayBuffer>;
  /** For each row, `NUMBERS_PER_ITEM` numbers in the order that `packItems` defines. */
  readonly numbers: Float64Array<ArrayBuffer>;
  /** The source of each row's item; see `StoredItem.by`. */
  readonly sources: readonly (string | null)[];
}

const NUMBERS_PER_ITEM = 6;

export function packItems(rows: readonly ItemRow[]): PackedItems {
  const targets = new Uint8Array(rows.length * ID_BYTES);
  const numbers = new Float64Array(rows.length * NUMBERS_PER_ITEM);
  for (const [i, row] of rows.entries()) {
    const { public_key: key, signature, salt } = row;
    const keyedBytes = key === null ? 0 : key.length + signature!.length + salt!.length;
    targets.set(row.target, i * ID_BYTES);
    const at = i * NUMBERS_PER_ITEM;
    numbers[at] = row.stored_at;
    numbers[at + 1] = row.expires_at;
    numbers[at + 2] = row.copies ?? 0;
    numbers[at + 3] = row.value.length;
    numbers[at + 4] = keyedBytes;
    numbers[at + 5] = key === null ? 0 : word(key, 0);
  }
  return { targets, numbers, sources: rows.map(({ source }) => source) };
}

/** Yields the records that `packItems` packed. */
export function* unpackItems(
  { targets, numbers, sources }: PackedItems,
): Generator<ItemRecord> {
  for (const [i, source] of sources.entries()) {
    const at = i * NUMBERS_PER_ITEM;
    yield {
      target: Id.read(targets, i * ID_BYTES),
      storedAt: numbers[at],
      expiresAt: numbers[at + 1],
      by: source ?? undefined,
      copies: numbers[at + 2] || undefined,
      valueBytes: numbers[at + 3],
      keyedBytes: numbers[at + 4],
      signer: numbers[at + 5],
    };
  }
}

export function publishedRow(published: Published): PublishedRow {
  const { item, firstAt, nextAt, lastAt, replicas, failures, large, lifeMs, pin } = published;
  return {
    ...valueRow(item),
    first_at: firstAt,
    next_at: nextAt,
    last_at: lastAt === -Infinity ? null : lastAt,
    replicas,
    failures,
    value_blob: large?.value ?? null,
    ids_blob: large?.ids ?? null,
    next_piece: large?.next ?? null,
    life: lifeMs ?? null,
    pinned: pin === undefined ? null : PINS.indexOf(pin),
  };
}

export function publishedOf(row: PublishedRow): Published {
  const { value_blob: value, ids_blob: ids, next_piece: next } = row;
  const isLarge = value !== null && ids !== null && next !== null;
  return {
    item: itemOf(row),
    firstAt: row.first_at,
    nextAt: row.next_at,
    lastAt: row.last_at ?? -Infinity,
    replicas: row.replicas,
    failures: row.failures,
    large: isLarge ? { value, ids, next } : undefined,
    lifeMs: row.life ?? undefined,
    pin: row.pinned === null ? undefined : PINS[row.pinned],
  };
}

export function announcementRow(
  { infoHash, port, isSeed, service, firstAt }: SavedAnnouncement,
): AnnouncementRow {
  return {
    info_hash: infoHash.toBytes(),
    port: port ?? null,
    seed: isSeed ? 1 : 0,
    service: service ?? null,
    first_at: firstAt,
  };
}

export function savedAnnouncement(row: AnnouncementRow): SavedAnnouncement {
  return {
    infoHash: Id.read(row.info_hash),
    port: row.port ?? undefined,
    isSeed: row.seed === 1,
    service: row.service ?? undefined,
    firstAt: row.first_at,
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

/**
 * Parses further properties of a contact. If the JSON is damaged, the properties count as unknown, because the contact
 * may still be useful.
 */
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
    public_key: signed ? own(signed.publicKey) : null,
    signature: signed ? own(signed.signature) : null,
    salt: signed ? own(signed.salt) : null,
    seq: signed?.seq ?? null,
  };
}

/** The item of a row. */
export function itemOf({ target, value, public_key, signature, salt, seq }: ValueRow): Item {
  const signed: Signed | undefined = public_key === null
    ? undefined
    : { publicKey: public_key, signature: signature!, salt: salt!, seq: seq! };
  return { target: Id.read(target), value, signed };
}

/** Copies bytes that are a view into a larger buffer. Otherwise, the whole buffer would be sent to the other thread. */
function own(bytes: Bytes): Bytes {
  return bytes.byteLength === bytes.buffer.byteLength ? bytes : new Uint8Array(bytes);
}

/** Converts undefined, NaN and infinities to null, which means "unknown" in the database. */
function known(value: number | undefined): number | null {
  return value === undefined || !Number.isFinite(value) ? null : value;
}
