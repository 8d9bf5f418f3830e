// Finds our own address and our router's likely addresses. Listing the network interfaces would need a permission.

import { Endpoint, type Family } from "../../krpc/endpoint.ts";
import { within } from "../clock.ts";
import { isOwnAddress } from "../net/local_addresses.ts";
import type { MappingHost } from "./router.ts";

/** The local network as port mapping sees it. Tests use a substitute. */
export type LocalNetwork = Pick<SystemNetwork, "ownAddress" | "isOwn" | "likelyRouters">;

/** Timeout for a packet to ourselves, which normally takes microseconds. */
const LOOP_MS = 500;

/**
 * For each family, the multicast group to which we send a packet to find out our own address. The system delivers a
 * copy of the packet to us, whose sender is the address that other hosts see. The IPv4 group is "all hosts" (RFC 1112):
 * the packet has a TTL of 0, so it never leaves the machine. The IPv6 group is an experimental one (RFC 4727): its
 * packet stays on the link. Because the group has global scope, the system picks our global address as the sender (RFC
 * 6724).
 */
const GROUPS: Readonly<Record<Family, string>> = { 4: "224.0.0.1", 6: "ff0e::114" };

/** The real network of this machine. Tests use another one. */
export class SystemNetwork {
  /** The address that the P2P socket is bound to, or undefined if it is bound to all addresses. */
  readonly #bound: Endpoint | undefined;

  /** @param hostname the address that the P2P socket is bound to */
  constructor(private readonly host: Pick<MappingHost, "allows" | "clock">, hostname: string) {
    const bound = Endpoint.parse(hostname, 1);
    this.#bound = bound?.scope === "none" ? undefined : bound;
  }

  /** Returns our address on the network that leads to the internet, if there is one. Never rejects. */
  async ownAddress(family: Family): Promise<Endpoint | undefined> {
    if (this.#bound !== undefined) {
      const isUsed = this.#bound.family === family && this.isOwn(this.#bound);
      return isUsed && this.#bound.scope !== "loopback" ? this.#bound : undefined;
    }
    // Packets to an IPv6 group leave the machine, so `--allow-net` must permit the group.
    if (family === 6 && !this.host.allows(Endpoint.parse(GROUPS[6], 1)!)) return undefined;
    let conn: Deno.DatagramConn | undefined;
    try {
      const hostname = family === 4 ? "0.0.0.0" : "::";
      conn = Deno.listenDatagram({ transport: "udp", hostname, port: 0, loopback: true });
      return await this.#loop(conn, family);
    } catch {
      return undefined; // there is no network, or none of this address family
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
    const own = await within(this.host.clock, LOOP_MS, received);
    return own?.family === family ? own : undefined;
  }

  async #copy(conn: Deno.DatagramConn, nonce: Uint8Array): Promise<Endpoint | undefined> {
    for (let i = 0; i < 16; i++) {
      const [bytes, from] = await conn.receive().catch(() => [undefined, undefined]);
      if (bytes === undefined) return undefined;
      const { hostname, port } = from as Deno.NetAddr;
      const isOurs = bytes.length === nonce.length && bytes.every((byte, i) => byte === nonce[i]);
      const own = Endpoint.parse(hostname, port);
      // `isOwn` tries to bind a socket, which fails if the address belongs to another machine.
      if (isOurs && own !== undefined && this.isOwn(own)) return own;
    }
    return undefined;
  }

  /** Whether an address still belongs to this machine. */
  isOwn({ host }: Endpoint): boolean {
    return isOwnAddress(host);
  }

  /** Returns typical addresses of routers, the most likely first. */
  likelyRouters(own: Endpoint): Endpoint[] {
    const { family, a, b, port } = own;
    const routers = family === 4
      ? [1, 254].map((last) => Endpoint.ofIpv4((a & ~0xff) | last, port))
      : [Endpoint.ofIpv6(a, b, 0, 1, port)];
    return routers.filter((router) => !router.sameAddress(own));
  }
}
