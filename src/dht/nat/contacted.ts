// Remembers the endpoints to which we recently sent queries. Packets from any other address count as unrequested.

import type { Endpoint } from "../../krpc/endpoint.ts";

/** Once the set holds more hashes than this, it counts all addresses as contacted, and no packet as unrequested. */
const MAX_HASHES = 8_192;

/**
 * The contacted endpoints, as a set of hashes. A hash collision may make an unrequested packet look requested, but
 * never the reverse.
 */
export class Contacted {
  readonly #hashes = new Set<number>();

  add(to: Endpoint): void {
    if (this.#hashes.size <= MAX_HASHES) this.#hashes.add(hash(to, 0)).add(hash(to, to.port));
  }

  hasAddress(endpoint: Endpoint): boolean {
    return this.hasEndpoint(endpoint, 0);
  }

  hasEndpoint(endpoint: Endpoint, port = endpoint.port): boolean {
    return this.#hashes.size > MAX_HASHES || this.#hashes.has(hash(endpoint, port));
  }
}

function hash({ a, b, c, d }: Endpoint, port: number): number {
  let h = Math.imul(a ^ port, 0x9e3779b1);
  h = Math.imul(h ^ (h >>> 15) ^ b, 0x85ebca77);
  h = Math.imul(h ^ (h >>> 13) ^ c, 0xc2b2ae3d);
  h = Math.imul(h ^ (h >>> 16) ^ d, 0x27d4eb2f);
  return h ^ (h >>> 15);
}
