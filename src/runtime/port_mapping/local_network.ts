// Our address on the local network, and where its router may be, with no more permission than to use the network:
// Deno tells neither interfaces nor routes without others.

import type { Clock } from "../../data/item_network.ts";
import { Endpoint, type Family } from "../../krpc/endpoint.ts";
import { type MappingHost, within } from "./router.ts";

/** The local network as port mapping sees it; another one in tests. */
export interface LocalNetwork {
  /** Our address where packets leave for the world; undefined where there is none. Never rejects. */
  ownAddress(family: Family): Promise<Endpoint | undefined>;
  /** Whether an address is still this machine's. */
  isOwn(address: Endpoint): boolean;
  /** Addresses that the router of our network has as a rule, the likeliest first. */
  likelyRouters(own: Endpoint): Endpoint[];
}

/** A packet to ourselves takes microseconds. */
const LOOPED_MS = 500;

/**
 * A multicast packet leaves from the address that others see, and the system hands a copy back to us. To all hosts of
 * IPv4 (RFC 1112), with a TTL of 0, it never leaves the machine. To a group for experiments of IPv6 (RFC 4727), whose
 * global scope makes the system choose a global address (RFC 6724), it goes no further than the link.
 */
const GROUPS: Readonly<Record<Family, string>> = { 4: "224.0.0.1", 6: "ff0e::114" };

/** The machine's own network. */
export class SystemNetwork implements LocalNetwork {
  readonly #clock: Clock;
  readonly #host: Pick<MappingHost, "allows">;
  /** The one address that is used; undefined where all are. */
  readonly #bound: Endpoint | undefined;

  /** `hostname`: where the P2P socket is bound. */
  constructor(host: Pick<MappingHost, "allows" | "clock">, hostname: string) {
    this.#host = host;
    this.#clock = host.clock;
    const bound = Endpoint.parse(hostname, 1);
    this.#bound = bound?.scope === "none" ? undefined : bound;
  }

  async ownAddress(family: Family): Promise<Endpoint | undefined> {
    if (this.#bound !== undefined) {
      const isUsed = this.#bound.family === family && this.isOwn(this.#bound);
      return isUsed && this.#bound.scope !== "loopback" ? this.#bound : undefined;
    }
    // What is sent to an IPv6 group reaches the link.
    if (family === 6 && !this.#host.allows(Endpoint.parse(GROUPS[6], 1)!)) return undefined;
    let conn: Deno.DatagramConn | undefined;
    try {
      const hostname = family === 4 ? "0.0.0.0" : "::";
      conn = Deno.listenDatagram({ transport: "udp", hostname, port: 0, loopback: true });
      return await this.#loop(conn, family);
    } catch {
      return undefined; // no such family, or no network
    } finally {
      conn?.close();
    }
  }

  async #loop(conn: Deno.DatagramConn, family: Family): Promise<Endpoint | undefined> {
    const hostname = GROUPS[family], { port } = conn.addr as Deno.NetAddr;
    if (family === 4) await (await conn.joinMulticastV4(hostname, "0.0.0.0")).setTTL(0);
    else await conn.joinMulticastV6(hostname, 0);
    const nonce = crypto.getRandomValues(new Uint8Array(8));
    const received = this.#copy(conn, nonce);
    await conn.send(nonce, { transport: "udp", hostname, port });
    const own = await within(this.#clock, LOOPED_MS, received);
    return own?.family === family ? own : undefined;
  }

  async #copy(conn: Deno.DatagramConn, nonce: Uint8Array): Promise<Endpoint | undefined> {
    for (let i = 0; i < 16; i++) {
      const [bytes, from] = await conn.receive().catch(() => [undefined, undefined]);
      if (bytes === undefined) return undefined;
      const { hostname, port } = from as Deno.NetAddr;
      const isOurs = bytes.length === nonce.length && bytes.every((byte, i) => byte === nonce[i]);
      const own = Endpoint.parse(hostname, port);
      // A source of another machine can't be bound here.
      if (isOurs && own !== undefined && this.isOwn(own)) return own;
    }
    return undefined;
  }

  isOwn({ host: hostname }: Endpoint): boolean {
    try {
      Deno.listenDatagram({ transport: "udp", hostname, port: 0 }).close();
      return true;
    } catch {
      return false;
    }
  }

  likelyRouters(own: Endpoint): Endpoint[] {
    const hosts = own.family === 4
      ? [1, 254].map((last) => own.host.replace(/\d+$/, String(last)))
      : [prefixOf(own, 1)];
    return hosts.flatMap((host) => Endpoint.parse(host, own.port) ?? [])
      .filter((router) => !router.sameAddress(own));
  }
}

/** The address of the same /64 with this interface identifier. */
function prefixOf({ a, b }: Endpoint, identifier: number): string {
  const groups = [a >>> 16, a & 0xffff, b >>> 16, b & 0xffff];
  return `${groups.map((group) => group.toString(16)).join(":")}::${identifier.toString(16)}`;
}
