// Node ids bound to IP addresses (BEP 42).

import { crc32c } from "../../krpc/crc.ts";
import { Endpoint } from "../../krpc/endpoint.ts";
import { Id, ID_BYTES, putWord } from "../../krpc/id.ts";

const IPV4_MASK = 0x030f3fff, IPV6_MASK_HIGH = 0x0103070f, IPV6_MASK_LOW = 0x1f3f7fff;

/** The 21 leading bits that BEP 42 prescribes for an id at this address, left-aligned. `rand` is the id's last byte. */
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

/** Whether an id is valid at this address (BEP 42). At local addresses, all ids are valid. */
export function isSecureId(id: Id, endpoint: Endpoint): boolean {
  if (endpoint.scope !== "global" && !isCarrierGrade(endpoint)) return true;
  return (id.a & PREFIX_MASK) === prefix(endpoint, id.e & 255);
}

/**
 * Returns an id that is valid at this address. `random`: 20 random bytes for the bits that BEP 42 does not prescribe.
 */
export function secureId(endpoint: Endpoint, random: Uint8Array): Id {
  const bytes = random.slice(0, ID_BYTES);
  const top = prefix(endpoint, bytes[19]);
  bytes[0] = top >>> 24;
  bytes[1] = top >>> 16;
  bytes[2] = ((top >>> 8) & 0xf8) | (bytes[2] & 7);
  return Id.read(bytes);
}

/**
 * Whether the address is in 100.64/10 (carrier-grade NAT). BEP 42 does not exempt this range, although it is not
 * public.
 */
function isCarrierGrade(endpoint: Endpoint): boolean {
  return endpoint.family === 4 && endpoint.a >>> 22 === 0x191;
}
