// Node ids bound to IP addresses (BEP 42).

import { Endpoint } from "../krpc/endpoint.ts";
import { Id, ID_BYTES, putWord } from "../krpc/id.ts";

const IPV4_MASK = 0x030f3fff, IPV6_MASK_HIGH = 0x0103070f, IPV6_MASK_LOW = 0x1f3f7fff;

const CRC32C_TABLE = Int32Array.from({ length: 256 }, (_, n) => {
  for (let bit = 0; bit < 8; bit++) n = n & 1 ? (n >>> 1) ^ 0x82f63b78 : n >>> 1;
  return n;
});

/** CRC-32C (Castagnoli), as a signed word. */
export function crc32c(bytes: Uint8Array): number {
  let crc = -1;
  for (const byte of bytes) crc = CRC32C_TABLE[(crc ^ byte) & 255] ^ (crc >>> 8);
  return ~crc;
}

/** The first 21 bits, as the top of a word, that an id with `rand` (its last byte) must have at this address. */
function prefix(endpoint: Endpoint, rand: number): number {
  const r = rand & 7;
  const bytes = new Uint8Array(endpoint.family === 4 ? 4 : 8);
  if (endpoint.family === 4) {
    putWord(bytes, 0, (endpoint.a & IPV4_MASK) | (r << 29));
  } else {
    putWord(bytes, 0, (endpoint.a & IPV6_MASK_HIGH) | (r << 29));
    putWord(bytes, 4, endpoint.b & IPV6_MASK_LOW);
  }
  return crc32c(bytes) & PREFIX_MASK;
}

const PREFIX_MASK = 0xfffff800 | 0;

/** Whether the id is one that its address may have; local addresses may have any. */
export function isSecureId(id: Id, endpoint: Endpoint): boolean {
  if (endpoint.scope !== "global" && !isCarrierGrade(endpoint)) return true;
  return (id.a & PREFIX_MASK) === prefix(endpoint, id.e & 255);
}

/** An id valid at this address, the rest taken from 20 random bytes. */
export function secureId(endpoint: Endpoint, random: Uint8Array): Id {
  const bytes = random.slice(0, ID_BYTES);
  const top = prefix(endpoint, bytes[19]);
  bytes[0] = top >>> 24;
  bytes[1] = top >>> 16;
  bytes[2] = ((top >>> 8) & 0xf8) | (bytes[2] & 7);
  return Id.read(bytes);
}

/** 100.64/10 is not among BEP 42's exempt ranges, though it never crosses the Internet. */
function isCarrierGrade(endpoint: Endpoint): boolean {
  return endpoint.family === 4 && endpoint.a >>> 22 === 0x191;
}
