// Finds out whether an address belongs to this machine by binding a socket to it. Binding to other addresses fails.

import { BoundedMap } from "../../dht/bounded_map.ts";
import type { Endpoint } from "../../krpc/endpoint.ts";

/** The maximum number of addresses whose results are cached. */
const MAX_ADDRESSES = 16;

/** Lifetime of a cached result. Results expire because the machine may move to another network. */
const VALID_MS = 60_000;

export class LocalAddresses {
  readonly #known = new BoundedMap<string, { readonly isLocal: boolean; readonly at: number }>(
    MAX_ADDRESSES,
  );

  has({ host }: Endpoint, now: number): boolean {
    const known = this.#known.get(host);
    if (known !== undefined && now - known.at < VALID_MS) return known.isLocal;
    const isLocal = isOwnAddress(host);
    this.#known.set(host, { isLocal, at: now });
    return isLocal;
  }
}

export function isOwnAddress(hostname: string): boolean {
  try {
    Deno.listenDatagram({ transport: "udp", hostname, port: 0 }).close();
    return true;
  } catch {
    return false;
  }
}
