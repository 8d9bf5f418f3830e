// CRC checksums. `node:zlib` also offers CRC-32, but loading it takes 20 ms at startup.

/**
 * Creates a CRC function for a polynomial in reflected form. The function continues an earlier checksum if it is passed
 * as `before`.
 */
function checksum(polynomial: number): (bytes: Uint8Array, before?: number) => number {
  const table = Int32Array.from({ length: 256 }, (_, n) => {
    for (let bit = 0; bit < 8; bit++) n = n & 1 ? (n >>> 1) ^ polynomial : n >>> 1;
    return n;
  });
  return (bytes, before = 0) => {
    let crc = ~before;
    for (let i = 0; i < bytes.length; i++) crc = table[(crc ^ bytes[i]) & 0xff] ^ (crc >>> 8);
    return ~crc >>> 0;
  };
}

/** CRC-32 as in zlib and PNG (ISO/IEC 3309). */
export const crc32 = checksum(0xedb88320);

/** CRC-32C (Castagnoli). */
export const crc32c = checksum(0x82f63b78);
