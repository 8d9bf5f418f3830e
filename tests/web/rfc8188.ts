// An independent decoder of the content coding aes128gcm, from the text of RFC 8188 and with node:crypto.

import { Buffer } from "node:buffer";
import { createDecipheriv, hkdfSync } from "node:crypto";

/** Decodes a whole message. Throws if a tag is wrong. */
export function decodeRfc8188(message: Uint8Array, key: Uint8Array): Uint8Array {
  const all = Buffer.from(message), salt = all.subarray(0, 16);
  const recordSize = all.readUInt32BE(16), start = 21 + all[20];
  const derive = (info: string, length: number) =>
    Buffer.from(hkdfSync("sha256", key, salt, Buffer.from(info), length));
  const contentKey = derive("Content-Encoding: aes128gcm\0", 16);
  const nonce = derive("Content-Encoding: nonce\0", 12);
  const parts: Uint8Array[] = [];
  for (let at = start, number = 0n; at < all.length; at += recordSize, number++) {
    const record = all.subarray(at, at + recordSize), isLast = at + recordSize >= all.length;
    const iv = Buffer.from(nonce);
    for (let i = 0n; i < 8n; i++) iv[11 - Number(i)] ^= Number((number >> (8n * i)) & 255n);
    const decipher = createDecipheriv("aes-128-gcm", contentKey, iv);
    decipher.setAuthTag(record.subarray(-16));
    const plain = Buffer.concat([decipher.update(record.subarray(0, -16)), decipher.final()]);
    const end = plain.findLastIndex((byte) => byte !== 0);
    if (plain[end] !== (isLast ? 2 : 1)) {
      throw new Error(`record ${number} ends with ${plain[end]}`);
    }
    parts.push(plain.subarray(0, end));
  }
  return Buffer.concat(parts);
}
