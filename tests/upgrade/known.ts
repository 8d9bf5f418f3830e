// The content of every DATA_DIR in tests/upgrade.

import { fileURLToPath } from "node:url";
import { immutableItem, type StoredItem } from "../../src/dht/items/item.ts";
import { bencodeBytes } from "../../src/krpc/bencode.ts";
import { Endpoint } from "../../src/krpc/endpoint.ts";
import { Id } from "../../src/krpc/id.ts";
import { itemCrypto } from "../../src/runtime/identity/crypto.ts";
import type { Published } from "../../src/dht/items/published.ts";
import type { SavedAnnouncement, SavedContact } from "../../src/storage/rows.ts";

export const NODE_ID = Id.parse("000102030405060708090a0b0c0d0e0f10111213")!;

/** The first test key of RFC 8032: publicly known, and used only here. */
export const SEED = hex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
export const PUBLIC_KEY = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

/** A contact. Schema 1 has only its id and endpoint. */
export const CONTACT: SavedContact = {
  id: Id.parse("ffeeddccbbaa99887766554433221100ffeeddcc")!,
  endpoint: Endpoint.parse("127.0.0.1", 9)!,
  firstSeen: Date.UTC(2026, 0, 1),
  lastSeen: Date.UTC(2026, 0, 2) + 0.5,
  rtt: 12.25,
  rttVariation: 3.5,
  answerRate: 0.875,
  parts: { since: "the second schema" },
};

export const VALUE = "kept since the first schema";

export const ITEM: StoredItem = {
  ...immutableItem(itemCrypto, bencodeBytes(new TextEncoder().encode(VALUE))),
  storedAt: Date.UTC(2026, 0, 1),
  expiresAt: Date.UTC(2200, 0, 1),
};

/** Published since schema 2. */
export const PUBLISHED: Published = {
  item: immutableItem(itemCrypto, bencodeBytes(new TextEncoder().encode("published"))),
  firstAt: Date.UTC(2026, 0, 1),
  nextAt: Date.UTC(2200, 0, 1),
  lastAt: Date.UTC(2026, 0, 2) + 0.5,
  replicas: 20,
  failures: 1,
};

/** Announced since schema 6. */
export const ANNOUNCEMENT: SavedAnnouncement = {
  infoHash: Id.parse("00112233445566778899aabbccddeeff00112233")!,
  port: 6881,
  isSeed: true,
  service: "kept since schema 6",
  firstAt: Date.UTC(2026, 0, 1),
};

export function fromFileUrl(name: string): string {
  return fileURLToPath(new URL(name, import.meta.url));
}

function hex(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(text.match(/../g)!, (byte) => parseInt(byte, 16));
}
